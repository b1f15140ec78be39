"""Small networks that learn in minutes on two CPU cores."""

from itertools import pairwise
from typing import Literal

from torch import nn

from surgrad.config.values import Multiplier
from surgrad.layers import PerStep
from surgrad.models.blocks import (
    MembraneBlock,
    NeuronFactory,
    NormFactory,
    SpikingNetwork,
    conv,
    linear,
    lsg_neuron,
    norm_neuron,
    pooled_head,
    scaled,
)
from surgrad.norm import TDBN

Pool = Literal["max", "average"]


def _pooled(inputs: int, outputs: int, pool: Pool) -> list[nn.Module]:
    """A convolution whose currents are pooled, so that spikes stay binary and the neuron's tensors are a quarter of the
    size."""
    return [conv(inputs, outputs), PerStep(nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2))]


def small_cnn(
    classes: int = 10,
    *,
    in_channels: int = 1,
    steps: int = 4,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
    pool: Pool = "max",
) -> SpikingNetwork:
    """A small convolutional network. 0.13 M parameters.

    Four 3×3 convolutions of 32, 64, 64, 128 channels, where the currents of the first two and the last are pooled;
    global average; linear.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
        pool: the largest or the mean of four currents; a network to be converted needs the mean.
    """
    a, b, c, d = (scaled(channels, width_multiplier) for channels in (32, 64, 64, 128))
    body = [
        *_pooled(a, b, pool),
        norm_neuron(b, neuron, norm),
        conv(b, c),
        norm_neuron(c, neuron, norm),
        *_pooled(c, d, pool),
        norm_neuron(d, neuron, norm),
    ]
    head = nn.Sequential(pooled_head(), linear(d, classes))
    stem = nn.Sequential(*_pooled(in_channels, a, pool))
    return SpikingNetwork(stem, norm_neuron(a, neuron, norm), nn.Sequential(*body), head, steps)


def small_resnet(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 2,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
    pool: Pool = "max",
) -> SpikingNetwork:
    """A small residual network. 1.8 M parameters, and 77 M multiplications per time step of a 32×32 image.

    A 3×3 stem of 64 channels, whose currents are pooled; then 128 and 256 channels, each a pooled convolution
    and a residual block whose shortcut carries currents; global average; linear.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
        pool: the largest or the mean of four currents; a network to be converted needs the mean.
    """
    widths = [scaled(channels, width_multiplier) for channels in (64, 128, 256)]
    body: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        body += [
            *_pooled(inputs, outputs, pool),
            MembraneBlock(outputs, neuron, norm),
            norm_neuron(outputs, neuron, norm),
        ]
    head = nn.Sequential(pooled_head(), linear(widths[-1], classes))
    fire = norm_neuron(widths[0], neuron, norm)
    stem = nn.Sequential(*_pooled(in_channels, widths[0], pool))
    return SpikingNetwork(stem, fire, nn.Sequential(*body), head, steps)
