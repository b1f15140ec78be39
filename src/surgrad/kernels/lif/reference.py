"""The specification: a plain loop over the time steps, differentiated by autograd."""

import torch
from torch import Tensor

from surgrad.kernels.lif.arguments import LIFArguments, LIFOutput
from surgrad.kernels.lif.histograms import histogram
from surgrad.surrogates import spike


def lif(a: LIFArguments) -> LIFOutput:
    """See `surgrad.lif`."""
    decay, threshold = (a.broadcast_to_step(p) for p in (a.decay, a.threshold))
    v = a.initial_potential
    counts = None
    spikes: list[Tensor] = []
    potentials: list[Tensor] = []
    for t, i in enumerate(a.current().to(decay.dtype).unbind(0)):
        u = i if v is None else decay * v + i
        o = spike(u - threshold, a.step_width(t), a.surrogate)
        if a.return_histogram:
            counted = histogram(u - threshold, threshold)
            counts = counted if counts is None else counts + counted
        spikes.append(o.to(a.x.dtype))
        if a.return_history:
            potentials.append(u)
        v = after_reset(u, o.detach() if a.detach_reset else o, threshold, a.reset)
    # cat, not stack: a channels_last step keeps its storage format only as a 4-D tensor
    out = torch.cat(spikes).unflatten(0, a.size[:2])
    history = torch.cat(potentials).unflatten(0, a.size[:2]) if a.return_history else None
    return LIFOutput(out, v if a.return_potential else None, counts, history)


def after_reset(u: Tensor, o: Tensor, threshold: Tensor, reset: str) -> Tensor:
    """The potential after a step's spikes.

    Args:
        u: the potential before the reset, [N, C, ...].
        o: the spikes, of the same shape.
        threshold: broadcasts against u.
        reset: "zero", "subtract" or "none".
    """
    if reset == "zero":
        return u * (1 - o)
    if reset == "subtract":
        return u - threshold * o
    return u
