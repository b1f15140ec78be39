"""How a gradient is found through time: backpropagation through all steps, and cheaper ways, whose graph does not grow
with the steps.

    loss, output = GRADIENTS["sltt"](network, images, lambda output: cross_entropy(output, labels))

runs a `SpikingNetwork` and adds to the `grad` of its parameters, as `backward` does. `loss_fn`: the loss of an output
[T, N, classes]. `forward`: how the network is called, where that is not by itself (under autocast, say). A network that
a gradient is not made for is refused, by its `check` before a training begins.

To add one: write its function and what it refuses, and add them to `GRADIENTS`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from surgrad.gradients.online import check_ottt, check_sltt
from surgrad.gradients.online import ottt as ottt
from surgrad.gradients.online import sltt as sltt
from surgrad.gradients.rates import check_rate
from surgrad.gradients.rates import rate as rate
from surgrad.models import SpikingNetwork


def bptt(
    network: SpikingNetwork,
    x: Tensor,
    loss_fn: Callable[[Tensor], Tensor],
    forward: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Backpropagation through time: (loss 0-d, output [T, N, classes]). Memory grows with the steps."""
    output = (forward or network)(x)
    loss = loss_fn(output)
    loss.backward()
    return loss.detach(), output.detach()


class Gradient(NamedTuple):
    """A way to find it. check: refuses a network that it is not made for; `find` does so too, every time."""

    find: Callable[..., tuple[Tensor, Tensor]]
    check: Callable[[SpikingNetwork], Any] = lambda network: None

    def __call__(self, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
        return self.find(*args, **options)


GRADIENTS = {
    "bptt": Gradient(bptt),
    "sltt": Gradient(sltt, check_sltt),
    "ottt": Gradient(ottt, check_ottt),
    "rate": Gradient(rate, check_rate),
}
