"""The DenseNet of Wang et al. 2022a (LTMD), as in its authors' code."""

import torch
from torch import Tensor, nn

from surgrad.config.values import Count, Fraction, Multiplier
from surgrad.layers import ModerateDropout, PerStep
from surgrad.models.blocks import (
    NeuronFactory,
    NormFactory,
    SpikingNetwork,
    conv,
    init_kaiming,
    linear,
    lsg_neuron,
    make_neuron,
    norm_neuron,
    pooled_head,
    scaled,
)
from surgrad.norm import TDBN


class DenseLayer(nn.Module):
    """norm-neuron-conv 1×1 to 4·growth channels, norm-neuron-conv 3×3 to growth, appended to the layer's input:
    [T, N, inputs, H, W] -> [T, N, inputs + growth, H, W]."""

    def __init__(self, inputs: int, growth: int, neuron: NeuronFactory, norm: NormFactory):
        super().__init__()
        self.fire1 = norm_neuron(inputs, neuron, norm)
        self.conv1 = conv(inputs, 4 * growth, 1)
        self.fire2 = norm_neuron(4 * growth, neuron, norm)
        self.conv2 = conv(4 * growth, growth)

    def forward(self, x: Tensor) -> Tensor:
        """[T, N, inputs, H, W] -> [T, N, inputs + growth, H, W]."""
        return torch.cat([x, self.conv2(self.fire2(self.conv1(self.fire1(x))))], 2)


def densenet(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 4,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
    layers: tuple[Count, Count, Count] = (12, 12, 24),
    dropout: Fraction = 0.2,
) -> SpikingNetwork:
    """The spiking DenseNet of Wang et al. 2022a (LTMD). 6.8 M parameters.

    A stem of 256 channels and a 3×3 convolution at stride 2; three dense blocks, whose layers add 32 channels each,
    with norm-neuron-conv 1×1 to half the channels and average pooling between them; norm, neuron, global average; 256
    neurons, moderate dropout, linear.

    Weights are drawn by Kaiming's normal rule (fan in); the authors' code does so for the convolutions. Its output
    layers fire and have a trained lateral connection; here the readout is the usual one.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
        layers: the number of layers of each dense block.
        dropout: the mean probability of moderate dropout (`surgrad.layers.ModerateDropout`).
    """
    growth = scaled(32, width_multiplier)
    channels = scaled(256, width_multiplier)
    body: list[nn.Module] = [conv(channels, channels, stride=2)]
    for count in layers:
        if len(body) > 1:
            half = max(1, channels // 2)
            body += [norm_neuron(channels, neuron, norm), conv(channels, half, 1), PerStep(nn.AvgPool2d(2))]
            channels = half
        for _ in range(count):
            body.append(DenseLayer(channels, growth, neuron, norm))
            channels += growth
    body.append(norm_neuron(channels, neuron, norm))
    hidden = scaled(256, width_multiplier)
    first = scaled(256, width_multiplier)
    head = nn.Sequential(
        pooled_head(),
        linear(channels, hidden),
        make_neuron(neuron, hidden),
        ModerateDropout(dropout),
        linear(hidden, classes),
    )
    stem = conv(in_channels, first)
    network = SpikingNetwork(stem, norm_neuron(first, neuron, norm), nn.Sequential(*body), head, steps)
    init_kaiming(network, linears=True)
    return network
