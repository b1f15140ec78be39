"""The modified CIFAR ResNet-18 of the Dspike line (Li et al. 2021; called ResNet-20 in some later papers)."""

from torch import nn

from surgrad.config.values import Multiplier, Positive
from surgrad.layers import PerStep
from surgrad.models.blocks import (
    NeuronFactory,
    NormFactory,
    ResidualBlock,
    SpikingNetwork,
    conv,
    init_kaiming,
    linear,
    lsg_neuron,
    norm_neuron,
    pooled_head,
    scaled,
    start_at_zero,
    summand_norm,
)
from surgrad.norm import TDBN


def resnet18(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 2,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
    summand_alpha: Positive = 1.0,
) -> SpikingNetwork:
    """The modified CIFAR ResNet-18 of Li et al. 2021 (Dspike), whose stem has three convolutions.

    A stem of three 3×3 convolutions to 64 channels and average pooling; 2, 2, 2, 2 basic blocks of 64, 128, 256,
    512 channels at strides 1, 2, 2, 2 with average-pooling shortcuts; global average; linear.

    The last norm of each block starts at weight 0. Weights are drawn by Kaiming's normal rule (fan out). The line's
    public code draws them with a standard deviation of √(1e-6/n), which is so small compared with the norms' ε that no
    neuron fires. A block that starts as the identity has potentials of exactly 0 and 1. With threshold 0.5, a surrogate
    of bounded support that excludes its ends at ±½ (rect of width 1) passes no gradient there; LSG's initial width
    1.0198 and dspike do.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
        summand_alpha: tdBN's α of both summands of a residual addition.
    """
    widths = [scaled(c, width_multiplier) for c in (64, 128, 256, 512)]
    summand = summand_norm(norm, summand_alpha)
    first = widths[0]
    body: list[nn.Module] = []
    for _ in range(2):
        body += [conv(first, first), norm_neuron(first, neuron, norm)]
    body.append(PerStep(nn.AvgPool2d(2)))
    inputs = first
    for outputs, stride in zip(widths, (1, 2, 2, 2), strict=True):
        for step in (stride, 1):
            shortcut = _shortcut(inputs, outputs, step) if step != 1 or inputs != outputs else None
            body.append(ResidualBlock(inputs, outputs, step, neuron, norm, shortcut, summand))
            inputs = outputs
    head = nn.Sequential(pooled_head(), linear(inputs, classes))
    fire = norm_neuron(first, neuron, norm)
    network = SpikingNetwork(conv(in_channels, first), fire, nn.Sequential(*body), head, steps)
    init_kaiming(network, "fan_out")
    for block in body:
        if isinstance(block, ResidualBlock):
            start_at_zero(block.fire2.norm)
    return network


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    pool = nn.AvgPool2d(stride, ceil_mode=True)  # rounds odd sizes up, as the convolutions of the block do
    return nn.Sequential(PerStep(pool), conv(inputs, outputs, 1))
