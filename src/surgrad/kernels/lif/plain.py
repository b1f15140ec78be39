"""LIF where no compiled kernel serves: README.md's backward pass in torch, one time step after the other."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from surgrad.errors import BadValue
from surgrad.kernels.lif.call import Call, Result
from surgrad.kernels.lif.histograms import histogram
from surgrad.kernels.lif.operators import NO_SECOND, empty, wants_channels_last
from surgrad.surrogates import SurrogateFunction


def lif(call: Call) -> Result:
    """See `surgrad.lif`. Any shape, dtype and device; keeps the current alone for the backward pass."""
    options = _Options(call.shape, call.reset, call.detach_reset, call.x.dtype, call.watch)
    spikes, potential, counts = _LIF.apply(call.current(), call.decay, call.threshold, call.width, call.start, options)
    return spikes, potential, counts if call.watch else None, None


class _Options(NamedTuple):
    shape: SurrogateFunction
    reset: str
    detach_reset: bool
    dtype: torch.dtype  # of the spikes
    watch: bool


class _LIF(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        decay: Tensor,
        threshold: Tensor,
        width: Tensor,
        start: Tensor | None,
        options: _Options,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(current, decay, threshold, width, start)
        ctx.options = options
        ctx.set_materialize_grads(False)
        decay, threshold = (_against_a_step(p, current) for p in (decay, threshold))
        counts = torch.zeros((), dtype=torch.int64, device=current.device)
        spikes = _like_steps(current, options.dtype)
        potential = None if start is None else start.clone()
        for o, i in zip(spikes, current.unbind(0), strict=True):  # all in the memory of one potential
            u = i.to(decay.dtype, copy=True) if potential is None else potential.mul_(decay).add_(i)
            if options.watch:
                counts = counts + histogram(u - threshold, threshold)
            fired = u >= threshold
            o.copy_(fired)
            potential = _reset(u, fired, threshold, options.reset)
        ctx.mark_non_differentiable(counts)
        assert potential is not None  # there is a step
        return spikes, potential, counts

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            found = _backward(ctx.saved_tensors, ctx.options, ctx.needs_input_grad[1:4], *grads[:2])
        if torch.is_grad_enabled():  # create_graph: the first derivative is right, and a second is refused
            found = tuple(None if g is None else _Once.apply(g, *ctx.saved_tensors, *grads[:2]) for g in found)
        return (*found, None)


class _Once(torch.autograd.Function):
    """A gradient that depends on all of `inputs` and cannot be differentiated again."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *inputs: Tensor | None) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> None:
        raise BadValue(NO_SECOND)


def _backward(
    saved: tuple[Any, ...],
    options: _Options,
    wanted: tuple[bool, ...],
    to_spikes: Tensor | None,
    to_after: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """README.md's recursion: to_spikes is g, and to_after ε, of every step in turn."""
    current, *parameters, start = saved
    decay, threshold, width = (_against_a_step(p, current) for p in parameters)
    history = list(_potentials(current, decay, threshold, start, options.reset))
    sums = [torch.zeros_like(p) for p in (decay, threshold, width)]
    to_current = _like_steps(current, current.dtype)
    for t in range(len(history) - 1, -1, -1):
        u = history[t]
        fired = u >= threshold
        x = u - threshold
        s = torch.zeros_like(u) if to_spikes is None else to_spikes[t].to(u.dtype)
        if to_after is not None and options.reset != "none" and not options.detach_reset:
            s = s - (u if options.reset == "zero" else threshold) * to_after
        delta = s * options.shape.slope(x, width)
        if wanted[1]:
            lost = delta if to_after is None or options.reset != "subtract" else delta + fired * to_after
            sums[1] -= lost.sum_to_size(threshold.shape)
        if wanted[2]:
            sums[2] += (s * options.shape.width_slope(x, width)).sum_to_size(width.shape)
        if to_after is not None:
            delta += to_after.masked_fill(fired, 0) if options.reset == "zero" else to_after
        before = _left(history[t - 1], threshold, options.reset) if t else start
        if wanted[0] and before is not None:
            sums[0] += (delta * before).sum_to_size(decay.shape)
        to_current[t] = delta
        to_after = decay * delta
    wanted = (wanted[0] and (len(history) > 1 or start is not None), *wanted[1:])  # else the decay has no part in it
    to_parameters = (s.view_as(p) if w else None for s, p, w in zip(sums, parameters, wanted, strict=True))
    return to_current, *to_parameters, to_after if start is not None else None


def _against_a_step(parameter: Tensor, current: Tensor) -> Tensor:
    return parameter if parameter.ndim == 0 else parameter.view(-1, *[1] * (current.ndim - 3))


def _like_steps(current: Tensor, dtype: torch.dtype) -> Tensor:
    """New memory for all steps, laid out as one of the current's."""
    one = current[:1].detach()
    return empty(one if wants_channels_last(one) else one.contiguous(), len(current), dtype)


def _potentials(
    current: Tensor, decay: Tensor, threshold: Tensor, start: Tensor | None, reset: str
) -> Iterator[Tensor]:
    """u_t of every step."""
    v = start
    for i in current.unbind(0):
        u = i.to(decay.dtype) if v is None else (decay * v).add_(i)
        v = _left(u, threshold, reset)
        yield u


def _left(u: Tensor, threshold: Tensor, reset: str) -> Tensor:
    """v_t, what the reset leaves of u_t, in new memory."""
    return _reset(u.clone(), u >= threshold, threshold, reset)


def _reset(u: Tensor, fired: Tensor, threshold: Tensor, reset: str) -> Tensor:
    """The same in the memory of u."""
    if reset == "zero":
        return u.mul_(~fired)
    return u.sub_(threshold * fired) if reset == "subtract" else u
