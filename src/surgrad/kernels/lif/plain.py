"""LIF where no compiled kernel is available: README.md's backward pass in torch, one time step after the other."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from surgrad.errors import BadValue
from surgrad.kernels.lif.arguments import OPTIONS, TENSORS, LIFArguments, LIFOutput, PerTensor
from surgrad.kernels.lif.histograms import histogram
from surgrad.kernels.lif.operators import NO_SECOND, empty, options_of, wants_channels_last


def lif(a: LIFArguments) -> LIFOutput:
    """See `surgrad.lif`. It takes any shape, dtype and device, keeps only the current for the backward pass, and has no
    history."""
    summed = PerTensor(a.current(), None, None, None, a.decay, a.threshold, a.width, a.initial_potential)
    spikes, potential, counts = _LIF.apply(a.x.dtype, *summed, *options_of(a))
    return LIFOutput(spikes, potential if a.return_potential else None, counts if a.return_histogram else None)


class _LIF(torch.autograd.Function):
    """The neuron on a current that is already summed; dtype: that of the spikes."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *given: Any) -> tuple[Tensor, Tensor, Tensor]:
        a = LIFArguments(*given)
        ctx.save_for_backward(*given[: len(TENSORS)])
        ctx.options = given[len(TENSORS) :]
        ctx.set_materialize_grads(False)
        decay, threshold = (a.broadcast_to_step(p) for p in (a.decay, a.threshold))
        counts = torch.zeros((), dtype=torch.int64, device=a.x.device)
        spikes = _like_steps(a.x, dtype)
        potential = None if a.initial_potential is None else a.initial_potential.clone()
        for o, i in zip(spikes, a.x.unbind(0), strict=True):  # all in the memory of one potential
            u = i.to(decay.dtype, copy=True) if potential is None else potential.mul_(decay).add_(i)
            if a.return_histogram:
                counts = counts + histogram(u - threshold, threshold)
            fired = u >= threshold
            o.copy_(fired)
            potential = _reset(u, fired, threshold, a.reset)
        ctx.mark_non_differentiable(counts)
        assert potential is not None  # there is a step
        return spikes, potential, counts

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        wanted = PerTensor(*ctx.needs_input_grad[1 : 1 + len(TENSORS)])
        saved = ctx.saved_tensors
        with torch.no_grad():
            found = _backward(LIFArguments(*saved, *ctx.options), wanted, *grads[:2])
        if torch.is_grad_enabled():  # create_graph: the first derivative is right, and a second is refused
            inputs = (*saved, *grads[:2])
            found = PerTensor(*(None if g is None else _Once.apply(g, *inputs) for g in found))
        return (None, *found, *[None] * len(OPTIONS))


class _Once(torch.autograd.Function):
    """A gradient that depends on all of `inputs` and cannot be differentiated again."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *inputs: Tensor | None) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> None:
        raise BadValue(NO_SECOND)


def _backward(
    a: LIFArguments, wanted: PerTensor[bool], to_spikes: Tensor | None, to_after: Tensor | None
) -> PerTensor[Tensor | None]:
    """README.md's recursion: to_spikes is g, and to_after is ε, of every step in turn."""
    decay, threshold = (a.broadcast_to_step(p) for p in (a.decay, a.threshold))
    history = list(_potentials(a, decay, threshold))
    to_decay, to_threshold, to_width = (torch.zeros_like(p) for p in (decay, threshold, a.step_width(0)))
    to_current = _like_steps(a.x, a.x.dtype)
    for t in range(len(history) - 1, -1, -1):
        u = history[t]
        width = a.step_width(t)
        fired = u >= threshold
        x = u - threshold
        s = torch.zeros_like(u) if to_spikes is None else to_spikes[t].to(u.dtype)
        if to_after is not None and a.reset != "none" and not a.detach_reset:
            s = s - (u if a.reset == "zero" else threshold) * to_after
        delta = s * a.surrogate.slope(x, width)
        if wanted.threshold:
            lost = delta if to_after is None or a.reset != "subtract" else delta + fired * to_after
            to_threshold -= lost.sum_to_size(threshold.shape)
        if wanted.width:
            to_width += (s * a.surrogate.width_slope(x, width)).sum_to_size(width.shape)
        if to_after is not None:
            delta += to_after.masked_fill(fired, 0) if a.reset == "zero" else to_after
        before = _after_reset(history[t - 1], threshold, a.reset) if t else a.initial_potential
        if wanted.decay and before is not None:
            to_decay += (delta * before).sum_to_size(decay.shape)
        to_current[t] = delta
        to_after = decay * delta
    decays = len(history) > 1 or a.initial_potential is not None  # else the decay plays no part: no gradient, not 0
    return PerTensor(
        x=to_current,
        norm=None,
        plus=None,
        plus_norm=None,
        decay=to_decay.view_as(a.decay) if wanted.decay and decays else None,
        threshold=to_threshold.view_as(a.threshold) if wanted.threshold else None,
        width=to_width.view_as(a.width) if wanted.width else None,
        initial_potential=to_after if a.initial_potential is not None else None,
    )


def _like_steps(current: Tensor, dtype: torch.dtype) -> Tensor:
    """New memory for all steps, laid out as one of the current's."""
    one = current[:1].detach()
    return empty(one if wants_channels_last(one) else one.contiguous(), len(current), dtype)


def _potentials(a: LIFArguments, decay: Tensor, threshold: Tensor) -> Iterator[Tensor]:
    """u_t of every step."""
    v = a.initial_potential
    for i in a.x.unbind(0):
        u = i.to(decay.dtype) if v is None else (decay * v).add_(i)
        v = _after_reset(u, threshold, a.reset)
        yield u


def _after_reset(u: Tensor, threshold: Tensor, reset: str) -> Tensor:
    """v_t, the potential after the reset, in new memory."""
    return _reset(u.clone(), u >= threshold, threshold, reset)


def _reset(u: Tensor, fired: Tensor, threshold: Tensor, reset: str) -> Tensor:
    """The same in the memory of u."""
    if reset == "zero":
        return u.mul_(~fired)
    return u.sub_(threshold * fired) if reset == "subtract" else u
