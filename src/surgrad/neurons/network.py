"""What is asked of all neurons of a network, and how its output is read."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from surgrad.neurons.lif import LIF


class Readout(nn.Module):
    """The non-firing output: the average over time of its input, [T, N, C] -> [N, C], in float32 or better
    (Lian et al. 2023, section 3: the last layer accumulates its currents and does not fire).

    For a prediction: the losses take the steps [T, N, classes] and average themselves, since TET needs each."""

    def forward(self, x: Tensor) -> Tensor:
        return x.to(torch.promote_types(x.dtype, torch.float32)).mean(0)


def neurons(model: nn.Module) -> dict[str, LIF]:
    """Every neuron of a model by its module path, in the order of definition, the input's end first."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LIF)}


@torch.no_grad()
def keep_positive(network: nn.Module, least: float = 1e-3) -> None:
    """Keep the parameters of neurons that are thresholds at `least` or above: an optimiser knows no sign."""
    for neuron in neurons(network).values():
        for name in neuron.positive:
            neuron.get_parameter(name).clamp_(min=least)


def needs_whole_sequence(network: nn.Module) -> dict[str, nn.Module]:
    """By path, the modules that need all steps of a sequence in one call: those that do another thing in every step
    (`per_time_step`), and those that say so (`supports_streaming`)."""
    return {
        name: module
        for name, module in network.named_modules()
        if getattr(module, "per_time_step", False) or not getattr(module, "supports_streaming", True)
    }


@contextmanager
def streaming(network: nn.Module) -> Iterator[None]:
    """Within it, the steps of a sequence may come in several calls: potentials are carried, from rest at its start.
    `reset` begins a new sequence."""
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


def reset(network: nn.Module) -> None:
    """Forget the potentials that this network's neurons carry; touches no other network."""
    for neuron in neurons(network).values():
        neuron.potential = None


def detach(network: nn.Module) -> None:
    """Cut the gradient of the potentials that this network's neurons carry (truncated backpropagation through
    time); touches no other network."""
    for neuron in neurons(network).values():
        if neuron.potential is not None:
            neuron.potential = neuron.potential.detach()
