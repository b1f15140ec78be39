"""Normalisation over time: statistics of a channel over T, N and space."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from surgrad.errors import BadValue


class BatchNorm(_BatchNorm):
    """Batch normalisation with statistics over T, N, H, W: [T, N, C, ...] -> the same shape.

    y = s·γ·(x - mean)/√(var + ε) + μ with scale s = 1; γ is `weight` [C], μ is `bias` [C]. The biased variance
    normalises, the unbiased one enters the running estimate, which is used in evaluation. momentum: of that estimate;
    None averages over all batches."""

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float | None = 0.1):
        super().__init__(channels, eps, momentum)
        self.scale = 1.0

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim < 3 or input.shape[2] != self.num_features:
            raise BadValue(f"input {list(input.shape)} does not fit; give [T, N, {self.num_features}, ...]")
        momentum = self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            momentum = 1 / float(self.num_batches_tracked) if momentum is None else momentum
        weight = self.weight * self.scale if self.scale != 1 else self.weight
        out = F.batch_norm(input.flatten(0, 1), self.running_mean, self.running_var, weight, self.bias,
                           self.training, momentum or 0.0, self.eps)  # fmt: skip
        return out.unflatten(0, input.shape[:2])


class TDBN(BatchNorm):
    """Threshold-dependent batch normalisation (Zheng et al. 2021, tdBN): `BatchNorm` with scale s = α·v_th, so that
    currents start at N(0, (α·v_th)²). α is 1, or 1/√2 for the two summands of a residual addition."""

    def __init__(self, channels: int, threshold: float = 0.5, alpha: float = 1.0, **options):
        super().__init__(channels, **options)
        self.scale = alpha * threshold


NORMS: dict[str, Callable[..., BatchNorm]] = {"tdbn": TDBN, "batchnorm": BatchNorm}


@torch.no_grad()
def fold(conv: nn.Conv2d | nn.Linear, norm: BatchNorm) -> nn.Conv2d | nn.Linear:
    """The convolution (or linear layer) that computes norm(conv(x)) in evaluation, with a bias; conv is left as it is.

    The norm must follow the convolution at once; past a max-pool the folding holds only where γ >= 0.

    w' = w·sγ/√(σ²+ε), bias' = μ + (bias - mean)·sγ/√(σ²+ε)  (Zheng et al. 2021, section on inference)."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None  # a BatchNorm always tracks
    assert variance is not None
    gain = norm.scale * norm.weight / torch.sqrt(variance + norm.eps)
    shift = norm.bias - gain * mean
    folded = copy.deepcopy(conv)
    folded.weight.mul_(gain.view(-1, *[1] * (conv.weight.ndim - 1)))
    bias = shift if conv.bias is None else shift + gain * conv.bias
    folded.bias = nn.Parameter(bias.to(conv.weight))
    return folded
