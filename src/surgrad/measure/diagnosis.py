"""Why a network does not learn, in plain sentences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from surgrad.adapt.dspike import Difference, difference
from surgrad.adapt.esg import effective_half_width, width_of_half_width
from surgrad.adapt.probe import Batch, Loss, Probe
from surgrad.kernels.lif import BINS, PER_THRESHOLD, reach_of
from surgrad.measure.layers import LayerEvidence, evidence
from surgrad.neurons import neurons

DEAD = 0.5
SILENT = 1e-3
CHANCE = 0.1
"""Share of a layer's neurons that never fire, or the layer's firing rate, that makes it dead; and how likely a living
neuron may be to fire in no presentation of the batch, beyond which the batch is too small to tell."""
SATURATED = 0.5
"""Share that fires at every step of every image."""
BEYOND = 0.2
SPREAD = 4.0
"""Share of the potentials 8 thresholds and more from the threshold, and their standard deviation: exploding."""
MUTE = 0.999
"""Share of neurons whose spikes are the same for every image."""
NARROW = 0.05
WIDE = 0.9
"""Share of potentials that get a gradient: too few; and share within the half of the surrogate's mass nearest to the
threshold: so many that the gradient no longer tells who is near a spike."""
FAINT = 1e-4
LOUD = 1e4
"""Gradient of a layer's weights against the median layer's."""
GOOD = 0.4
"""The share that a width is proposed for; LSG's window holds 0.47 at the start (Lian et al. 2023)."""


@dataclass(frozen=True)
class Finding:
    """What ails some layers. kind: exploding, dead, saturated, narrow, wide, vanishing, loud, or
    starved (by another that is dead or saturated)."""

    kind: str
    layers: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class Diagnosis:
    """The evidence, what is wrong by it, and how surrogate gradients compare with finite-difference gradients:
    {"cosine", "reliability", "zeros"} (`surgrad.adapt.Dspike`) of the first weights, and by layer of the weights before
    it, where asked for."""

    layers: list[LayerEvidence]
    findings: list[Finding]
    first_weights: dict[str, float] = field(default_factory=dict)
    by_layer: dict[str, dict[str, float]] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "findings": [vars(finding) for finding in self.findings],
            "first_weights": self.first_weights,
            "layers": [
                {**layer.row(), "histogram": layer.histogram, "finite_differences": self.by_layer.get(layer.layer)}
                for layer in self.layers
            ],
        }


def diagnose(model: nn.Module, batch: Batch, loss: Loss, *, directions: int = 0) -> Diagnosis:
    """What the layers do with this batch (inputs, targets), and what is wrong. The model is left as it was.

    directions: also compare the gradients of every layer's weights, along so many random directions, half of
    the weights' norm to both sides; each takes two passes of the network a layer."""
    layers = evidence(model, batch, loss)
    probe = Probe(model, loss, batch).frozen()
    by_layer = {}
    for name, weights in probe.weights_before().items() if directions else ():
        if weights:
            finite = difference(probe, weights[0], "directions", directions)
            by_layer[name] = _compared(finite, probe.grad(weights[0]))
    first = probe.first_weight()
    compared = _compared(difference(probe, first), probe.grad(first))
    return Diagnosis(layers, findings(layers, neurons(model)), compared, by_layer)


def _compared(finite: Difference, gradient: Tensor) -> dict[str, float]:
    return {"cosine": finite.cosine(gradient), "reliability": finite.reliability, "zeros": finite.zeros}


def findings(layers: Sequence[LayerEvidence], modules: dict[str, Any]) -> list[Finding]:
    """The worst first; a layer has one ailment, the first that explains the others. What others have cost it comes
    last."""
    left = list(layers)
    found = []
    for kind, sick, sentence in _AILMENTS:
        chosen = [layer for layer in left if sick(layer, layers)]
        if chosen:
            what = f"{_words(chosen, layers)}: {sentence(chosen, layers, modules)}"
            found.append(Finding(kind, tuple(layer.layer for layer in chosen), what))
            left = [layer for layer in left if layer not in chosen]
    return sorted(found, key=lambda finding: finding.kind == "starved")


def _starved(layer: LayerEvidence, layers: Sequence[LayerEvidence]) -> bool:
    return layer.mute > MUTE and any(before.mute > MUTE for before in _until(layer, layers))


def _until(layer: LayerEvidence, layers: Sequence[LayerEvidence]) -> Sequence[LayerEvidence]:
    return layers[: [other.layer for other in layers].index(layer.layer)]


def _dead(layer: LayerEvidence, _: Any) -> bool:
    if layer.firing_rate < SILENT:
        return True
    living = min(layer.firing_rate / max(1 - layer.dead, 1e-9), 1)
    return layer.dead > DEAD and (1 - living) ** layer.presentations < CHANCE


def _saturated(layer: LayerEvidence, _: Any) -> bool:
    return layer.saturated > SATURATED


def _exploding(layer: LayerEvidence, _: Any) -> bool:
    ends = layer.histogram[0] + layer.histogram[-1]
    return ends > BEYOND * sum(layer.histogram) and layer.spread > SPREAD


def _narrow(layer: LayerEvidence, _: Any) -> bool:
    return layer.chi < NARROW


def _wide(layer: LayerEvidence, _: Any) -> bool:
    return layer.core > WIDE


def _against_median(layer: LayerEvidence, layers: Sequence[LayerEvidence]) -> float:
    norms = sorted(other.gradient for other in layers if other.gradient is not None)
    middle = norms[len(norms) // 2] if norms else 0.0
    return 1.0 if layer.gradient is None or not middle else layer.gradient / middle


def _vanishing(layer: LayerEvidence, layers: Sequence[LayerEvidence]) -> bool:
    if layer.gradient == 0:
        return not layer.blocked
    return _against_median(layer, layers) < FAINT


def _loud(layer: LayerEvidence, layers: Sequence[LayerEvidence]) -> bool:
    return _against_median(layer, layers) > LOUD


def _words(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence]) -> str:
    """'layer 3', 'layers 11–16', 'layers 2, 5–7', 'every layer'; with the names where they are few."""
    places = [place for place, layer in enumerate(layers, 1) if layer in chosen]
    if len(places) == len(layers) > 1:
        return "Every layer"
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    spans = ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)
    names = f" ({', '.join(layer.layer for layer in chosen)})" if len(chosen) <= 2 else ""
    return f"Layer{'s' if len(places) > 1 else ''} {spans}{names}"


def _percent(share: float) -> str:
    return "over 99 %" if 0.995 <= share < 1 else f"{100 * share:.0f} %"


def _mean(chosen: Sequence[LayerEvidence], key: str) -> float:
    return sum(getattr(layer, key) for layer in chosen) / len(chosen)


def _say_starved(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence], _: Any) -> str:
    cause = next(layer for layer in _until(chosen[0], layers) if layer.mute > MUTE)
    return (
        f"the input is the same whatever the image, since layer {layers.index(cause) + 1} ({cause.layer}) says nothing."
    )


def _say_dead(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence], _: Any) -> str:
    return (
        f"{_percent(_mean(chosen, 'dead'))} of the neurons never fire; the potentials have the mean "
        f"{_mean(chosen, 'mean'):.1f} and the standard deviation {_mean(chosen, 'spread'):.1f} thresholds. Little "
        f"or nothing passes: {_cure(chosen, 'lower the threshold')}."
    )


def _say_saturated(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence], _: Any) -> str:
    return (
        f"{_percent(_mean(chosen, 'saturated'))} of the neurons fire at every step whatever the input, so they say "
        f"nothing: {_cure(chosen, 'raise the threshold')}."
    )


def _say_exploding(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence], _: Any) -> str:
    ends = sum(layer.histogram[0] + layer.histogram[-1] for layer in chosen)
    share = ends / sum(sum(layer.histogram) for layer in chosen)
    return (
        f"{_percent(share)} of the potentials lie {BINS // 2 // PER_THRESHOLD} thresholds and more from the "
        f"threshold: they explode; {_cure(chosen, 'lower the weights')}."
    )


def _cure(chosen: Sequence[LayerEvidence], other: str) -> str:
    if all(layer.normed for layer in chosen):
        return "the norm before the neurons has driven them there; lower the learning rate (optim.lr)"
    return f"put a norm before the neurons (surgrad.NormNeuron with TDBN), or {other}"


def _say_narrow(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence], modules: dict[str, Any]) -> str:
    return (
        f"{_percent(1 - _mean(chosen, 'chi'))} of the neurons get no gradient: width {_width(chosen)} is too "
        f"narrow; try {_better(chosen, modules)}."
    )


def _say_wide(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence], modules: dict[str, Any]) -> str:
    return (
        f"{_percent(_mean(chosen, 'chi'))} of the neurons get a gradient, also far from the threshold, where no "
        f"spike would change: width {_width(chosen)} is too wide; try {_better(chosen, modules)}."
    )


def _say_vanishing(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence], _: Any) -> str:
    if all(layer.gradient == 0 for layer in chosen):
        return "no gradient reaches the weights at all; a later layer stops it, or the output does not depend on them."
    faint = 1 / max(_against_median(layer, layers) for layer in chosen)
    return (
        f"the gradient of the weights is at least {faint:.0g} times smaller than the "
        "median layer's: it vanishes on the way. Use fewer layers, residual ones, or wider surrogates "
        "behind."
    )


def _say_loud(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence], _: Any) -> str:
    loud = min(_against_median(layer, layers) for layer in chosen)
    return (
        f"the gradient of the weights is at least {loud:.0g} times the median layer's: "
        "it explodes on the way back. Clip it (optim.clip=1), or widen the surrogates, whose peak is "
        "1/width."
    )


def _width(chosen: Sequence[LayerEvidence]) -> str:
    low = min(layer.width for layer in chosen)
    high = max(layer.width for layer in chosen)
    return f"{low:.3g}" if high < 1.01 * low else f"{low:.3g} to {high:.3g}"


def _better(chosen: Sequence[LayerEvidence], modules: dict[str, Any]) -> str:
    """Widths by which a share GOOD of the potentials lies within the effective half-width, and who finds such."""
    found = []
    for layer in chosen:
        half = torch.tensor(reach_of(torch.tensor(layer.histogram), GOOD) * layer.threshold)
        shape = modules[layer.layer].surrogate.function
        width = width_of_half_width(shape, half)
        if abs(effective_half_width(shape, width) / half - 1) < 0.1:  # else the shape has no such width
            found.append(width.item())
    steered = "a controller that keeps the share (adapt.controller=steer)"
    if not found:
        return steered
    low = min(found)
    high = max(found)
    return (f"{low:.2g}" if high < 1.1 * low else f"{low:.2g} to {high:.2g}") + f", or {steered}"


Sick = Callable[[LayerEvidence, Sequence[LayerEvidence]], bool]
Say = Callable[[Sequence[LayerEvidence], Sequence[LayerEvidence], dict[str, Any]], str]
_AILMENTS: tuple[tuple[str, Sick, Say], ...] = (
    ("starved", _starved, _say_starved),
    ("exploding", _exploding, _say_exploding),
    ("dead", _dead, _say_dead),
    ("saturated", _saturated, _say_saturated),
    ("narrow", _narrow, _say_narrow),
    ("wide", _wide, _say_wide),
    ("vanishing", _vanishing, _say_vanishing),
    ("loud", _loud, _say_loud),
)
