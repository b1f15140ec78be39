"""Surrogate shapes: what the made-up slope of a spike looks like.

A spike is the step Θ(x) of x = u - v_th. A shape smooths it into G(x; w), and the backward pass uses g = dG/dx.
The one number that a shape takes is its `width` w > 0, in units of potential: the slope sharpens as w falls.
The papers' α, γ, b, K, κ and temperature are all this width; each entry's `source` gives the conversion.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor

from surgrad.errors import BadValue

Curve = Callable[[Tensor, Tensor], Tensor]
Reach = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Formula:
    """What a shape's curves are computed by: plain functions of (x, w, *constants), from which the kernels' slopes are
    generated. Shapes of one formula differ in `constants` alone. width_slope None stands for -(x/w)·slope."""

    slope: Callable[..., Tensor]
    width_slope: Callable[..., Tensor] | None = None

    def width_slope_of(self, x: Tensor, w: Tensor, *constants: Any) -> Tensor:
        if self.width_slope is None:
            return -(x / w) * self.slope(x, w, *constants)
        return self.width_slope(x, w, *constants)


@dataclass(frozen=True)
class SurrogateFunction:
    """A smoothed step G(x; w) of x = u - v_th, and its slope g = dG/dx used in the backward pass.

    `step`, `slope` and `width_slope` take x (any shape) and w (broadcastable), work in float32 or better whatever
    comes in, and return that. G(0) = 1/2 of an even shape; G is in [0, 1] when `mass` is 1.

    step: G(x, w).                      slope: g(x, w) = ∂G/∂x.        width_slope: ∂G/∂w, for a learned width.
    reach: (w, share) -> half-width k of the interval |x| <= k holding that share of the mass; for share = 1 the
        support (infinite for a shape with tails).
    source: paper or code, and its symbol in terms of w.
    mass: ∫ g dx.    even: whether g(-x) = g(x).
    formula, constants: what the curves were built from, by `shape`; the fused kernels know a shape by them.
    """

    name: str
    step: Curve
    slope: Curve
    width_slope: Curve
    reach: Reach
    source: str
    mass: float = 1.0
    even: bool = True
    formula: Formula | None = None
    constants: tuple[float, ...] = ()

    def window(self, width: Tensor) -> Tensor:
        """Half-width of the interval in which a gradient counts as available: the support, or, for a shape with
        tails, the interval that holds 90 % of its mass."""
        support = self.reach(width, 1.0)
        return torch.where(torch.isfinite(support), support, self.reach(width, 0.9))


def _at_least_float32(curve: Callable[..., Tensor], constants: tuple[float, ...]) -> Curve:
    """Compute in float32 or better: squares overflow float16 at 256, and 1e4 is a potential that does occur."""

    @wraps(curve)
    def wide(x: Tensor, width: Tensor | float) -> Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        return curve(x.to(dtype), torch.as_tensor(width, dtype=dtype, device=x.device), *constants)

    return wide


def _checked(reach: Reach) -> Reach:
    @wraps(reach)
    def checked(width: Tensor | float, share: float) -> Tensor:
        if not 0 <= share <= 1:
            raise BadValue(f"share {share} is not a share of the mass; give a number from 0 to 1")
        width = torch.as_tensor(width)
        return reach(width if width.is_floating_point() else width.to(torch.get_default_dtype()), share)

    return checked


def surrogate_function(
    name: str,
    step: Callable[..., Tensor],
    slope: Callable[..., Tensor],
    reach: Reach,
    source: str,
    *,
    width_slope: Callable[..., Tensor] | None = None,
    mass: float = 1.0,
    even: bool = True,
    constants: tuple[float, ...] = (),
) -> SurrogateFunction:
    """Build a `SurrogateFunction` from functions of (x, w, *constants). `width_slope` may be left out where G depends
    on x/w alone: then ∂G/∂w = -(x/w)·g.

    Functions defined once, at the top of a module, let the fused kernels serve every choice of the constants."""
    formula = Formula(slope, width_slope)
    wide = partial(_at_least_float32, constants=constants)
    return SurrogateFunction(
        name,
        wide(step),
        wide(slope),
        wide(formula.width_slope_of),
        _checked(reach),
        source,
        mass,
        even,
        formula,
        constants,
    )


def tail(share: float, quantile: Callable[[float], float]) -> float:
    """The quantile of a shape with tails: its support, at share 1, is the whole line."""
    return math.inf if share == 1 else quantile(share)


def sech2(z: Tensor) -> Tensor:
    """sech²(z) as 4e/(1+e)² with e = exp(-2|z|), which neither overflows nor loses its tail as cosh does."""
    e = torch.exp(-2 * z.abs())
    return 4 * e / (1 + e).square()
