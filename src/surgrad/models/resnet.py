"""Residual networks of He et al. 2016 that spike after the addition, in their forms for CIFAR and for ImageNet."""

from functools import partial

from torch import nn

from surgrad.config.values import Count, Multiplier, Positive
from surgrad.layers import PerStep
from surgrad.models.blocks import (
    NeuronFactory,
    NormFactory,
    SpikingNetwork,
    basic_stages,
    conv,
    linear,
    lsg_neuron,
    norm_neuron,
    pooled_head,
    scaled,
    summand_norm,
)
from surgrad.norm import TDBN


def cifar_resnet(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 4,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
    summand_alpha: Positive = 1.0,
    first: Count = 16,
    stages: Count = 3,
    count: Count = 3,
) -> SpikingNetwork:
    """The residual networks of He et al. 2016 for CIFAR; `resnet20` and `resnet44` have 0.27 and 0.66 M parameters.

    A 3×3 stem of 16 channels; `count` basic blocks each of 16, 32, 64 channels, all stages but the first at stride 2;
    shortcuts of 1×1 convolutions where the width changes; global average; linear. `resnet20` and `resnet44` are the
    networks of Hu et al. 2021's conversion.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
        summand_alpha: tdBN's α of both summands of a residual addition.
        first: the channels of the stem and of the first stage; every later stage has twice as many as the one before.
        stages: the number of stages.
        count: the number of blocks of each stage; the depth is 2·stages·count + 2.
    """
    widths = [scaled(first * 2**stage, width_multiplier) for stage in range(stages)]
    summand = summand_norm(norm, summand_alpha)
    strides = (1, *[2] * (stages - 1))
    body = basic_stages(widths[0], widths, (count,) * stages, strides, neuron, norm, summand)
    head = nn.Sequential(pooled_head(), linear(widths[-1], classes))
    fire = norm_neuron(widths[0], neuron, norm)
    return SpikingNetwork(conv(in_channels, widths[0]), fire, nn.Sequential(*body), head, steps)


resnet20 = partial(cifar_resnet, count=3)
"""`cifar_resnet` of 20 layers."""
resnet44 = partial(cifar_resnet, count=7)
"""`cifar_resnet` of 44 layers."""
resnet18_plain = partial(cifar_resnet, first=64, stages=4, count=2)
"""`cifar_resnet` of 18 layers and 11.2 M parameters, as in the code of Wang et al. 2023 (ASGL). `resnet18` is the
modified network of Dspike."""


def imagenet_resnet(
    classes: int = 1000,
    *,
    in_channels: int = 3,
    steps: int = 6,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
    summand_alpha: Positive = 1.0,
    counts: tuple[Count, Count, Count, Count] = (3, 4, 6, 3),
) -> SpikingNetwork:
    """The residual networks of He et al. 2016 for ImageNet: `resnet18_imagenet` and `resnet34_imagenet`.

    A 7×7 stem at stride 2 to 64 channels, whose spikes are average-pooled (3×3 at stride 2); `counts` basic blocks
    of 64, 128, 256, 512 channels at strides 1, 2, 2, 2; global average; linear. They have 11.7 and 21.8 M parameters.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
        summand_alpha: tdBN's α of both summands of a residual addition.
        counts: the number of blocks of each stage.
    """
    widths = [scaled(c, width_multiplier) for c in (64, 128, 256, 512)]
    summand = summand_norm(norm, summand_alpha)
    body = basic_stages(widths[0], widths, counts, (1, 2, 2, 2), neuron, norm, summand)
    head = nn.Sequential(pooled_head(), linear(widths[-1], classes))
    fire = norm_neuron(widths[0], neuron, norm)
    pooled = PerStep(nn.AvgPool2d(3, 2, 1))
    return SpikingNetwork(conv(in_channels, widths[0], 7, 2), fire, nn.Sequential(pooled, *body), head, steps)


resnet18_imagenet = partial(imagenet_resnet, counts=(2, 2, 2, 2))
"""`imagenet_resnet` of 18 layers."""
resnet34_imagenet = partial(imagenet_resnet, counts=(3, 4, 6, 3))
"""`imagenet_resnet` of 34 layers."""
