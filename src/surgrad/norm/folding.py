"""A norm folded into the layer before it."""

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
        BadValue: for a norm with parameters for each time step, or another kind of layer.
    """
    if not isinstance(conv, nn.Conv2d | nn.Linear):
        raise BadValue(
            f"a norm is folded into a Conv2d or a Linear, not into a {type(conv).__name__}; give one of them"
        )
    if norm.per_time_step:
        raise BadValue(
            f"{type(norm).__name__} differs from step to step, so no single convolution computes it; fold a BatchNorm "
            "or TDBN"
        )
    gain = norm.scale * norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shift = norm.bias - gain * norm.running_mean
    weight = conv.weight * broadcast_channels(gain, conv.weight, 0)
    bias = shift if conv.bias is None else shift + gain * conv.bias
    folded = _like(conv)
    folded.weight = nn.Parameter(weight.to(conv.weight).contiguous())
    folded.bias = nn.Parameter(bias.to(conv.weight))
    return folded.train(conv.training)


def _like(conv: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """A plain layer of the same settings, whose weight is its own: that of `conv` may be computed from others
    (torch.nn.utils.parametrize, weight_norm)."""
    if isinstance(conv, nn.Linear):
        return nn.Linear(conv.in_features, conv.out_features, device="meta")
    return nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]  # of two numbers here, as a Conv2d keeps it
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        conv.groups,
        padding_mode=conv.padding_mode,
        device="meta",
    )
