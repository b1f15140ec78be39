"""VGGSNN of Deng et al. 2022 (TET), for CIFAR10-DVS at 48×48."""

from torch import nn

from surgrad.config.values import Multiplier
from surgrad.layers import PerStep
from surgrad.models.blocks import (
    NeuronFactory,
    NormFactory,
    SpikingNetwork,
    conv,
    init_kaiming,
    linear,
    lsg_neuron,
    norm_neuron,
    pooled_side,
    scaled,
)
from surgrad.norm import TDBN


def vggsnn(
    classes: int = 10,
    *,
    in_channels: int = 2,
    image_size: int = 48,
    steps: int = 10,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
) -> SpikingNetwork:
    """64-128-AP-256-256-AP-512-512-AP-512-512-AP-linear. 9.3 M parameters at 48×48.

    Every convolution is 3×3 with bias, norm and neuron; its weights are drawn by Kaiming's normal rule (fan out).

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        image_size: the side of the input in pixels, at least 16.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
    """
    side = pooled_side(image_size, 4)
    stages = [[scaled(c, width_multiplier) for c in stage] for stage in ((64, 128), (256, 256), (512, 512), (512, 512))]
    body: list[nn.Module] = []
    inputs = stages[0][0]
    for number, stage in enumerate(stages):
        for outputs in stage[1:] if number == 0 else stage:
            body += [conv(inputs, outputs, bias=True), norm_neuron(outputs, neuron, norm)]
            inputs = outputs
        body.append(PerStep(nn.AvgPool2d(2)))
    head = nn.Sequential(PerStep(nn.Flatten()), linear(inputs * side * side, classes))
    fire = norm_neuron(stages[0][0], neuron, norm)
    network = SpikingNetwork(conv(in_channels, stages[0][0], bias=True), fire, nn.Sequential(*body), head, steps)
    init_kaiming(network, "fan_out")
    return network
