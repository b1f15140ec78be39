"""Firing rate and gradient-available share of every layer, from membrane histograms."""

from typing import Any

import torch
from torch import Tensor, nn

from surgrad.adapt import Probe
from surgrad.adapt.probe import Batch
from surgrad.kernels.lif import BINS, PER_THRESHOLD
from surgrad.neurons import neurons


def share_within(counts: Tensor, reach: float) -> float:
    """Share of a membrane histogram with |u - v_th| < reach, reach in thresholds; linear within a bin."""
    edges = (torch.arange(BINS + 1, dtype=torch.float64) - BINS // 2) / PER_THRESHOLD
    low = torch.clamp(edges[:-1], -reach, reach)
    high = torch.clamp(edges[1:], -reach, reach)
    inside = ((high - low) * PER_THRESHOLD * counts.cpu().double()).sum()
    return (inside / counts.sum().clamp(min=1).cpu()).item()


def layer_rows(model: nn.Module, batch: Batch, loss: Any) -> list[dict[str, Any]]:
    """A row for every neuron layer, input's end first: layer, width, decay, threshold (means over channels),
    firing_rate (spikes per neuron and step) and share, the gradient-available share: the neurons whose potential
    lies within the surrogate's window (Lian et al. 2023, Fig. 5). The model is left untouched."""
    membranes = Probe(model, loss, batch).membranes()
    return [_row(name, neuron, membranes[name]) for name, neuron in neurons(model).items()]


def _row(name: str, neuron: Any, counts: Tensor) -> dict[str, Any]:
    width, threshold = neuron.surrogate.width.detach().mean(), neuron.threshold.mean()
    window = neuron.surrogate.shape.window(width) / threshold
    return {
        "layer": name,
        "width": width.item(),
        "decay": neuron.decay.detach().mean().item(),
        "threshold": threshold.item(),
        "firing_rate": (counts[BINS // 2 :].sum() / counts.sum().clamp(min=1)).item(),
        "share": share_within(counts, window.item()),
    }
