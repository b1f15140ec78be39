"""VGG-11 and VGG-16 (Simonyan and Zisserman 2015, A and D) with average pooling: with one linear layer, as the directly
trained line uses them, and as DCT-SNN has it."""

from functools import partial

from torch import nn

from surgrad.errors import BadValue
from surgrad.layers import Dropout, PerStep
from surgrad.models.blocks import NeuronFactory, NormFactory, SpikingNetwork, conv, linear, lsg_neuron, scaled
from surgrad.norm import TDBN, NormNeuron

_A = ((64,), (128,), (256, 256), (512, 512), (512, 512))
_D = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_OF_DCT = ((64,), (128, 256), (512, 512, 512), (512, 512))


def vgg(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 5,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: float = 1.0,
    image_size: int = 32,
    stages: tuple[tuple[int, ...], ...] = _D,
    hidden: int | None = None,
    dropout: float = 0.0,
) -> SpikingNetwork:
    """Stages of 3×3 convolutions, each ended by average pooling; linear, or with two layers of `hidden` neurons before
    it. dropout: between convolutions that no pooling parts, and behind the hidden neurons. image_size: side of the
    input, at least 2 to the number of stages. `vgg11` and `vgg16` have 9.2 and 14.7 M parameters at 32; `vgg11_dct`
    (Garg et al. 2021) has two layers of 4,096 and four stages, and 46.7 M at 60, the side of its coded images."""
    if image_size < 2 ** len(stages):
        raise BadValue(f"image_size {image_size} vanishes in {len(stages)} poolings; give at least {2 ** len(stages)}")
    first = inputs = scaled(stages[0][0], width_multiplier)
    body: list[nn.Module] = []
    for number, stage in enumerate(stages):
        for channels in stage[1:] if number == 0 else stage:
            outputs = scaled(channels, width_multiplier)
            if dropout and (not body or isinstance(body[-1], NormNeuron)):
                body.append(Dropout(dropout))
            body += [conv(inputs, outputs), NormNeuron(norm(outputs), neuron())]
            inputs = outputs
        body.append(PerStep(nn.AvgPool2d(2)))
    side = image_size // 2 ** len(stages)
    head: list[nn.Module] = [PerStep(nn.Flatten())]
    inputs *= side * side
    for _ in range(0 if hidden is None else 2):
        width = scaled(hidden or 0, width_multiplier)
        head += [linear(inputs, width, bias=False), NormNeuron(norm(width), neuron()), Dropout(dropout)]
        inputs = width
    head.append(linear(inputs, classes))
    network = SpikingNetwork(
        conv(in_channels, first), NormNeuron(norm(first), neuron()), nn.Sequential(*body), nn.Sequential(*head), steps
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


vgg11 = partial(vgg, stages=_A)
vgg16 = partial(vgg, stages=_D)
vgg11_dct = partial(vgg, stages=_OF_DCT, hidden=4096, dropout=0.2)
