"""The networks of Fang et al. 2021 (PLIF): convolutions, two spiking linear layers, and ten output neurons per
class."""

from functools import partial

from torch import nn

from surgrad.config.values import Count, Fraction, Multiplier
from surgrad.layers import Dropout, PerStep, Vote
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
    pooled_side,
    scaled,
)
from surgrad.norm import TDBN

VOTES = 10
"""The number of output neurons per class."""


def plif_cifar(
    classes: int = 10,
    *,
    in_channels: int = 3,
    image_size: int = 32,
    steps: int = 8,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
    dropout: Fraction = 0.5,
) -> SpikingNetwork:
    """The network of Fang et al. 2021 (PLIF) for CIFAR-10. 36.7 M parameters at 32×32.

    Three 3×3 convolutions of 256 channels and max-pooling of their spikes, twice; dropout, 2048 neurons, dropout,
    and ten neurons per class, whose mean is the output.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        image_size: the side of the input in pixels, at least 4.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
        dropout: the probability of both dropouts (`surgrad.layers.Dropout`).
    """
    side = pooled_side(image_size, 2)
    channels = scaled(256, width_multiplier)
    body: list[nn.Module] = []
    for layer in range(2, 7):
        body += [conv(channels, channels), norm_neuron(channels, neuron, norm)]
        if layer in (3, 6):
            body.append(PerStep(nn.MaxPool2d(2)))
    head = _voting_head(channels * side * side, scaled(2048, width_multiplier), classes, neuron, dropout)
    fire = norm_neuron(channels, neuron, norm)
    return SpikingNetwork(conv(in_channels, channels), fire, nn.Sequential(*body), head, steps)


def plif_dvs(
    classes: int = 10,
    *,
    in_channels: int = 2,
    image_size: int = 128,
    steps: int = 20,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
    layers: Count = 4,
    dropout: Fraction = 0.5,
) -> SpikingNetwork:
    """The network of Fang et al. 2021 (PLIF) for recordings. 4.7 M parameters at 128×128.

    `layers` times a 3×3 convolution of 128 channels and max-pooling of its spikes; dropout, 512 neurons, dropout,
    and ten neurons per class, whose mean is the output. CIFAR10-DVS has four layers, and DVS128 Gesture five
    (`plif_gesture`).

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        image_size: the side of the input in pixels, at least 2 to the number of layers.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
        layers: the number of convolutions.
        dropout: the probability of both dropouts (`surgrad.layers.Dropout`).
    """
    side = pooled_side(image_size, layers)
    channels = scaled(128, width_multiplier)
    body: list[nn.Module] = [PerStep(nn.MaxPool2d(2))]
    for _ in range(layers - 1):
        body += [conv(channels, channels), norm_neuron(channels, neuron, norm), PerStep(nn.MaxPool2d(2))]
    head = _voting_head(channels * side * side, scaled(512, width_multiplier), classes, neuron, dropout)
    fire = norm_neuron(channels, neuron, norm)
    return SpikingNetwork(conv(in_channels, channels), fire, nn.Sequential(*body), head, steps)


plif_gesture = partial(plif_dvs, layers=5)
"""`plif_dvs` for DVS128 Gesture."""


def _voting_head(inputs: int, hidden: int, classes: int, neuron: NeuronFactory, dropout: float) -> nn.Sequential:
    """The linear layers, with weights by Kaiming's normal rule: by torch's default rule, the output neurons hardly ever
    fire at first."""
    head = nn.Sequential(
        PerStep(nn.Flatten()),
        Dropout(dropout),
        linear(inputs, hidden, bias=False),
        make_neuron(neuron, hidden),
        Dropout(dropout),
        linear(hidden, VOTES * classes, bias=False),
        make_neuron(neuron, VOTES * classes),
        Vote(VOTES),
    )
    init_kaiming(head, linears=True)
    return head
