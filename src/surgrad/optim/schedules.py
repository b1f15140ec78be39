"""The learning rate over a training, as a factor of its peak."""

import math
from collections.abc import Iterable

import torch

from surgrad.config.registry import Registry
from surgrad.config.values import NonNegative, Positive
from surgrad.errors import BadValue


class Schedule:
    """A learning rate over a training: a linear warm-up, then what a subclass says in `after_warmup`.

    Args:
        warmup: length of the warm-up, in epochs; a fraction is allowed.
    """

    def __init__(self, warmup: NonNegative = 0.0):
        self.warmup = warmup

    def lr_factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The learning rate of a step, as a fraction of its peak.

        Args:
            step: number of the step in the training, from 0.
            steps_per_epoch: steps of an epoch.
            epochs: epochs of the training.
        """
        warmup = self.warmup * steps_per_epoch
        if step < warmup:
            return (step + 1) / warmup if step + 1 < warmup else 1.0
        return self.after_warmup(step, steps_per_epoch, epochs)

    def after_warmup(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """`lr_factor` of a step after the warm-up."""
        raise NotImplementedError


class Constant(Schedule):
    """The peak learning rate in every step after the warm-up.

    Args:
        warmup: length of the warm-up, in epochs.
    """

    def after_warmup(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        return 1.0


class Cosine(Schedule):
    """A cosine from the peak to 0 at the end of the training; or, with `period`, to 0 and up again, several times.

    Args:
        warmup: length of the warm-up, in epochs.
        period: epochs from a peak to the following zero; None: from the warm-up to the training's end.
    """

    def __init__(self, warmup: NonNegative = 0.0, period: Positive | None = None):
        super().__init__(warmup)
        self.period = period

    def after_warmup(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        period = (self.period or epochs - self.warmup) * steps_per_epoch
        return (1 + math.cos(math.pi * (step - self.warmup * steps_per_epoch) / period)) / 2


class Steps(Schedule):
    """A learning rate that drops at given epochs.

    Args:
        drops: pairs epoch:factor; the factor, of the peak, holds from that epoch on: "40:0.1, 80:0.01".
        warmup: length of the warm-up, in epochs.

    Raises:
        BadValue: for a text that cannot be read.
    """

    def __init__(self, drops: str, warmup: NonNegative = 0.0):
        super().__init__(warmup)
        self.drops = read_drops(drops)

    def after_warmup(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        factors = [factor for epoch, factor in self.drops if step >= epoch * steps_per_epoch]
        return factors[-1] if factors else 1.0


SCHEDULES: Registry[type[Schedule]] = Registry("schedule", {"constant": Constant, "cosine": Cosine, "steps": Steps})


def read_drops(text: str) -> list[tuple[float, float]]:
    """The (epoch, factor) pairs of a text such as "40:0.1, 80:0.01", in order."""
    try:
        pairs = [(float(epoch), float(factor)) for epoch, factor in (part.split(":") for part in text.split(","))]
    except ValueError:
        pairs = []
    epochs = [epoch for epoch, _ in pairs]
    if not pairs or epochs != sorted(set(epochs)) or not all(epoch > 0 and factor > 0 for epoch, factor in pairs):
        raise BadValue(
            f"drops = '{text}' cannot be read; give increasing epochs and factors of the learning rate, as in "
            "40:0.1,80:0.01"
        )
    return pairs


def scale_lr(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Set the learning rate of every group to a factor of its peak, group["peak_lr"].

    Args:
        optimizers: those of `build_optimizers`.
        factor: the learning rate as a fraction of its peak.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            lr = group["peak_lr"] * factor
            if isinstance(group["lr"], torch.Tensor):  # `surgrad.optim.device`
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr
