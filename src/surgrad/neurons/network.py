"""Functions on all neurons of a network, and the readout of its output."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from surgrad.broadcasting import broadcast_channels
from surgrad.errors import BadValue
from surgrad.neurons.base import Neuron
from surgrad.padding import time_mean
from surgrad.state import reset


class Readout(nn.Module):
    """The output of a layer that does not fire: the average over time of its input, [T, N, C] -> [N, C].

    It is computed in float32 or better (Lian et al. 2023, section 3: the last layer accumulates its currents and does
    not fire).

    For predictions. The losses take all steps [T, N, classes] and average them, since TET needs each step.
    """

    def forward(self, x: Tensor) -> Tensor:
        return time_mean(x.to(torch.promote_types(x.dtype, torch.float32)))


class LeakyReadout(nn.Module):
    """The potentials of a layer that leaks and does not fire: u_t = β·u_{t-1} + I_t, u_0 = 0.

    [T, N, C] -> the same shape. It serves targets of every time step, regression, or classes by the last step or by the
    mean. It is computed in float32 or better, and needs the whole sequence in one call.

    Args:
        decay: β at the start, in (0, 1).
        train: train β = σ(b) with the parameter b (`logit_decay`).
        channels: C for one β per channel; None for one of the whole layer.

    Raises:
        BadValue: for a decay outside (0, 1).

    Example:
        >>> readout = LeakyReadout(0.5)
        >>> readout(torch.ones(3, 1, 1)).flatten().tolist()
        [1.0, 1.5, 1.75]
    """

    supports_streaming = False

    def __init__(self, decay: float = 0.9, *, train: bool = True, channels: int | None = None):
        super().__init__()
        if not 0 < decay < 1:
            raise BadValue(f"decay must be between 0 and 1, got {decay}; without a leak, use Readout")
        logit = torch.logit(torch.full(() if channels is None else (channels,), decay))
        self.logit_decay = nn.Parameter(logit, requires_grad=train)

    @property
    def decay(self) -> Tensor:
        """β: 0-d, or [C]."""
        return torch.sigmoid(self.logit_decay)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        decay = broadcast_channels(self.decay, x[0])
        potentials = [x[0]]
        for current in x[1:]:
            potentials.append(decay * potentials[-1] + current)
        return torch.stack(potentials)


def neurons(model: nn.Module) -> dict[str, Neuron]:
    """Every neuron of a model by its module path, in the order of definition, which begins at the input."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Neuron)}


@torch.no_grad()
def keep_positive(network: nn.Module, least: float = 1e-3) -> None:
    """Set the thresholds that neurons train to `least` or above, since optimizers do not enforce positivity.

    Args:
        network: the network.
        least: the smallest value, in the parameter's units.
    """
    for neuron in neurons(network).values():
        for name in neuron.positive_parameters:
            neuron.get_parameter(name).clamp_(min=least)


def needs_whole_sequence(network: nn.Module) -> dict[str, nn.Module]:
    """The modules, by path, that need all time steps of a sequence in one call.

    These are those with parameters for each step (`per_time_step`), and those that declare it (`supports_streaming` is
    False).
    """
    return {
        name: module
        for name, module in network.named_modules()
        if getattr(module, "per_time_step", False) or not getattr(module, "supports_streaming", True)
    }


@contextmanager
def added_histograms(network: nn.Module) -> Iterator[Callable[[], None]]:
    """Within it, the histograms of several forward passes are added up, for a step that has several.

    It yields a function to call after each pass. At the end the neurons that record histograms hold the sums.

    Args:
        network: the network, in training mode.

    Example:
        >>> from surgrad import LIF
        >>> neuron = LIF()
        >>> neuron.record_histogram = True
        >>> with added_histograms(neuron) as add:
        ...     for _ in range(3):
        ...         spikes = neuron(torch.ones(2, 1, 5))
        ...         add()
        >>> neuron.histogram.sum().item()
        30
    """
    recording = {name: neuron for name, neuron in neurons(network).items() if neuron.recording}
    counts: dict[str, Tensor] = {}

    def add() -> None:
        for name, neuron in recording.items():
            assert neuron.histogram is not None
            counts[name] = neuron.histogram + counts.get(name, 0)

    try:
        yield add
    finally:
        for name, total in counts.items():
            recording[name].histogram = total


@contextmanager
def streaming(network: nn.Module) -> Iterator[None]:
    """Within it, the time steps of a sequence may come in several calls: potentials are carried.

    The network is reset at the start and at the end; `reset` begins a new sequence.

    Raises:
        BadValue: where a module needs the whole sequence in one call (`needs_whole_sequence`).
    """
    whole = needs_whole_sequence(network)
    if whole:
        name, module = next(iter(whole.items()))
        raise BadValue(
            f"'{name}' ({type(module).__name__}) needs all time steps of a sequence in one call, and here they come in "
            "several; give the whole sequence at once"
        )
    before = {neuron: neuron.carry for neuron in neurons(network).values()}
    reset(network)
    try:
        for neuron in before:
            neuron.carry = True
        yield
    finally:
        reset(network)
        for neuron, carry in before.items():
            neuron.carry = carry
