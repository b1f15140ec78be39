"""The networks of Fang et al. 2021 (PLIF): convolutions, two linear layers that fire, and ten votes a class."""

from functools import partial

from torch import nn

from surgrad.errors import BadValue
from surgrad.layers import Dropout, PerStep, Vote
from surgrad.models.blocks import NeuronFactory, NormFactory, SpikingNetwork, conv, linear, lsg_neuron, scaled
from surgrad.norm import TDBN, NormNeuron

VOTES = 10


def plif_cifar(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 8,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: float = 1.0,
    image_size: int = 32,
) -> SpikingNetwork:
    """Twice three 3×3 convolutions of 256 channels and max-pooling of their spikes; dropout, 2048 neurons, dropout,
    ten neurons a class whose spikes are its votes. image_size: side of the input, at least 4. 36.7 M parameters at
    32."""
    side = _pooled(image_size, 2)
    channels = scaled(256, width_multiplier)
    body: list[nn.Module] = []
    for layer in range(2, 7):
        body += [conv(channels, channels), NormNeuron(norm(channels), neuron())]
        if layer in (3, 6):
            body.append(PerStep(nn.MaxPool2d(2)))
    head = _voting(channels * side * side, scaled(2048, width_multiplier), classes, neuron)
    fire = NormNeuron(norm(channels), neuron())
    return SpikingNetwork(conv(in_channels, channels), fire, nn.Sequential(*body), head, steps)


def plif_dvs(
    classes: int = 10,
    *,
    in_channels: int = 2,
    steps: int = 20,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: float = 1.0,
    image_size: int = 128,
    layers: int = 4,
) -> SpikingNetwork:
    """`layers` times a 3×3 convolution of 128 channels and max-pooling of its spikes: four for CIFAR10-DVS, five for
    DVS128 Gesture (`plif_gesture`); dropout, 512 neurons, dropout, ten neurons a class. image_size: at least
    2^layers. 4.7 M parameters at 128."""
    side = _pooled(image_size, layers)
    channels = scaled(128, width_multiplier)
    body: list[nn.Module] = [PerStep(nn.MaxPool2d(2))]
    for _ in range(layers - 1):
        body += [conv(channels, channels), NormNeuron(norm(channels), neuron()), PerStep(nn.MaxPool2d(2))]
    head = _voting(channels * side * side, scaled(512, width_multiplier), classes, neuron)
    fire = NormNeuron(norm(channels), neuron())
    return SpikingNetwork(conv(in_channels, channels), fire, nn.Sequential(*body), head, steps)


plif_gesture = partial(plif_dvs, layers=5)


def _pooled(image_size: int, pools: int) -> int:
    """Side of an image after so many halvings."""
    if image_size < 2**pools:
        raise BadValue(f"image_size {image_size} vanishes in {pools} poolings; give at least {2**pools}")
    return image_size // 2**pools


def _voting(inputs: int, hidden: int, classes: int, neuron: NeuronFactory) -> nn.Sequential:
    """Its weights drawn by Kaiming's normal rule: as torch draws them, the last neurons hardly ever fire at first."""
    head = nn.Sequential(
        PerStep(nn.Flatten()),
        Dropout(),
        linear(inputs, hidden, bias=False),
        neuron(),
        Dropout(),
        linear(hidden, VOTES * classes, bias=False),
        neuron(),
        Vote(VOTES),
    )
    for module in head.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return head
