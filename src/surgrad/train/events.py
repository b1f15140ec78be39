"""Events of a training, and the observers that receive them."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from surgrad import ranks
from surgrad.adapt.probe import Batch
from surgrad.errors import BadValue, SurgradError

if TYPE_CHECKING:
    from surgrad.train.loop import Loop


class Observer:
    """Receives the events of a training; every method does nothing unless a subclass defines it.

    The methods are called in the order below. They get the loop, whose public attributes say all about the training:
    `loop.parts` (network, optimisers, batches, adapter), `loop.at` (the position), `loop.step_number`, `loop.folder`,
    `loop.progress`. `loop.stop()` ends the training after the current step.

    An observer that draws global random numbers, or writes to the network or its gradients, changes the training. If
    it has state that a resumed training needs, `state_dict` returns it, and the checkpoint stores it under `name`.

    Example:
        >>> class Losses(Observer):
        ...     def __init__(self):
        ...         self.values = []
        ...     def step_ends(self, loop, loss):
        ...         self.values.append(loss.item())
    """

    name: str = ""
    """Unique among the observers of a training; "" stands for the class's name."""
    on_every_rank: bool = False
    """Whether every process of a training has it, and they compute together in it; others are the first one's alone."""

    def run_begins(self, loop: "Loop") -> None:
        """The training begins, or continues from the position `loop.at`; a checkpoint's state is already loaded."""

    def step_begins(self, loop: "Loop", batch: Batch) -> None:
        """The learning rate and the widths of the step are set; the forward pass comes next."""

    def after_backward(self, loop: "Loop", loss: Tensor) -> None:
        """The parameters have their gradients, not yet clipped.

        Args:
            loop: the training.
            loss: 0-d, penalties included.
        """

    def step_ends(self, loop: "Loop", loss: Tensor) -> None:
        """The optimisers have updated the parameters; `loop.step_number` is still the number of this step.

        Args:
            loop: the training.
            loss: 0-d on the device, penalties included. To read it (`loss.item()`) is to wait for a GPU: do not read it
                in every step there.
        """

    def epoch_ends(self, loop: "Loop", row: dict[str, Any]) -> None:
        """The network was evaluated; nothing is saved yet. `loop.at.epoch` is the number of finished epochs.

        Args:
            loop: the training.
            row: of metrics.jsonl; entries may be added.
        """

    def run_ends(self, loop: "Loop") -> None:
        """The training is over, or was stopped by an error or a signal."""

    def state_dict(self) -> dict[str, Any]:
        """State for the checkpoint: tensors, numbers, texts, and lists and dicts of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint; called before `run_begins`, and only where the checkpoint has any."""


class Observers(Observer):
    """Several observers as one, called in order. Of several ranks, those of the first observe its process, with its
    share, unless they are `on_every_rank`."""

    def __init__(self, members: Iterable[Observer]):
        self.members = list(members)
        names = [name_of(member) for member in self.members]
        for name in names:
            if names.count(name) > 1:
                raise BadValue(f"{names.count(name)} observers are called '{name}'; give each another name")

    @property
    def see_gradients(self) -> bool:
        """Whether any of them wants to be called between the backward pass and the optimisers."""
        return any(type(member).after_backward is not Observer.after_backward for member in self.members)

    def run_begins(self, loop: "Loop") -> None:
        self._each("run_begins", loop)

    def step_begins(self, loop: "Loop", batch: Batch) -> None:
        self._each("step_begins", loop, batch)

    def after_backward(self, loop: "Loop", loss: Tensor) -> None:
        self._each("after_backward", loop, loss)

    def step_ends(self, loop: "Loop", loss: Tensor) -> None:
        self._each("step_ends", loop, loss)

    def epoch_ends(self, loop: "Loop", row: dict[str, Any]) -> None:
        self._each("epoch_ends", loop, row)

    def run_ends(self, loop: "Loop") -> None:
        self._each("run_ends", loop)

    def _each(self, event: str, *given: Any) -> None:
        for member in self.members:
            if member.on_every_rank:
                getattr(member, event)(*given)
            else:
                _alone(getattr(member, event), *given)

    def state_dict(self) -> dict[str, Any]:
        """By name, the state of every observer that has any."""
        states = {name_of(member): member.state_dict() for member in self.members}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what the checkpoint has; an observer without an entry there begins as new."""
        for member in self.members:
            if name_of(member) in state:
                member.load_state_dict(state[name_of(member)])


def _alone(call: Callable[..., None], *given: Any) -> None:
    """Call an observer of this rank; its errors are not those of all."""
    try:
        with ranks.alone():
            call(*given)
    except SurgradError as error:
        error.of_all_ranks = not ranks.several()
        raise


def name_of(observer: Observer) -> str:
    """The name under which a checkpoint stores the observer's state."""
    return observer.name or type(observer).__name__
