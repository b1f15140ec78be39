"""A norm folded into the layer before it."""

import copy

import torch
from torch import nn

from surgrad.broadcasting import broadcast_channels
from surgrad.errors import BadValue
from surgrad.norm.batch import BatchNorm


@torch.no_grad()
def fold(conv: nn.Conv2d | nn.Linear, norm: BatchNorm) -> nn.Conv2d | nn.Linear:
    """Build the layer that computes norm(conv(x)) in evaluation, with a bias (Zheng et al. 2021, section on inference):

        w' = w·sγ/√(σ²+ε), bias' = μ + (bias - mean)·sγ/√(σ²+ε)

    The norm must follow the layer directly; with max-pooling in between this holds only where γ >= 0.

    Args:
        conv: a convolution or a linear layer, which is not changed.
        norm: a norm that is the same at every time step.

    Raises:
        BadValue: for a norm with parameters for each time step.
    """
    if norm.per_time_step:
        raise BadValue(
            f"{type(norm).__name__} differs from step to step, so no single convolution computes it; fold a BatchNorm "
            "or TDBN"
        )
    gain = norm.scale * norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shift = norm.bias - gain * norm.running_mean
    folded = copy.deepcopy(conv)
    folded.weight.mul_(broadcast_channels(gain, conv.weight, 0))
    bias = shift if conv.bias is None else shift + gain * conv.bias
    folded.bias = nn.Parameter(bias.to(conv.weight))
    return folded
