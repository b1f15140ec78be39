"""The clock writes."""

from collections.abc import Callable

from torch import Tensor, as_tensor

from surgrad.adapt.base import Controller, Moment


class schedule(Controller):  # noqa: N801
    """All widths, in units of potential, follow the training's progress: width = law(progress), progress in [0, 1).

    >>> schedule(lambda progress: 1.0 - 0.9 * progress)
    """

    def __init__(self, law: Callable[[float], float]):
        self.law = law

    def __call__(self, moment: Moment) -> dict[str, Tensor]:
        return dict.fromkeys(moment.neurons, as_tensor(self.law(moment.progress)))
