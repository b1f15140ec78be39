"""The interface between the widths and the controllers that choose them: `StepContext` and `Controller`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from surgrad import deprecated
from surgrad.errors import BadValue

if TYPE_CHECKING:
    from surgrad.adapt.probe import Probe

Widths = Mapping[str, Tensor]


class Computed(Mapping[str, Tensor]):
    """Tensors by name, each computed when it is asked for.

    Args:
        sources: by name, what a tensor is computed from.
        function: computes it.
    """

    def __init__(self, sources: Mapping[str, Any], function: Callable[[Any], Tensor]):
        self._sources = sources
        self._function = function

    def __getitem__(self, name: str) -> Tensor:
        return self._function(self._sources[name])

    def __contains__(self, name: object) -> bool:
        return name in self._sources

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


@dataclass(frozen=True)
class StepContext:
    """All that a controller may use, at the start of a training step.

    Attributes:
        step: number of this step, from 0.
        steps: steps of the whole training, or None where the Adapter was not given them.
        steps_per_epoch: steps of one epoch, or None likewise.
        neurons: by module path, each with `.surrogate`, `.decay` and `.threshold`, in the order of the network.
        histograms: by module path, the histogram of the membrane potentials in the training forward passes since they
            were last read (`surgrad.kernels.lif`), summed over ranks. Empty before the first forward pass, in steps in
            which the controller does not read them, and unless it sets `needs_histograms`.
        probe: evaluates the loss of the coming batch with other parameters or widths. None when the adapter is built
            or attached, and without a loss.
        gains: by module path, the mean weight of the norm before the neuron (in its `surgrad.norm.NormNeuron`, or
            before it in an `nn.Sequential`), 0-d. For two summands with norms it is the root of the sum of squares.
            Neurons without a norm are absent.
    """

    step: int
    steps: int | None
    steps_per_epoch: int | None
    neurons: Mapping[str, Any]
    histograms: Mapping[str, Tensor] = field(default_factory=dict)
    probe: "Probe | None" = None
    gains: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Number of this epoch, from 0."""
        return self.step // self._given("steps_per_epoch")

    @property
    def step_of_epoch(self) -> int:
        """Number of this step within its epoch, from 0."""
        return self.step % self._given("steps_per_epoch")

    @property
    def progress(self) -> float:
        """Fraction of the training that is done, in [0, 1)."""
        return self.step / self._given("steps")

    def _given(self, name: str) -> int:
        value: int | None = getattr(self, name)
        if value is None:
            raise BadValue(f"the controller depends on {name}, which the Adapter was not given; give {name}=")
        return value


class Controller:
    """Chooses the widths: maps a `StepContext` to new widths by neuron; {} keeps all as they are.

    Any function of a `StepContext` is a controller too. Subclass to declare what the controller needs, or to keep state
    between steps. `state_dict` must then hold all that a resumed training needs to choose the same widths. The same
    evidence must give the same widths: use no clock and no global random numbers.
    """

    needs_histograms = False
    """Whether it reads the histograms of the membrane potentials."""
    needs_probe = False
    """Whether it probes the loss of the coming batch."""
    histograms_by_width = False
    """Whether the histograms are those of the potentials that each width of a layer meets, [*shape of the width, BINS],
    and not one for the layer, [BINS]."""
    calibrates = False
    """Whether it looks at the potentials of the first batch before the first step (`Probe.histograms`)."""
    writes_nothing = False
    """Whether it never changes a width. Such a controller also accepts a network without spiking neurons."""
    has_own_period = False
    """Whether it chooses itself in which steps it acts."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "watch" in vars(cls):
            deprecated.warn("Controller.watch", "Controller.needs_histograms")
            cls.needs_histograms = vars(cls)["watch"]

    def __call__(self, context: StepContext) -> Widths:
        raise NotImplementedError

    def __str__(self) -> str:
        return type(self).__name__

    def wants_histograms(self, step: int) -> bool:
        """Whether the histograms of the step before the one with this number are counted."""
        return self.needs_histograms

    def reads_histograms(self, step: int) -> bool:
        """Whether it reads, before the step with this number, the histograms counted since it last did. Several ranks
        exchange them then. By default whenever there are new ones."""
        return self.wants_histograms(step)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs: tensors, numbers and words, in dicts and lists."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""

    def note(self, **row: Any) -> None:
        """Record the evidence of a decision for the log: numbers, words and dicts of them, with `step`."""
        vars(self).setdefault("_notes", []).append(row)

    def notes(self) -> list[dict[str, Any]]:
        """The rows recorded since the last call."""
        return vars(self).pop("_notes", [])


AnyController = Controller | Callable[[StepContext], Widths]
_FLAGS = ("needs_histograms", "histograms_by_width", "needs_probe", "calibrates", "writes_nothing", "has_own_period")


class _Function(Controller):
    """A function of a `StepContext` as a `Controller`. The flags and the state that an object has are used."""

    def __init__(self, function: Callable[[StepContext], Widths]):
        self.function: Any = function
        for name in _FLAGS:
            if hasattr(function, name):
                setattr(self, name, getattr(function, name))

    def __call__(self, context: StepContext) -> Widths:
        widths: Widths = self.function(context)
        return widths

    def __str__(self) -> str:
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    def state_dict(self) -> dict[str, Any]:
        return dict(self.function.state_dict()) if hasattr(self.function, "state_dict") else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if hasattr(self.function, "load_state_dict"):
            self.function.load_state_dict(state)


def as_controller(controller: AnyController) -> Controller:
    """The controller itself; a plain function is wrapped into one.

    Raises:
        BadValue: what is given is neither a Controller nor callable.
    """
    if isinstance(controller, Controller):
        return controller
    if not callable(controller) or isinstance(controller, type):
        given = controller.__name__ if isinstance(controller, type) else type(controller).__name__
        raise BadValue(f"got {given} as controller; give a name, a Controller object or a function of a StepContext")
    return _Function(controller)


def widths_from(controller: Controller, context: StepContext) -> Widths:
    """Call the controller, and refuse an answer that is not a mapping."""
    widths: Any = controller(context)
    if not isinstance(widths, Mapping):
        given = "None" if widths is None else f"a {type(widths).__name__}"
        raise BadValue(
            f"the controller returned {given}; return a mapping from neuron names to widths, {{}} to keep all"
        )
    return widths
