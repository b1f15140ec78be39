"""VGG-11 with standardised weights in place of norms (Xiao et al. 2022, OTTT), for gradients computed step by step."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgrad.config.values import Multiplier
from surgrad.layers import PerStep
from surgrad.models.blocks import (
    NeuronFactory,
    NormFactory,
    SpikingNetwork,
    init_kaiming,
    linear,
    lsg_neuron,
    norm_neuron,
    pooled_head,
    scaled,
)
from surgrad.norm import TDBN

SPIKE_SCALE = 2.74
"""Factor of spikes, by which currents keep a variance near 1 from layer to layer."""


class StandardisedConv2d(nn.Conv2d):
    """A convolution with weights of mean 0 and equal variance in every output channel (Qiao et al. 2019).

    They are scaled as by Brock et al. 2021, and multiplied by a trained gain g:

        w' = scale·g·(w - mean)/√(var·fan_in + 10⁻⁴)

    var is the unbiased variance. The convolution has a bias. The parameter `gain` [outputs] is g, 1 at first.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        kernel: the side of the kernel, in pixels; the padding keeps the size of odd kernels.
        scale: the factor of the input's spikes, which the weights take up.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, scale: float = 1.0):
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.gain = nn.Parameter(torch.ones(outputs))
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H, W]."""
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True)
        spread = torch.sqrt(variance * self.weight[0].numel() + 1e-4)
        weight = self.scale * self.gain.view(-1, 1, 1, 1) * (self.weight - mean) / spread
        return F.conv2d(input, weight, self.bias, self.stride, self.padding)


class SpikeScale(nn.Module):
    """Multiplies spikes by a constant, `SPIKE_SCALE`."""

    def forward(self, x: Tensor) -> Tensor:
        """[T, N, ...] -> the same shape."""
        return x * SPIKE_SCALE


def vgg11_ws(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 6,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
) -> SpikingNetwork:
    """64-128-AP-256-256-AP-512-512-AP-512-512, global average, linear. 9.2 M parameters.

    The paper has no norm after the standardised convolutions: give `surgrad.norm.NoNorm`, "none" in recipes.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
    """
    widths = [scaled(channels, width_multiplier) for channels in (64, 128, 256, 256, 512, 512, 512, 512)]
    body: list[nn.Module] = []
    for place, (inputs, outputs) in enumerate(pairwise(widths), 1):
        body += [
            PerStep(StandardisedConv2d(inputs, outputs, scale=SPIKE_SCALE)),
            norm_neuron(outputs, neuron, norm),
        ]
        if place in (1, 3, 5):
            body.append(PerStep(nn.AvgPool2d(2)))
    head = nn.Sequential(pooled_head(), SpikeScale(), linear(widths[-1], classes))
    stem = PerStep(StandardisedConv2d(in_channels, widths[0]))
    network = SpikingNetwork(stem, norm_neuron(widths[0], neuron, norm), nn.Sequential(*body), head, steps)
    init_kaiming(network, "fan_out")
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.zeros_(module.get_parameter("bias"))
    return network
