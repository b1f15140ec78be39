"""The axis of a histogram of potentials, as the kernels count it, without torch."""

import math
from collections.abc import Sequence

from surgrad.criteria import HISTOGRAM_REACH


def density(counts: Sequence[int], joined: int = 1) -> tuple[list[float], list[float]]:
    """The histogram as a density over potentials in units of the threshold, which is at 1.

    Args:
        counts: one number per bin, which reach `HISTOGRAM_REACH` thresholds to both sides of the threshold.
        joined: how many neighbouring bins become one.

    Returns:
        (edges of the bins, one more than bins; density of each bin).
    """
    per_threshold = len(counts) / (2 * HISTOGRAM_REACH)
    sums = [sum(counts[at : at + joined]) for at in range(0, len(counts), joined)]
    edges = [1 + (joined * at - len(counts) / 2) / per_threshold for at in range(len(sums) + 1)]
    total = max(sum(counts), 1)
    return edges, [count * per_threshold / joined / total for count in sums]


def normal_density(x: float, spread: float) -> float:
    """The density at `x` of a normal distribution with mean 0 and standard deviation `spread`."""
    return math.exp(-((x / spread) ** 2) / 2) / (spread * math.sqrt(2 * math.pi))
