"""Penalties on the potentials of neurons, which a training adds to its loss.

    penalise(network, "im_loss", inner=False)          # once
    loss = cross_entropy(network(images), labels) + 2.0 * penalty(network)

A penalty is a pure function of one layer's potentials u [T, N, C, ...] before their reset, its spikes, and the neuron,
which has threshold, width and surrogate function. It returns a 0-d tensor.

To add one: write a function of (potentials, spikes, neuron) and of its options, each annotated with its range
(`surgrad.config.values`), and add it to `PENALTIES`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from surgrad import ranks
from surgrad.config.registry import Registry
from surgrad.errors import BadValue
from surgrad.models import Block
from surgrad.neurons import Neuron, neurons

Penalty = Callable[..., Tensor]
"""penalty(potentials, spikes, neuron, **options) -> 0-d."""


def im_loss(potentials: Tensor, spikes: Tensor, neuron: Neuron) -> Tensor:
    """Information maximisation (Guo et al. 2022a, IM-Loss): (mean u - v_th)², over all of a layer.

    A spike carries most information at a firing rate of ½, that is where the median of the potentials is the threshold.
    The formula is the paper's; the authors' published code has 0.5/T in place of v_th.

    Args:
        potentials: u of one layer before the reset, [T, N, C, ...].
        spikes: not used.
        neuron: the layer; its threshold is used.

    Returns:
        The penalty, 0-d.
    """
    return (ranks.mean(potentials) - neuron.threshold.mean()).square()


def recdis(potentials: Tensor, spikes: Tensor, neuron: Neuron) -> Tensor:
    """The membrane potential distribution loss of RecDis-SNN (Guo et al. 2022b), in our reading.

    We have no text with its formula, and know only its three aims. With z = (u - v_th)/k, where k is the half-width of
    the surrogate's window (that of 90 % of its mass, where it has tails), and with the mean μ and the deviation σ of z
    in a channel:

        (|μ| - σ)₊²        degeneration: all potentials on one side of the threshold
      + (|μ| + σ - 1)₊²    saturation: potentials outside the window
      + (¼ - |μ| - σ)₊²    mismatch: all potentials at the threshold

    averaged over the channels.

    Args:
        potentials: u of one layer before the reset, [T, N, C, ...].
        spikes: not used.
        neuron: the layer; its threshold and its surrogate are used.

    Returns:
        The penalty, 0-d.
    """
    half = neuron.surrogate.function.window(neuron.surrogate.positive_width.detach())
    others = [axis for axis in range(potentials.ndim) if axis != 2]
    mean = ranks.mean(potentials, others)
    square = ranks.mean(potentials.square(), others)
    variance = (square - mean.square()).clamp(min=0) + 1e-12  # for a silent channel: a root has no slope at 0
    middle = ((mean - neuron.threshold) / half).abs()
    spread = variance.sqrt() / half
    faults = (middle - spread, middle + spread - 1, 0.25 - middle - spread)
    return torch.stack([fault.relu().square() for fault in faults]).sum(0).mean()


def rmp_loss(potentials: Tensor, spikes: Tensor, neuron: Neuron) -> Tensor:
    """Regularised membrane potentials (Guo et al. 2023, RMP-Loss): mean (u - o)².

    It is the error of representing a potential by a spike.

    Args:
        potentials: u of one layer before the reset, [T, N, C, ...].
        spikes: o, of the same shape.
        neuron: not used.

    Returns:
        The penalty, 0-d.
    """
    return (potentials - spikes).square().mean()


_PENALTIES: dict[str, Penalty] = {"im_loss": im_loss, "recdis": recdis, "rmp_loss": rmp_loss}
PENALTIES = Registry("penalty", _PENALTIES, context=("potentials", "spikes", "neuron"))


def penalise(network: nn.Module, by: str | Penalty, *, inner: bool = True, **options: Any) -> None:
    """From now on, compute a penalty in every neuron of the network in training mode; `penalty` sums them.

    Args:
        network: the network, or one neuron.
        by: a name in `PENALTIES`, or a function of (potentials, spikes, neuron).
        inner: whether neurons inside residual blocks, before the addition, are included.
        **options: of the penalty.

    Raises:
        UnknownName: there is no penalty of that name.
        BadValue: the penalty has no such option, or its value is out of range.

    Example:
        >>> from surgrad import LIF
        >>> neuron = LIF()
        >>> penalise(neuron, "im_loss")
        >>> spikes = neuron(torch.full((2, 1, 3), 0.5))
        >>> round(penalty(neuron).item(), 6)  # the mean of u is the threshold
        0.0
    """
    if isinstance(by, str):
        options = PENALTIES.check(by, options)
        by = PENALTIES[by]
    function = partial(by, **options) if options else by
    blocks = [module for module in network.modules() if isinstance(module, Block)]
    inside = {id(n) for block in blocks for part in block.inner for n in neurons(block.get_submodule(part)).values()}
    for neuron in neurons(network).values():
        neuron.penalty_fn = function if inner or id(neuron) not in inside else None


def penalty(network: nn.Module) -> Tensor:
    """The sum of the penalties of all neurons for the last forward pass in training mode, 0-d.

    Raises:
        BadValue: no neuron has computed a penalty.
    """
    found = [neuron.penalty for neuron in neurons(network).values() if neuron.penalty is not None]
    if not found:
        raise BadValue(
            "no neuron of this network holds a penalty; call penalise(network, ...), then the network, in training mode"
        )
    return torch.stack(found).sum()
