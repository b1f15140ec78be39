"""Widths that keep a share of each layer's potentials in reach of the surrogate, from any start."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from surgrad.adapt.base import Controller, StepContext
from surgrad.adapt.probe import all_reduced
from surgrad.config.values import Count, Fraction, Range
from surgrad.criteria import GOOD_SHARE
from surgrad.kernels.lif import BINS, PER_THRESHOLD, reaches_of
from surgrad.surrogates import SurrogateFunction, equivalent_half_width, width_of_equivalent

Share = Annotated[float, Range(0.01, 0.99)]
FALLBACK = 1.0
"""Half-width, in thresholds, of a layer whose potentials say nothing."""


def half_widths_of_share(counts: Tensor, share: float) -> Tensor:
    """The half-widths within which a share of the potentials lies.

    Where nothing fires, all potentials may lie in one bin of the histogram: the half-width then reaches its end.

    Args:
        counts: histograms, [..., BINS] (`surgrad.kernels.lif`).
        share: in (0, 1).

    Returns:
        [...], in thresholds, float64; `FALLBACK` for a histogram without counts.
    """
    reaches = reaches_of(counts, share)
    silent = counts[..., BINS // 2 :].sum(-1) == 0
    reaches = torch.where(silent, (reaches * PER_THRESHOLD).ceil() / PER_THRESHOLD, reaches)
    return torch.where(reaches > 0, reaches, FALLBACK)


def width_of_share(function: SurrogateFunction, counts: Tensor, threshold: Tensor, share: float) -> Tensor:
    """The width with which a share of the potentials lies within the surrogate's `equivalent_half_width`.

    Args:
        function: the surrogate function.
        counts: the histogram of the potentials, [..., BINS] (`surgrad.kernels.lif`).
        threshold: in units of potential, broadcast against [...].
        share: in (0, 1).

    Returns:
        [...], in units of potential; nan where no width of this function has that half-width.
    """
    half = half_widths_of_share(counts, share) * threshold
    width = width_of_equivalent(function, half)
    found = equivalent_half_width(function, width)
    return torch.where((found / half - 1).abs() < 0.1, width, torch.nan)


class KeepShare(Controller):
    """In every layer a fixed share χ* of the potentials lies within the surrogate's reach of the threshold (ours).

    The width never enters the forward pass. So before the first step one forward pass over its batch shows every
    layer's potentials u, and each width begins where

        share of |u - v_th| < k·v_th  =  χ*,

    k·v_th being the surrogate's `equivalent_half_width`: that of the rectangle with the same power, so that surrogate
    functions of all shapes back-propagate gradients of about the same variance. No start value matters. Then k follows
    the layer,

        k <- k^momentum · (the k at which the share is χ*)^(1 - momentum),

    after 1, 2, 4, 8, … steps, and every `period` steps from there on. It reads the histograms of those steps alone, and
    nothing in it waits for a GPU.

    Where the adapter is not given the first batch, the first step has the widths that were set.

    Args:
        share: χ*.
        period: steps between two changes, once the training has begun.
        momentum: of log k.
    """

    needs_histograms = True
    histograms_by_width = True
    has_own_period = True
    calibrates = True

    def __init__(self, share: Share = GOOD_SHARE, *, period: Count = 50, momentum: Fraction = 0.5):
        self.share = share
        self.period = period
        self.momentum = momentum
        self.half: dict[str, Tensor] = {}  # k by layer, float64 of the shape of its widths

    def wants_histograms(self, step: int) -> bool:
        return self._acts(step)

    def __call__(self, context: StepContext) -> dict[str, Tensor]:
        if context.step == 0:
            return self._calibrated(context)
        if not self._acts(context.step) or not context.histograms:
            return {}
        aims = self._aims(context.histograms)
        for name, aim in aims.items():
            held = self.half.get(name, aim).to(aim.device)
            self.half[name] = held**self.momentum * aim ** (1 - self.momentum)
        return self._widths(context, aims)

    def _acts(self, step: int) -> bool:
        """Whether widths change before this step: a power of two at first, then a multiple of the period."""
        return step > 0 and (step % self.period == 0 or (step < self.period and step & (step - 1) == 0))

    def _calibrated(self, context: StepContext) -> dict[str, Tensor]:
        """The widths of the first step, by the potentials of its batch."""
        if context.probe is None:
            return {}
        found = context.probe.histograms(by_width=True)
        counts = all_reduced({name: found[name] for name in context.neurons if found.get(name) is not None})
        if not counts:
            return {}
        self.half = self._aims(counts)
        self._warn(counts)
        for name, half in self.half.items():
            self.note(step=0, layer=name, half_width=half.mean().item())
        return self._widths(context, counts)

    def _aims(self, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The half-widths in thresholds at which the share is χ*, by layer."""
        rows = [of_layer.flatten(0, -2) if of_layer.ndim > 1 else of_layer[None] for of_layer in counts.values()]
        aims = half_widths_of_share(torch.cat(rows), self.share).split([len(row) for row in rows])
        return {name: aim.view(counts[name].shape[:-1]) for name, aim in zip(counts, aims, strict=True)}

    def _warn(self, counts: Mapping[str, Tensor]) -> None:
        fired = {name: of_layer[..., BINS // 2 :].sum() for name, of_layer in counts.items()}
        silent = [name for name, number in fired.items() if not number]
        if silent:
            warnings.warn(
                f"before the first step no neuron of {', '.join(silent)} fires; their widths reach to where the "
                "potentials are, so that they can learn to. A norm before them, or a lower threshold, would help",
                stacklevel=2,
            )

    def _widths(self, context: StepContext, names: Iterable[str]) -> dict[str, Tensor]:
        """The widths of these layers; those of one surrogate function are found together."""
        groups: dict[Any, list[str]] = {}
        for name in names:
            groups.setdefault(context.neurons[name].surrogate.function, []).append(name)
        found: dict[str, Tensor] = {}
        for function, members in groups.items():
            halves = [self._in_units(self.half[name], context.neurons[name]) for name in members]
            widths = width_of_equivalent(function, torch.cat([half.flatten() for half in halves]))
            parts = widths.split([half.numel() for half in halves])
            found |= {name: part.view(half.shape) for name, part, half in zip(members, parts, halves, strict=True)}
        return found

    @staticmethod
    def _in_units(half: Tensor, neuron: Any) -> Tensor:
        """Half-widths in thresholds as potentials; each channel has its threshold where it has its width."""
        threshold = neuron.threshold.detach()
        per_channel = half.ndim > 0 and half.shape[-1] > 1
        return half.to(threshold.device) * (threshold if per_channel else threshold.mean())

    def state_dict(self) -> dict[str, Any]:
        return {"half": {name: half.tolist() for name, half in self.half.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.half = {name: torch.tensor(half, dtype=torch.float64) for name, half in state["half"].items()}
