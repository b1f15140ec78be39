"""The DenseNet of Wang et al. 2022a (LTMD), in its authors' code."""

import torch
from torch import Tensor, nn

from surgrad.layers import ModerateDropout, PerStep
from surgrad.models.blocks import (
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


class DenseLayer(nn.Module):
    """norm-neuron-conv 1×1 to 4·growth, norm-neuron-conv 3×3 to growth, appended to the layer's input:
    [T, N, inputs, H, W] -> [T, N, inputs + growth, H, W]."""

    def __init__(self, inputs: int, growth: int, neuron: NeuronFactory, norm: NormFactory):
        super().__init__()
        self.fire1 = NormNeuron(norm(inputs), neuron())
        self.conv1 = conv(inputs, 4 * growth, 1)
        self.fire2 = NormNeuron(norm(4 * growth), neuron())
        self.conv2 = conv(4 * growth, growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv2(self.fire2(self.conv1(self.fire1(x))))], 2)


def densenet(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 4,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: float = 1.0,
) -> SpikingNetwork:
    """Stem of 256, a 3×3 convolution at stride 2; dense blocks of 12, 12, 24 layers that add 32 channels each, between
    them norm-neuron-conv 1×1 to half the channels and average pooling; norm, neuron, global average; 256 neurons,
    moderate dropout, linear. Weights are drawn by Kaiming's normal rule; in the authors' code the convolutions' are.
    6.8 M parameters.

    The authors' output layers fire, with a trained lateral connection; here the readout is the usual one."""
    growth = scaled(32, width_multiplier)
    channels = scaled(256, width_multiplier)
    body: list[nn.Module] = [conv(channels, channels, stride=2)]
    for count in (12, 12, 24):
        if len(body) > 1:
            half = max(1, channels // 2)
            body += [NormNeuron(norm(channels), neuron()), conv(channels, half, 1), PerStep(nn.AvgPool2d(2))]
            channels = half
        for _ in range(count):
            body.append(DenseLayer(channels, growth, neuron, norm))
            channels += growth
    body.append(NormNeuron(norm(channels), neuron()))
    hidden = scaled(256, width_multiplier)
    first = scaled(256, width_multiplier)
    head = nn.Sequential(
        pooled_head(), linear(channels, hidden), neuron(), ModerateDropout(0.2), linear(hidden, classes)
    )
    network = SpikingNetwork(
        conv(in_channels, first), NormNeuron(norm(first), neuron()), nn.Sequential(*body), head, steps
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return network
