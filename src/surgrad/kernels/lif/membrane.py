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
