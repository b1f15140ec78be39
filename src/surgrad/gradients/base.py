"""What every gradient through time offers."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from surgrad.models import SpikingNetwork

LossFunction = Callable[[Tensor], Tensor]
"""The loss, 0-d, of an output [T, N, classes]."""
Forward = Callable[[Tensor], Tensor]
"""How the network is called: input -> output."""


class Gradient(ABC):
    """A way to compute the gradient of a network's parameters. Its constructor takes its options."""

    allows_compile: ClassVar[bool] = False
    """Whether the network may be one compiled graph of all time steps."""
    allows_checkpoint: ClassVar[bool] = False
    """Whether the backward pass may compute activations again, by the network alone (`SpikingNetwork.checkpoint`)."""

    @abstractmethod
    def check(self, network: SpikingNetwork, steps: int | None = None) -> None:
        """Refuse a network for which this gradient is not made. `find` does so too, in every call.

        Args:
            network: the network, in training mode.
            steps: the smallest number of time steps that will run; the network's by default.

        Raises:
            BadValue: what does not fit, and what to use.
        """

    @abstractmethod
    def find(
        self, network: SpikingNetwork, x: Tensor, loss_fn: LossFunction, forward: Forward | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run the network and add to the `grad` of its parameters, as `backward` does.

        Args:
            network: the network, in training mode.
            x: static input [N, ...] or a sequence [T, N, ...].
            loss_fn: the loss of an output [T, N, classes].
            forward: how the network is called, where that is not by itself (under autocast, for example).

        Returns:
            The loss, 0-d, and the output [T, N, classes], both without a graph.
        """
