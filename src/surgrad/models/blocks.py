"""What the networks are made of, and how a static image enters them."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from surgrad.errors import BadValue
from surgrad.kernels.packing import packed_spikes
from surgrad.layers import PerStep
from surgrad.neurons import LIF, streaming
from surgrad.norm import NoNorm, NormNeuron
from surgrad.surrogates import Surrogate

NeuronFactory = Callable[[], nn.Module]
NormFactory = Callable[[int], nn.Module]


def lsg_neuron() -> LIF:
    """The neuron of Lian et al. 2023: threshold 0.5, a trained decay that starts at 0.2, a rectangle of the width
    2·v_th·√(1 + 0.2²) that LSG starts with."""
    return LIF(0.2, train_decay=True, surrogate=Surrogate("rect", math.sqrt(1 + 0.2**2)))


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, bias: bool = False) -> PerStep:
    """A convolution of every step that keeps the size (at stride 1)."""
    return PerStep(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias))


def linear(inputs: int, outputs: int, *, bias: bool = True) -> PerStep:
    """A linear layer of every step: [T, N, inputs] -> [T, N, outputs]."""
    return PerStep(nn.Linear(inputs, outputs, bias=bias))


class SpikingNetwork(nn.Module):
    """A network of a `stem` (the first convolution), the neurons that `fire` on it with their norm, a `body` (neurons
    and layers) and a `head`.

    Input: static images [N, C, H, W], shown for `steps` steps, of which stem and norm are computed once; or
    recordings [T, N, C, H, W]. Output: [T, N, classes]; average over T for the prediction.

    coding: makes recordings of images first (`surgrad.coding`); None shows them as they are.

    While `pack_spikes` is set, the backward pass keeps spikes as bits (`surgrad.kernels.packing`). While `last_step` is
    set, the output is the last step's alone, [1, N, classes]; while `duplicate_batch` is set, the head sees every
    sample twice in training, for dropout to choose anew: [T, 2N, classes], one half after the other, for
    `surgrad.losses.rdrop`."""

    def __init__(self, stem: nn.Module, fire: NormNeuron, body: nn.Module, head: nn.Module, steps: int):
        super().__init__()
        if steps < 1:
            raise BadValue(f"steps {steps} is not a number of time steps; give 1 or more")
        self.stem = stem
        self.fire = fire
        self.body = body
        self.head = head
        self.steps = steps
        self.pack_spikes = self.last_step = self.duplicate_batch = False
        self.coding: nn.Module | None = None

    def encoded(self, x: Tensor) -> Tensor:
        """Images as the recording that `coding` makes of them, where there is one; all else as it is."""
        return x if self.coding is None or x.ndim != 4 else self.coding(x, self.steps)

    def forward(self, x: Tensor) -> Tensor:
        if self.pack_spikes:
            with packed_spikes():
                return self._run(x)
        return self._run(x)

    def _run(self, x: Tensor) -> Tensor:
        x = self.encoded(x)
        static = x.ndim == 4
        current = self.stem(x.unsqueeze(0) if static else x)
        features = self.body(self.fire(current, steps=self.steps if static else None))
        if self.duplicate_batch and self.training:
            features = torch.cat([features, features], 1)
        out = self.head(features)
        return out[-1:] if self.last_step else out


def in_chunks(network: SpikingNetwork, x: Tensor, steps: int, chunk: int = 10) -> Tensor:
    """The outputs [T, N, classes] of a network in `steps` steps of an image, or in those of a recording, computed
    `chunk` steps at a time, each going on from the last one's potentials: memory does not grow with the steps."""
    before = network.steps
    last = network.last_step
    outputs = []
    try:
        network.steps = steps
        network.last_step = False
        x = network.encoded(x)
        steps = steps if x.ndim == 4 else len(x)
        with streaming(network):
            for done in range(0, steps, chunk):
                network.steps = min(chunk, steps - done)
                outputs.append(network(x if x.ndim == 4 else x[done : done + chunk]).float())
    finally:
        network.steps = before
        network.last_step = last
    out = torch.cat(outputs)
    return out[-1:] if last else out


class Block(nn.Module):
    """A residual block. `inner`: its modules whose neurons lie inside it, before the addition."""

    inner: tuple[str, ...]


class ResidualBlock(Block):
    """conv-norm-neuron-conv-norm, plus the shortcut, then a neuron: the spike comes after the addition.

    shortcut: maps the block's input to its output's shape, normalised after it; None for the identity.
    summand: the norm of what is added; `norm` by default."""

    inner = ("fire1",)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        neuron: NeuronFactory,
        norm: NormFactory,
        shortcut: nn.Module | None = None,
        summand: NormFactory | None = None,
    ):
        super().__init__()
        summand = summand or norm
        self.conv1 = conv(inputs, outputs, stride=stride)
        self.fire1 = NormNeuron(norm(outputs), neuron())
        self.conv2 = conv(outputs, outputs)
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.fire2 = NormNeuron(summand(outputs), neuron(), None if shortcut is None else summand(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.fire2(self.conv2(self.fire1(self.conv1(x))), self.shortcut(x))


def basic_stages(
    inputs: int,
    widths: list[int],
    counts: tuple[int, ...],
    strides: tuple[int, ...],
    neuron: NeuronFactory,
    norm: NormFactory,
    summand: NormFactory | None,
) -> list[nn.Module]:
    """Stages of `ResidualBlock`s: so many of each width, the first of a stage at its stride; a 1×1 convolution is the
    shortcut where the shape changes."""
    blocks: list[nn.Module] = []
    for outputs, count, stride in zip(widths, counts, strides, strict=True):
        for step in (stride, *[1] * (count - 1)):
            shortcut = conv(inputs, outputs, 1, step) if step != 1 or inputs != outputs else None
            blocks.append(ResidualBlock(inputs, outputs, step, neuron, norm, shortcut, summand))
            inputs = outputs
    return blocks


class MembraneBlock(Block):
    """norm-neuron-conv, twice, added to the block's input: the shortcut carries currents instead of spikes, and no
    surrogate stands in it (the membrane shortcut of Hu et al. 2024, MS-ResNet, with each norm moved before its neuron,
    where the two are one pass). channels: of input and output, currents [T, N, channels, H, W]."""

    inner = ("fire1", "fire2")

    def __init__(self, channels: int, neuron: NeuronFactory, norm: NormFactory):
        super().__init__()
        self.fire1 = NormNeuron(norm(channels), neuron())
        self.conv1 = conv(channels, channels)
        self.fire2 = NormNeuron(norm(channels), neuron())
        self.conv2 = conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.fire2(self.conv1(self.fire1(x))))


def start_at_zero(norm: nn.Module) -> None:
    """Give a norm, the last of a residual branch, weight 0, so that its block starts as the identity; "none" has no
    weight, and such a block starts as any."""
    if not isinstance(norm, NoNorm):
        nn.init.zeros_(norm.get_parameter("weight"))


def scaled(channels: int, multiplier: float) -> int:
    """Channels times the width multiplier, at least 1."""
    return max(1, round(channels * multiplier))


def pooled_head() -> PerStep:
    """Global average pooling: [T, N, C, H, W] -> [T, N, C]."""
    return PerStep(nn.AdaptiveAvgPool2d(1), nn.Flatten())
