"""The activity and gradients of every layer of a network on one batch."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from surgrad import padding
from surgrad.adapt import Probe
from surgrad.adapt.esg import effective_half_width
from surgrad.adapt.probe import Batch, Loss
from surgrad.adapt.share import width_of_share
from surgrad.criteria import GOOD_SHARE
from surgrad.hooks import forward_hooks
from surgrad.kernels.lif import BINS, mean_of, share_within, spread_of
from surgrad.neurons import broadcast_channels, neurons
from surgrad.norm import NoNorm, NormNeuron


@dataclass(frozen=True)
class LayerEvidence:
    """Measurements of one layer of neurons on one batch.

    Potentials are those before the reset, in units of the threshold.

    Attributes:
        layer: the path of the neuron in the network.
        width: its mean over channels, in units of potential.
        calibrated: the width that the controller `share` would begin with, for which χ is `GOOD_SHARE`; None where the
            surrogate function has no such width.
        decay: its mean over channels.
        threshold: its mean over channels, in units of potential.
        share: share of the potentials within the surrogate's window (the gradient-available share, Lian et al. 2023,
            Fig. 5).
        chi: χ, the share of the potentials within the surrogate's effective half-width (`surgrad.adapt.esg`), where
            neurons get a gradient.
        half_width: that half-width, in units of the threshold.
        chi_weights: share of the weights before the layer whose gradient from the first image alone is not zero (χ by
            parameter; for a whole batch it is nearly always 1). None where no weights precede the layer, or where
            gradients were not asked for.
        gradient: root mean square of the loss's gradient over those weights; None in the same cases.
        firing_rate: spikes per neuron and time step.
        rates: the firing rate of each time step.
        dead: share of the neurons that spike at no time step of any image.
        saturated: share of the neurons that spike at every time step of all images.
        constant: share of the neurons whose spikes are the same for every image.
        presentations: images times time steps.
        steps: time steps.
        normed: whether there is a norm before the neurons (`surgrad.norm.NormNeuron`).
        has_zero_norm: whether some norm of the network has only zero weights, as norms at the end of residual branches
            may have at the start; some gradients are then zero by design.
        core: share of the potentials within the interval that has half of the surrogate's mass.
        mean: mean of the potentials, measured.
        spread: standard deviation of the potentials, measured.
        predicted: the spread by Theorem 1 of Lian et al. 2023: √(1 + β²), or 1 for a single time step, for currents
            N(0, v_th²), which tdBN gives at the start, without reset, after two time steps.
        histogram: the counts from which potentials are measured (`surgrad.kernels.lif`).
    """

    layer: str
    width: float
    calibrated: float | None
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
    constant: float
    presentations: int
    steps: int
    normed: bool
    has_zero_norm: bool
    core: float
    mean: float
    spread: float
    predicted: float
    histogram: list[int]

    def row(self) -> dict[str, Any]:
        """The measurements without the histogram."""
        return {name: value for name, value in asdict(self).items() if name != "histogram"}


def evidence(
    model: nn.Module,
    batch: Batch,
    loss: Loss,
    *,
    gradients: bool = True,
    sample_axes: tuple[int, int, int] | None = None,
) -> list[LayerEvidence]:
    """Measure every layer of neurons on one batch. The network is unchanged afterwards.

    Args:
        model: the network; in training mode, norms use the statistics of the batch.
        batch: (inputs, targets).
        loss: a function of (outputs, targets).
        gradients: whether to measure the gradients of the weights too, which takes three more passes.
        sample_axes: see `diagnose`.

    Returns:
        The layers, from input to output.
    """
    padding.refuse("the evidence of a diagnosis")
    probe = Probe(model, loss, batch, axes=sample_axes)
    activity: dict[str, dict[str, Any]] = {}

    def measure(name: str, neuron: nn.Module, _: Any, output: Tensor) -> None:
        activity[name] = _of_spikes(neuron, output)

    with forward_hooks(neurons(model).items(), measure):
        histograms = probe.membranes()
    before = probe.weights_before() if gradients else {name: [] for name in histograms}
    whole = probe.gradients() if gradients else {}
    alone = probe.frozen().part(1).gradients() if gradients else {}
    pairs = {id(m.neuron): m for m in model.modules() if isinstance(m, NormNeuron)}
    zero = any(not getattr(pair.norm, "weight", torch.ones(1)).any() for pair in pairs.values())
    found = []
    for name, neuron in neurons(model).items():
        of_batch = [whole[weight] for weight in before[name]]
        of_image = [alone[weight] for weight in before[name]]
        normed = id(neuron) in pairs and not isinstance(pairs[id(neuron)].norm, NoNorm)
        found.append(
            LayerEvidence(
                layer=name,
                normed=normed,
                has_zero_norm=zero,
                **_of_potentials(neuron, histograms[name], activity[name]["steps"]),
                **activity[name],
                **_of_weights(of_batch, of_image),
            )
        )
    return found


def _of_potentials(neuron: Any, counts: Tensor, steps: int) -> dict[str, Any]:
    width = neuron.surrogate.positive_width.detach().mean()
    threshold = neuron.threshold.detach().mean()
    function = neuron.surrogate.function
    decay = neuron.decay.detach().mean().item()
    calibrated = width_of_share(function, counts, threshold.double(), GOOD_SHARE)
    half = (effective_half_width(function, width) / threshold).item()
    return {
        "width": width.item(),
        "calibrated": None if calibrated.isnan() else calibrated.item(),
        "decay": decay,
        "threshold": threshold.item(),
        "share": share_within(counts, (function.window(width) / threshold).item()),
        "chi": share_within(counts, half),
        "half_width": half,
        "core": share_within(counts, (function.reach(width, 0.5) / threshold).item()),
        "firing_rate": (counts[BINS // 2 :].sum() / counts.sum().clamp(min=1)).item(),
        "mean": mean_of(counts).item(),
        "spread": spread_of(counts).item(),
        "predicted": (1 + decay**2) ** 0.5 if steps > 1 else 1.0,
        "histogram": counts.tolist(),
    }


def _of_weights(of_batch: list[Tensor], of_image: list[Tensor]) -> dict[str, Any]:
    size = sum(gradient.numel() for gradient in of_batch)
    if not size:
        return {"chi_weights": None, "gradient": None}
    squares = sum(gradient.double().square().sum().item() for gradient in of_batch)
    nonzero = sum(int(gradient.count_nonzero()) for gradient in of_image)
    return {"chi_weights": nonzero / size, "gradient": (squares / size) ** 0.5}


def unscaled(out: Tensor, neuron: nn.Module) -> Tensor:
    """A neuron's output [T, N, C, ...] with spikes of size 1, whatever their size and sign."""
    amplitude = getattr(neuron, "amplitude", None)
    return out.detach() if amplitude is None else (out.detach() / broadcast_channels(amplitude.detach(), out, 2)).abs()


def _of_spikes(neuron: nn.Module, out: Tensor) -> dict[str, Any]:
    fired = unscaled(out, neuron) >= 0.5  # neurons that are smooth in training count too
    rates = fired.float().mean((0, 1))
    same = (fired == fired[:, :1]).all(1).all(0)
    return {
        "dead": (rates == 0).double().mean().item(),
        "saturated": (rates == 1).double().mean().item(),
        "constant": same.double().mean().item(),
        "presentations": out.shape[0] * out.shape[1],
        "steps": out.shape[0],
        "rates": fired.flatten(1).float().mean(1).tolist(),
    }
