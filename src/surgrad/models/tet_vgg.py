"""VGGSNN of Deng et al. 2022 (TET), made for CIFAR10-DVS at 48×48."""

from torch import nn

from surgrad.errors import BadValue
from surgrad.layers import PerStep
from surgrad.models.blocks import NeuronFactory, NormFactory, SpikingNetwork, conv, linear, lsg_neuron, scaled
from surgrad.norm import TDBN, NormNeuron


def vggsnn(
    classes: int = 10,
    *,
    in_channels: int = 2,
    steps: int = 10,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: float = 1.0,
    image_size: int = 48,
) -> SpikingNetwork:
    """64-128-AP-256-256-AP-512-512-AP-512-512-AP-linear; every convolution 3×3 with bias, norm and neuron, drawn by
    Kaiming's normal rule (fan out). image_size: side of the input, at least 16. 9.3 M parameters at 48."""
    if image_size < 16:
        raise BadValue(f"image_size {image_size} vanishes in four poolings; give at least 16")
    stages = [[scaled(c, width_multiplier) for c in stage] for stage in ((64, 128), (256, 256), (512, 512), (512, 512))]
    body: list[nn.Module] = []
    inputs = stages[0][0]
    for number, stage in enumerate(stages):
        for outputs in stage[1:] if number == 0 else stage:
            body += [conv(inputs, outputs, bias=True), NormNeuron(norm(outputs), neuron())]
            inputs = outputs
        body.append(PerStep(nn.AvgPool2d(2)))
    head = nn.Sequential(PerStep(nn.Flatten()), linear(inputs * (image_size // 16) ** 2, classes))
    fire = NormNeuron(norm(stages[0][0]), neuron())
    network = SpikingNetwork(conv(in_channels, stages[0][0], bias=True), fire, nn.Sequential(*body), head, steps)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
