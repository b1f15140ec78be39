"""The parts that networks are made of, and how static images and sequences enter them."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from surgrad.errors import BadValue
from surgrad.kernels.packing import packed_spikes
from surgrad.layers import PerStep
from surgrad.models.recomputing import run_in_blocks
from surgrad.neurons import LIF, streaming
from surgrad.norm import NoNorm, NormNeuron
from surgrad.noted import Noted
from surgrad.padding import last_step
from surgrad.surrogates import Surrogate

NeuronFactory = Callable[[int], nn.Module] | Callable[[], nn.Module]
"""Makes the neuron of one layer: neuron(channels), or neuron() (see `make_neuron`)."""
NormFactory = Callable[..., nn.Module]
"""Makes the norm of one layer: norm(channels); with a tdBN, norm(channels, alpha=...) too (see `summand_norm`)."""


def make_neuron(factory: NeuronFactory, channels: int) -> nn.Module:
    """Make the neuron of a layer.

    A factory with a required positional argument is called with the number of channels. A factory that can be called
    without arguments is called without, and so its neuron has one decay, threshold and width for the whole layer:

        lambda channels: LIF(channels=channels)    # one of each per channel
        LIF, lambda: LIF(0.5), nn.ReLU             # one of each per layer

    Args:
        factory: makes a new neuron in every call.
        channels: the number of channels, or of features, of the tensor that the neuron receives.
    """
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(factory).parameters.values()
    if any(parameter.kind in positional and parameter.default is parameter.empty for parameter in parameters):
        return cast(Callable[[int], nn.Module], factory)(channels)
    return cast(Callable[[], nn.Module], factory)()


def norm_neuron(channels: int, neuron: NeuronFactory, norm: NormFactory) -> NormNeuron:
    """A norm of that many channels and the neuron that follows it."""
    return NormNeuron(norm(channels), make_neuron(neuron, channels))


def summand_norm(norm: NormFactory, alpha: float) -> NormFactory:
    """The norm factory for the summands of residual additions: the same norm, with tdBN's α where that is not 1.

    Args:
        norm: the network's norm factory; it must have a parameter `alpha` (as `TDBN` has) unless `alpha` is 1.
        alpha: α of the summands. Zheng et al. 2021 state 1/√2; the codes that LSG is compared with use 1.

    Raises:
        BadValue: the norm has no parameter `alpha`.
    """
    if alpha == 1:
        return norm
    if "alpha" not in inspect.signature(norm).parameters:
        raise BadValue(
            f"summand_alpha = {alpha:g} is tdBN's scale of the summands of residual additions, and this norm has no "
            "'alpha'; give summand_alpha = 1, or the norm tdbn"
        )
    return partial(norm, alpha=alpha)


def lsg_neuron(channels: int | None = None) -> LIF:
    """The neuron of Lian et al. 2023 (LSG): threshold 0.5, and a trained decay that starts at 0.2.

    Its surrogate is a rectangle of the width 2·v_th·√(1 + 0.2²), with which LSG starts.

    Args:
        channels: the number of channels, for one decay, threshold and width per channel; None for one per layer, as in
            the paper. `neuron=lsg_neuron` builds a network with one per layer, and
            `neuron=lambda channels: lsg_neuron(channels)` with one per channel.
    """
    width = math.sqrt(1 + 0.2**2)
    widths = width if channels is None else torch.full((channels,), width)
    return LIF(0.2, train_decay=True, surrogate=Surrogate("rect", widths), channels=channels)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, bias: bool = False) -> PerStep:
    """A 2-D convolution of every time step, padded so that stride 1 keeps the size: [T, N, inputs, H, W] -> [T, N,
    outputs, H/stride, W/stride]."""
    return PerStep(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias))


def linear(inputs: int, outputs: int, *, bias: bool = True) -> PerStep:
    """A linear layer of every time step: [T, N, inputs] -> [T, N, outputs]."""
    return PerStep(nn.Linear(inputs, outputs, bias=bias))


class SpikingNetwork(Noted):
    """A spiking network: a `stem` (the first layer), a norm and neurons on it (`fire`), a `body` and a `head`.

    The input is static, [N, C, H, W], or a sequence, [T, N, C, H, W]. A static input is shown for `steps` time steps;
    stem and norm are computed once for it. The output is [T, N, classes]; average it over T for a prediction.

    Samples of other dimensions work too: with `sample_dims` 2 the input is [N, C, L] or [T, N, C, L], and with 1 it is
    [N, features] or [T, N, features].

    Args:
        stem: the first layer, on [T, N, ...], with T = 1 for static input.
        fire: the norm and the neuron that follow the stem.
        body: the layers between; they map [T, N, ...] to [T, N, ...].
        head: the last layers; they end in [T, N, classes].
        steps: the number of time steps for which a static input is shown.
        sample_dims: the number of dimensions of one sample at one time step: 3 for [C, H, W], 2 for [C, L], 1 for
            features.

    Attributes:
        pack_spikes: whether the backward pass keeps spikes as bits (`surgrad.kernels.packing`).
        checkpoint: whether the backward pass computes the activations of each block of the body again, and keeps those
            between the blocks alone (`surgrad.models.recomputing`).
        last_step: whether the output is that of the last time step alone, [1, N, classes].
        duplicate_batch: whether, in training, the head receives every sample twice, so that its dropout draws twice:
            the output is [T, 2N, classes], the second draws after the first ones. For `surgrad.losses.rdrop`.
        coding: encodes static input as a sequence (`surgrad.coding`); None shows it unchanged in every step.

    Raises:
        BadValue: for a number of steps or of dimensions below 1.
    """

    def __init__(
        self,
        stem: nn.Module,
        fire: NormNeuron,
        body: nn.Module,
        head: nn.Module,
        steps: int,
        sample_dims: int = 3,
    ):
        super().__init__()
        if steps < 1:
            raise BadValue(f"steps must be at least 1, got {steps}")
        if sample_dims < 1:
            raise BadValue(f"sample_dims must be at least 1 (features, channels first), got {sample_dims}")
        self.stem = stem
        self.fire = fire
        self.body = body
        self.head = head
        self.steps = steps
        self.sample_dims = sample_dims
        self.pack_spikes = False
        self.checkpoint = False
        self.last_step = False
        self.duplicate_batch = False
        self.coding: nn.Module | None = None

    def notes(self) -> dict[str, str | int | bool]:
        """See `surgrad.noted.Noted`."""
        coding = "direct" if self.coding is None else type(self.coding).__name__
        return {"steps": self.steps, "last_step": self.last_step, "coding": coding}

    def is_sequence(self, x: Tensor) -> bool:
        """Whether an input has a time axis: [T, N, ...] and not [N, ...].

        Raises:
            BadValue: the input has neither of these shapes.
        """
        if x.ndim - self.sample_dims not in (1, 2):
            sample = {1: "features", 2: "C, L", 3: "C, H, W"}.get(self.sample_dims, f"{self.sample_dims} dimensions")
            raise BadValue(
                f"input {list(x.shape)} does not fit this network; give static samples [N, {sample}], or sequences "
                f"[T, N, {sample}]"
            )
        return x.ndim == self.sample_dims + 2

    def time_steps(self, x: Tensor) -> int:
        """The number of time steps that the network runs for an input: T of a sequence, else `steps`."""
        return len(x) if self.is_sequence(x) else self.steps

    def encoded(self, x: Tensor) -> Tensor:
        """The sequence that `coding` makes of static input; any other input unchanged."""
        return x if self.coding is None or self.is_sequence(x) else self.coding(x, self.steps)

    def forward(self, x: Tensor) -> Tensor:
        """[N, ...] or [T, N, ...] -> [T, N, classes]."""
        if self.pack_spikes:
            with packed_spikes():
                return self._run(x)
        return self._run(x)

    def _run(self, x: Tensor) -> Tensor:
        x = self.encoded(x)
        static = not self.is_sequence(x)
        current = self.stem(x.unsqueeze(0) if static else x)
        spikes = self.fire(current, steps=self.steps if static else None)
        features = run_in_blocks(self.body, spikes) if self.checkpoint else self.body(spikes)
        if self.duplicate_batch and self.training:
            features = torch.cat([features, features], 1)
        out = self.head(features)
        return last_step(out) if self.last_step else out


def in_chunks(network: SpikingNetwork, x: Tensor, steps: int, chunk: int = 10) -> Tensor:
    """The output of a network, computed `chunk` time steps at a time, so that memory does not grow with the steps.

    Every chunk continues from the potentials of the one before.

    Args:
        network: the network; none of its modules may need the whole sequence in one call.
        x: static input, or a sequence.
        steps: T for static input; a sequence has its own T.
        chunk: the number of time steps of one call.

    Returns:
        [T, N, classes]; [1, N, classes] where the network's output is that of the last time step.
    """
    before = network.steps
    last = network.last_step
    outputs = []
    try:
        network.steps = steps
        network.last_step = False
        x = network.encoded(x)
        sequence = network.is_sequence(x)
        steps = network.time_steps(x)
        with streaming(network):
            for done in range(0, steps, chunk):
                network.steps = min(chunk, steps - done)
                outputs.append(network(x[done : done + chunk] if sequence else x).float())
    finally:
        network.steps = before
        network.last_step = last
    out = torch.cat(outputs)
    return out[-1:] if last else out


class Block(nn.Module):
    """A residual block.

    Attributes:
        inner: the names of its modules whose neurons lie inside the block, before the addition.
    """

    inner: tuple[str, ...]


class ResidualBlock(Block):
    """conv-norm-neuron-conv-norm, plus the shortcut, then a neuron: spikes are made after the addition.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        stride: of the first convolution.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        shortcut: maps the block's input to the shape of its output, and gets a norm; None for the identity.
        summand: the norm factory for both summands of the addition; `norm` by default.
    """

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
        self.fire1 = norm_neuron(outputs, neuron, norm)
        self.conv2 = conv(outputs, outputs)
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.fire2 = NormNeuron(
            summand(outputs), make_neuron(neuron, outputs), None if shortcut is None else summand(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Spikes [T, N, inputs, H, W] -> spikes [T, N, outputs, H/stride, W/stride]."""
        return self.fire2(self.conv2(self.fire1(self.conv1(x))), self.shortcut(x))


def basic_stages(
    inputs: int,
    widths: list[int],
    counts: tuple[int, ...],
    strides: tuple[int, ...],
    neuron: NeuronFactory,
    norm: NormFactory,
    summand: NormFactory,
) -> list[nn.Module]:
    """Stages of `ResidualBlock`s. Where the shape changes, the shortcut is a 1×1 convolution.

    Args:
        inputs: channels before the first stage.
        widths: per stage, its channels.
        counts: per stage, its number of blocks.
        strides: per stage, the stride of its first block.
        neuron: the neuron factory.
        norm: the norm factory.
        summand: the factory of the norms of the summands.
    """
    blocks: list[nn.Module] = []
    for outputs, count, stride in zip(widths, counts, strides, strict=True):
        for step in (stride, *[1] * (count - 1)):
            shortcut = conv(inputs, outputs, 1, step) if step != 1 or inputs != outputs else None
            blocks.append(ResidualBlock(inputs, outputs, step, neuron, norm, shortcut, summand))
            inputs = outputs
    return blocks


class MembraneBlock(Block):
    """norm-neuron-conv, twice, added to the block's input: currents [T, N, channels, H, W] -> the same shape.

    The shortcut carries currents and not spikes, and no surrogate lies on it. It is the membrane shortcut of Hu et al.
    2024 (MS-ResNet), with each norm moved to the front of its neuron, so that norm and neuron are one fused pass.

    Args:
        channels: of input and output.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
    """

    inner = ("fire1", "fire2")

    def __init__(self, channels: int, neuron: NeuronFactory, norm: NormFactory):
        super().__init__()
        self.fire1 = norm_neuron(channels, neuron, norm)
        self.conv1 = conv(channels, channels)
        self.fire2 = norm_neuron(channels, neuron, norm)
        self.conv2 = conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Currents [T, N, channels, H, W] -> the same shape."""
        return x + self.conv2(self.fire2(self.conv1(self.fire1(x))))


def start_at_zero(norm: nn.Module) -> None:
    """Set the weight of the last norm of a residual branch to 0, so that its block starts as the identity. `NoNorm` has
    no weight and stays unchanged."""
    if not isinstance(norm, NoNorm):
        nn.init.zeros_(norm.get_parameter("weight"))


def init_kaiming(
    module: nn.Module,
    mode: Literal["fan_in", "fan_out"] = "fan_in",
    *,
    convolutions: bool = True,
    linears: bool = False,
) -> None:
    """Draw weights by Kaiming's normal rule for ReLU, with standard deviation √(2/fan), in the order of `modules()`.

    Args:
        module: its layers of these kinds; their biases stay unchanged.
        mode: which fan: the inputs of an output, or the outputs of an input.
        convolutions: whether 2-d convolutions are drawn.
        linears: whether linear layers are drawn.
    """
    for layer in module.modules():
        if (convolutions and isinstance(layer, nn.Conv2d)) or (linears and isinstance(layer, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")


def scaled(channels: int, multiplier: float) -> int:
    """Channels times the width multiplier, at least 1."""
    return max(1, round(channels * multiplier))


def pooled_side(image_size: int, poolings: int) -> int:
    """The side of an image after a number of halvings.

    Raises:
        BadValue: the image is too small for them.
    """
    if image_size < 2**poolings:
        raise BadValue(f"image_size {image_size} is too small for {poolings} poolings; give at least {2**poolings}")
    return image_size // 2**poolings


def pooled_head() -> PerStep:
    """Global average pooling: [T, N, C, H, W] -> [T, N, C]."""
    return PerStep(nn.AdaptiveAvgPool2d(1), nn.Flatten())
