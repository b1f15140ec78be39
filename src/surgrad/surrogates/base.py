"""Surrogate functions: the surrogate derivative of the spike.

A spike is the step Θ(x) of x = u - v_th. A surrogate function smooths it into G(x; w), and the backward pass uses
g = dG/dx. Its one parameter is the `width` w > 0, in units of potential: the slope sharpens as w falls. The papers' α,
γ, b, K, κ and temperature are all this width; each entry's `source` gives the conversion.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor

from surgrad.errors import BadValue

Curve = Callable[[Tensor, Tensor], Tensor]
Reach = Callable[[Tensor, float], Tensor]
CONSTANTS = 3
"""The constants of a formula that the compiled kernels have room for: `constants` in kernels/lif/native/lif.h, and c0,
c1, c2 in kernels/lif/triton/kernels.py."""


@dataclass(frozen=True)
class Formula:
    """The functions of (x, w, *constants) that compute the curves, and from which the kernels' slopes are generated.

    Surrogate functions of one formula differ only in `constants`. width_slope None stands for -(x/w)·slope."""

    slope: Callable[..., Tensor]
    width_slope: Callable[..., Tensor] | None = None

    def width_slope_of(self, x: Tensor, w: Tensor, *constants: Any) -> Tensor:
        """∂G/∂w."""
        if self.width_slope is None:
            return -(x / w) * self.slope(x, w, *constants)
        return self.width_slope(x, w, *constants)


@dataclass(frozen=True)
class SurrogateFunction:
    """A smoothed step G(x; w) of x = u - v_th, and its slope g = dG/dx, which the backward pass uses.

    `step`, `slope` and `width_slope` take x (any shape) and w (broadcastable), and compute in float32 or better.
    G(0) = 1/2 for an even function; G is in [0, 1] if `mass` is 1.

    It can be pickled if it is one of surgrad's, or if its curves are functions defined at the top of a module.

    Args:
        name: its name in logs and errors.
        step: G(x, w).
        slope: g(x, w) = ∂G/∂x.
        width_slope: ∂G/∂w, for a learned width.
        reach: (w, share) -> half-width k of the interval |x| <= k that holds this share of the mass; for share = 1 the
            support (infinite for a function with tails).
        source: paper or code, and its symbol in terms of w.
        mass: ∫ g dx.
        even: whether g(-x) = g(x).
        formula: the functions from which `surrogate_function` built the curves; the fused kernels recognise it by them.
        constants: those of the formula, given to each of its functions after x and w.
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
        """Compute the half-width of the interval in which a gradient counts as available: the support, or, for a
        function with tails, the interval that holds 90 % of its mass."""
        support = self.reach(width, 1.0)
        return torch.where(torch.isfinite(support), support, self.reach(width, 0.9))

    def __reduce__(self) -> tuple[Callable[..., "SurrogateFunction"], tuple[Any, ...]]:
        """Pickle a function by its curves; `registry.py` pickles those that it has by their constants."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        formula = self.formula
        if formula is None or getattr(self.slope, "__wrapped__", None) is not formula.slope:
            return partial(SurrogateFunction, **_importable(self.name, given)), ()
        given |= {"step": _unwrapped(self.step), "reach": _unwrapped(self.reach)}
        given |= {"slope": formula.slope, "width_slope": formula.width_slope}
        del given["formula"]
        return partial(surrogate_function, **_importable(self.name, given)), ()

    def __copy__(self) -> "SurrogateFunction":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "SurrogateFunction":
        return self  # it cannot change


NARROWEST = 1e-9
"""The smallest width that a slope is computed with; the reciprocal of a fourth power must be a number in float32. The
kernels have the same (native/block.h, triton/kernels.py)."""


def _unwrapped(curve: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function that a helper of this module wraps."""
    return getattr(curve, "__wrapped__", curve)


def _importable(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The same, or an error if pickle cannot find one of these functions by its name."""
    for part, value in given.items():
        if "<" in getattr(value, "__qualname__", ""):  # "<lambda>", or "outer.<locals>.inner"
            raise BadValue(
                f"surrogate function '{name}' cannot be pickled: its {part} is a lambda or a local function; define it "
                "with def at the top level of a module"
            )
    return given


def _at_least_float32(curve: Callable[..., Tensor], constants: tuple[float, ...]) -> Curve:
    """Compute in float32 or better: squares overflow float16 at 256, and potentials of 1e4 do occur. Widths below
    `NARROWEST` act as that."""

    @wraps(curve)
    def wide(x: Tensor, width: Tensor | float) -> Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        width = torch.as_tensor(width, dtype=dtype, device=x.device).clamp(min=NARROWEST)
        return curve(x.to(dtype), width, *constants)

    return wide


def _checked(reach: Reach) -> Reach:
    @wraps(reach)
    def checked(width: Tensor | float, share: float) -> Tensor:
        if not 0 <= share <= 1:
            raise BadValue(f"share must be from 0 to 1, got {share}")
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
    """Build a `SurrogateFunction` from functions of (x, w, *constants).

    Functions defined at the top level of a module can be pickled, and let the fused kernels serve every choice of the
    constants.

    Args:
        name: its name in logs and errors.
        step: G(x, w).
        slope: ∂G/∂x.
        reach: see `SurrogateFunction`.
        source: paper or code.
        width_slope: ∂G/∂w; by default -(x/w)·slope, which is right if G depends only on x/w.
        mass: ∫ slope dx.
        even: whether slope(-x) = slope(x).
        constants: given to every curve after x and w.

    Example:
        >>> def step(x, w):
        ...     return 0.5 + (x / w).clamp(-0.5, 0.5)
        >>> def slope(x, w):
        ...     return (x.abs() < w / 2) / w
        >>> box = surrogate_function("box", step, slope, lambda w, share: share * w / 2, "an example")
        >>> box.slope(torch.tensor([-1.0, 0.0, 0.2]), 2.0)
        tensor([0.0000, 0.5000, 0.5000])
    """
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
    """The quantile of a function with tails: its support, at share 1, is the whole line."""
    return math.inf if share == 1 else quantile(share)


def sech2(z: Tensor) -> Tensor:
    """Compute sech²(z) as 4e/(1+e)² with e = exp(-2|z|), which neither overflows nor loses its tail as cosh does."""
    e = torch.exp(-2 * z.abs())
    return 4 * e / (1 + e).square()
