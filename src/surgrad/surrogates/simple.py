"""The surrogate functions without constants: they have only a width.

Their curves are defined at the top level of the module, so that a function has the same formula each time it is built.
"""

import math
from statistics import NormalDist

import torch
from torch import Tensor

from surgrad.surrogates.base import SurrogateFunction, sech2, surrogate_function, tail


def _rect_step(x: Tensor, w: Tensor) -> Tensor:
    return (x / w + 0.5).clamp(0, 1)


def _rect_slope(x: Tensor, w: Tensor) -> Tensor:
    return (x.abs() < w / 2) / w


def rect() -> SurrogateFunction:
    """1/w for |x| < w/2."""
    return surrogate_function(
        "rect",
        step=_rect_step,
        slope=_rect_slope,
        reach=lambda w, share: share * w / 2,
        source="Wu et al. 2018 (STBP) and Lian et al. 2023 (LSG), eq. of h(u): α = w",
    )


def _triangle_step(x: Tensor, w: Tensor) -> Tensor:
    z = (x / w).clamp(-1, 1)
    return 0.5 + z - z * z.abs() / 2


def _triangle_slope(x: Tensor, w: Tensor) -> Tensor:
    return (w - x.abs()).clamp(min=0) / w.square()


def triangle() -> SurrogateFunction:
    """(w - |x|)/w² for |x| < w."""
    return surrogate_function(
        "triangle",
        step=_triangle_step,
        slope=_triangle_slope,
        reach=lambda w, share: w * (1 - math.sqrt(1 - share)),
        source="Deng et al. 2022 (TET): γ = w; SpikingJelly's piecewise quadratic: α = 1/w",
    )


def _exponential_step(x: Tensor, w: Tensor) -> Tensor:
    return 0.5 - x.sign() * torch.expm1(-x.abs() / w) / 2


def _exponential_slope(x: Tensor, w: Tensor) -> Tensor:
    return torch.exp(-x.abs() / w) / (2 * w)


def exponential() -> SurrogateFunction:
    """exp(-|x|/w)/(2w)."""
    return surrogate_function(
        "exponential",
        step=_exponential_step,
        slope=_exponential_slope,
        reach=lambda w, share: w * tail(share, lambda q: -math.log1p(-q)),
        source="Shrestha & Orchard 2018 (SLAYER), at unit mass: α = 1/w",
    )


def _sigmoid_step(x: Tensor, w: Tensor) -> Tensor:
    return torch.sigmoid(x / w)


def _sigmoid_slope(x: Tensor, w: Tensor) -> Tensor:
    return sech2(x / (2 * w)) / (4 * w)


def sigmoid() -> SurrogateFunction:
    """The derivative of the logistic function of x/w."""
    return surrogate_function(
        "sigmoid",
        step=_sigmoid_step,
        slope=_sigmoid_slope,
        reach=lambda w, share: w * tail(share, lambda q: 2 * math.atanh(q)),
        source="derivative of the logistic function; SpikingJelly's Sigmoid: α = 1/w",
    )


def _fast_sigmoid_step(x: Tensor, w: Tensor) -> Tensor:
    return 0.5 + 0.5 * x / (w + x.abs())


def _fast_sigmoid_slope(x: Tensor, w: Tensor) -> Tensor:
    return 0.5 / (w * (1 + x.abs() / w).square())


def fast_sigmoid() -> SurrogateFunction:
    """1/(2w(1 + |x|/w)²)."""
    return surrogate_function(
        "fast_sigmoid",
        step=_fast_sigmoid_step,
        slope=_fast_sigmoid_slope,
        reach=lambda w, share: w * tail(share, lambda q: q / (1 - q)),
        source="Zenke & Ganguli 2018 (SuperSpike), at unit mass: β = 1/w; SpikingJelly's SoftSign: α = 1/w",
    )


def _atan_step(x: Tensor, w: Tensor) -> Tensor:
    return 0.5 + torch.atan(x / w) / math.pi


def _atan_slope(x: Tensor, w: Tensor) -> Tensor:
    return 1 / (math.pi * w * (1 + (x / w).square()))


def atan() -> SurrogateFunction:
    """1/(πw(1 + (x/w)²))."""
    return surrogate_function(
        "atan",
        step=_atan_step,
        slope=_atan_slope,
        reach=lambda w, share: w * tail(share, lambda q: math.tan(math.pi * q / 2)),
        source="Fang et al. 2021 (PLIF, SEW-ResNet); SpikingJelly's ATan: α = 2/(πw)",
    )


def _tanh_step(x: Tensor, w: Tensor) -> Tensor:
    return 0.5 + torch.tanh(x / w) / 2


def _tanh_slope(x: Tensor, w: Tensor) -> Tensor:
    return sech2(x / w) / (2 * w)


def tanh() -> SurrogateFunction:
    """sech²(x/w)/(2w)."""
    return surrogate_function(
        "tanh",
        step=_tanh_step,
        slope=_tanh_slope,
        reach=lambda w, share: w * tail(share, math.atanh),
        source="Guo et al. 2022 (IM-Loss, evolving surrogate): K = 1/w",
    )


def _gaussian_step(x: Tensor, w: Tensor) -> Tensor:
    return 0.5 + torch.erf(x / (w * math.sqrt(2))) / 2


def _gaussian_slope(x: Tensor, w: Tensor) -> Tensor:
    return torch.exp(-(x / w).square() / 2) / (w * math.sqrt(2 * math.pi))


def gaussian() -> SurrogateFunction:
    """The normal density with σ = w."""
    return surrogate_function(
        "gaussian",
        step=_gaussian_step,
        slope=_gaussian_slope,
        reach=lambda w, share: w * tail(share, lambda q: NormalDist().inv_cdf((1 + q) / 2)),
        source="normal density, σ = w; SpikingJelly's Erf: α = 1/(√2 w)",
    )
