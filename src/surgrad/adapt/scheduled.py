"""The clock writes."""

from collections.abc import Callable

from torch import Tensor, as_tensor

from surgrad.adapt.base import Controller, StepContext
from surgrad.errors import BadValue, unknown


def geometric(progress: float, start: float, end: float) -> float:
    """start·(end/start)^progress: the same factor every step. IM-Loss's evolving surrogate (Guo et al. 2022, EvAF) is
    this with the shape `tanh` from 1 to 0.1: its K = 1/width, which grows from 1 to 10 as
    [(10^progress - 1)·10 + (10 - 10^progress)·1]/9, is 10^progress."""
    return start * (end / start) ** progress


def linear(progress: float, start: float, end: float) -> float:
    """start + (end - start)·progress."""
    return start + (end - start) * progress


LAWS = {"geometric": geometric, "linear": linear}


class schedule(Controller):  # noqa: N801
    """All widths, in units of potential, follow the training's progress: width = law(progress), progress in [0, 1).

    law: a function of the progress, or the name of one of `LAWS`, which goes from width `start` to `end`.

    >>> schedule(lambda progress: 1.0 - 0.9 * progress)
    >>> schedule("geometric", start=1.0, end=0.1)
    """

    def __init__(self, law: Callable[[float], float] | str = "geometric", *, start: float = 1.0, end: float = 0.1):
        if not (start > 0 and end > 0):
            raise BadValue(f"widths from {start} to {end}: give positive ones")
        if isinstance(law, str) and law not in LAWS:
            raise unknown("law", law, LAWS)
        self.law = law
        self.start = start
        self.end = end

    def __call__(self, moment: StepContext) -> dict[str, Tensor]:
        return dict.fromkeys(moment.neurons, as_tensor(self._width(moment.progress)))

    def _width(self, progress: float) -> float:
        if isinstance(self.law, str):
            return LAWS[self.law](progress, self.start, self.end)
        return self.law(progress)
