"""Surrogate shapes: what the made-up slope of a spike looks like.

A spike is the step Θ(x) of x = u - v_th. A shape smooths it into G(x; w), and the backward pass uses g = dG/dx.
The one number that a shape takes is its `width` w > 0, in units of potential: the slope sharpens as w falls.
The papers' α, γ, b, K, κ and temperature are all this width; each entry's `source` gives the conversion.

To add a shape: write its step and slope, and add one entry to `SHAPES`. The contract tests find it there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from statistics import NormalDist

import torch
from torch import Tensor

from surgrad.errors import BadValue, unknown

Curve = Callable[[Tensor, Tensor], Tensor]
Reach = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Shape:
    """A smoothed step G(x; w) of x = u - v_th, and its slope g = dG/dx used in the backward pass.

    `step`, `slope` and `width_slope` take x (any shape) and w (broadcastable), work in float32 or better whatever
    comes in, and return that. G(0) = 1/2; G is in [0, 1] when `mass` is 1.

    step: G(x, w).                      slope: g(x, w) = ∂G/∂x.        width_slope: ∂G/∂w, for a learned width.
    reach: (w, share) -> half-width k of the interval |x| <= k holding that share of the mass; for share = 1 the
        support (infinite for a shape with tails).
    source: paper or code, and its symbol in terms of w.
    mass: ∫ g dx.    even: whether g(-x) = g(x).
    """

    name: str
    step: Curve
    slope: Curve
    width_slope: Curve
    reach: Reach
    source: str
    mass: float = 1.0
    even: bool = True

    def window(self, width: Tensor) -> Tensor:
        """Half-width of the interval in which a gradient counts as available: the support, or, for a shape with
        tails, the interval that holds 90 % of its mass."""
        support = self.reach(width, 1.0)
        return torch.where(torch.isfinite(support), support, self.reach(width, 0.9))


def _at_least_float32(curve: Curve) -> Curve:
    """Compute in float32 or better: squares overflow float16 at 256, and 1e4 is a potential that does occur."""

    @wraps(curve)
    def wide(x: Tensor, width: Tensor | float) -> Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        return curve(x.to(dtype), torch.as_tensor(width, dtype=dtype, device=x.device))

    return wide


def _checked(reach: Reach) -> Reach:
    @wraps(reach)
    def checked(width: Tensor | float, share: float) -> Tensor:
        if not 0 <= share <= 1:
            raise BadValue(f"share {share} is not a share of the mass; give a number from 0 to 1")
        width = torch.as_tensor(width)
        return reach(width if width.is_floating_point() else width.to(torch.get_default_dtype()), share)

    return checked


def shape(name: str, step: Curve, slope: Curve, reach: Reach, source: str, *, width_slope: Curve | None = None,
          mass: float = 1.0, even: bool = True) -> Shape:  # fmt: skip
    """Build a `Shape`. `width_slope` may be left out where G depends on x/w alone: then ∂G/∂w = -(x/w)·g."""
    width_slope = width_slope or (lambda x, w: -(x / w) * slope(x, w))
    wide = _at_least_float32
    return Shape(name, wide(step), wide(slope), wide(width_slope), _checked(reach), source, mass, even)


def _tail(share: float, quantile: Callable[[float], float]) -> float:
    """The quantile of a shape with tails: its support, at share 1, is the whole line."""
    return math.inf if share == 1 else quantile(share)


def _sech2(z: Tensor) -> Tensor:
    """sech²(z) as 4e/(1+e)² with e = exp(-2|z|), which neither overflows nor loses its tail as cosh does."""
    e = torch.exp(-2 * z.abs())
    return 4 * e / (1 + e).square()


def _rect() -> Shape:
    return shape(
        "rect",
        step=lambda x, w: (x / w + 0.5).clamp(0, 1),
        slope=lambda x, w: (x.abs() < w / 2) / w,
        reach=lambda w, share: share * w / 2,
        source="Wu et al. 2018 (STBP) and Lian et al. 2023 (LSG), eq. of h(u): α = w",
    )


def _triangle() -> Shape:
    def step(x: Tensor, w: Tensor) -> Tensor:
        z = (x / w).clamp(-1, 1)
        return 0.5 + z - z * z.abs() / 2

    return shape(
        "triangle",
        step=step,
        slope=lambda x, w: (w - x.abs()).clamp(min=0) / w.square(),
        reach=lambda w, share: w * (1 - math.sqrt(1 - share)),
        source="Deng et al. 2022 (TET): γ = w; SpikingJelly's piecewise quadratic: α = 1/w",
    )


def _exponential() -> Shape:
    return shape(
        "exponential",
        step=lambda x, w: 0.5 - x.sign() * torch.expm1(-x.abs() / w) / 2,
        slope=lambda x, w: torch.exp(-x.abs() / w) / (2 * w),
        reach=lambda w, share: w * _tail(share, lambda q: -math.log1p(-q)),
        source="Shrestha & Orchard 2018 (SLAYER), at unit mass: α = 1/w",
    )


def _sigmoid() -> Shape:
    return shape(
        "sigmoid",
        step=lambda x, w: torch.sigmoid(x / w),
        slope=lambda x, w: _sech2(x / (2 * w)) / (4 * w),
        reach=lambda w, share: w * _tail(share, lambda q: 2 * math.atanh(q)),
        source="derivative of the logistic function; SpikingJelly's Sigmoid: α = 1/w",
    )


def _fast_sigmoid() -> Shape:
    return shape(
        "fast_sigmoid",
        step=lambda x, w: 0.5 + 0.5 * x / (w + x.abs()),
        slope=lambda x, w: 0.5 / (w * (1 + x.abs() / w).square()),
        reach=lambda w, share: w * _tail(share, lambda q: q / (1 - q)),
        source="Zenke & Ganguli 2018 (SuperSpike), at unit mass: β = 1/w; SpikingJelly's SoftSign: α = 1/w",
    )


def _atan() -> Shape:
    return shape(
        "atan",
        step=lambda x, w: 0.5 + torch.atan(x / w) / math.pi,
        slope=lambda x, w: 1 / (math.pi * w * (1 + (x / w).square())),
        reach=lambda w, share: w * _tail(share, lambda q: math.tan(math.pi * q / 2)),
        source="Fang et al. 2021 (PLIF, SEW-ResNet); SpikingJelly's ATan: α = 2/(πw)",
    )


def _tanh() -> Shape:
    return shape(
        "tanh",
        step=lambda x, w: 0.5 + torch.tanh(x / w) / 2,
        slope=lambda x, w: _sech2(x / w) / (2 * w),
        reach=lambda w, share: w * _tail(share, math.atanh),
        source="Guo et al. 2022 (IM-Loss, evolving surrogate): K = 1/w",
    )


def _gaussian() -> Shape:
    return shape(
        "gaussian",
        step=lambda x, w: 0.5 + torch.erf(x / (w * math.sqrt(2))) / 2,
        slope=lambda x, w: torch.exp(-(x / w).square() / 2) / (w * math.sqrt(2 * math.pi)),
        reach=lambda w, share: w * _tail(share, lambda q: NormalDist().inv_cdf((1 + q) / 2)),
        source="normal density, σ = w; SpikingJelly's Erf: α = 1/(√2 w)",
    )


def _bisect(function: Callable[[float], float], low: float, high: float) -> float:
    """The zero of an increasing function between low and high, to the last bit of a double."""
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return high


def multi_gaussian(h: float = 0.15, s: float = 6.0, gamma: float = 0.5) -> Shape:
    """γ[(1+h)·N(x; 0, w) - h·N(x; w, sw) - h·N(x; -w, sw)]: a bump with negative side lobes, of mass γ(1-h)."""
    mass = gamma * (1 - h)

    def normal(z: Tensor, scale: float) -> Tensor:
        return torch.exp(-(z / scale).square() / 2) / (scale * math.sqrt(2 * math.pi))

    def slope(x: Tensor, w: Tensor) -> Tensor:
        z = x / w
        return gamma / w * ((1 + h) * normal(z, 1) - h * normal(z - 1, s) - h * normal(z + 1, s))

    def step(x: Tensor, w: Tensor) -> Tensor:
        z = x / (w * math.sqrt(2))
        shift = 1 / math.sqrt(2)
        lobes = torch.erf((z - shift) / s) + torch.erf((z + shift) / s)
        return 0.5 + gamma / 2 * ((1 + h) * torch.erf(z) - h * lobes)

    def quantile(share: float) -> float:
        one = torch.ones((), dtype=torch.float64)
        edge = _bisect(lambda k: -slope(k * one, one).item(), 0.0, 4.0)  # past it the side lobes take mass away
        return _bisect(lambda k: 2 * step(k * one, one).item() - 1 - share * mass, 0.0, edge)

    return shape(
        "multi_gaussian",
        step=step,
        slope=slope,
        reach=lambda w, share: w * _tail(share, quantile),
        source="Yin et al. 2021, eq. of the multi-Gaussian surrogate: σ = w, h = .15, s = 6, γ = .5; mass γ(1-h)",
        mass=mass,
    )


def leaky_box(leak: float = 0.01) -> Shape:
    """1/(2w) for |x| < w and a constant `leak` outside: no potential is ever without a gradient.

    Its mass is infinite, so `reach` speaks of the box alone, and G leaves [0, 1] outside it.
    """

    return shape(
        "leaky_box",
        step=lambda x, w: 0.5 + x.clamp(-w, w) / (2 * w) + leak * (x - x.clamp(-w, w)),
        slope=lambda x, w: torch.where(x.abs() < w, 1 / (2 * w), leak),
        width_slope=lambda x, w: torch.where(x.abs() < w, -x / (2 * w.square()), -leak * x.sign()),
        reach=lambda w, share: share * w,
        source="SpikingJelly's PiecewiseLeakyReLU: w = w, c = leak",
        mass=math.inf,
    )


def q_pseudospike(q: float = 3.0) -> Shape:
    """(1/w)·(1 + 2|x|/((q-1)w))^(-q): tails as fat as wished, from fast_sigmoid (q = 2, of width w/2) to
    exponential (q -> ∞, of width w/2). q > 1; the default 3 lies between the two."""
    if q <= 1:
        raise BadValue(f"q = {q} has infinite mass; give q > 1")

    def base(x: Tensor, w: Tensor) -> Tensor:
        return 1 + 2 * x.abs() / ((q - 1) * w)

    return shape(
        "q_pseudospike",
        step=lambda x, w: 0.5 + x.sign() * (1 - base(x, w) ** (1 - q)) / 2,
        slope=lambda x, w: base(x, w) ** -q / w,
        reach=lambda w, share: w * _tail(share, lambda p: ((1 - p) ** (1 / (1 - q)) - 1) * (q - 1) / 2),
        source="Herranz-Celotti & Rouat 2022 (q-PseudoSpike), at unit mass: α = γ = 1/w",
    )


def dspike(region: float = 0.5) -> Shape:
    """½ + tanh(x/w)/(2·tanh(region/w)) for |x| < region, else 0 or 1: w = 1/b shares one support among all
    temperatures b. Wide it is the box of width 2·region (straight-through), narrow the step. Its edges belong to the
    support, as in the public code of its authors' line, where autograd differentiates a clamp."""
    if region <= 0:
        raise BadValue(f"region {region} is no half-width of a support; give a positive potential")

    def step(x: Tensor, w: Tensor) -> Tensor:
        return 0.5 + torch.tanh(x.clamp(-region, region) / w) / (2 * torch.tanh(region / w))

    def slope(x: Tensor, w: Tensor) -> Tensor:
        return (x.abs() <= region) * _sech2(x / w) / (2 * w * torch.tanh(region / w))

    def width_slope(x: Tensor, w: Tensor) -> Tensor:
        edge = torch.tanh(region / w)
        bend = torch.tanh(x / w) * _sech2(region / w) * region / (2 * (w * edge).square())
        return (x.abs() <= region) * bend - x / w * slope(x, w)

    def reach(w: Tensor, share: float) -> Tensor:
        if share == 1:
            return torch.full_like(w, region)
        return w * torch.atanh(share * torch.tanh(region / w))

    return shape(
        "dspike",
        step=step,
        slope=slope,
        width_slope=width_slope,
        reach=reach,
        source="Li et al. 2021 (Dspike), c = ½ moved to the threshold: b = 1/w, support |u - v_th| <= ½",
    )


_ALL = (_rect(), _triangle(), _exponential(), _sigmoid(), _fast_sigmoid(), _atan(), _tanh(), _gaussian(),
        multi_gaussian(), leaky_box(), q_pseudospike(), dspike())  # fmt: skip
SHAPES: dict[str, Shape] = {entry.name: entry for entry in _ALL}


def find_shape(given: str | Shape) -> Shape:
    """The shape of that name, or the shape itself; raises `UnknownName` with the nearest name."""
    if isinstance(given, Shape):
        return given
    if given not in SHAPES:
        raise unknown("shape", given, SHAPES)
    return SHAPES[given]
