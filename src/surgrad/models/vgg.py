"""VGG-11 and VGG-16 (Simonyan and Zisserman 2015, A and D) with average pooling and one linear layer, as the directly
trained line uses them."""

from functools import partial

from torch import nn

from surgrad.errors import BadValue
from surgrad.layers import PerStep
from surgrad.models.blocks import NeuronFactory, NormFactory, SpikingNetwork, conv, linear, lsg_neuron, scaled
from surgrad.norm import TDBN, NormNeuron

_A = ((64,), (128,), (256, 256), (512, 512), (512, 512))
_D = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def vgg(classes: int = 10, *, in_channels: int = 3, steps: int = 5, neuron: NeuronFactory = lsg_neuron,
        norm: NormFactory = TDBN, width_multiplier: float = 1.0, image_size: int = 32,
        stages: tuple[tuple[int, ...], ...] = _D) -> SpikingNetwork:  # fmt: skip
    """Five stages of 3×3 convolutions, each ended by average pooling; linear. image_size: side of the input, at least
    32. `vgg11` and `vgg16` have 9.2 and 14.7 M parameters at 32."""
    if image_size < 2 ** len(stages):
        raise BadValue(f"image_size {image_size} vanishes in {len(stages)} poolings; give at least {2 ** len(stages)}")
    first = inputs = scaled(stages[0][0], width_multiplier)
    body: list[nn.Module] = []
    for number, stage in enumerate(stages):
        for channels in stage[1:] if number == 0 else stage:
            outputs = scaled(channels, width_multiplier)
            body += [conv(inputs, outputs), NormNeuron(norm(outputs), neuron())]
            inputs = outputs
        body.append(PerStep(nn.AvgPool2d(2)))
    side = image_size // 2 ** len(stages)
    head = nn.Sequential(PerStep(nn.Flatten()), linear(inputs * side * side, classes))
    network = SpikingNetwork(conv(in_channels, first), NormNeuron(norm(first), neuron()), nn.Sequential(*body), head,
                             steps)  # fmt: skip
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


vgg11 = partial(vgg, stages=_A)
vgg16 = partial(vgg, stages=_D)
