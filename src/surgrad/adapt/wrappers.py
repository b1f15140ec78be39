"""Controllers made from controllers."""

from typing import Any

from torch import Tensor

from surgrad.adapt.base import AnyController, Controller, StepContext, Widths, restore, state_of
from surgrad.errors import BadValue


class _Wrapper(Controller):
    def __init__(self, controller: AnyController):
        self.controller = controller
        self.watch = getattr(controller, "watch", False)
        self.needs_probe = getattr(controller, "needs_probe", False)

    def state_dict(self) -> dict[str, Any]:
        return state_of(self.controller)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        restore(self.controller, state)

    def notes(self) -> list[dict[str, Any]]:
        return self.controller.notes() if isinstance(self.controller, Controller) else []


class clip(_Wrapper):  # noqa: N801
    """Another controller's widths, kept within [low, high], in units of potential."""

    def __init__(self, controller: AnyController, low: float, high: float):
        if not 0 < low <= high:
            raise BadValue(f"[{low}, {high}] bounds no width; give 0 < low <= high")
        super().__init__(controller)
        self.low = low
        self.high = high

    def __call__(self, moment: StepContext) -> dict[str, Tensor]:
        return {name: width.clamp(self.low, self.high) for name, width in self.controller(moment).items()}


class every(_Wrapper):  # noqa: N801
    """Another controller, asked only at steps 0, n, 2n, …"""

    def __init__(self, steps: int, controller: AnyController):
        if steps < 1:
            raise BadValue(f"every {steps} steps is never; give 1 or more")
        if getattr(controller, "has_own_period", False):
            raise BadValue(f"{type(controller).__name__} chooses itself in which steps it acts; set its own period")
        super().__init__(controller)
        self.steps = steps

    def __call__(self, moment: StepContext) -> Widths:
        return self.controller(moment) if moment.step % self.steps == 0 else {}
