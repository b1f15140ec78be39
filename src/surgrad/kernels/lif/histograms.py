"""The histogram of membrane potentials, which a neuron can count during its forward pass."""

import torch
from torch import Tensor

BINS = 512
PER_THRESHOLD = 32  # bins to one threshold: the range is ±8 thresholds around it


def histogram(x: Tensor, threshold: Tensor, *, by_channel: bool = False) -> Tensor:
    """Count x/threshold, x = u - threshold.

    The number of fired units is exact, since 0 starts a bin. At the edges of other bins a backend may round to either
    side. NaN, which does not fire, is counted in the first bin.

    Args:
        x: potentials minus threshold.
        threshold: broadcasts against x.
        by_channel: count each channel of x [N, C, ...] for itself.

    Returns:
        The counts, int64 [BINS], or [C, BINS].
    """
    bins = torch.floor(x.detach().float() * (PER_THRESHOLD / threshold.detach())) + BINS // 2
    index = bins.nan_to_num(nan=0, posinf=BINS, neginf=-BINS).clamp(0, BINS - 1).long()
    size = (x.shape[1], BINS) if by_channel else (BINS,)
    if by_channel:
        index = index + BINS * torch.arange(size[0], device=x.device).view(-1, *[1] * (x.ndim - 2))
    index = index.flatten()
    counts = torch.zeros(size, dtype=torch.int64, device=x.device)
    counts.view(-1).scatter_add_(0, index, index.new_ones(1).expand_as(index))
    return counts


class StepCounter:
    """Histograms of the potentials of a sequence, which come step by step.

    Args:
        shape: of the widths whose potentials are counted apart: () for one histogram of all, [C] for one of each
            channel, [S, 1] or [S, C] for one of each of the first S - 1 steps and one of all later ones.

    Attributes:
        counts: int64 [*shape, BINS]; None before the first step.
    """

    def __init__(self, shape: tuple[int, ...] = ()):
        self.shape = shape
        self.counts: Tensor | None = None

    def add(self, step: int, x: Tensor, threshold: Tensor, mask: Tensor | None = None) -> None:
        """Count a step.

        Args:
            step: its number, from 0.
            x: potentials minus threshold, [N, C, ...].
            threshold: broadcasts against x.
            mask: bool [N], the samples to count; None for all.
        """
        by_channel = len(self.shape) > 0 and self.shape[-1] > 1
        found = histogram(x if mask is None else x[mask], threshold, by_channel=by_channel)
        if self.counts is None:
            self.counts = found.new_zeros(*self.shape, BINS)
        counts = self.counts[min(step, self.shape[0] - 1)] if len(self.shape) == 2 else self.counts
        counts += found


def share_within(counts: Tensor, reach: float) -> float:
    """Compute the share of a histogram with |u - v_th| < reach; linear within a bin.

    Args:
        counts: a histogram, [BINS].
        reach: in units of the threshold.
    """
    counts = counts.cpu().double()
    edges = _edges()
    inside = edges[1:].clamp(-reach, reach) - edges[:-1].clamp(-reach, reach)
    return ((inside * PER_THRESHOLD * counts).sum() / counts.sum().clamp(min=1)).item()


def reach_of(counts: Tensor, share: float) -> float:
    """Compute the half-width, in thresholds, that holds a share: the inverse of `share_within`, at most 8.

    Args:
        counts: a histogram, [BINS].
        share: in [0, 1].
    """
    low = 0.0
    high = BINS / 2 / PER_THRESHOLD
    for _ in range(40):
        middle = (low + high) / 2
        if share_within(counts, middle) < share:
            low = middle
        else:
            high = middle
    return high


def reaches_of(counts: Tensor, share: float) -> Tensor:
    """Compute `reach_of` for several histograms at once, on their device and without a wait for it.

    Args:
        counts: histograms, [..., BINS].
        share: in [0, 1].

    Returns:
        Half-widths in thresholds, float64 [...]; 0 for a histogram without counts.
    """
    half = BINS // 2
    by_distance = (counts[..., half:] + counts[..., :half].flip(-1)).double()
    inside = by_distance.cumsum(-1)
    wanted = share * inside[..., -1:]
    cell = (inside < wanted).sum(-1, keepdim=True).clamp(max=half - 1)
    here = by_distance.gather(-1, cell)
    before = inside.gather(-1, cell) - here
    return ((cell + (wanted - before) / here.clamp(min=1)) / PER_THRESHOLD).squeeze(-1)


def _edges() -> Tensor:
    return (torch.arange(BINS + 1, dtype=torch.float64) - BINS // 2) / PER_THRESHOLD


def mean_of(counts: Tensor) -> Tensor:
    """Compute the mean of u/v_th, 0-d float64; every unit counts as the middle of its bin."""
    return (_middles() * counts.cpu()).sum() / counts.sum().clamp(min=1).cpu()


def spread_of(counts: Tensor) -> Tensor:
    """Compute the standard deviation of u/v_th, 0-d float64, with Sheppard's correction for the width of a bin."""
    squares = ((_middles() - mean_of(counts)).square() * counts.cpu()).sum() / counts.sum().clamp(min=1).cpu()
    return (squares - 1 / (12 * PER_THRESHOLD**2)).clamp(min=0).sqrt()


def _middles() -> Tensor:
    return 1 + (_edges()[1:] + _edges()[:-1]) / 2
