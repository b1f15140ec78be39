"""Residual networks of He et al. 2016, spiking after the addition: in their form for CIFAR and for ImageNet."""

from functools import partial

from torch import nn

from surgrad.layers import PerStep
from surgrad.models.blocks import (
    NeuronFactory,
    NormFactory,
    SpikingNetwork,
    basic_stages,
    conv,
    linear,
    lsg_neuron,
    pooled_head,
    scaled,
)
from surgrad.norm import TDBN, NormNeuron


def cifar_resnet(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 4,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: float = 1.0,
    summand: NormFactory | None = None,
    count: int = 3,
) -> SpikingNetwork:
    """3×3 stem of 16 channels; `count` basic blocks each of 16, 32, 64 channels, the last two stages at stride 2;
    global average; linear. `resnet20` and `resnet44`, the networks of Hu et al. 2021's conversion, have 0.27 and 0.66 M
    parameters. summand: the norm of both summands of a residual addition, `norm` by default."""
    widths = [scaled(c, width_multiplier) for c in (16, 32, 64)]
    body = basic_stages(widths[0], widths, (count,) * 3, (1, 2, 2), neuron, norm, summand)
    head = nn.Sequential(pooled_head(), linear(widths[-1], classes))
    fire = NormNeuron(norm(widths[0]), neuron())
    return SpikingNetwork(conv(in_channels, widths[0]), fire, nn.Sequential(*body), head, steps)


resnet20 = partial(cifar_resnet, count=3)
resnet44 = partial(cifar_resnet, count=7)


def imagenet_resnet(
    classes: int = 1000,
    *,
    in_channels: int = 3,
    steps: int = 6,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: float = 1.0,
    summand: NormFactory | None = None,
    counts: tuple[int, ...] = (3, 4, 6, 3),
) -> SpikingNetwork:
    """Stem 7×7 at stride 2 to 64 channels, its spikes average-pooled (3×3 at stride 2); `counts` basic blocks of 64,
    128, 256, 512 channels at strides 1, 2, 2, 2; global average; linear. `resnet18_imagenet` and `resnet34_imagenet`
    have 11.7 and 21.8 M parameters. summand: the norm of both summands of a residual addition, `norm` by default."""
    widths = [scaled(c, width_multiplier) for c in (64, 128, 256, 512)]
    body = basic_stages(widths[0], widths, counts, (1, 2, 2, 2), neuron, norm, summand)
    head = nn.Sequential(pooled_head(), linear(widths[-1], classes))
    fire = NormNeuron(norm(widths[0]), neuron())
    pooled = PerStep(nn.AvgPool2d(3, 2, 1))
    return SpikingNetwork(conv(in_channels, widths[0], 7, 2), fire, nn.Sequential(pooled, *body), head, steps)


resnet18_imagenet = partial(imagenet_resnet, counts=(2, 2, 2, 2))
resnet34_imagenet = partial(imagenet_resnet, counts=(3, 4, 6, 3))
