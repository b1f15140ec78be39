"""The specification: the loop a physicist would write; autograd does the rest."""

import torch
from torch import Tensor

from surgrad.kernels.lif.call import Call, Result
from surgrad.kernels.lif.histograms import histogram
from surgrad.surrogates import spike


def lif(call: Call) -> Result:
    """See `surgrad.lif` and `surgrad.kernels.lif.lif_history`."""
    decay, threshold, width = (call.against_a_step(p) for p in (call.decay, call.threshold, call.width))
    v = call.start
    counts = None
    spikes: list[Tensor] = []
    potentials: list[Tensor] = []
    for i in call.current().to(decay.dtype).unbind(0):
        u = i if v is None else decay * v + i
        o = spike(u - threshold, width, call.shape)
        if call.watch:
            counted = histogram(u - threshold, threshold)
            counts = counted if counts is None else counts + counted
        spikes.append(o.to(call.x.dtype))
        if call.history:
            potentials.append(u)
        v = after_reset(u, o.detach() if call.detach_reset else o, threshold, call.reset)
    # cat, not stack: a channels_last step keeps its storage format only as a 4-D tensor
    out = torch.cat(spikes).unflatten(0, call.size[:2])
    return out, v, counts, torch.cat(potentials).unflatten(0, call.size[:2]) if call.history else None


def after_reset(u: Tensor, o: Tensor, threshold: Tensor, reset: str) -> Tensor:
    """The potential after a step's spikes."""
    if reset == "zero":
        return u * (1 - o)
    if reset == "subtract":
        return u - threshold * o
    return u
