"""VGG-11 with standardised weights in place of norms (Xiao et al. 2022, OTTT), for gradients found step by step."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgrad.layers import PerStep
from surgrad.models.blocks import (
    NeuronFactory,
    NormFactory,
    SpikingNetwork,
    linear,
    lsg_neuron,
    pooled_head,
    scaled,
)
from surgrad.norm import TDBN, NormNeuron

_SPIKE = 2.74
"""What a spike counts, so that currents keep a variance near 1 from layer to layer."""


class StandardisedConv2d(nn.Conv2d):
    """A convolution by weights of mean 0 and the same spread in every output channel (Qiao et al. 2019; scaled as by
    Brock et al. 2021), times a trained gain g (`gain` [outputs], 1 at the start):

        w' = scale·g·(w - mean)/√(var·fan_in + 10⁻⁴),

    var without bias; with a bias. scale: what its input is worth."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, scale: float = 1.0):
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True)
        spread = torch.sqrt(variance * self.weight[0].numel() + 1e-4)
        weight = self.scale * self.gain.view(-1, 1, 1, 1) * (self.weight - mean) / spread
        return F.conv2d(input, weight, self.bias, self.stride, self.padding)


class SpikeScale(nn.Module):
    """Spikes times what one counts."""

    def forward(self, x: Tensor) -> Tensor:
        return x * _SPIKE


def vgg11_ws(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 6,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: float = 1.0,
) -> SpikingNetwork:
    """64-128-AP-256-256-AP-512-512-AP-512-512, global average, linear; 9.2 M parameters. The paper has no norm behind
    the standardised convolutions: give `surgrad.norm.NoNorm`, "none" in recipes."""
    widths = [scaled(channels, width_multiplier) for channels in (64, 128, 256, 256, 512, 512, 512, 512)]
    body: list[nn.Module] = []
    for place, (inputs, outputs) in enumerate(pairwise(widths), 1):
        body += [PerStep(StandardisedConv2d(inputs, outputs, scale=_SPIKE)), NormNeuron(norm(outputs), neuron())]
        if place in (1, 3, 5):
            body.append(PerStep(nn.AvgPool2d(2)))
    head = nn.Sequential(pooled_head(), SpikeScale(), linear(widths[-1], classes))
    stem = PerStep(StandardisedConv2d(in_channels, widths[0]))
    network = SpikingNetwork(stem, NormNeuron(norm(widths[0]), neuron()), nn.Sequential(*body), head, steps)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.get_parameter("bias"))
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
    return network
