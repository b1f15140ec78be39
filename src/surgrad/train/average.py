"""Averages of a network's weights over the training, evaluated next to the weights themselves.

To add one: derive a class from `WeightAverage` and add it to `AVERAGES`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor, nn

from surgrad import ranks
from surgrad.config.registry import Registry
from surgrad.config.values import Fraction, Range
from surgrad.train.evaluation import evaluate, selection_split
from surgrad.train.events import Observer

if TYPE_CHECKING:
    from surgrad.train.loop import Loop

NAME = "average"
"""The observer's name, under which a checkpoint stores the average."""


class WeightAverage(Observer):
    """An average of the network's weights, updated after every optimiser step; the training itself does not change.

    It covers the whole state of the network: parameters, and buffers of floating point such as a norm's running
    statistics, which belong to the weights. Other buffers (counters) are those of the network. The checkpoint holds the
    average, and a resumed training continues it exactly.

    Args:
        evaluate: whether the average is evaluated after each epoch; rows of metrics.jsonl then have
            "test_loss_average" and "test_accuracy_average" (and "holdout_..." where examples are held out).

    Attributes:
        weights: the average, as a state dict of the network; empty before the training begins.
    """

    name = NAME
    on_every_rank = True

    def __init__(self, evaluate: bool = True):
        self.evaluate = evaluate
        self.weights: dict[str, Tensor] = {}

    def weight_of_new(self, loop: "Loop") -> float:
        """How much the network's present weights count in the average after this step, in [0, 1]."""
        raise NotImplementedError

    def run_begins(self, loop: "Loop") -> None:
        state = loop.parts.model.state_dict()
        held = self.weights or state
        self.weights = {name: held[name].detach().to(value.device, copy=True) for name, value in state.items()}

    @torch.no_grad()
    def step_ends(self, loop: "Loop", loss: Tensor) -> None:
        new = self.weight_of_new(loop)
        for name, value in loop.parts.model.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, new)
            else:
                self.weights[name].copy_(value)

    def epoch_ends(self, loop: "Loop", row: dict[str, Any]) -> None:
        if not self.evaluate:
            return
        ranks.equalise(self.weights.values())  # separate statistics of norms differ
        with loaded(loop.parts.model, self.weights):
            for split in dict.fromkeys(("test", selection_split(loop.parts))):
                loss, accuracy = evaluate(loop.parts, split)
                row[f"{split}_loss_{NAME}"] = loss
                row[f"{split}_accuracy_{NAME}"] = accuracy

    def state_dict(self) -> dict[str, Any]:
        return {"weights": {name: value.cpu() for name, value in self.weights.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights = dict(state["weights"])


class EMA(WeightAverage):
    """The exponential moving average: W̄ <- d·W̄ + (1 - d)·W after every step.

    Args:
        decay: the factor d; the average covers about 1/(1 - d) steps.
        start: fraction of the training before the average begins; until then it equals the weights.
        ramp: whether d grows as (1 + n)/(10 + n) with the number n of updates, up to `decay`, so that the average
            forgets the first weights early.
        evaluate: see `WeightAverage`.
    """

    def __init__(
        self,
        decay: Annotated[float, Range(0, 0.999999)] = 0.999,
        start: Fraction = 0.0,
        ramp: bool = True,
        evaluate: bool = True,
    ):
        super().__init__(evaluate)
        self.decay = decay
        self.start = start
        self.ramp = ramp
        self._updates = 0

    def weight_of_new(self, loop: "Loop") -> float:
        if loop.step_number + 1 < self.start * loop.steps:
            return 1.0
        self._updates += 1
        decay = min(self.decay, (1 + self._updates) / (10 + self._updates)) if self.ramp else self.decay
        return 1 - decay

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._updates = state["updates"]


def no_average() -> None:
    """No average of the weights."""


AVERAGES: Registry[Callable[..., WeightAverage | None]] = Registry("average", {"none": no_average, "ema": EMA})


@contextmanager
def loaded(model: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """Within it the model has these weights; afterwards it has its own again, bit for bit, in the same tensors."""
    own = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(weights)
    try:
        yield
    finally:
        model.load_state_dict(own)
