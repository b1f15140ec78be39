"""Problems of a network that keep it from learning, found on one batch and described in sentences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from surgrad.adapt.dspike import Difference, difference
from surgrad.adapt.probe import Batch, Loss, Probe
from surgrad.criteria import HISTOGRAM_REACH, NARROW_SHARE, SILENT_RATE
from surgrad.errors import BadValue
from surgrad.measure.layers import LayerEvidence, evidence
from surgrad.neurons import neurons

DEAD_SHARE = 0.5
"""A larger share of neurons that never fire makes a layer dead, if the batch is large enough to tell."""
CHANCE = 0.1
"""The batch is large enough if a neuron with the mean rate of the others would be silent with a lower probability."""
SATURATED_SHARE = 0.5
"""A larger share of neurons that fire at every time step of every image makes a layer saturated."""
EXPLODING_SHARE = 0.2
EXPLODING_SPREAD = 4.0
"""Potentials explode if more than this share is at the ends of the histogram, and their standard deviation is larger
than this, in units of the threshold."""
CONSTANT_SHARE = 0.999
"""A layer is constant if a larger share of its neurons spikes in the same way for every image."""
WIDE_SHARE = 0.9
"""A surrogate is too wide if a larger share of potentials is within the central half of its mass: the gradient then
does not distinguish neurons near a spike from others."""
VANISHING_RATIO = 1e-4
EXPLODING_RATIO = 1e4
"""A layer's gradient, divided by that of the median layer, vanishes below the one and explodes above the other."""


@dataclass(frozen=True)
class Finding:
    """A problem found in some layers.

    Attributes:
        kind: "exploding_potential", "dead", "saturated", "narrow", "wide", "vanishing_gradient", "exploding_gradient",
            or "blocked_upstream" (an earlier layer is constant). `surgrad.criteria.RENAMED_KINDS` has older names.
        layers: their paths in the network.
        sentence: the problem and what to do.
    """

    kind: str
    layers: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class Diagnosis:
    """The evidence of every layer, the problems found, and how surrogate gradients agree with finite differences.

    Attributes:
        layers: evidence, from input to output.
        findings: problems, the most severe first.
        first_weights: for the first weights of the network, "cosine" (between the surrogate gradient and the
            finite-difference gradient), "reliability" (between the finite-difference gradients of the batch's two
            halves) and "zeros" (share of finite differences that are exactly zero); see
            `surgrad.adapt.dspike.Difference`.
        by_layer: the same for the weights before each layer, where asked for.
    """

    layers: list[LayerEvidence]
    findings: list[Finding]
    first_weights: dict[str, float] = field(default_factory=dict)
    by_layer: dict[str, dict[str, float]] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join(finding.sentence for finding in self.findings) or "No problem was found."

    def record(self) -> dict[str, Any]:
        """The diagnosis as JSON can hold it."""
        return {
            "findings": [vars(finding) for finding in self.findings],
            "first_weights": self.first_weights,
            "layers": [
                {**layer.row(), "histogram": layer.histogram, "finite_differences": self.by_layer.get(layer.layer)}
                for layer in self.layers
            ],
        }


def diagnose(
    model: nn.Module,
    batch: Batch,
    loss: Loss,
    *,
    directions: int = 0,
    sample_axes: tuple[int, int, int] | None = None,
) -> Diagnosis:
    """Measure every layer of a network on one batch, and name the problems. The network is unchanged afterwards.

    Args:
        model: the network.
        batch: (inputs, targets).
        loss: a function of (outputs, targets).
        directions: also compare the gradient of every layer's weights with finite differences along this number of
            random directions (steps of half of the weights' norm to both sides); each takes two forward passes per
            layer.
        sample_axes: the axes of the samples in inputs, targets and outputs; None: found by the shapes
            (`surgrad.adapt.probe.SampleAxes`).

    Returns:
        The evidence of every layer, and the findings. Printed, it is their sentences.

    Raises:
        BadValue: the network has no neuron of surgrad's, or its inputs or parameters are not finite.

    Example:
        >>> import torch
        >>> from surgrad import diagnose
        >>> from surgrad.losses import cross_entropy
        >>> from surgrad.models import small_cnn
        >>> network = small_cnn(classes=2, width_multiplier=0.1)
        >>> batch = torch.rand(4, 1, 8, 8), torch.arange(4) % 2
        >>> found = diagnose(network, batch, cross_entropy)
        >>> len(found.layers)
        4
        >>> sentences = [finding.sentence for finding in found.findings]
        >>> print(diagnose(network.train(), batch, cross_entropy))  # doctest: +SKIP
        Layers 2, 3: 97 % of the neurons get no gradient: width 0.02 is too narrow; try 0.9, or the controller that ...
    """
    _check(model, batch)
    layers = evidence(model, batch, loss, sample_axes=sample_axes)
    probe = Probe(model, loss, batch, axes=sample_axes).frozen()
    by_layer = {}
    for name, weights in probe.weights_before().items() if directions else ():
        if weights:
            finite = difference(probe, weights[0], "directions", directions)
            by_layer[name] = _compared(finite, probe.grad(weights[0]))
    first = probe.first_weight()
    first_weights = _compared(difference(probe, first), probe.grad(first))
    return Diagnosis(layers, findings(layers), first_weights, by_layer)


def _check(model: nn.Module, batch: Batch) -> None:
    if not neurons(model):
        raise BadValue(
            f"the network ({type(model).__name__}) has no neuron of surgrad's, and only those can be measured; build "
            "it with surgrad.LIF or another of surgrad.neurons"
        )
    values = {"inputs": batch[0], **dict(model.named_parameters())}
    for name, value in values.items():
        if isinstance(value, Tensor) and not value.isfinite().all():
            raise BadValue(
                f"{name} of {list(value.shape)} hold numbers that are not finite (NaN or infinite), so nothing can be "
                "measured; give finite inputs, or the weights of an earlier checkpoint"
            )


def _compared(finite: Difference, gradient: Tensor) -> dict[str, float]:
    return {"cosine": finite.cosine(gradient), "reliability": finite.reliability, "zeros": finite.zeros}


def findings(layers: Sequence[LayerEvidence]) -> list[Finding]:
    """The problems of the layers, the most severe first, and their consequences in other layers last.

    Args:
        layers: evidence, from input to output. Each layer is in one finding only: that of the first check it matches.

    Returns:
        The findings; none for a healthy network.
    """
    remaining = list(layers)
    found = []
    for check in CHECKS:
        chosen = [layer for layer in remaining if check.matches(layer, layers)]
        if chosen:
            sentence = f"{_place(chosen, layers)}: {check.describe(chosen, layers)}"
            found.append(Finding(check.kind, tuple(layer.layer for layer in chosen), sentence))
            remaining = [layer for layer in remaining if layer not in chosen]
    return sorted(found, key=lambda finding: finding.kind == "blocked_upstream")


def _is_blocked(layer: LayerEvidence, layers: Sequence[LayerEvidence]) -> bool:
    return _is_constant(layer) and any(_is_constant(before) for before in _before(layer, layers))


def _is_constant(layer: LayerEvidence) -> bool:
    return layer.constant > CONSTANT_SHARE


def _before(layer: LayerEvidence, layers: Sequence[LayerEvidence]) -> Sequence[LayerEvidence]:
    return layers[: [other.layer for other in layers].index(layer.layer)]


def _is_dead(layer: LayerEvidence, _: Any) -> bool:
    if layer.firing_rate < SILENT_RATE:
        return True
    rate_of_others = min(layer.firing_rate / max(1 - layer.dead, 1e-9), 1)
    return layer.dead > DEAD_SHARE and (1 - rate_of_others) ** layer.presentations < CHANCE


def _is_saturated(layer: LayerEvidence, _: Any) -> bool:
    return layer.saturated > SATURATED_SHARE


def _has_exploding_potential(layer: LayerEvidence, _: Any) -> bool:
    ends = layer.histogram[0] + layer.histogram[-1]
    return ends > EXPLODING_SHARE * sum(layer.histogram) and layer.spread > EXPLODING_SPREAD


def _is_narrow(layer: LayerEvidence, _: Any) -> bool:
    return layer.chi < NARROW_SHARE


def _is_wide(layer: LayerEvidence, _: Any) -> bool:
    return layer.core > WIDE_SHARE


def _ratio_to_median(layer: LayerEvidence, layers: Sequence[LayerEvidence]) -> float:
    """A layer's gradient divided by that of the median layer; 1 where one of them is missing."""
    norms = sorted(other.gradient for other in layers if other.gradient is not None)
    median = norms[len(norms) // 2] if norms else 0.0
    return 1.0 if layer.gradient is None or not median else layer.gradient / median


def _has_vanishing_gradient(layer: LayerEvidence, layers: Sequence[LayerEvidence]) -> bool:
    if layer.gradient == 0:
        return not layer.has_zero_norm
    return _ratio_to_median(layer, layers) < VANISHING_RATIO


def _has_exploding_gradient(layer: LayerEvidence, layers: Sequence[LayerEvidence]) -> bool:
    return _ratio_to_median(layer, layers) > EXPLODING_RATIO


def _place(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence]) -> str:
    """'Layer 3', 'Layers 11–16', 'Layers 2, 5–7' or 'Every layer'; with the paths of one or two layers."""
    places = [place for place, layer in enumerate(layers, 1) if layer in chosen]
    if len(places) == len(layers) > 1:
        return "Every layer"
    spans: list[list[int]] = []
    for place in places:
        if spans and place == spans[-1][-1] + 1:
            spans[-1].append(place)
        else:
            spans.append([place])
    numbers = ", ".join(f"{span[0]}" if len(span) == 1 else f"{span[0]}–{span[-1]}" for span in spans)
    names = f" ({', '.join(layer.layer for layer in chosen)})" if len(chosen) <= 2 else ""
    return f"Layer{'s' if len(places) > 1 else ''} {numbers}{names}"


def _percent(share: float) -> str:
    return "over 99 %" if 0.995 <= share < 1 else f"{100 * share:.0f} %"


def _mean(chosen: Sequence[LayerEvidence], key: str) -> float:
    return sum(getattr(layer, key) for layer in chosen) / len(chosen)


def _describe_blocked(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence]) -> str:
    cause = next(layer for layer in _before(chosen[0], layers) if _is_constant(layer))
    return (
        "the input is the same for every image, because the output of layer "
        f"{layers.index(cause) + 1} ({cause.layer}) is constant."
    )


def _describe_dead(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence]) -> str:
    return (
        f"{_percent(_mean(chosen, 'dead'))} of the neurons never fire. The potentials have the mean "
        f"{_mean(chosen, 'mean'):.1f} and the standard deviation {_mean(chosen, 'spread'):.1f}, in units of the "
        f"threshold. Little or no information passes: {_remedy(chosen, 'lower the threshold')}."
        + _also_narrow([layer for layer in chosen if _is_narrow(layer, layers)])
    )


def _also_narrow(chosen: Sequence[LayerEvidence]) -> str:
    """The sentence on layers that cannot learn to fire, since their surrogate does not reach the potentials."""
    if not chosen:
        return ""
    return f" And {_percent(1 - _mean(chosen, 'chi'))} of them get no gradient: {_too_narrow(chosen)}"


def _describe_saturated(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence]) -> str:
    return (
        f"{_percent(_mean(chosen, 'saturated'))} of the neurons fire at every time step for every input, and carry no "
        f"information: {_remedy(chosen, 'raise the threshold')}."
    )


def _describe_exploding_potential(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence]) -> str:
    ends = sum(layer.histogram[0] + layer.histogram[-1] for layer in chosen)
    share = ends / sum(sum(layer.histogram) for layer in chosen)
    return (
        f"the potentials explode: {_percent(share)} of them are {HISTOGRAM_REACH} thresholds or more away from the "
        f"threshold. To repair it, {_remedy(chosen, 'make the weights smaller')}."
    )


def _remedy(chosen: Sequence[LayerEvidence], otherwise: str) -> str:
    if all(layer.normed for layer in chosen):
        return "lower the learning rate (optim.lr), because the weight and bias of the norm before the neurons cause it"
    return f"put a norm before the neurons (surgrad.NormNeuron with TDBN), or {otherwise}"


def _describe_narrow(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence]) -> str:
    return f"{_percent(1 - _mean(chosen, 'chi'))} of the neurons get no gradient: {_too_narrow(chosen)}"


def _too_narrow(chosen: Sequence[LayerEvidence]) -> str:
    return f"width {_width(chosen)} is too narrow; try {_better_width(chosen)}."


def _describe_wide(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence]) -> str:
    return (
        f"{_percent(_mean(chosen, 'chi'))} of the neurons get a gradient, also those far from the threshold, where a "
        f"small change does not change a spike: width {_width(chosen)} is too wide; try "
        f"{_better_width(chosen)}."
    )


def _describe_vanishing_gradient(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence]) -> str:
    if all(layer.gradient == 0 for layer in chosen):
        return "no gradient reaches the weights: a later layer blocks it, or the output does not depend on them."
    factor = 1 / max(_ratio_to_median(layer, layers) for layer in chosen)
    return (
        f"the gradient of the weights vanishes: it is at least {factor:.0g} times smaller than that of the median "
        "layer. Use fewer layers, residual connections, or wider surrogates in the later layers."
    )


def _describe_exploding_gradient(chosen: Sequence[LayerEvidence], layers: Sequence[LayerEvidence]) -> str:
    factor = min(_ratio_to_median(layer, layers) for layer in chosen)
    return (
        f"the gradient of the weights explodes: it is at least {factor:.0g} times larger than that of the median "
        "layer. Clip it (optim.clip=1), or use wider surrogates, whose peak is lower (1/width)."
    )


def _width(chosen: Sequence[LayerEvidence]) -> str:
    low = min(layer.width for layer in chosen)
    high = max(layer.width for layer in chosen)
    return f"{low:.3g}" if high < 1.01 * low else f"{low:.3g} to {high:.3g}"


def _better_width(chosen: Sequence[LayerEvidence]) -> str:
    """The widths that calibration would choose, and the controller that does so."""
    controller = "the controller that finds the width of each layer (adapt.name=share)"
    found = [layer.calibrated for layer in chosen if layer.calibrated is not None]
    if not found:
        return controller
    low = min(found)
    high = max(found)
    return (f"{low:.2g}" if high < 1.1 * low else f"{low:.2g} to {high:.2g}") + f", or {controller}"


@dataclass(frozen=True)
class Check:
    """A kind of problem: which layers have it, and how it is described."""

    kind: str
    matches: Callable[[LayerEvidence, Sequence[LayerEvidence]], bool]
    describe: Callable[[Sequence[LayerEvidence], Sequence[LayerEvidence]], str]


CHECKS = (
    Check("blocked_upstream", _is_blocked, _describe_blocked),
    Check("exploding_potential", _has_exploding_potential, _describe_exploding_potential),
    Check("dead", _is_dead, _describe_dead),
    Check("saturated", _is_saturated, _describe_saturated),
    Check("narrow", _is_narrow, _describe_narrow),
    Check("wide", _is_wide, _describe_wide),
    Check("vanishing_gradient", _has_vanishing_gradient, _describe_vanishing_gradient),
    Check("exploding_gradient", _has_exploding_gradient, _describe_exploding_gradient),
)
"""A check before others explains more; a layer that matches it is not tested by the later ones."""
