"""Small networks that learn in minutes on two CPU cores."""

from itertools import pairwise

from torch import nn

from surgrad.layers import PerStep
from surgrad.models.blocks import (
    MembraneBlock,
    NeuronFactory,
    NormFactory,
    SpikingNetwork,
    conv,
    linear,
    lsg_neuron,
    pooled_head,
    scaled,
)
from surgrad.norm import TDBN, NormNeuron


def _layer(inputs: int, outputs: int, neuron: NeuronFactory, norm: NormFactory, *, pool: bool) -> list[nn.Module]:
    """conv-(pool)-norm-neuron: taking the largest of four currents keeps the spikes binary and the neuron's tensors a
    quarter of the size."""
    pooling = [PerStep(nn.MaxPool2d(2))] if pool else []
    return [conv(inputs, outputs), *pooling, NormNeuron(norm(outputs), neuron())]


def _stem(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv(inputs, outputs), PerStep(nn.MaxPool2d(2)))


def small_cnn(
    classes: int = 10,
    *,
    in_channels: int = 1,
    steps: int = 4,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: float = 1.0,
) -> SpikingNetwork:
    """Four 3×3 convolutions of 32, 64, 64, 128 channels, the first two and the last pooled before they fire; global
    average; linear. 0.13 M parameters."""
    a, b, c, d = (scaled(channels, width_multiplier) for channels in (32, 64, 64, 128))
    body = [
        *_layer(a, b, neuron, norm, pool=True),
        *_layer(b, c, neuron, norm, pool=False),
        *_layer(c, d, neuron, norm, pool=True),
    ]
    head = nn.Sequential(pooled_head(), linear(d, classes))
    return SpikingNetwork(_stem(in_channels, a), NormNeuron(norm(a), neuron()), nn.Sequential(*body), head, steps)


def small_resnet(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 2,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: float = 1.0,
) -> SpikingNetwork:
    """3×3 stem of 64 channels, pooled before it fires; then 128 and 256 channels, each a pooled convolution and a
    residual block whose shortcut carries currents; global average; linear. 1.8 M parameters, 77 M multiplications a
    step on a 32×32 image."""
    widths = [scaled(channels, width_multiplier) for channels in (64, 128, 256)]
    body: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        body += [
            conv(inputs, outputs),
            PerStep(nn.MaxPool2d(2)),
            MembraneBlock(outputs, neuron, norm),
            NormNeuron(norm(outputs), neuron()),
        ]
    head = nn.Sequential(pooled_head(), linear(widths[-1], classes))
    fire = NormNeuron(norm(widths[0]), neuron())
    return SpikingNetwork(_stem(in_channels, widths[0]), fire, nn.Sequential(*body), head, steps)
