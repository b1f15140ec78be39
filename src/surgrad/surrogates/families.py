"""The surrogate functions that have constants besides the width.

Their curves are defined at the top level of the module and take the constants as arguments, so that one generated
kernel serves every choice of them. The parameters of a constructor are the constants, in their order.
"""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from surgrad.config.values import Fraction, NonNegative, Positive, Range
from surgrad.errors import BadValue
from surgrad.surrogates.base import SurrogateFunction, sech2, surrogate_function, tail


def _bisect(function: Callable[[float], float], low: float, high: float) -> float:
    """Find the zero of an increasing function between low and high, to the last bit of a double."""
    for _ in range(100):
        middle = (low + high) / 2
        if function(middle) < 0:
            low = middle
        else:
            high = middle
    return high


def _normal(z: Tensor, scale: float) -> Tensor:
    return torch.exp(-(z / scale).square() / 2) / (scale * math.sqrt(2 * math.pi))


def _multi_gaussian_slope(x: Tensor, w: Tensor, h: float, s: float, gamma: float) -> Tensor:
    z = x / w
    return gamma / w * ((1 + h) * _normal(z, 1) - h * _normal(z - 1, s) - h * _normal(z + 1, s))


def _multi_gaussian_step(x: Tensor, w: Tensor, h: float, s: float, gamma: float) -> Tensor:
    z = x / (w * math.sqrt(2))
    shift = 1 / math.sqrt(2)
    lobes = torch.erf((z - shift) / s) + torch.erf((z + shift) / s)
    return 0.5 + gamma / 2 * ((1 + h) * torch.erf(z) - h * lobes)


def multi_gaussian(h: NonNegative = 0.15, s: Positive = 6.0, gamma: Positive = 0.5) -> SurrogateFunction:
    """γ[(1+h)·N(x; 0, w) - h·N(x; w, sw) - h·N(x; -w, sw)]: a bump with negative side lobes, of mass γ(1-h).

    Args:
        h: the height of the side lobes, 0 <= h < 1.
        s: their width in units of w.
        gamma: γ.

    Raises:
        BadValue: for a constant outside its range.
    """
    if not (0 <= h < 1 and s > 0 and gamma > 0):
        raise BadValue(f"multi_gaussian needs 0 <= h < 1, s > 0 and gamma > 0, got h={h}, s={s}, gamma={gamma}")
    mass = gamma * (1 - h)
    constants = (h, s, gamma)

    def quantile(share: float) -> float:
        one = torch.ones((), dtype=torch.float64)

        def beyond(k: float) -> float:
            return -_multi_gaussian_slope(k * one, one, *constants).item()

        edge = _bisect(beyond, 0.0, 4.0)  # beyond it the side lobes reduce the mass
        return _bisect(lambda k: 2 * _multi_gaussian_step(k * one, one, *constants).item() - 1 - share * mass, 0, edge)

    return surrogate_function(
        "multi_gaussian",
        step=_multi_gaussian_step,
        slope=_multi_gaussian_slope,
        reach=lambda w, share: w * tail(share, quantile),
        source="Yin et al. 2021, eq. of the multi-Gaussian surrogate: σ = w, h = .15, s = 6, γ = .5; mass γ(1-h)",
        mass=mass,
        constants=constants,
    )


def _leaky_box_step(x: Tensor, w: Tensor, leak: float) -> Tensor:
    return 0.5 + x.clamp(-w, w) / (2 * w) + leak * (x - x.clamp(-w, w))


def _leaky_box_slope(x: Tensor, w: Tensor, leak: float) -> Tensor:
    return torch.where(x.abs() < w, 1 / (2 * w), leak)


def _leaky_box_width_slope(x: Tensor, w: Tensor, leak: float) -> Tensor:
    return torch.where(x.abs() < w, -x / (2 * w.square()), -leak * x.sign())


def leaky_box(leak: NonNegative = 0.01) -> SurrogateFunction:
    """1/(2w) for |x| < w and a constant `leak` outside, so that every potential has a gradient.

    Its mass is infinite, so `reach` refers to the box only, and G leaves [0, 1] outside it.

    Args:
        leak: the slope outside the box, at least 0.

    Raises:
        BadValue: for a negative leak.
    """
    if not leak >= 0:
        raise BadValue(f"leak must be at least 0, got {leak}")
    return surrogate_function(
        "leaky_box",
        step=_leaky_box_step,
        slope=_leaky_box_slope,
        width_slope=_leaky_box_width_slope,
        reach=lambda w, share: share * w,
        source="SpikingJelly's PiecewiseLeakyReLU: w = w, c = leak",
        mass=math.inf,
        constants=(leak,),
    )


def _tilted_step(x: Tensor, w: Tensor, tilt: float) -> Tensor:
    z = (x / w).clamp(-0.5, 0.5)
    return 0.5 + z + tilt * (z * z - 0.25)


def _tilted_slope(x: Tensor, w: Tensor, tilt: float) -> Tensor:
    return (x.abs() < w / 2) * (1 + 2 * tilt * x / w) / w


def tilted(tilt: Fraction = 0.5) -> SurrogateFunction:
    """(1 + 2·tilt·x/w)/w for |x| < w/2: a rectangle with more gradient above the threshold than below.

    A²SG has x/(2β) + h₀ for |x| <= β. With unit mass, h₀ = 1/(2β), which is this function with β = w/2 and tilt w/2:
    the default, at width 1. Here the tilt is relative, and stays the same when a controller changes the width.

    Args:
        tilt: in [0, 1]: 0 is `rect`, and 1 is the largest tilt without a negative slope.

    Raises:
        BadValue: for a tilt outside [0, 1].
    """
    if not 0 <= tilt <= 1:
        raise BadValue(f"tilt must be from 0 to 1 (others have negative slopes), got {tilt}")
    return surrogate_function(
        "tilted",
        step=_tilted_step,
        slope=_tilted_slope,
        reach=lambda w, share: share * w / 2,
        source="A²SG (ICML 2026), the asymmetric window: β = w/2, at width 1",
        even=tilt == 0,
        constants=(tilt,),
    )


def _q_base(x: Tensor, w: Tensor, q: float) -> Tensor:
    return 1 + 2 * x.abs() / ((q - 1) * w)


def _q_step(x: Tensor, w: Tensor, q: float) -> Tensor:
    return 0.5 + x.sign() * (1 - _q_base(x, w, q) ** (1 - q)) / 2


def _q_slope(x: Tensor, w: Tensor, q: float) -> Tensor:
    return _q_base(x, w, q) ** -q / w


def q_pseudospike(q: Annotated[float, Range(1, open=True)] = 3.0) -> SurrogateFunction:
    """(1/w)·(1 + 2|x|/((q-1)w))^(-q): with tunable tail weight, from fast_sigmoid to exponential.

    It is fast_sigmoid of width w/2 for q = 2, and exponential of width w/2 for q -> ∞. The default q = 3 lies between
    the two.

    Args:
        q: above 1; the smaller it is, the heavier the tails.

    Raises:
        BadValue: for q of 1 or less, where the mass is infinite.
    """
    if not q > 1:
        raise BadValue(f"q must be above 1 (else the mass is infinite), got {q}")
    return surrogate_function(
        "q_pseudospike",
        step=_q_step,
        slope=_q_slope,
        reach=lambda w, share: w * tail(share, lambda p: ((1 - p) ** (1 / (1 - q)) - 1) * (q - 1) / 2),
        source="Herranz-Celotti & Rouat 2022 (q-PseudoSpike), at unit mass: α = γ = 1/w",
        constants=(q,),
    )


def _dspike_step(x: Tensor, w: Tensor, region: float) -> Tensor:
    return 0.5 + torch.tanh(x.clamp(-region, region) / w) / (2 * torch.tanh(region / w))


def _dspike_slope(x: Tensor, w: Tensor, region: float) -> Tensor:
    return (x.abs() <= region) * sech2(x / w) / (2 * w * torch.tanh(region / w))


def _dspike_width_slope(x: Tensor, w: Tensor, region: float) -> Tensor:
    edge = torch.tanh(region / w)
    bend = torch.tanh(x / w) * sech2(region / w) * region / (2 * (w * edge).square())
    return (x.abs() <= region) * bend - x / w * _dspike_slope(x, w, region)


def dspike(threshold: Positive = 0.5) -> SurrogateFunction:
    """½ + tanh(x/w)/(2·tanh(v_th/w)) for |x| < v_th, else 0 or 1: all temperatures b = 1/w have the same support.

    A wide one is the box of width 2·v_th (straight-through), a narrow one the step. The edges belong to the support, as
    in public code by the authors, where autograd differentiates a clamp.

    Args:
        threshold: v_th, the half-width of the support, so that it reaches from 0 to twice the threshold.

    Raises:
        BadValue: for a threshold that is not positive.
    """
    if not threshold > 0:
        raise BadValue(f"threshold must be positive, got {threshold}")

    def reach(w: Tensor, share: float) -> Tensor:
        if share == 1:
            return torch.full_like(w, threshold)
        return w * torch.atanh(share * torch.tanh(threshold / w))

    return surrogate_function(
        "dspike",
        step=_dspike_step,
        slope=_dspike_slope,
        width_slope=_dspike_width_slope,
        reach=reach,
        source="Li et al. 2021 (Dspike), c = ½ moved to the threshold: b = 1/w, support |u - v_th| <= ½",
        constants=(threshold,),
    )
