"""Half-widths by which surrogate functions of different shapes compare."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from surgrad.surrogates.base import SurrogateFunction
from surgrad.surrogates.registry import find_surrogate

SHARES = 64
"""Points of the integral over a function's mass."""
OCTAVES = 20
PER_OCTAVE = 16
"""The table holds widths from 2^-20 to 2^20 units of potential."""
WIDEST = 64.0
"""The largest width that `width_of_equivalent` returns, in half-widths."""


def equivalent_half_width(function: SurrogateFunction | str, width: Tensor | float) -> Tensor:
    """Half-width h of the rectangle whose gradient has the same mass and the same power as the function's:

        h = (∫ g dx)² / (2 ∫ g² dx).

    Where the potentials are spread evenly near the threshold, E[g²] is their density times ∫ g² dx. Functions of one h
    then back-propagate gradients of one variance, whatever their shapes. rect has h = w/2, triangle 0.75 w, dspike
    1.5 w while it is narrow, exponential 2 w, sigmoid and fast_sigmoid 3 w, and atan π w.

    Args:
        function: the surrogate function, or its name.
        width: [...], or a number; positive, in units of potential.

    Returns:
        [...], in units of potential.

    Example:
        >>> equivalent_half_width("rect", 1.0)
        tensor(0.5000)
    """
    width = torch.as_tensor(width)
    table = _table(find_surrogate(function), width.device)
    return _interpolated(table.log_widths, table.log_halves, width.double().log2()).exp2().to(width.dtype)


def width_of_equivalent(function: SurrogateFunction | str, half: Tensor | float) -> Tensor:
    """The width whose `equivalent_half_width` is `half`; 64 times `half` where no width has it.

    Args:
        function: the surrogate function, or its name.
        half: [...], or a number; positive, in units of potential.

    Returns:
        [...], in units of potential.
    """
    half = torch.as_tensor(half)
    table = _table(find_surrogate(function), half.device)
    width = _interpolated(table.log_halves, table.log_widths, half.double().log2()).exp2()
    return torch.minimum(width, WIDEST * half).to(half.dtype)


class _Table(NamedTuple):
    """Widths and their half-widths, as logarithms to base 2, both increasing."""

    log_widths: Tensor
    log_halves: Tensor


@lru_cache(maxsize=128)
def _table(function: SurrogateFunction, device: torch.device) -> _Table:
    log_widths = torch.arange(-OCTAVES * PER_OCTAVE, OCTAVES * PER_OCTAVE + 1, dtype=torch.float64) / PER_OCTAVE
    halves = _half_widths(function, log_widths.exp2())
    return _Table(log_widths.to(device), halves.log2().cummax(0).values.to(device))


def _half_widths(function: SurrogateFunction, widths: Tensor) -> Tensor:
    """The definition. ∫ g² dx is the mean of g over g's own mass, by the midpoint rule; `reach` has its quantiles."""
    mean = torch.zeros_like(widths)
    for place in range(SHARES):
        x = function.reach(widths, (place + 0.5) / SHARES)
        above, below = function.slope(x, widths), function.slope(-x, widths)
        mean += (above.square() + below.square()) / (above + below) / SHARES
    mass = function.mass if function.mass < torch.inf else 1.0  # leaky_box: that of its box
    return mass / (2 * mean)


def _interpolated(x: Tensor, y: Tensor, at: Tensor) -> Tensor:
    """y at `at`, linear between the points (x, y); the last value beyond the ends."""
    right = torch.searchsorted(x, at.contiguous()).clamp(1, len(x) - 1)
    left = right - 1
    gap = (x[right] - x[left]).clamp(min=1e-12)
    part = ((at - x[left]) / gap).clamp(0, 1)
    return torch.lerp(y[left], y[right], part)
