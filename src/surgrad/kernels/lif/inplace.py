"""LIF where no compiled kernel serves: README.md's backward pass in torch, one time step after the other."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from surgrad.errors import BadValue
from surgrad.kernels.lif.call import Call, Result, Term
from surgrad.kernels.lif.membrane import histogram
from surgrad.kernels.lif.operators import NO_SECOND, empty, wants_channels_last


def lif(call: Call) -> Result:
    """See `surgrad.lif`. Any shape, dtype and device; keeps the current alone for the backward pass."""
    spikes, potential, counts = _LIF.apply(call.current(), call.decay, call.threshold, call.width, call.start,
                                           replace(call, terms=(Term(call.x.detach()),)))  # fmt: skip
    return spikes, potential, counts if call.watch else None


class _LIF(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, decay: Tensor, threshold: Tensor, width: Tensor, start: Tensor | None,
                call: Call) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        ctx.save_for_backward(current, decay, threshold, width, start)
        ctx.options = call
        ctx.set_materialize_grads(False)
        threshold = call.against_a_step(threshold)
        counts = torch.zeros((), dtype=torch.int64, device=current.device)
        spikes = _like_steps(call.x, call.steps)
        for o, (u, after) in zip(spikes, _states(call, current), strict=True):
            if call.watch:
                counts = counts + histogram(u - threshold, threshold)
            o.copy_(u >= threshold)
            potential = after
        ctx.mark_non_differentiable(counts)
        return spikes, potential.clone(), counts

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # somebody will differentiate this
            raise BadValue(NO_SECOND)
        current, *parameters, start = ctx.saved_tensors
        call: Call = ctx.options
        decay, threshold, width = (call.against_a_step(p) for p in parameters)
        history = list(_states(call, current))
        before = [start, *(after for _, after in history[:-1])]
        wanted = ctx.needs_input_grad[1:4]
        sums = [torch.zeros_like(p) for p in (decay, threshold, width)]
        to_current = _like_steps(current, call.steps)
        to_spikes, to_after = grads[:2]  # g and ε of README.md
        for t in range(call.steps - 1, -1, -1):
            u = history[t][0]
            fired, x = u >= threshold, u - threshold
            s = torch.zeros_like(u) if to_spikes is None else to_spikes[t].to(u.dtype)
            if to_after is not None and call.reset != "none" and not call.detach_reset:
                s = s - (u if call.reset == "zero" else threshold) * to_after
            delta = s * call.shape.slope(x, width)
            if wanted[1]:
                lost = delta if to_after is None or call.reset != "subtract" else delta + fired * to_after
                sums[1] -= lost.sum_to_size(threshold.shape)
            if wanted[2]:
                sums[2] += (s * call.shape.width_slope(x, width)).sum_to_size(width.shape)
            if to_after is not None:
                delta += to_after.masked_fill(fired, 0) if call.reset == "zero" else to_after
            if wanted[0] and before[t] is not None:
                sums[0] += (delta * before[t]).sum_to_size(decay.shape)
            to_current[t] = delta
            to_after = decay * delta
        to_parameters = (s.view_as(p) if w else None for s, p, w in zip(sums, parameters, wanted, strict=True))
        return to_current, *to_parameters, to_after if start is not None else None, None


def _like_steps(x: Tensor, steps: int) -> Tensor:
    """New memory for all steps, of x's dtype and laid out as one of its steps."""
    one = x[:1].detach()
    return empty(one if wants_channels_last(one) else one.contiguous(), steps)


def _states(call: Call, current: Tensor) -> Any:
    """(u_t, v_t) of every step: the potential, and what the reset leaves of it."""
    decay, threshold = call.against_a_step(call.decay.detach()), call.against_a_step(call.threshold.detach())
    v = call.start
    for i in current.to(decay.dtype).unbind(0):
        u = i if v is None else decay * v + i
        v = u
        if call.reset == "zero":
            v = u * (u < threshold)
        elif call.reset == "subtract":
            v = u - threshold * (u >= threshold)
        yield u, v
