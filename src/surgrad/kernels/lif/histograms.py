"""The histogram of membrane potentials that a watched neuron collects on the way."""

import torch
from torch import Tensor

BINS = 512
PER_THRESHOLD = 32  # bins to one threshold: the range is ±8 thresholds around it


def histogram(x: Tensor, threshold: Tensor) -> Tensor:
    """Counts of x/threshold, x = u - threshold: int64 [BINS]. Whether a unit fired is exact: zero starts a bin.

    Counted a time step at a time in float32, so exact while a bin holds fewer than 2^24 units of that step."""
    bins = torch.floor(x.detach().float() * (PER_THRESHOLD / threshold.detach())) + BINS // 2
    return torch.histc(bins.clamp(0, BINS - 1) + 0.5, BINS, 0, BINS).to(torch.int64)


def share_within(counts: Tensor, reach: float) -> float:
    """Share of a histogram with |u - v_th| < reach, reach in thresholds; linear within a bin."""
    counts = counts.cpu().double()
    edges = _edges()
    inside = edges[1:].clamp(-reach, reach) - edges[:-1].clamp(-reach, reach)
    return ((inside * PER_THRESHOLD * counts).sum() / counts.sum().clamp(min=1)).item()


def reach_of(counts: Tensor, share: float) -> float:
    """The reverse of `share_within`: the half-width, in thresholds, that holds this share; at most the range, 8."""
    low = 0.0
    high = BINS / 2 / PER_THRESHOLD
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if share_within(counts, middle) < share else (low, middle)
    return high


def _edges() -> Tensor:
    return (torch.arange(BINS + 1, dtype=torch.float64) - BINS // 2) / PER_THRESHOLD


def mean_of(counts: Tensor) -> Tensor:
    """The mean of u/v_th, 0-d float64, taking each unit for the middle of its bin."""
    return (_middles() * counts.cpu()).sum() / counts.sum().clamp(min=1).cpu()


def spread_of(counts: Tensor) -> Tensor:
    """The standard deviation of u/v_th, 0-d float64, with Sheppard's correction for the width of a bin."""
    squares = ((_middles() - mean_of(counts)).square() * counts.cpu()).sum() / counts.sum().clamp(min=1).cpu()
    return (squares - 1 / (12 * PER_THRESHOLD**2)).clamp(min=0).sqrt()


def _middles() -> Tensor:
    return 1 + (_edges()[1:] + _edges()[:-1]) / 2
