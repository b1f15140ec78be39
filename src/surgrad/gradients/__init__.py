"""Gradients through time: backpropagation through all time steps, and cheaper methods, whose graph does not grow with
the number of steps.

    sltt = GRADIENTS.build("sltt", {"steps": 2})
    sltt.check(network)                                                      # once, before a training
    loss, output = sltt.find(network, images, lambda output: cross_entropy(output, labels))

or, without options, `bptt(network, images, loss_fn)`, and likewise `sltt`, `ottt` and `rate_based`. Each runs a
`SpikingNetwork` and adds to the `grad` of its parameters, as `backward` does. A network for which a gradient is not
made is refused with an error.

To add one: write a `Gradient` whose constructor takes its options, annotated with their ranges, and add it to
`GRADIENTS`.
"""

from typing import TYPE_CHECKING

from torch import Tensor

from surgrad.config.registry import Registry
from surgrad.config.values import Count
from surgrad.deprecated import renamed
from surgrad.gradients.backpropagation import BPTT as BPTT
from surgrad.gradients.base import Forward, LossFunction
from surgrad.gradients.base import Gradient as Gradient
from surgrad.gradients.online import OTTT as OTTT
from surgrad.gradients.online import SLTT as SLTT
from surgrad.gradients.rates import RateBased as RateBased
from surgrad.models import SpikingNetwork

_GRADIENTS: dict[str, type[Gradient]] = {"bptt": BPTT, "sltt": SLTT, "ottt": OTTT, "rate": RateBased}
GRADIENTS = Registry("gradient", _GRADIENTS)


def bptt(
    network: SpikingNetwork, x: Tensor, loss_fn: LossFunction, forward: Forward | None = None
) -> tuple[Tensor, Tensor]:
    """Run `BPTT` once.

    The parameters are those of `Gradient.find`.

    Returns:
        The loss, 0-d, and the output that it was computed from, both without a graph.
    """
    return BPTT().find(network, x, loss_fn, forward)


def sltt(
    network: SpikingNetwork,
    x: Tensor,
    loss_fn: LossFunction,
    forward: Forward | None = None,
    *,
    steps: Count | None = None,
) -> tuple[Tensor, Tensor]:
    """Run `SLTT` once.

    The parameters are those of `Gradient.find`.

    Args:
        steps: the number of time steps that have a backward pass; None for all; see `SLTT`.

    Returns:
        The loss, 0-d, and the output that it was computed from, both without a graph.

    Example:
        >>> import torch
        >>> from surgrad.losses import cross_entropy
        >>> from surgrad.models import small_cnn
        >>> network = small_cnn(width_multiplier=0.1)
        >>> labels = torch.tensor([3, 7])
        >>> loss, output = sltt(network, torch.rand(2, 1, 8, 8), lambda output: cross_entropy(output, labels), steps=2)
        >>> all(weight.grad is not None for weight in network.parameters() if weight.ndim > 1)
        True
    """
    return SLTT(steps).find(network, x, loss_fn, forward)


def ottt(
    network: SpikingNetwork, x: Tensor, loss_fn: LossFunction, forward: Forward | None = None
) -> tuple[Tensor, Tensor]:
    """Run `OTTT` once.

    The parameters are those of `Gradient.find`.

    Returns:
        The loss, 0-d, and the output that it was computed from, both without a graph.
    """
    return OTTT().find(network, x, loss_fn, forward)


def rate_based(
    network: SpikingNetwork, x: Tensor, loss_fn: LossFunction, forward: Forward | None = None
) -> tuple[Tensor, Tensor]:
    """Run `RateBased` once.

    The parameters are those of `Gradient.find`.

    Returns:
        The loss, 0-d, and the output that it was computed from, both without a graph.
    """
    return RateBased().find(network, x, loss_fn, forward)


if not TYPE_CHECKING:  # a type checker refuses names that do not exist
    __getattr__ = renamed(__name__, {"rate": "rate_based"})
