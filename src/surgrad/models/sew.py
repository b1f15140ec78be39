"""SEW-ResNet (Fang et al. 2021a) and DS-ResNet (Feng et al. 2022): spikes are added behind their neurons."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from surgrad.errors import BadValue, unknown
from surgrad.layers import PerStep
from surgrad.models.blocks import (
    Block,
    NeuronFactory,
    NormFactory,
    SpikingNetwork,
    conv,
    linear,
    lsg_neuron,
    pooled_head,
    scaled,
    start_at_zero,
)
from surgrad.norm import TDBN, NoNorm, NormNeuron

CONNECTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "and": torch.mul,
    "iand": lambda branch, shortcut: shortcut * (1 - branch),
}
"""g(branch, shortcut) of spikes; only "add" leaves 0 and 1, up to the number of blocks and one more."""


class SpikeBlock(Block):
    """out = g(branch(x), shortcut(x)): the branch ends in a neuron, and so does a shortcut that changes the shape.

    connect: one of `CONNECTIONS`."""

    inner = ("branch",)

    def __init__(self, branch: nn.Sequential, shortcut: nn.Module, connect: str = "add"):
        super().__init__()
        if connect not in CONNECTIONS:
            raise unknown("connection", connect, CONNECTIONS)
        self.branch = branch
        self.shortcut = shortcut
        self.connect = connect

    def forward(self, x: Tensor) -> Tensor:
        return CONNECTIONS[self.connect](self.branch(x), self.shortcut(x))

    @torch.no_grad()
    def start_as_identity(self) -> None:
        """Give the branch's last norm weight 0, so that its neuron never fires; for "and", where it must always fire, a
        bias far above the threshold too."""
        last = self.branch[-1]
        assert isinstance(last, NormNeuron)
        if isinstance(last.norm, NoNorm):
            raise BadValue("a block starts as the identity by its norm's weight, and this one has none; give a norm")
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
    width_multiplier: float = 1.0,
    connect: str = "add",
    counts: tuple[int, ...] = (3, 4, 6, 3),
    expansion: int = 1,
) -> SpikingNetwork:
    """Stem 7×7 at stride 2 to 64 channels, max-pooled; `counts` blocks of 64, 128, 256, 512 channels at strides 1, 2,
    2, 2, basic (expansion 1) or bottlenecks to `expansion` times as many; global average; linear.

    `sew_resnet18`, `sew_resnet34` and `sew_resnet50` have 11.7, 21.8 and 25.6 M parameters. To start as the identity:
    `SpikeBlock.start_as_identity`, which the published code leaves undone by default."""
    first = scaled(64, width_multiplier)
    body: list[nn.Module] = [PerStep(nn.MaxPool2d(3, 2, 1))]
    inputs = first
    for width, count, stride in zip((64, 128, 256, 512), counts, (1, 2, 2, 2), strict=True):
        inner = scaled(width, width_multiplier)
        for step in (stride, *[1] * (count - 1)):
            body.append(_block(inputs, inner, expansion, step, neuron, norm, connect))
            inputs = inner * expansion
    head = nn.Sequential(pooled_head(), linear(inputs, classes))
    fire = NormNeuron(norm(first), neuron())
    return SpikingNetwork(conv(in_channels, first, 7, 2), fire, nn.Sequential(*body), head, steps)


sew_resnet18 = partial(sew_resnet, counts=(2, 2, 2, 2))
sew_resnet34 = partial(sew_resnet, counts=(3, 4, 6, 3))
sew_resnet50 = partial(sew_resnet, counts=(3, 4, 6, 3), expansion=4)


def ds_resnet20(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 4,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: float = 1.0,
) -> SpikingNetwork:
    """Dormant-suppressed ResNet-20 of Feng et al. 2022 (MLF): stem of 64; three basic blocks each of 64, 128, 256
    channels, the last two stages at stride 2, whose spikes are added behind their neurons; global average; linear.
    Weights are drawn by Kaiming's normal rule. 4.3 M parameters."""
    widths = [scaled(c, width_multiplier) for c in (64, 128, 256)]
    body = []
    inputs = widths[0]
    for outputs, stride in zip(widths, (1, 2, 2), strict=True):
        for step in (stride, 1, 1):
            body.append(_block(inputs, outputs, 1, step, neuron, norm, "add"))
            inputs = outputs
    head = nn.Sequential(pooled_head(), linear(inputs, classes))
    fire = NormNeuron(norm(widths[0]), neuron())
    network = SpikingNetwork(conv(in_channels, widths[0]), fire, nn.Sequential(*body), head, steps)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
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
        branch += [conv(a, b, kernel, step), NormNeuron(norm(b), neuron())]
    shortcut: nn.Module = nn.Identity()
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), NormNeuron(norm(outputs), neuron()))
    return SpikeBlock(nn.Sequential(*branch), shortcut, connect)
