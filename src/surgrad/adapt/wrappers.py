"""Controllers that change what another controller does."""

from typing import Any

from torch import Tensor, as_tensor

from surgrad.adapt.base import AnyController, Controller, StepContext, Widths, as_controller, widths_from
from surgrad.errors import BadValue


class _Wrapper(Controller):
    """Needs and keeps what the wrapped controller does."""

    def __init__(self, controller: AnyController):
        self.controller = as_controller(controller)
        self.needs_histograms = self.controller.needs_histograms
        self.needs_probe = self.controller.needs_probe
        self.calibrates = self.controller.calibrates

    def wants_histograms(self, step: int) -> bool:
        return self.controller.wants_histograms(step)

    def reads_histograms(self, step: int) -> bool:
        return self.controller.reads_histograms(step)

    def state_dict(self) -> dict[str, Any]:
        return self.controller.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.controller.load_state_dict(state)

    def notes(self) -> list[dict[str, Any]]:
        return self.controller.notes()


class Clip(_Wrapper):
    """Clips the widths of another controller to [low, high].

    Args:
        controller: the controller whose widths are clipped.
        low: the smallest width, in units of potential.
        high: the largest width, in units of potential.

    Raises:
        BadValue: unless 0 < low <= high.
    """

    def __init__(self, controller: AnyController, low: float, high: float):
        if not 0 < low <= high:
            raise BadValue(f"need 0 < low <= high, got low {low} and high {high}")
        super().__init__(controller)
        self.low = low
        self.high = high

    def __call__(self, context: StepContext) -> dict[str, Tensor]:
        widths = widths_from(self.controller, context)
        return {name: as_tensor(width).clamp(self.low, self.high) for name, width in widths.items()}


class Every(_Wrapper):
    """Calls another controller in steps 0, n, 2n, … only.

    Args:
        steps: n, the number of training steps from one call to the next.
        controller: the controller; one that chooses its own steps is refused.

    Raises:
        BadValue: for a number of steps below 1, or a controller that chooses itself in which steps it acts.
    """

    def __init__(self, steps: int, controller: AnyController):
        if steps < 1:
            raise BadValue(f"steps must be 1 or more, got {steps}")
        super().__init__(controller)
        if self.controller.has_own_period:
            raise BadValue(f"{self.controller} chooses itself in which steps it acts; set its own period")
        self.steps = steps

    def __call__(self, context: StepContext) -> Widths:
        return widths_from(self.controller, context) if context.step % self.steps == 0 else {}
