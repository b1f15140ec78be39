"""The shapes that take nothing but a width."""

import math
from statistics import NormalDist

import torch
from torch import Tensor

from surgrad.surrogates.base import SurrogateFunction, sech2, surrogate_function, tail


def rect() -> SurrogateFunction:
    return surrogate_function(
        "rect",
        step=lambda x, w: (x / w + 0.5).clamp(0, 1),
        slope=lambda x, w: (x.abs() < w / 2) / w,
        reach=lambda w, share: share * w / 2,
        source="Wu et al. 2018 (STBP) and Lian et al. 2023 (LSG), eq. of h(u): α = w",
    )


def triangle() -> SurrogateFunction:
    def step(x: Tensor, w: Tensor) -> Tensor:
        z = (x / w).clamp(-1, 1)
        return 0.5 + z - z * z.abs() / 2

    return surrogate_function(
        "triangle",
        step=step,
        slope=lambda x, w: (w - x.abs()).clamp(min=0) / w.square(),
        reach=lambda w, share: w * (1 - math.sqrt(1 - share)),
        source="Deng et al. 2022 (TET): γ = w; SpikingJelly's piecewise quadratic: α = 1/w",
    )


def exponential() -> SurrogateFunction:
    return surrogate_function(
        "exponential",
        step=lambda x, w: 0.5 - x.sign() * torch.expm1(-x.abs() / w) / 2,
        slope=lambda x, w: torch.exp(-x.abs() / w) / (2 * w),
        reach=lambda w, share: w * tail(share, lambda q: -math.log1p(-q)),
        source="Shrestha & Orchard 2018 (SLAYER), at unit mass: α = 1/w",
    )


def sigmoid() -> SurrogateFunction:
    return surrogate_function(
        "sigmoid",
        step=lambda x, w: torch.sigmoid(x / w),
        slope=lambda x, w: sech2(x / (2 * w)) / (4 * w),
        reach=lambda w, share: w * tail(share, lambda q: 2 * math.atanh(q)),
        source="derivative of the logistic function; SpikingJelly's Sigmoid: α = 1/w",
    )


def fast_sigmoid() -> SurrogateFunction:
    return surrogate_function(
        "fast_sigmoid",
        step=lambda x, w: 0.5 + 0.5 * x / (w + x.abs()),
        slope=lambda x, w: 0.5 / (w * (1 + x.abs() / w).square()),
        reach=lambda w, share: w * tail(share, lambda q: q / (1 - q)),
        source="Zenke & Ganguli 2018 (SuperSpike), at unit mass: β = 1/w; SpikingJelly's SoftSign: α = 1/w",
    )


def atan() -> SurrogateFunction:
    return surrogate_function(
        "atan",
        step=lambda x, w: 0.5 + torch.atan(x / w) / math.pi,
        slope=lambda x, w: 1 / (math.pi * w * (1 + (x / w).square())),
        reach=lambda w, share: w * tail(share, lambda q: math.tan(math.pi * q / 2)),
        source="Fang et al. 2021 (PLIF, SEW-ResNet); SpikingJelly's ATan: α = 2/(πw)",
    )


def tanh() -> SurrogateFunction:
    return surrogate_function(
        "tanh",
        step=lambda x, w: 0.5 + torch.tanh(x / w) / 2,
        slope=lambda x, w: sech2(x / w) / (2 * w),
        reach=lambda w, share: w * tail(share, math.atanh),
        source="Guo et al. 2022 (IM-Loss, evolving surrogate): K = 1/w",
    )


def gaussian() -> SurrogateFunction:
    return surrogate_function(
        "gaussian",
        step=lambda x, w: 0.5 + torch.erf(x / (w * math.sqrt(2))) / 2,
        slope=lambda x, w: torch.exp(-(x / w).square() / 2) / (w * math.sqrt(2 * math.pi)),
        reach=lambda w, share: w * tail(share, lambda q: NormalDist().inv_cdf((1 + q) / 2)),
        source="normal density, σ = w; SpikingJelly's Erf: α = 1/(√2 w)",
    )
