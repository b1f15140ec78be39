"""Backpropagation through time."""

from torch import Tensor

from surgrad.gradients.base import Forward, Gradient, LossFunction
from surgrad.models import SpikingNetwork


class BPTT(Gradient):
    """Backpropagation through time. The memory grows with the number of time steps."""

    allows_compile = True
    allows_checkpoint = True

    def check(self, network: SpikingNetwork, steps: int | None = None) -> None:
        """See `Gradient.check`; every network fits."""

    def find(
        self, network: SpikingNetwork, x: Tensor, loss_fn: LossFunction, forward: Forward | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Gradient.find`."""
        output = (forward or network)(x)
        loss = loss_fn(output)
        loss.backward()
        return loss.detach(), output.detach()
