"""Widths that keep χ, the share of neurons that receive a gradient, within a range (ESG)."""

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from surgrad import deprecated
from surgrad.adapt.base import Controller, StepContext
from surgrad.config.values import Count, Fraction, Range, checked
from surgrad.errors import BadValue
from surgrad.kernels.lif import reach_of, share_within
from surgrad.surrogates import SurrogateFunction

Target = Literal["floor", "band", "exact"]
Scope = Literal["layer", "global"]
HalfWidth = Annotated[float, Range(0, 8, open=True)]
"""In thresholds. The histograms end 8 thresholds from the threshold."""


class ESG(Controller):
    """Keeps χ within a range by the widths (Lin, Deng, Gu, ESG, ICLR 2023 submission).

    The published abstract defines χ and its purpose; the algorithm here is our reading of it.

        χ(k) = share of the potentials with |u - v_th| < k, over the layer, the batches and the steps of a period;
        k    = the surrogate's effective half-width: its support, or the interval that holds 90 % of its mass.

    Every `period` steps k moves towards k*, geometrically: k <- k^m·k*^(1-m), with k* clipped to
    [min_half_width, max_half_width], where

        "floor": k* = χ⁻¹(low) where χ(k) < low, otherwise k stays;
        "band": also k* = χ⁻¹(high) where χ(k) > high;
        "exact": k* = χ⁻¹(low).

    Nothing moves in the first fraction `warmup` of the training and in the last fraction `freeze`. In the fraction
    `sharpen` before `freeze`, k* = χ⁻¹(low) for every target: the windows become as narrow as the floor allows.

    Where a layer has one width per channel, k is the mean over the channels, and the channels keep the ratios of their
    half-widths.

    Args:
        low: the smallest χ, in (0, 1).
        high: the largest χ, from `low` to below 1; used by "band".
        target: which of the rules above applies.
        scope: χ and k of each "layer", or one k in thresholds for all layers ("global").
        period: training steps between two decisions.
        momentum: m, in [0, 1).
        min_half_width: the smallest k, in thresholds.
        max_half_width: the largest k, in thresholds, at most 8.
        warmup: fraction of the training, at its start, in which nothing moves.
        sharpen: fraction of the training in which k moves to the floor.
        freeze: fraction of the training, at its end, in which nothing moves.

    Raises:
        BadValue: unless 0 < low <= high < 1, 0 < min_half_width <= max_half_width <= 8, and the fractions of the
            training are at most 1 together.
        UnknownName: for an unknown target or scope.
    """

    needs_histograms = True
    has_own_period = True

    def __init__(
        self,
        low: Fraction = 0.2,
        high: Fraction = 0.6,
        *,
        target: Target = "band",
        scope: Scope = "layer",
        period: Count = 10,
        momentum: Fraction = 0.5,
        min_half_width: HalfWidth = 0.1,
        max_half_width: HalfWidth = 3.0,
        warmup: Fraction = 0.0,
        sharpen: Fraction = 0.2,
        freeze: Fraction = 0.0,
    ):
        if not 0 < low <= high < 1:
            raise BadValue(f"the range of χ needs 0 < low <= high < 1, got low {low} and high {high}")
        if not 0 < min_half_width <= max_half_width <= 8:
            raise BadValue(
                "the half-widths need 0 < min_half_width <= max_half_width <= 8 thresholds, got "
                f"{min_half_width} and {max_half_width}"
            )
        if period < 1 or not 0 <= momentum < 1:
            raise BadValue(f"period must be 1 or more and momentum in [0, 1), got period {period}, momentum {momentum}")
        if not (warmup >= 0 and sharpen >= 0 and freeze >= 0 and warmup + sharpen + freeze <= 1):
            raise BadValue(
                "warmup, sharpen and freeze are fractions of the training, at most 1 together, got "
                f"{warmup}, {sharpen} and {freeze}"
            )
        checked("target", target, Target)
        checked("scope", scope, Scope)
        self.low = low
        self.high = high
        self.target = target
        self.scope = scope
        self.period = period
        self.momentum = momentum
        self.min_half_width = min_half_width
        self.max_half_width = max_half_width
        self.warmup = warmup
        self.sharpen = sharpen
        self.freeze = freeze
        self.half: dict[str, float] = {}  # k by layer (or of "all"), in thresholds
        self.ratios: dict[str, Tensor] = {}  # by layer with several widths, those of its channels to k
        self.counts: dict[str, Tensor] = {}  # of the period

    def reads_histograms(self, step: int) -> bool:
        return step > 0 and step % self.period == 0

    def __call__(self, context: StepContext) -> dict[str, Tensor]:
        progress = context.progress
        if not self.half:
            self._start(context)
        for name, counts in context.histograms.items():
            key = self._key(name)
            self.counts[key] = self.counts[key].to(counts.device) + counts if key in self.counts else counts.clone()
        if not self.reads_histograms(context.step):
            return {}
        if not self.warmup <= progress < 1 - self.freeze:
            self.counts = {}
            return {}
        sharpening = progress >= 1 - self.freeze - self.sharpen
        for key, (counts, widest) in self._read(context).items():
            self._move(key, counts, sharpening, context.step, widest)
        self.counts = {}
        return {
            name: self._width(name, neuron) for name, neuron in context.neurons.items() if self._key(name) in self.half
        }

    def _key(self, name: str) -> str:
        return name if self.scope == "layer" else "all"

    def _start(self, context: StepContext) -> None:
        """Read the half-widths that the neurons have."""
        halves: dict[str, list[float]] = {}
        for name, neuron in context.neurons.items():
            width = neuron.surrogate.width.detach()
            half = effective_half_width(neuron.surrogate.function, width) / neuron.threshold.detach()
            mean = half.mean()
            if half.ndim and not (half == half[0]).all():
                self.ratios[name] = half / mean
            halves.setdefault(self._key(name), []).append(mean.item())
        self.half = {key: sum(values) / len(values) for key, values in halves.items()}

    def _read(self, context: StepContext) -> dict[str, tuple[Tensor, float]]:
        """By layer (or of "all"), on the CPU after one wait for the device: the histogram of the period, and the
        largest half-width that the surrogate can have, in thresholds, at most `max_half_width`."""
        if not self.counts:
            return {}
        counts = torch.stack([*self.counts.values()])
        limits = torch.stack([_widest(neuron).to(counts.device) for neuron in context.neurons.values()])
        both = torch.cat([counts.double().flatten(), limits]).cpu()
        *rows, last = both.split([counts.shape[1]] * len(counts) + [len(limits)])
        widest: dict[str, float] = {}
        for name, limit in zip(context.neurons, last.tolist(), strict=True):
            widest[self._key(name)] = min(limit, widest.get(self._key(name), self.max_half_width))
        return {key: (row, widest[key]) for key, row in zip(self.counts, rows, strict=True)}

    def _move(self, key: str, counts: Tensor, sharpening: bool, step: int, widest: float) -> None:
        now = self.half[key]
        chi = share_within(counts, now)
        goal = None
        if chi < self.low or sharpening or self.target == "exact":
            goal = self.low
        elif chi > self.high and self.target == "band":
            goal = self.high
        if goal is not None:
            aim = min(max(reach_of(counts, goal), self.min_half_width), widest)
            self.half[key] = now**self.momentum * aim ** (1 - self.momentum)
        self.note(step=step, layer=key, chi=chi, half_width=self.half[key])

    def _width(self, name: str, neuron: Any) -> Tensor:
        half = self.half[self._key(name)] * neuron.threshold.detach()
        if name in self.ratios:
            half = half * self.ratios[name].to(half.device)
        return width_of_half_width(neuron.surrogate.function, half)

    def state_dict(self) -> dict[str, Any]:
        return {
            "half": dict(self.half),
            "ratios": dict(self.ratios),
            "counts": {key: counts.clone() for key, counts in self.counts.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.half = dict(state["half"])
        self.ratios = dict(state.get("ratios", {}))
        self.counts = dict(state["counts"])


def _widest(neuron: Any) -> Tensor:
    """The largest half-width of a neuron's surrogate, that of 64 thresholds, in thresholds; 0-d float64."""
    threshold = neuron.threshold.detach().mean()
    return (effective_half_width(neuron.surrogate.function, 64 * threshold) / threshold).double()


def effective_half_width(function: SurrogateFunction, width: Tensor) -> Tensor:
    """Half-width of the interval in which a surrogate acts, for a width (0-d or [C]): its support, or the interval that
    holds 90 % of its mass where the support is the whole line or the same for every width (as Dspike's is)."""
    return function.reach(width, share_of_mass(function))


def share_of_mass(function: SurrogateFunction) -> float:
    """The share of a surrogate's mass that its effective half-width holds."""
    one = torch.ones((), dtype=torch.float64, device="cpu")
    return 0.9 if torch.equal(function.reach(one, 1.0), function.reach(2 * one, 1.0)) else 1.0


def width_of_half_width(function: SurrogateFunction, half: Tensor) -> Tensor:
    """The width whose `effective_half_width` is `half` (0-d or [C]), by bisection; 64 times `half` where no width
    gives it. A fixed number of steps, so that a GPU is not waited for."""
    low = half.double() / 64
    high = half.double() * 64
    share = share_of_mass(function)
    for _ in range(60):
        middle = (low * high).sqrt()
        wide = function.reach(middle, share) > half
        low = torch.where(wide, low, middle)
        high = torch.where(wide, middle, high)
    return high.to(half.dtype)


__getattr__ = deprecated.renamed(__name__, {"effective": "effective_half_width", "width_of": "width_of_half_width"})
