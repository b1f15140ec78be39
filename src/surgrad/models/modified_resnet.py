"""The modified CIFAR ResNet-18 of the Dspike line (Li et al. 2021; called ResNet-20 in some later papers)."""

from torch import nn

from surgrad.layers import PerStep
from surgrad.models.blocks import (
    NeuronFactory,
    NormFactory,
    ResidualBlock,
    SpikingNetwork,
    conv,
    linear,
    lsg_neuron,
    pooled_head,
    scaled,
    start_at_zero,
)
from surgrad.norm import TDBN, NormNeuron


def resnet18(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 2,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: float = 1.0,
    summand: NormFactory | None = None,
) -> SpikingNetwork:
    """Stem of three 3×3 convolutions to 64 channels and average pooling; 2, 2, 2, 2 basic blocks of 64, 128, 256,
    512 channels at strides 1, 2, 2, 2 with average-pooling shortcuts; global average; linear.

    summand: the norm of both summands of a residual addition, `norm` by default.

    The last norm of each block starts at weight 0. Weights are drawn by Kaiming's normal rule (fan out); the line's
    public code draws them with a standard deviation of √(1e-6/n), so small beside the norms' ε that no neuron fires.
    A block that starts as the identity has potentials of exactly 0 and 1: with threshold 0.5, a window that ends open
    at ½ (rect of width 1) passes no gradient there. LSG's initial 1.0198 and dspike do."""
    widths = [scaled(c, width_multiplier) for c in (64, 128, 256, 512)]
    first = widths[0]
    body: list[nn.Module] = []
    for _ in range(2):
        body += [conv(first, first), NormNeuron(norm(first), neuron())]
    body.append(PerStep(nn.AvgPool2d(2)))
    inputs = first
    for outputs, stride in zip(widths, (1, 2, 2, 2), strict=True):
        for step in (stride, 1):
            shortcut = _shortcut(inputs, outputs, step) if step != 1 or inputs != outputs else None
            body.append(ResidualBlock(inputs, outputs, step, neuron, norm, shortcut, summand))
            inputs = outputs
    head = nn.Sequential(pooled_head(), linear(inputs, classes))
    fire = NormNeuron(norm(first), neuron())
    network = SpikingNetwork(conv(in_channels, first), fire, nn.Sequential(*body), head, steps)
    _initialise(network)
    return network


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(PerStep(nn.AvgPool2d(stride)), conv(inputs, outputs, 1))


def _initialise(network: SpikingNetwork) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, ResidualBlock):
            start_at_zero(module.fire2.norm)
