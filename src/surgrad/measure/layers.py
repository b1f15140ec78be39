"""What every layer of a network does with one batch: the numbers that a diagnosis rests on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from surgrad.adapt import Probe
from surgrad.adapt.esg import effective_half_width
from surgrad.adapt.probe import Batch, Loss
from surgrad.kernels.lif import BINS, mean_of, share_within, spread_of
from surgrad.neurons import broadcast_channels, neurons
from surgrad.norm import NoNorm, NormNeuron


@dataclass(frozen=True)
class LayerEvidence:
    """One layer of neurons, on one batch. Potentials are those before the reset, in thresholds.

    width, decay, threshold: means over channels.
    share: of the potentials within the surrogate's window (the gradient-available share, Lian et al. 2023, Fig. 5).
    chi: of the potentials within its effective half-width (`surgrad.adapt.esg.effective_half_width`): the share of
        neurons that get a gradient. half_width: that half-width, in thresholds.
    chi_weights: share of the weights before the layer whose gradient from the first image alone is not zero (χ by
        parameter; of a whole batch it is 1 nearly always); None where no weights precede it, or none were asked for.
    gradient: norm of the loss's gradient on those weights, over the square root of their number; None likewise.
    core: of the potentials within the interval that holds half of the surrogate's mass.
    firing_rate: spikes per neuron and step; rates: those of each step. dead, saturated: shares of the neurons that
        spike never, or at every step of every image. mute: share whose spikes are the same for every image.
        presentations: images times steps.
    normed: whether a norm stands before the neurons (`surgrad.norm.NormNeuron`). blocked: whether the network has a
        norm of weight zero everywhere, as at the end of a residual branch that starts as nothing, so that some
        gradients are zero by design.
    mean, spread: of the potential, measured. predicted: the spread by Theorem 1 of Lian et al. 2023, √(1 + β²), 1 of a
        single step, for currents N(0, v_th²), which tdBN gives at the start, without reset, after two steps.
    histogram: the counts that these are read from (`surgrad.kernels.lif`).
    """

    layer: str
    width: float
    decay: float
    threshold: float
    share: float
    chi: float
    half_width: float
    chi_weights: float | None
    gradient: float | None
    firing_rate: float
    rates: list[float]
    dead: float
    saturated: float
    mute: float
    presentations: int
    steps: int
    normed: bool
    blocked: bool
    core: float
    mean: float
    spread: float
    predicted: float
    histogram: list[int]

    def row(self) -> dict[str, Any]:
        """All but the histogram."""
        return {name: value for name, value in asdict(self).items() if name != "histogram"}


def evidence(model: nn.Module, batch: Batch, loss: Loss, *, gradients: bool = True) -> list[LayerEvidence]:
    """Every layer of neurons, input's end first, normalised by the batch's own statistics where the model is in
    training. The model is left as it was. gradients: also those of the weights, which takes three passes more."""
    probe = Probe(model, loss, batch)
    with _watched(model) as fired:
        membranes = probe.histograms()
    before = probe.weights_before() if gradients else {name: [] for name in membranes}
    whole = probe.gradients() if gradients else {}
    alone = probe.frozen().part(1).gradients() if gradients else {}
    pairs = {id(m.neuron): m for m in model.modules() if isinstance(m, NormNeuron)}
    blocked = any(not getattr(pair.norm, "weight", torch.ones(1)).any() for pair in pairs.values())
    found = []
    for name, neuron in neurons(model).items():
        slopes, single = ([of[weight] for weight in before[name]] for of in (whole, alone))
        normed = id(neuron) in pairs and not isinstance(pairs[id(neuron)].norm, NoNorm)
        traits = {"normed": normed, "blocked": blocked, **fired[name], **_of_weights(slopes, single)}
        found.append(
            LayerEvidence(layer=name, **_of_potentials(neuron, membranes[name], fired[name]["steps"]), **traits)
        )
    return found


def _of_potentials(neuron: Any, counts: Tensor, steps: int) -> dict[str, Any]:
    width = neuron.surrogate.width.detach().mean()
    threshold = neuron.threshold.detach().mean()
    shape = neuron.surrogate.function
    decay = neuron.decay.detach().mean().item()
    half = (effective_half_width(shape, width) / threshold).item()
    return {
        "width": width.item(),
        "decay": decay,
        "threshold": threshold.item(),
        "share": share_within(counts, (shape.window(width) / threshold).item()),
        "chi": share_within(counts, half),
        "half_width": half,
        "core": share_within(counts, (shape.reach(width, 0.5) / threshold).item()),
        "firing_rate": (counts[BINS // 2 :].sum() / counts.sum().clamp(min=1)).item(),
        "mean": mean_of(counts).item(),
        "spread": spread_of(counts).item(),
        "predicted": (1 + decay**2) ** 0.5 if steps > 1 else 1.0,
        "histogram": counts.tolist(),
    }


def _of_weights(slopes: list[Tensor], single: list[Tensor]) -> dict[str, float | None]:
    size = sum(slope.numel() for slope in slopes)
    if not size:
        return {"chi_weights": None, "gradient": None}
    squares = sum(slope.double().square().sum().item() for slope in slopes)
    return {"chi_weights": sum(int(s.count_nonzero()) for s in single) / size, "gradient": (squares / size) ** 0.5}


@contextmanager
def _watched(model: nn.Module) -> Iterator[dict[str, dict[str, Any]]]:
    """How the neurons of each layer fired in the last forward pass, by path."""
    found: dict[str, dict[str, Any]] = {}
    handles = [
        one.register_forward_hook(lambda own, _, out, name=name: found.update({name: _of_spikes(own, out)}))
        for name, one in neurons(model).items()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def unscaled(out: Tensor, neuron: nn.Module) -> Tensor:
    """A neuron's output as if its spikes were as large as 1, a negative one too."""
    amplitude = getattr(neuron, "amplitude", None)
    return out.detach() if amplitude is None else (out.detach() / broadcast_channels(amplitude.detach(), out, 2)).abs()


def _of_spikes(neuron: nn.Module, out: Tensor) -> dict[str, Any]:
    fired = unscaled(out, neuron) >= 0.5  # of neurons that are smooth in training, too
    rates = fired.float().mean((0, 1))
    same = (fired == fired[:, :1]).all(1).all(0)
    return {
        "dead": (rates == 0).double().mean().item(),
        "saturated": (rates == 1).double().mean().item(),
        "mute": same.double().mean().item(),
        "presentations": out.shape[0] * out.shape[1],
        "steps": out.shape[0],
        "rates": fired.flatten(1).float().mean(1).tolist(),
    }
