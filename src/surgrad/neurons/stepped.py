"""Neurons that no fused kernel computes: a loop over the time steps, differentiated by autograd."""

from typing import Any

import torch
from torch import Tensor

from surgrad import padding
from surgrad.kernels.lif import LIFOutput, Norm, StepCounter, after_reset
from surgrad.neurons.base import Neuron
from surgrad.surrogates import spike

_OLD_METHODS = {"seen": "readable_potential", "left": "next_state", "rest": "initial_potential"}


class SteppedNeuron(Neuron):
    """A neuron whose subclass defines what happens in a time step, where that is not the LIF's:

        u_t = charge(s_{t-1}, I_t)
        o_t = fire(readable_potential(u_t) - threshold_of(u_t))
        s_t = next_state(s_{t-1}, I_t, u_t, o_t)

    The state s is the potential after the reset, or several states stacked as [K, N, C, ...] (`state_size`). The
    default of each method is the LIF's.

    The parameters are those of `Neuron`; the backends "auto" and "reference" are the same here.
    """

    couples_samples = True
    backends = ("auto", "reference")

    detaches_reset_itself = False
    """Whether `next_state` gets the spikes with their gradient also where `detach_reset` is true. Set it in a neuron
    that uses them for more than the reset, such as a recurrent connection; its `next_state` must then detach the spikes
    of its reset where `detach_reset` is true, as `SteppedNeuron.next_state` does."""

    time_step: int
    """Time steps of the carried sequence so far."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for old, new in _OLD_METHODS.items():
            if old in vars(cls):
                raise TypeError(f"{cls.__name__}.{old} is never called: SteppedNeuron.{old} is now {new}; rename it")

    def _register_states(self) -> None:
        super()._register_states()
        self.register_state("time_step", 0, carried=True)

    def charge(self, state: Tensor | None, current: Tensor, decay: Tensor, step: int) -> Tensor:
        """Compute the potential of a step.

        Args:
            state: the state after the last step; None at the start of a sequence that begins at 0.
            current: [N, C, ...].
            decay: β, shaped to broadcast against the current.
            step: number of the step in the sequence, from 0.

        Returns:
            The potential before the reset, [N, C, ...].
        """
        return current if state is None else decay * state + current

    def readable_potential(self, u: Tensor) -> Tensor:
        """The potential that is compared with the threshold, counted and penalised.

        Args:
            u: a step's potential, [N, C, ...].
        """
        return u

    def threshold_of(self, u: Tensor, threshold: Tensor, step: int) -> Tensor:
        """The threshold of a step.

        Args:
            u: the step's potential, [N, C, ...].
            threshold: the layer's, shaped to broadcast against u.
            step: number of the step in the sequence, from 0.
        """
        return threshold

    def fire(self, x: Tensor, width: Tensor, threshold: Tensor) -> Tensor:
        """The spikes of a step.

        Args:
            x: readable potential minus threshold, [N, C, ...].
            width: the surrogate's width, shaped to broadcast against x.
            threshold: the layer's, shaped to broadcast against x.
        """
        return spike(x, width, self.surrogate.function)

    def next_state(self, state: Tensor | None, current: Tensor, u: Tensor, fired: Tensor, threshold: Tensor) -> Tensor:
        """Compute the state after a step.

        Args:
            state: the state before it; None at the start of a sequence that begins at 0.
            current: the current of the step, [N, C, ...].
            u: the potential before the reset, [N, C, ...].
            fired: the spikes of the step. Where the reset is detached they are constants, also for a recurrent
                connection that uses them, unless the class sets `detaches_reset_itself`.
            threshold: the threshold of the step.
        """
        return after_reset(u, fired.detach() if self.detach_reset else fired, threshold, self.reset_mode)

    def _fed_back(self, fired: Tensor) -> Tensor:
        """The spikes that `next_state` gets."""
        return fired.detach() if self.detach_reset and not self.detaches_reset_itself else fired

    def forward(
        self,
        x: Tensor,
        norm: Norm | None = None,
        plus: Tensor | None = None,
        plus_norm: Norm | None = None,
        steps: int | None = None,
    ) -> Tensor:
        """See `Neuron.forward`."""
        arguments = self._arguments(x, norm, plus, plus_norm, steps)
        decay = arguments.broadcast_to_step(arguments.decay)
        threshold = arguments.broadcast_to_step(arguments.threshold)
        state = self._starting_potential(x)
        state = None if state is None else state.to(decay.dtype)
        counter = StepCounter(self.histogram_shape)
        spikes: list[Tensor] = []
        potentials: list[Tensor] = []
        first = 0 if self.potential is None else self.time_step
        mask = padding.valid(x.expand(arguments.steps, *x.shape[1:]))
        for step, current in enumerate(arguments.current().to(decay.dtype).unbind(0), first):
            u = self.charge(state, current, decay, step)
            threshold_now = self.threshold_of(u, threshold, step)
            readable = self.readable_potential(u)
            fired = self.fire(readable - threshold_now, arguments.step_width(step), threshold)
            if self.recording:
                counter.add(step, readable - threshold_now, threshold, None if mask is None else mask[step])
            spikes.append(fired.to(x.dtype))
            if self.needs_history:
                potentials.append(readable)
            state = self.next_state(state, current, u, self._fed_back(fired), threshold_now)
        self.time_step = first + arguments.steps
        out = torch.cat(spikes).unflatten(0, arguments.size[:2])
        history = torch.cat(potentials).unflatten(0, arguments.size[:2]) if potentials else None
        self._store(LIFOutput(out, state, counter.counts, history))
        return self._output(out)
