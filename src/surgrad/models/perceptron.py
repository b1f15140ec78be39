"""A network of linear layers, for samples of any number of dimensions."""

from itertools import pairwise
from typing import Annotated

from torch import nn

from surgrad.config.values import Count, Multiplier, Range
from surgrad.layers import PerStep
from surgrad.models.blocks import NeuronFactory, NormFactory, SpikingNetwork, linear, lsg_neuron, norm_neuron, scaled
from surgrad.norm import TDBN


def mlp(
    classes: int = 10,
    *,
    in_channels: int = 1,
    image_size: int = 28,
    features: int | None = None,
    sample_dims: int = 3,
    steps: int = 4,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    hidden: Count = 128,
    layers: Annotated[int, Range(1, 1000)] = 2,
    width_multiplier: Multiplier = 1.0,
) -> SpikingNetwork:
    """Hidden linear layers, each with a norm and neurons, and a linear layer for the output. 0.12 M parameters.

    The samples are features [C], recordings of channels [C, L], or images [C, H, W]; they are flattened.

    Args:
        classes: the number of classes of the output.
        in_channels: C.
        image_size: L, or H = W.
        features: the number of values of a sample at one time step; None: that of `in_channels` and `image_size`.
        sample_dims: the number of dimensions of a sample: 1 for [C], 2 for [C, L], 3 for [C, H, W].
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        hidden: the number of neurons of each hidden layer.
        layers: the number of hidden layers.
        width_multiplier: factor of `hidden`.
    """
    inputs = in_channels * image_size ** (sample_dims - 1) if features is None else features
    widths = [scaled(hidden, width_multiplier)] * layers
    stem = PerStep(nn.Flatten(), nn.Linear(inputs, widths[0], bias=False))
    body: list[nn.Module] = []
    for a, b in pairwise(widths):
        body += [linear(a, b, bias=False), norm_neuron(b, neuron, norm)]
    fire = norm_neuron(widths[0], neuron, norm)
    return SpikingNetwork(stem, fire, nn.Sequential(*body), linear(widths[-1], classes), steps, sample_dims)
