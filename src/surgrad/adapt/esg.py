"""A statistic writes: χ, the share of the neurons that get a gradient, is kept where it should be."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from surgrad.adapt.base import Controller, StepContext
from surgrad.errors import BadValue, unknown
from surgrad.kernels.lif import reach_of, share_within
from surgrad.surrogates import SurrogateFunction

Target = Literal["floor", "band", "exact"]
Scope = Literal["layer", "global"]
TARGETS = get_args(Target)
SCOPES = get_args(Scope)


class steer(Controller):  # noqa: N801
    """χ steers the widths (Lin, Deng, Gu, ESG, ICLR 2023 submission). The published abstract defines χ and says what it
    is for; the algorithm is our reading of it.

        χ(k) = share of the potentials with |u - v_th| < k, over the layer, the batches and the steps of a period;
        k    = the surrogate's effective half-width: its support, or the interval that holds 90 % of its mass.

    Every `period` steps k moves towards k*, geometrically: k <- k^m·k*^(1-m), kept within [least, most], where
        "floor": k* = χ⁻¹(low) where χ(k) < low, else k stays;
        "band": also k* = χ⁻¹(high) where χ(k) > high;
        "exact": k* = χ⁻¹(low).
    Nothing moves in the first share `warmup` of the training and in the last `freeze`. In the share `sharpen` before
    that, k* = χ⁻¹(low) whatever the target: as narrow, and so as true to the step, as the floor allows.

    low, high: shares in (0, 1). least, most: in thresholds. momentum: m. scope: χ and k of each "layer", or one k in
    thresholds for all ("global").
    """

    watch = True
    has_own_period = True

    def __init__(
        self,
        low: float = 0.2,
        high: float = 0.6,
        *,
        target: Target = "band",
        scope: Scope = "layer",
        period: int = 100,
        momentum: float = 0.9,
        least: float = 0.1,
        most: float = 3.0,
        warmup: float = 0.02,
        sharpen: float = 0.2,
        freeze: float = 0.0,
    ):
        super().__init__()
        if not 0 < low <= high < 1:
            raise BadValue(f"χ within [{low}, {high}] is no range of shares; give 0 < low <= high < 1")
        if not 0 < least <= most <= 8:
            raise BadValue(f"half-widths [{least}, {most}] are no range; give 0 < least <= most <= 8 thresholds")
        if period < 1 or not 0 <= momentum < 1:
            raise BadValue(f"period {period}, momentum {momentum}: give 1 step or more, and a share below 1")
        if not (warmup >= 0 and sharpen >= 0 and freeze >= 0 and warmup + sharpen + freeze <= 1):
            raise BadValue(
                f"warmup {warmup}, sharpen {sharpen}, freeze {freeze}: give shares of the training, at most 1 together"
            )
        if target not in TARGETS:
            raise unknown("target", target, TARGETS)
        if scope not in SCOPES:
            raise unknown("scope", scope, SCOPES)
        self.low = low
        self.high = high
        self.target = target
        self.scope = scope
        self.period = period
        self.momentum = momentum
        self.least = least
        self.most = most
        self.warmup = warmup
        self.sharpen = sharpen
        self.freeze = freeze
        self.half: dict[str, float] = {}  # k by layer (or of "all"), in thresholds
        self.counts: dict[str, Tensor] = {}  # of the period so far

    def __call__(self, moment: StepContext) -> dict[str, Tensor]:
        if not self.half:
            self.half = self._start(moment)
        for name, counts in moment.histograms.items():
            key = self._key(name)
            self.counts[key] = self.counts[key].to(counts.device) + counts if key in self.counts else counts.clone()
        if moment.step == 0 or moment.step % self.period:
            return {}
        if not self._moving(moment.progress):
            self.counts = {}
            return {}
        widest = self._widest(moment)
        sharpening = moment.progress >= 1 - self.freeze - self.sharpen
        for key, counts in self.counts.items():
            self._move(key, counts, sharpening, moment.step, widest[key])
        self.counts = {}
        return {
            name: width_of(neuron.surrogate.function, self.half[self._key(name)] * neuron.threshold)
            for name, neuron in moment.neurons.items()
            if self._key(name) in self.half
        }

    def _key(self, name: str) -> str:
        return name if self.scope == "layer" else "all"

    def _moving(self, progress: float) -> bool:
        return self.warmup <= progress < 1 - self.freeze

    def _start(self, moment: StepContext) -> dict[str, float]:
        halves: dict[str, list[float]] = {}
        for name, neuron in moment.neurons.items():
            half = effective(neuron.surrogate.function, neuron.surrogate.width.detach()) / neuron.threshold
            halves.setdefault(self._key(name), []).append(half.mean().item())
        return {key: sum(values) / len(values) for key, values in halves.items()}

    def _widest(self, moment: StepContext) -> dict[str, float]:
        """The largest half-width that the shape of each layer can have, in thresholds, at most `most`."""
        found: dict[str, float] = {}
        for name, neuron in moment.neurons.items():
            threshold = neuron.threshold.detach().mean()
            reach = (effective(neuron.surrogate.function, 64 * threshold) / threshold).item()
            found[self._key(name)] = min(reach, found.get(self._key(name), self.most))
        return found

    def _move(self, key: str, counts: Tensor, sharpening: bool, step: int, widest: float) -> None:
        now = self.half[key]
        chi = share_within(counts, now)
        goal = None
        if chi < self.low or sharpening or self.target == "exact":
            goal = self.low
        elif chi > self.high and self.target == "band":
            goal = self.high
        if goal is not None:
            aim = min(max(reach_of(counts, goal), self.least), widest)
            self.half[key] = now**self.momentum * aim ** (1 - self.momentum)
        self.note(step=step, layer=key, chi=chi, half_width=self.half[key])

    def state_dict(self) -> dict[str, Any]:
        return {"half": dict(self.half), "counts": {key: counts.clone() for key, counts in self.counts.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.half = dict(state["half"])
        self.counts = dict(state["counts"])


def effective(shape: SurrogateFunction, width: Tensor) -> Tensor:
    """Half-width of the interval in which a surrogate acts: its support, or what holds 90 % of its mass where the
    support is the whole line or the same for every width (as Dspike's is)."""
    fixed = torch.equal(shape.reach(width, 1.0), shape.reach(2 * width, 1.0))
    return shape.reach(width, 0.9) if fixed else shape.reach(width, 1.0)


def width_of(shape: SurrogateFunction, half: Tensor) -> Tensor:
    """The width whose `effective` half-width is `half` (0-d or [C]), by bisection; 64 times `half` where none is wide
    enough."""
    low = half.double() / 64
    high = half.double() * 64
    for _ in range(60):
        middle = (low * high).sqrt()
        wide = effective(shape, middle) > half
        low = torch.where(wide, low, middle)
        high = torch.where(wide, middle, high)
    return high.to(half.dtype)
