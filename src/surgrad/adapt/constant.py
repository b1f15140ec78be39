"""Nobody writes: the width of every other library."""

from torch import Tensor, as_tensor

from surgrad.adapt.base import Controller, StepContext


class fixed(Controller):  # noqa: N801  # controllers read as verbs: Adapter(model, fixed(), ...)
    """Every width stays as it is; or, with `width`, at that width in every layer."""

    def __init__(self, width: float | None = None):
        self.width = width
        self.writes_nothing = width is None

    def __call__(self, moment: StepContext) -> dict[str, Tensor]:
        return {} if self.width is None else dict.fromkeys(moment.neurons, as_tensor(self.width))
