"""Penalties: what a training adds to its loss for the potentials of its neurons.

A penalty is a pure function of one layer's potentials u [T, N, C, ...], before their reset, its spikes, and the neuron,
which knows threshold, width and surrogate; it gives a 0-d tensor. To add one: write it, and add it to `PENALTIES`.

    penalise(network, "im_loss", inner=False)          # once
    loss = cross_entropy(network(images), labels) + 2.0 * penalty(network)
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from surgrad.errors import BadValue, unknown
from surgrad.models import Block
from surgrad.neurons import Neuron, neurons

Penalty = Callable[[Tensor, Tensor, Neuron], Tensor]


def im_loss(potentials: Tensor, spikes: Tensor, neuron: Neuron) -> Tensor:
    """Information maximisation (Guo et al. 2022a, IM-Loss): (mean u - v_th)², over all of a layer. A spike tells most
    where it comes half of the time, which is where the potentials' middle is the threshold. The authors'
    published code has 0.5/T in place of v_th; this is the paper's."""
    return (potentials.mean() - neuron.threshold.mean()).square()


def recdis(potentials: Tensor, spikes: Tensor, neuron: Neuron) -> Tensor:
    """The membrane potential distribution loss of RecDis-SNN (Guo et al. 2022b), as we read it: the formula is in no
    text at hand, and only its three aims are known. z = (u - v_th)/k, k the half-width of the surrogate's window
    (that of 90 % of its mass, where it has tails), μ and σ its mean and deviation in a channel:

        (|μ| - σ)₊² (degeneration: all on one side) + (|μ| + σ - 1)₊² (saturation: out of the window)
            + (¼ - |μ| - σ)₊² (mismatch: all at the step),   averaged over the channels."""
    half = neuron.surrogate.function.window(neuron.surrogate.width.detach())
    others = [axis for axis in range(potentials.ndim) if axis != 2]
    mean = potentials.mean(others)
    square = potentials.square().mean(others)
    variance = (square - mean.square()).clamp(min=0) + 1e-12  # a silent channel has no spread, and a root no slope at 0
    middle = ((mean - neuron.threshold) / half).abs()
    spread = variance.sqrt() / half
    faults = (middle - spread, middle + spread - 1, 0.25 - middle - spread)
    return torch.stack([fault.relu().square() for fault in faults]).sum(0).mean()


def rmp_loss(potentials: Tensor, spikes: Tensor, neuron: Neuron) -> Tensor:
    """Regularised membrane potentials (Guo et al. 2023, RMP-Loss): mean (u - o)², the error of writing a potential as
    a spike."""
    return (potentials - spikes).square().mean()


PENALTIES: dict[str, Penalty] = {"im_loss": im_loss, "recdis": recdis, "rmp_loss": rmp_loss}


def penalise(network: nn.Module, by: str | Penalty, *, inner: bool = True) -> None:
    """Ask every neuron of the network for that penalty from now on, in training; with inner=False, those inside
    residual blocks excepted."""
    if isinstance(by, str):
        if by not in PENALTIES:
            raise unknown("penalty", by, PENALTIES)
        by = PENALTIES[by]
    blocks = [m for m in network.modules() if isinstance(m, Block)]
    within = {id(n) for block in blocks for part in block.inner for n in neurons(block.get_submodule(part)).values()}
    for neuron in neurons(network).values():
        neuron.penalty_fn = by if inner or id(neuron) not in within else None


def penalty(network: nn.Module) -> Tensor:
    """The sum over the neurons of what the last forward pass in training was penalised, 0-d."""
    found = [neuron.penalty for neuron in neurons(network).values() if neuron.penalty is not None]
    if not found:
        raise BadValue(
            "no neuron of this network holds a penalty; call penalise(network, ...), then the network, in training mode"
        )
    return torch.stack(found).sum()
