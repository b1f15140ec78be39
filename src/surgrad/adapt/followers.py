"""A parameter writes: the width follows what the neuron has learned."""

import inspect
from collections.abc import Callable

from torch import Tensor

from surgrad.adapt.base import FIRST, Controller, StepContext
from surgrad.errors import BadValue, unknown
from surgrad.kernels.lif import spread_of

Rule = Callable[..., Tensor]
LEAST_GAIN = 0.5
EVIDENCE = ("decay", "threshold", "gain", "spread")


def lsg_width(decay: Tensor, threshold: Tensor) -> Tensor:
    """α = 2·v_th·√(1 + β²), the width of the rectangle in LSG (Lian et al. 2023, section on learnable surrogates).

    It spans one standard deviation of the potential on either side of the threshold, after two steps without reset of
    a current N(0, v_th²) (their Theorem 1). decay, threshold: 0-d or [C]."""
    return 2 * threshold * (1 + decay.square()).sqrt()


def mpd_agl_width(decay: Tensor, threshold: Tensor, gain: Tensor) -> Tensor:
    """2·v_th·γ̄·√(1 + β²): LSG's, times the mean weight γ̄ of the layer's tdBN, which training moves away from 1 (Jiang
    et al. 2025, MPD-AGL). Their code takes γ̄ as it is; ours takes at least ½, since a branch whose norm starts at
    weight 0 would else have no window at all."""
    return lsg_width(decay, threshold) * gain.clamp(min=LEAST_GAIN)


def mpd_agl_first_width(threshold: Tensor, gain: Tensor) -> Tensor:
    """2·v_th·γ̄: MPD-AGL's width in the first step, when there is nothing yet to decay."""
    return 2 * threshold * gain.clamp(min=LEAST_GAIN)


def ds_atgo_width(spread: Tensor) -> Tensor:
    """1 + tanh(σ - 1), σ the standard deviation of the layer's potentials (DS-ATGO, 2026, with its α₀ = V₀ = 1)."""
    return 1 + (spread - 1).tanh()


RULES: dict[str, Rule] = {"lsg": lsg_width, "mpd_agl": mpd_agl_width, "ds_atgo": ds_atgo_width}
FIRST_RULES: dict[str, Rule] = {"mpd_agl": mpd_agl_first_width}


class follow(Controller):  # noqa: N801
    """Each width follows its own layer: width = rule(decay, threshold). It is a constant of the backward pass, so no
    gradient reaches the decay through it.

    rule: a name of `RULES`, or a function of what it names: decay, threshold (0-d or [C]); gain, the mean weight of the
        norm before the neuron; spread, the standard deviation of the last training forward's
        potentials (until there is one, the width stays).
    first: likewise, for the first step of neurons whose surrogate has a width of its own for it (`Surrogate(first=
        True)`); by default the one that belongs to a named rule, else `rule`.
    """

    def __init__(self, rule: Rule | str = lsg_width, *, first: Rule | None = None):
        if isinstance(rule, str) and rule not in RULES:
            raise unknown("rule", rule, RULES)
        self.rule = RULES[rule] if isinstance(rule, str) else rule
        self.first = first or (FIRST_RULES.get(rule, self.rule) if isinstance(rule, str) else self.rule)
        self.watch = "spread" in (*_reads(self.rule), *_reads(self.first))

    def __call__(self, moment: StepContext) -> dict[str, Tensor]:
        names = moment.histograms if self.watch else moment.neurons
        apart = [name for name in names if getattr(moment.neurons[name].surrogate, "first_width", None) is not None]
        later = {name: self._width(self.rule, moment, name) for name in names}
        return later | {name + FIRST: self._width(self.first, moment, name) for name in apart}

    def _width(self, rule: Rule, moment: StepContext, name: str) -> Tensor:
        return rule(*(self._evidence(moment, name, what) for what in _reads(rule)))

    def _evidence(self, moment: StepContext, name: str, what: str) -> Tensor:
        if what == "gain":
            if name not in moment.gains:
                raise BadValue(
                    f"the rule reads the gain of the norm before neuron '{name}', which has none; put one "
                    "there (surgrad.NormNeuron), or follow another rule"
                )
            return moment.gains[name]
        if what == "spread":
            return spread_of(moment.histograms[name]) * moment.neurons[name].threshold.detach().mean()
        return getattr(moment.neurons[name], what).detach()


def _reads(rule: Rule) -> tuple[str, ...]:
    """What a rule asks for, by its parameters' names."""
    names = tuple(inspect.signature(rule).parameters)
    for name in names:
        if name not in EVIDENCE:
            raise BadValue(f"the rule reads '{name}'; it can read {', '.join(EVIDENCE)}")
    return names
