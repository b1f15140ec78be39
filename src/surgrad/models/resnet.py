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
    count: Count = 3,
) -> SpikingNetwork:
    """The residual networks of He et al. 2016 for CIFAR; `resnet20` and `resnet44` have 0.27 and 0.66 M parameters.

    A 3×3 stem of 16 channels; `count` basic blocks each of 16, 32, 64 channels, the last two stages at stride 2;
    global average; linear. They are the networks of Hu et al. 2021's conversion.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
        summand_alpha: tdBN's α of both summands of a residual addition.
        count: the number of blocks of each stage; the depth is 6·count + 2.
    """
    widths = [scaled(c, width_multiplier) for c in (16, 32, 64)]
    summand = summand_norm(norm, summand_alpha)
    body = basic_stages(widths[0], widths, (count,) * 3, (1, 2, 2), neuron, norm, summand)
    return _network(conv(in_channels, widths[0]), body, widths, classes, steps, neuron, norm)


resnet20 = partial(cifar_resnet, count=3)
"""`cifar_resnet` of 20 layers."""
resnet44 = partial(cifar_resnet, count=7)
"""`cifar_resnet` of 44 layers."""


def resnet18_plain(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 2,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
    summand_alpha: Positive = 1.0,
) -> SpikingNetwork:
    """The ResNet-18 of He et al. 2016 with a stem for CIFAR, as in the code of Wang et al. 2023 (ASGL).

    It has 11.2 M parameters: a 3×3 stem of 64 channels; two basic blocks each of 64, 128, 256, 512 channels at strides
    1, 2, 2, 2, whose shortcuts are 1×1 convolutions with stride; global average; linear. `resnet18` is the modified
    network of Dspike.

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
    body = basic_stages(widths[0], widths, (2, 2, 2, 2), (1, 2, 2, 2), neuron, norm, summand)
    return _network(conv(in_channels, widths[0]), body, widths, classes, steps, neuron, norm)


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
    pooled = PerStep(nn.AvgPool2d(3, 2, 1))
    body = [pooled, *basic_stages(widths[0], widths, counts, (1, 2, 2, 2), neuron, norm, summand)]
    return _network(conv(in_channels, widths[0], 7, 2), body, widths, classes, steps, neuron, norm)


resnet18_imagenet = partial(imagenet_resnet, counts=(2, 2, 2, 2))
"""`imagenet_resnet` of 18 layers."""
resnet34_imagenet = partial(imagenet_resnet, counts=(3, 4, 6, 3))
"""`imagenet_resnet` of 34 layers."""


def _network(
    stem: PerStep,
    body: list[nn.Module],
    widths: list[int],
    classes: int,
    steps: int,
    neuron: NeuronFactory,
    norm: NormFactory,
) -> SpikingNetwork:
    """The stem and its neurons, the body, global average, linear. widths: the channels of each stage."""
    fire = norm_neuron(widths[0], neuron, norm)
    head = nn.Sequential(pooled_head(), linear(widths[-1], classes))
    return SpikingNetwork(stem, fire, nn.Sequential(*body), head, steps)
