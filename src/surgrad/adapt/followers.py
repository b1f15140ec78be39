"""Widths computed from each layer's own parameters and statistics (LSG, MPD-AGL, DS-ATGO)."""

import inspect
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from surgrad import deprecated
from surgrad.adapt.base import Controller, StepContext
from surgrad.errors import BadValue, unknown
from surgrad.kernels.lif import spread_of

Rule = Callable[..., Tensor]
MIN_GAIN = 0.5
"""The smallest gain that MPD-AGL's rule uses."""
EVIDENCE = ("decay", "threshold", "gain", "spread")
"""What a rule may read, by the names of its parameters."""


def lsg_width(decay: Tensor, threshold: Tensor) -> Tensor:
    """α = 2·v_th·√(1 + β²), the width of the rectangle in LSG (Lian et al. 2023, section on learnable surrogates).

    It spans one standard deviation of the potential on either side of the threshold, after two steps without reset of
    a current N(0, v_th²) (their Theorem 1). It is the width of a rectangle. Another surrogate function gets the same
    number, which may reach much further: `surgrad.surrogates.width_of_equivalent` converts.

    Args:
        decay: β, 0-d or [C].
        threshold: v_th, 0-d or [C], in units of potential.

    Returns:
        α, 0-d or [C], in units of potential.
    """
    return 2 * threshold * (1 + decay.square()).sqrt()


def mpd_agl_width(decay: Tensor, threshold: Tensor, gain: Tensor) -> Tensor:
    """2·v_th·γ̄·√(1 + β²): LSG's width times the mean weight γ̄ of the layer's tdBN (Jiang et al. 2025, MPD-AGL).

    Training moves γ̄ away from 1. The authors' code takes γ̄ as it is. Here it is at least 1/2, because a residual branch
    whose norm starts at weight 0 would otherwise have a window of width 0."""
    return lsg_width(decay, threshold) * gain.clamp(min=MIN_GAIN)


def mpd_agl_first_width(threshold: Tensor, gain: Tensor) -> Tensor:
    """2·v_th·γ̄: MPD-AGL's width in the first time step, when no potential has decayed yet."""
    return 2 * threshold * gain.clamp(min=MIN_GAIN)


def ds_atgo_width(spread: Tensor) -> Tensor:
    """1 + tanh(σ - 1), with σ the standard deviation of the layer's potentials (DS-ATGO, 2026, with α₀ = V₀ = 1)."""
    return 1 + (spread - 1).tanh()


RULES: dict[str, Rule] = {"lsg": lsg_width, "mpd_agl": mpd_agl_width, "ds_atgo": ds_atgo_width}
FIRST_RULES: dict[str, Rule] = {"mpd_agl": mpd_agl_first_width}


class Follow(Controller):
    """Computes the width of each layer from that layer: width = rule(decay, threshold).

    The width is a constant of the backward pass, so no gradient reaches the decay through it.

    Args:
        rule: a function of what its parameters name: decay, threshold (0-d or [C]); gain, the mean weight of the norm
            before the neuron; spread, the standard deviation of the potentials in the last training forward pass
            (until there is one, the width stays).
        first: likewise, for the first time step of neurons whose surrogate has separate widths for several
            (`Surrogate(steps=2)`); `rule` by default.
        elementwise: whether the rules treat every number for itself, so that one call computes the widths of all
            layers, which saves a GPU many small kernels.

    Example:
        >>> controller = Follow(lambda decay, threshold: 2 * threshold / (1 - decay))
    """

    def __init__(self, rule: Rule = lsg_width, *, first: Rule | None = None, elementwise: bool = False):
        if isinstance(rule, str):  # the former way to choose a method
            if rule not in RULES:
                raise unknown("rule", rule, RULES)
            deprecated.warn(f"Follow('{rule}')", "LSG(), MPDAGL() or DSATGO()")
            first = first or FIRST_RULES.get(rule)
            rule = RULES[rule]
        self.rule = rule
        self.first = first or rule
        self.elementwise = elementwise or rule in RULES.values()
        self.needs_histograms = "spread" in (*_reads(self.rule), *_reads(self.first))

    def __call__(self, context: StepContext) -> dict[str, Tensor]:
        names = context.histograms if self.needs_histograms else context.neurons
        slots = {name: context.neurons[name].surrogate.width for name in names}
        firsts = self._widths(self.first, context, [name for name, slot in slots.items() if slot.ndim > 1])
        widths = self._widths(self.rule, context, names)
        return widths | {name: _by_step(first, widths[name], slots[name]) for name, first in firsts.items()}

    def _widths(self, rule: Rule, context: StepContext, names: Iterable[str]) -> dict[str, Tensor]:
        evidence = {name: [self._evidence(context, name, key) for key in _reads(rule)] for name in names}
        if self.elementwise and evidence:
            return dict(zip(evidence, _together(rule, [*evidence.values()]), strict=True))
        return {name: rule(*found) for name, found in evidence.items()}

    def _evidence(self, context: StepContext, name: str, key: str) -> Tensor:
        if key == "gain":
            if name not in context.gains:
                raise BadValue(
                    f"the rule reads the gain of the norm before neuron '{name}', which has none; put a norm there "
                    "(surgrad.NormNeuron), or use another rule"
                )
            return context.gains[name]
        if key == "spread":
            return spread_of(context.histograms[name]) * context.neurons[name].threshold.detach().mean()
        value: Tensor = getattr(context.neurons[name], key).detach()
        return value


class LSG(Follow):
    """α = 2·v_th·√(1 + β²) in every layer, with the layer's decay β (Lian et al. 2023)."""

    def __init__(self) -> None:
        super().__init__(lsg_width)


class MPDAGL(Follow):
    """LSG's width times the mean weight of the layer's norm; in the first step without decay (Jiang et al. 2025)."""

    def __init__(self) -> None:
        super().__init__(mpd_agl_width, first=mpd_agl_first_width)


class DSATGO(Follow):
    """1 + tanh(σ - 1) in every layer, with the standard deviation σ of its potentials (DS-ATGO, 2026)."""

    def __init__(self) -> None:
        super().__init__(ds_atgo_width)


def _by_step(first: Tensor, later: Tensor, slot: Tensor) -> Tensor:
    """The widths [S, 1] or [S, C] of a slot: `first` at the first step, `later` at all others."""
    widths = later.expand(slot.shape).clone()
    widths[0] = first
    return widths


def _together(rule: Rule, evidence: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """What an elementwise rule returns for each layer's evidence, by one call for all."""
    whole = [torch.broadcast_tensors(*found) for found in evidence]
    joined = rule(*(torch.cat([part.reshape(-1) for part in kind]) for kind in zip(*whole, strict=True)))
    parts = joined.split([found[0].numel() for found in whole])
    return [part.view(found[0].shape) for part, found in zip(parts, whole, strict=True)]


def _reads(rule: Rule) -> tuple[str, ...]:
    """The evidence that a rule takes, by its parameters' names."""
    names = tuple(inspect.signature(rule).parameters)
    for name in names:
        if name not in EVIDENCE:
            raise BadValue(f"the rule reads '{name}'; it can read {', '.join(EVIDENCE)}")
    return names
