"""How a gradient is found through time: backpropagation through all steps, and cheaper ways, whose graph does not grow
with the steps.

    loss, output = GRADIENTS["sltt"](network, images, lambda output: cross_entropy(output, labels))

runs a `SpikingNetwork` and adds to the `grad` of its parameters, as `backward` does. `judge`: the loss of an output [T,
N, classes]. `forward`: how the network is called, where that is not by itself (under autocast, say).

To add one: write its function and add it to `GRADIENTS`.
"""

from collections.abc import Callable

from torch import Tensor

from surgrad.gradients.online import ottt as ottt
from surgrad.gradients.online import sltt as sltt
from surgrad.gradients.rates import rate as rate
from surgrad.models import SpikingNetwork


def bptt(network: SpikingNetwork, x: Tensor, judge: Callable[[Tensor], Tensor],
         forward: Callable[[Tensor], Tensor] | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Backpropagation through time: (loss 0-d, output [T, N, classes]). Memory grows with the steps."""
    output = (forward or network)(x)
    loss = judge(output)
    loss.backward()
    return loss.detach(), output.detach()


GRADIENTS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {"bptt": bptt, "sltt": sltt, "ottt": ottt, "rate": rate}
