"""Nobody writes: the width of every other library."""

from torch import Tensor, as_tensor

from surgrad.adapt.base import Controller, Moment


class fixed(Controller):  # noqa: N801  # controllers read as verbs: Adapter(model, fixed(), ...)
    """Every width stays as it is; or, with `width`, at that width in every layer."""

    def __init__(self, width: float | None = None):
        self.width = width
        self.idle = width is None

    def __call__(self, moment: Moment) -> dict[str, Tensor]:
        return {} if self.width is None else dict.fromkeys(moment.neurons, as_tensor(self.width))
