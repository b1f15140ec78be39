"""What a call of `surgrad.lif` asks of a backend."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from surgrad.surrogates import SurrogateFunction


class Norm(NamedTuple):
    """What a batch normalisation does to each channel: (x - mean)/√(variance + eps)·weight + bias.

    mean, variance: [C], float32; no gradient is given to them. weight, bias: [C].
    batch: whether they are x's own (the biased variance), so that x's gradient takes the way through them too.
    """

    mean: Tensor
    variance: Tensor
    weight: Tensor
    bias: Tensor
    eps: float
    batch: bool

    def __call__(self, x: Tensor) -> Tensor:
        """x [T, N, C, ...] (or [T, N], one channel) normalised, of the same shape, float32 or better."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        channel = 2 if x.ndim > 2 else x.ndim  # a current [T, N] is one channel
        size = (-1, *[1] * (x.ndim - 1 - channel)) if x.ndim > 2 else ()
        x = x.to(dtype)
        mean, variance, weight, bias = (row.to(dtype).view(size) for row in self[:4])
        if self.batch:
            others = [axis for axis in range(x.ndim) if axis != channel]
            variance, mean = torch.var_mean(x, others, correction=0)
            mean = mean.view(size)
            variance = variance.view(size)
        return (x - mean) * torch.rsqrt(variance + self.eps) * weight + bias


class Summand(NamedTuple):
    """A summand of the current: x [T, N, C, ...], or [1, N, C, ...] where it is the same at every step."""

    x: Tensor
    norm: Norm | None = None

    def current(self, steps: int) -> Tensor:
        dtype = torch.promote_types(self.x.dtype, torch.float32)
        x = self.x.to(dtype) if self.norm is None else self.norm(self.x)
        return x if len(x) == steps else x.expand(steps, *x.shape[1:])


@dataclass
class Call:
    """The arguments of `surgrad.lif`, checked: one or two `terms`; decay, threshold and width 0-d or [C], in the
    state's dtype, on the currents' device; `keep` asks for the potential after the last step, `history` for that of
    every step before its reset."""

    terms: tuple[Summand, ...]
    decay: Tensor
    threshold: Tensor
    width: Tensor
    shape: SurrogateFunction
    steps: int
    reset: str
    detach_reset: bool
    start: Tensor | None
    watch: bool
    keep: bool
    history: bool = False

    @property
    def x(self) -> Tensor:
        """The first term's tensor: its dtype, layout and device are those of the call."""
        return self.terms[0].x

    @property
    def size(self) -> torch.Size:
        """Of the spikes: [T, N, C, ...]."""
        return torch.Size((self.steps, *self.x.shape[1:]))

    def current(self) -> Tensor:
        """The sum of the terms, [T, N, C, ...], float32 or better, for a backend that does not fuse them."""
        return sum((term.current(self.steps) for term in self.terms[1:]), self.terms[0].current(self.steps))

    def against_a_step(self, value: Tensor) -> Tensor:
        """A parameter as 0-d or [C, 1, ...], to broadcast against one step [N, C, ...]."""
        return value if value.ndim == 0 else value.view(-1, *[1] * (self.x.ndim - 3))


Result = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]
"""Spikes, last potential, histogram, history."""
