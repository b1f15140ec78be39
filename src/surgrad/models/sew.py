"""SEW-ResNet (Fang et al. 2021a) and DS-ResNet (Feng et al. 2022): the additions are of spikes, after the neurons."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from surgrad.config.values import Count, Multiplier
from surgrad.errors import BadValue, unknown
from surgrad.layers import PerStep
from surgrad.models.blocks import (
    Block,
    NeuronFactory,
    NormFactory,
    SpikingNetwork,
    conv,
    init_kaiming,
    linear,
    lsg_neuron,
    norm_neuron,
    pooled_head,
    scaled,
    start_at_zero,
)
from surgrad.norm import TDBN, NoNorm, NormNeuron

Connection = Literal["add", "and", "iand"]
CONNECTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "and": torch.mul,
    "iand": lambda branch, shortcut: shortcut * (1 - branch),
}
"""g(branch, shortcut) of spikes. "and" and "iand" keep spikes binary; "add" gives whole numbers up to the number of
blocks plus 1."""


class SpikeBlock(Block):
    """out = g(branch(x), shortcut(x)). The branch ends in a neuron, and so does a shortcut that changes the shape.

    Args:
        branch: maps the block's input to its output's shape.
        shortcut: maps the block's input to its output's shape.
        connect: the name of g in `CONNECTIONS`.

    Raises:
        UnknownName: for an unknown connection.
    """

    inner = ("branch",)

    def __init__(self, branch: nn.Sequential, shortcut: nn.Module, connect: str = "add"):
        super().__init__()
        if connect not in CONNECTIONS:
            raise unknown("connection", connect, CONNECTIONS)
        self.branch = branch
        self.shortcut = shortcut
        self.connect = connect

    def forward(self, x: Tensor) -> Tensor:
        """Spikes [T, N, inputs, H, W] -> spikes [T, N, outputs, H/stride, W/stride]."""
        return CONNECTIONS[self.connect](self.branch(x), self.shortcut(x))

    @torch.no_grad()
    def start_as_identity(self) -> None:
        """Set the weight of the branch's last norm to 0, so that its neuron never fires. With "and" it must always
        fire, and the norm's bias becomes 10, far above the threshold."""
        last = self.branch[-1]
        assert isinstance(last, NormNeuron)
        if isinstance(last.norm, NoNorm):
            raise BadValue("a block starts as the identity by its norm's weight, and 'none' has no weight; use a norm")
        start_at_zero(last.norm)
        if self.connect == "and":
            nn.init.constant_(last.norm.get_parameter("bias"), 10.0)


def sew_resnet(
    classes: int = 1000,
    *,
    in_channels: int = 3,
    steps: int = 4,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
    connect: Connection = "add",
    counts: tuple[Count, Count, Count, Count] = (3, 4, 6, 3),
    expansion: Count = 1,
) -> SpikingNetwork:
    """SEW-ResNet (Fang et al. 2021a): `sew_resnet18`, `sew_resnet34` and `sew_resnet50`.

    A 7×7 stem at stride 2 to 64 channels, max-pooled; `counts` blocks of 64, 128, 256, 512 channels at strides 1, 2,
    2, 2; global average; linear. They have 11.7, 21.8 and 25.6 M parameters.

    The blocks do not start as the identity, as in the published code; `SpikeBlock.start_as_identity` makes them.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
        connect: how a block joins its branch and its shortcut (`CONNECTIONS`).
        counts: the number of blocks of each stage.
        expansion: 1 for basic blocks; more for bottlenecks that end in `expansion` times as many channels.
    """
    first = scaled(64, width_multiplier)
    body: list[nn.Module] = [PerStep(nn.MaxPool2d(3, 2, 1))]
    inputs = first
    for width, count, stride in zip((64, 128, 256, 512), counts, (1, 2, 2, 2), strict=True):
        inner = scaled(width, width_multiplier)
        for step in (stride, *[1] * (count - 1)):
            body.append(_block(inputs, inner, expansion, step, neuron, norm, connect))
            inputs = inner * expansion
    head = nn.Sequential(pooled_head(), linear(inputs, classes))
    fire = norm_neuron(first, neuron, norm)
    return SpikingNetwork(conv(in_channels, first, 7, 2), fire, nn.Sequential(*body), head, steps)


sew_resnet18 = partial(sew_resnet, counts=(2, 2, 2, 2))
"""`sew_resnet` of 18 layers."""
sew_resnet34 = partial(sew_resnet, counts=(3, 4, 6, 3))
"""`sew_resnet` of 34 layers."""
sew_resnet50 = partial(sew_resnet, counts=(3, 4, 6, 3), expansion=4)
"""`sew_resnet` of 50 layers, with bottlenecks."""


def ds_resnet20(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 4,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
) -> SpikingNetwork:
    """The dormant-suppressed ResNet-20 of Feng et al. 2022 (MLF). 4.3 M parameters.

    A stem of 64 channels; three basic blocks each of 64, 128, 256 channels, the last two stages at stride 2, whose
    additions are of spikes; global average; linear. Weights are drawn by Kaiming's normal rule (fan in).

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
    """
    widths = [scaled(c, width_multiplier) for c in (64, 128, 256)]
    body = []
    inputs = widths[0]
    for outputs, stride in zip(widths, (1, 2, 2), strict=True):
        for step in (stride, 1, 1):
            body.append(_block(inputs, outputs, 1, step, neuron, norm, "add"))
            inputs = outputs
    head = nn.Sequential(pooled_head(), linear(inputs, classes))
    fire = norm_neuron(widths[0], neuron, norm)
    network = SpikingNetwork(conv(in_channels, widths[0]), fire, nn.Sequential(*body), head, steps)
    init_kaiming(network, linears=True)
    return network


def _block(
    inputs: int, inner: int, expansion: int, stride: int, neuron: NeuronFactory, norm: NormFactory, connect: str
) -> SpikeBlock:
    outputs = inner * expansion
    layers = [(inputs, inner, 3, stride), (inner, outputs, 3, 1)]
    if expansion > 1:
        layers = [(inputs, inner, 1, 1), (inner, inner, 3, stride), (inner, outputs, 1, 1)]
    branch: list[nn.Module] = []
    for a, b, kernel, step in layers:
        branch += [conv(a, b, kernel, step), norm_neuron(b, neuron, norm)]
    shortcut: nn.Module = nn.Identity()
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), norm_neuron(outputs, neuron, norm))
    return SpikeBlock(nn.Sequential(*branch), shortcut, connect)
