"""A norm inside the layer before it."""

import copy

import torch
from torch import nn

from surgrad.errors import BadValue
from surgrad.norm.batch import BatchNorm


@torch.no_grad()
def fold(conv: nn.Conv2d | nn.Linear, norm: BatchNorm) -> nn.Conv2d | nn.Linear:
    """The convolution (or linear layer) that computes norm(conv(x)) in evaluation, with a bias; conv is left as it is.

    The norm must follow the convolution at once; past a max-pool the folding holds only where γ >= 0.

    w' = w·sγ/√(σ²+ε), bias' = μ + (bias - mean)·sγ/√(σ²+ε)  (Zheng et al. 2021, section on inference)."""
    if norm.per_time_step:
        raise BadValue(
            f"{type(norm).__name__} does another thing in every step, which no one convolution does; fold a "
            "BatchNorm or TDBN"
        )
    mean = norm.running_mean
    variance = norm.running_var
    assert mean is not None  # a BatchNorm always tracks
    assert variance is not None
    gain = norm.scale * norm.weight / torch.sqrt(variance + norm.eps)
    shift = norm.bias - gain * mean
    folded = copy.deepcopy(conv)
    folded.weight.mul_(gain.view(-1, *[1] * (conv.weight.ndim - 1)))
    bias = shift if conv.bias is None else shift + gain * conv.bias
    folded.bias = nn.Parameter(bias.to(conv.weight))
    return folded
