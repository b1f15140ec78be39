"""Neurons that no fused kernel knows: a loop over the steps, differentiated by autograd."""

import torch
from torch import Tensor

from surgrad.errors import BadValue, unknown
from surgrad.kernels.lif import Norm, after_reset, checked, histogram
from surgrad.kernels.packing import spikes_made
from surgrad.neurons.lif import LIF
from surgrad.surrogate import spike


class Stepped(LIF):
    """A LIF whose subclass says at which threshold, and how, it fires in each step:

        u_t = β·v_{t-1} + I_t        o_t = fire(u_t, threshold_of(u_t, t))        v_t = u_t after the reset by o_t

    backend: "auto" or "reference", which are the same here."""

    @property
    def binary(self) -> bool:
        """Whether what it returns is 0 or 1."""
        return True

    def threshold_of(self, u: Tensor, threshold: Tensor, step: int) -> Tensor:
        """The threshold of a step; u [N, C, ...]; threshold: the layer's, shaped to meet it."""
        return threshold

    def fire(self, x: Tensor, width: Tensor) -> Tensor:
        """The spikes of a step; x = u - threshold, [N, C, ...]; width: the surrogate's, shaped to meet it."""
        return spike(x, width, self.surrogate.shape)

    def forward(self, x: Tensor, norm: Norm | None = None, plus: Tensor | None = None, plus_norm: Norm | None = None,
                steps: int | None = None) -> Tensor:  # fmt: skip
        """x [T, N, C, ...] -> spikes of the same shape and dtype; the rest as in `surgrad.lif`."""
        if self.backend not in ("auto", "reference"):
            raise unknown("backend", self.backend, ("auto", "reference"))
        if self.surrogate.first_width is not None:
            raise BadValue(f"{type(self).__name__} has one width for all steps; give a Surrogate without first")
        call = checked(x, self.decay, self.surrogate.width, self.surrogate.shape, self.threshold, self.reset_mode,
                       self.detach_reset, self._start(x), self.watching, self.carry, norm, plus, plus_norm,
                       steps)  # fmt: skip
        decay, layers, width = (call.against_a_step(p) for p in (call.decay, call.threshold, call.width))
        v, counts = call.start, None
        spikes: list[Tensor] = []
        history: list[Tensor] = []
        for step, current in enumerate(call.current().to(decay.dtype).unbind(0)):
            u = current if v is None else decay * v + current
            threshold = self.threshold_of(u, layers, step)
            fired = self.fire(u - threshold, width)
            if self.watching:
                counted = histogram(u - threshold, layers)
                counts = counted if counts is None else counts + counted
            spikes.append(fired.to(x.dtype))
            if self.penalised:
                history.append(u)
            v = after_reset(u, fired.detach() if self.detach_reset else fired, threshold, self.reset_mode)
        if self.carry:
            self.potential = v
        if self.watching:
            self.membrane = counts
        out = torch.cat(spikes).unflatten(0, call.size[:2])
        self._judge(torch.cat(history).unflatten(0, call.size[:2]) if history else None, out)
        return spikes_made(out) if self.binary else out
