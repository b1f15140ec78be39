"""VGG-11 and VGG-16 (Simonyan and Zisserman 2015, configurations A and D) with average pooling: with one linear layer,
as in most work on direct training, and as in DCT-SNN."""

from functools import partial
from typing import Literal

from torch import nn

from surgrad.config.values import Count, Fraction, Multiplier
from surgrad.layers import Dropout, PerStep
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
from surgrad.norm import TDBN, NormNeuron

Configuration = Literal["A", "D", "DCT"]
_STAGES: dict[Configuration, tuple[tuple[int, ...], ...]] = {
    "A": ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    "D": ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
    "DCT": ((64,), (128, 256), (512, 512, 512), (512, 512)),
}
"""Channels of the convolutions; every stage ends with pooling."""


def vgg(
    classes: int = 10,
    *,
    in_channels: int = 3,
    image_size: int = 32,
    steps: int = 5,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
    configuration: Configuration = "D",
    hidden: Count | None = None,
    dropout: Fraction = 0.0,
) -> SpikingNetwork:
    """VGG with average pooling: `vgg11`, `vgg16` and `vgg11_dct`.

    Stages of 3×3 convolutions, each followed by average pooling; then a linear layer, or two layers of `hidden`
    neurons and a linear layer. The weights of convolutions are drawn by Kaiming's normal rule (fan out).

    `vgg11` and `vgg16` have 9.2 and 14.7 M parameters at 32×32. `vgg11_dct` (Garg et al. 2021) has four stages and two
    layers of 4,096 neurons: 46.7 M at 60×60, the size of its coded images.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        image_size: the side of the input in pixels, at least 2 to the number of stages.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
        configuration: the stages: "A" (VGG-11), "D" (VGG-16) or "DCT" (DCT-SNN's VGG-11).
        hidden: the neurons of both hidden layers, before the width multiplier; None for no hidden layers.
        dropout: the probability of dropout between convolutions of one stage, and after hidden neurons.
    """
    stages = _STAGES[configuration]
    side = pooled_side(image_size, len(stages))
    first = scaled(stages[0][0], width_multiplier)
    body = _convolutions(stages, width_multiplier, neuron, norm, dropout)
    inputs = scaled(stages[-1][-1], width_multiplier) * side * side
    head: list[nn.Module] = [PerStep(nn.Flatten())]
    for _ in range(0 if hidden is None else 2):
        width = scaled(hidden or 0, width_multiplier)
        head += [linear(inputs, width, bias=False), norm_neuron(width, neuron, norm), Dropout(dropout)]
        inputs = width
    head.append(linear(inputs, classes))
    stem = conv(in_channels, first)
    fire = norm_neuron(first, neuron, norm)
    network = SpikingNetwork(stem, fire, nn.Sequential(*body), nn.Sequential(*head), steps)
    init_kaiming(network, "fan_out")
    return network


def _convolutions(
    stages: tuple[tuple[int, ...], ...], multiplier: float, neuron: NeuronFactory, norm: NormFactory, dropout: float
) -> list[nn.Module]:
    """The body: all convolutions but the first, which is the stem."""
    inputs = scaled(stages[0][0], multiplier)
    body: list[nn.Module] = []
    for number, stage in enumerate(stages):
        for channels in stage[1:] if number == 0 else stage:
            outputs = scaled(channels, multiplier)
            if dropout and (not body or isinstance(body[-1], NormNeuron)):
                body.append(Dropout(dropout))
            body += [conv(inputs, outputs), norm_neuron(outputs, neuron, norm)]
            inputs = outputs
        body.append(PerStep(nn.AvgPool2d(2)))
    return body


vgg11 = partial(vgg, configuration="A")
"""`vgg` of 11 layers."""
vgg16 = partial(vgg, configuration="D")
"""`vgg` of 16 layers, of which the 13 convolutions and one linear layer are here."""
vgg11_dct = partial(vgg, configuration="DCT", hidden=4096, dropout=0.2)
"""`vgg` as in DCT-SNN (Garg et al. 2021)."""
