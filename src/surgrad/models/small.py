"""Small networks that learn in minutes on two CPU cores."""

from itertools import pairwise

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


def _layer(inputs: int, outputs: int, neuron: NeuronFactory, norm: NormFactory, *, pool: bool) -> list[nn.Module]:
    """conv-(pool)-norm-neuron. The pooling takes the largest of four currents, so that spikes stay binary and the
    neuron's tensors are a quarter of the size."""
    pooling = [PerStep(nn.MaxPool2d(2))] if pool else []
    return [conv(inputs, outputs), *pooling, norm_neuron(outputs, neuron, norm)]


def _stem(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv(inputs, outputs), PerStep(nn.MaxPool2d(2)))


def small_cnn(
    classes: int = 10,
    *,
    in_channels: int = 1,
    steps: int = 4,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
) -> SpikingNetwork:
    """A small convolutional network. 0.13 M parameters.

    Four 3×3 convolutions of 32, 64, 64, 128 channels, where the currents of the first two and the last are
    max-pooled; global average; linear.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
    """
    a, b, c, d = (scaled(channels, width_multiplier) for channels in (32, 64, 64, 128))
    body = [
        *_layer(a, b, neuron, norm, pool=True),
        *_layer(b, c, neuron, norm, pool=False),
        *_layer(c, d, neuron, norm, pool=True),
    ]
    head = nn.Sequential(pooled_head(), linear(d, classes))
    return SpikingNetwork(_stem(in_channels, a), norm_neuron(a, neuron, norm), nn.Sequential(*body), head, steps)


def small_resnet(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 2,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
) -> SpikingNetwork:
    """A small residual network. 1.8 M parameters, and 77 M multiplications per time step of a 32×32 image.

    A 3×3 stem of 64 channels, whose currents are max-pooled; then 128 and 256 channels, each a pooled convolution
    and a residual block whose shortcut carries currents; global average; linear.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
    """
    widths = [scaled(channels, width_multiplier) for channels in (64, 128, 256)]
    body: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        body += [
            conv(inputs, outputs),
            PerStep(nn.MaxPool2d(2)),
            MembraneBlock(outputs, neuron, norm),
            norm_neuron(outputs, neuron, norm),
        ]
    head = nn.Sequential(pooled_head(), linear(widths[-1], classes))
    fire = norm_neuron(widths[0], neuron, norm)
    return SpikingNetwork(_stem(in_channels, widths[0]), fire, nn.Sequential(*body), head, steps)
