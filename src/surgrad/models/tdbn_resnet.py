"""ResNet-19 of Zheng et al. 2021 (tdBN), as used by Lian et al. 2023 (LSG)."""

from functools import partial

from torch import nn

from surgrad.models.blocks import (
    NeuronFactory,
    NormFactory,
    SpikingNetwork,
    basic_stages,
    conv,
    linear,
    lsg_neuron,
    pooled_head,
    scaled,
)
from surgrad.norm import TDBN, NormNeuron


def resnet19(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 2,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: float = 1.0,
    summand: NormFactory | None = None,
    stem: int = 128,
    hidden_norm: bool = False,
) -> SpikingNetwork:
    """3×3 stem of 128 channels (or `stem`); 3, 3, 2 basic blocks of 128, 256, 512 channels, the last two stages at
    stride 2; global average; 512 -> 256 -> classes. 1 + 16 convolutions and 2 linear layers make the 19.
    12.7 M parameters.

    summand: the norm of both summands of a residual addition, `norm` by default, which gives them tdBN's α = 1 as the
    codes that LSG is compared with do; Zheng et al. state 1/√2. hidden_norm: whether the hidden layer of the head has a
    norm; without one its neurons hardly fire at first, and not at all with a threshold of 1."""
    widths = [scaled(c, width_multiplier) for c in (128, 256, 512)]
    first = scaled(stem, width_multiplier)
    hidden = scaled(256, width_multiplier)
    blocks = basic_stages(first, widths, (3, 3, 2), (1, 2, 2), neuron, norm, summand)
    fire_hidden = NormNeuron(norm(hidden), neuron()) if hidden_norm else neuron()
    head = nn.Sequential(
        pooled_head(), linear(widths[-1], hidden, bias=not hidden_norm), fire_hidden, linear(hidden, classes)
    )
    fire = NormNeuron(norm(first), neuron())
    return SpikingNetwork(conv(in_channels, first), fire, nn.Sequential(*blocks), head, steps)


resnet19_normed = partial(resnet19, hidden_norm=True)
resnet19_tet = partial(resnet19, stem=64)
"""As in the code of Deng et al. 2022 (TET), whose stem has 64 channels."""
