"""ResNet-19 of Zheng et al. 2021 (tdBN), as used by Lian et al. 2023 (LSG)."""

from functools import partial
from typing import Literal

from torch import nn

from surgrad.config.values import Count, Multiplier, Positive
from surgrad.errors import BadValue
from surgrad.models.blocks import (
    NeuronFactory,
    NormFactory,
    SpikingNetwork,
    basic_stages,
    conv,
    linear,
    lsg_neuron,
    make_neuron,
    norm_neuron,
    pooled_head,
    scaled,
    summand_norm,
)
from surgrad.norm import TDBN

Head = Literal["neurons", "linear", "two_linear"]


def resnet19(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 2,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
    summand_alpha: Positive = 1.0,
    stem: Count = 128,
    head: Head = "neurons",
    hidden_norm: bool = False,
) -> SpikingNetwork:
    """The ResNet-19 of Zheng et al. 2021 (tdBN). 12.7 M parameters.

    A 3×3 stem of 128 channels; 3, 3, 2 basic blocks of 128, 256, 512 channels, the last two stages at stride 2;
    global average; 512 -> 256 -> classes. The 19 layers are 1 + 16 convolutions and 2 linear layers.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
        summand_alpha: tdBN's α of both summands of a residual addition. The codes that LSG is compared with use 1;
            Zheng et al. state 1/√2.
        stem: the channels of the stem, before the width multiplier; 64 in the code of Deng et al. 2022
            (`resnet19_tet`).
        head: after the global average: "neurons", a hidden layer of 256 neurons between two linear layers; "linear",
            one linear layer (the codes of IM-Loss, MPBN and TrSG); "two_linear", 512 -> 256 -> classes without
            neurons (that of GLIF).
        hidden_norm: whether the hidden layer of the head has a norm, and then no bias (`resnet19_normed`). Without a
            norm its neurons hardly fire at first, and with a threshold of 1 they do not fire at all.

    Raises:
        BadValue: a norm in a head without neurons.
    """
    if hidden_norm and head != "neurons":
        raise BadValue(
            f"hidden_norm is the norm of the neurons in the head, and head = {head} has none; set one of them"
        )
    widths = [scaled(c, width_multiplier) for c in (128, 256, 512)]
    first = scaled(stem, width_multiplier)
    blocks = basic_stages(first, widths, (3, 3, 2), (1, 2, 2), neuron, norm, summand_norm(norm, summand_alpha))
    hidden = scaled(256, width_multiplier)
    layers: list[nn.Module] = [linear(widths[-1], classes)]
    if head != "linear":
        layers = [linear(widths[-1], hidden, bias=not hidden_norm), linear(hidden, classes)]
    if head == "neurons":
        layers.insert(1, norm_neuron(hidden, neuron, norm) if hidden_norm else make_neuron(neuron, hidden))
    fire = norm_neuron(first, neuron, norm)
    last = nn.Sequential(pooled_head(), *layers)
    return SpikingNetwork(conv(in_channels, first), fire, nn.Sequential(*blocks), last, steps)


resnet19_normed = partial(resnet19, hidden_norm=True)
"""`resnet19` with a norm in its head."""
resnet19_tet = partial(resnet19, stem=64)
"""`resnet19` as in the code of Deng et al. 2022 (TET), with a stem of 64 channels."""
