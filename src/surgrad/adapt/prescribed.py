"""Widths that are prescribed: constant, or a function of the training's progress."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, as_tensor

from surgrad import deprecated
from surgrad.adapt.base import Controller, StepContext
from surgrad.config.values import Positive, checked
from surgrad.errors import BadValue


class Fixed(Controller):
    """Constant widths.

    Args:
        width: the width of every layer, in units of potential; None keeps the widths that the neurons have.
    """

    def __init__(self, width: Positive | None = None):
        self.width = width
        self.writes_nothing = width is None

    def __call__(self, context: StepContext) -> dict[str, Tensor]:
        return {} if self.width is None else dict.fromkeys(context.neurons, as_tensor(self.width))


def geometric(progress: float, start: float, end: float) -> float:
    """start·(end/start)^progress: the same factor in every step.

    IM-Loss's evolving surrogate (Guo et al. 2022, EvAF) is this law with the surrogate function `tanh` from 1 to 0.1:
    its K = 1/width grows from 1 to 10 as [(10^progress - 1)·10 + (10 - 10^progress)·1]/9, which is 10^progress."""
    return start * (end / start) ** progress


def linear(progress: float, start: float, end: float) -> float:
    """start + (end - start)·progress."""
    return start + (end - start) * progress


Law = Literal["geometric", "linear"]
LAWS: dict[str, Callable[[float, float, float], float]] = {"geometric": geometric, "linear": linear}


class Schedule(Controller):
    """Widths as a function of training progress: width = law(progress), with progress in [0, 1), for all layers.

    Args:
        law: the name of one of `LAWS`, which goes from width `start` to width `end`.
        start: the width at the start of the training, in units of potential.
        end: the width that the law reaches at its end, in units of potential.
        function: the width as any function of the progress, instead of a named law.

    Raises:
        BadValue: for a width that is not positive.
        UnknownName: for an unknown law.

    Example:
        >>> controller = Schedule("geometric", start=1.0, end=0.1)
        >>> controller = Schedule(function=lambda progress: 1.0 - 0.9 * progress)
    """

    def __init__(
        self,
        law: Law = "geometric",
        *,
        start: Positive = 1.0,
        end: Positive = 0.1,
        function: Callable[[float], float] | None = None,
    ):
        if not isinstance(law, str):  # the former way to give a function
            deprecated.warn("a function as the schedule's first argument", "Schedule(function=...)")
            function = law
            law = "geometric"
        if not (start > 0 and end > 0):
            raise BadValue(f"widths must be positive, got start {start} and end {end}")
        checked("law", law, Law)
        self.law = law
        self.start = start
        self.end = end
        self.function = function

    def __call__(self, context: StepContext) -> dict[str, Tensor]:
        return dict.fromkeys(context.neurons, as_tensor(self._width(context.progress)))

    def _width(self, progress: float) -> float:
        if self.function is not None:
            return self.function(progress)
        return LAWS[self.law](progress, self.start, self.end)
