"""The specification: the loop a physicist would write; autograd does the rest."""

import torch
from torch import Tensor

from surgrad.kernels.lif.membrane import histogram
from surgrad.shapes import Shape
from surgrad.surrogate import spike


def lif(current: Tensor, decay: Tensor, width: Tensor, threshold: Tensor, shape: Shape, reset: str,
        detach_reset: bool, start: Tensor | None, watch: bool) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
    """See `surgrad.lif`. The parameters arrive in the state's dtype, broadcastable against one step [N, C, ...]."""
    v, counts = start, None
    spikes: list[Tensor] = []
    for i in current.to(decay.dtype).unbind(0):
        u = i if v is None else decay * v + i
        o = spike(u - threshold, width, shape)
        if watch:
            counted = histogram(u - threshold, threshold)
            counts = counted if counts is None else counts + counted
        spikes.append(o.to(current.dtype))
        v = _after_reset(u, o.detach() if detach_reset else o, threshold, reset)
    # cat, not stack: a channels_last step keeps its storage format only as a 4-D tensor
    assert v is not None  # T >= 1
    return torch.cat(spikes).unflatten(0, current.shape[:2]), v, counts


def _after_reset(u: Tensor, o: Tensor, threshold: Tensor, reset: str) -> Tensor:
    if reset == "zero":
        return u * (1 - o)
    if reset == "subtract":
        return u - threshold * o
    return u
