"""Neurons that no fused kernel knows: a loop over the steps, differentiated by autograd."""

import torch
from torch import Tensor

from surgrad.errors import BadValue
from surgrad.kernels.lif import LIFOutput, Norm, after_reset, histogram, lif_arguments
from surgrad.neurons.lif import LIF
from surgrad.surrogates import spike


class Stepped(LIF):
    """A neuron whose subclass says what it does in each step, where that is not the LIF's:

        u_t = charge(s_{t-1}, I_t)    o_t = fire(seen(u_t) - threshold_of(u_t))    s_t = left(s_{t-1}, u_t, o_t)

    The state s is the potential after the reset, or several of them stacked, [K, N, C, ...] (`state_size`).

    backend: "auto" or "reference", which are the same here."""

    _seen = 0
    """Steps of the sequence that it carries."""

    def charge(self, state: Tensor | None, current: Tensor, decay: Tensor, step: int) -> Tensor:
        """The potential of a step, [N, C, ...]; state: None at the start of a sequence from rest."""
        return current if state is None else decay * state + current

    def seen(self, u: Tensor) -> Tensor:
        """What of a step's potentials [N, C, ...] is compared with the threshold, counted and penalised."""
        return u

    def threshold_of(self, u: Tensor, threshold: Tensor, step: int) -> Tensor:
        """The threshold of a step; u [N, C, ...]; threshold: the layer's, shaped to meet it."""
        return threshold

    def fire(self, x: Tensor, width: Tensor, threshold: Tensor) -> Tensor:
        """The spikes of a step; x = u - threshold, [N, C, ...]; width: the surrogate's, shaped to meet it."""
        return spike(x, width, self.surrogate.function)

    def left(self, state: Tensor | None, u: Tensor, fired: Tensor, threshold: Tensor) -> Tensor:
        """The state after a step; fired: its spikes, constants where the reset is detached."""
        return after_reset(u, fired, threshold, self.reset_mode)

    def forward(
        self,
        x: Tensor,
        norm: Norm | None = None,
        plus: Tensor | None = None,
        plus_norm: Norm | None = None,
        steps: int | None = None,
    ) -> Tensor:
        """x [T, N, C, ...] -> spikes of the same shape and dtype; the rest as in `surgrad.lif`."""
        self._check_backend("auto", "reference")
        if self.surrogate.first_width is not None:
            raise BadValue(f"{type(self).__name__} has one width for all steps; give a Surrogate without first")
        arguments = lif_arguments(
            x,
            self.decay,
            self.surrogate.width,
            surrogate=self.surrogate.function,
            threshold=self.threshold,
            reset=self.reset_mode,
            norm=norm,
            plus=plus,
            plus_norm=plus_norm,
            steps=steps,
        )
        decay, layers, width = (
            arguments.broadcast_to_step(p) for p in (arguments.decay, arguments.threshold, arguments.width)
        )
        state = self._start(x)
        counts = None
        state = None if state is None else state.to(decay.dtype)
        spikes: list[Tensor] = []
        history: list[Tensor] = []
        first = 0 if self.potential is None else self._seen
        for step, current in enumerate(arguments.current().to(decay.dtype).unbind(0), first):
            u = self.charge(state, current, decay, step)
            threshold = self.threshold_of(u, layers, step)
            seen = self.seen(u)
            fired = self.fire(seen - threshold, width, threshold)
            if self.recording:
                counted = histogram(seen - threshold, layers)
                counts = counted if counts is None else counts + counted
            spikes.append(fired.to(x.dtype))
            if self.penalised:
                history.append(seen)
            state = self.left(state, u, fired.detach() if self.detach_reset else fired, threshold)
        out = torch.cat(spikes).unflatten(0, arguments.size[:2])
        potentials = torch.cat(history).unflatten(0, arguments.size[:2]) if history else None
        self._seen = first + arguments.steps
        self._remember(LIFOutput(out, state, counts), potentials)
        return self._emitted(out)
