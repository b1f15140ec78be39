"""Neurons whose recurrence is the LIF's, so that the fused kernels compute them."""

from typing import Any

import torch
from torch import Tensor

from surgrad import padding
from surgrad.broadcasting import broadcast_channels
from surgrad.errors import BadValue
from surgrad.kernels.lif import LIFOutput, Norm, histogram, lif
from surgrad.neurons.base import Neuron


class FusedNeuron(Neuron):
    """A neuron with the recurrence of the leaky integrate-and-fire neuron (`surgrad.lif`):

        u_t = β·v_{t-1} + gain·I_t    o_t = Θ(u_t - v_th)    v_t = u_t after the reset

    A subclass gives other parameters, gains, amplitudes or initial potentials. All of it is one kernel call, and while
    a penalty is computed the potentials of every step are part of the graph.

    The parameters are those of `Neuron`.
    """

    @property
    def needs_final_potential(self) -> bool:
        """Whether the potential after the last step is used after a call."""
        return self.carry

    def forward(
        self,
        x: Tensor,
        norm: Norm | None = None,
        plus: Tensor | None = None,
        plus_norm: Norm | None = None,
        steps: int | None = None,
    ) -> Tensor:
        """See `Neuron.forward`."""
        gain = self.gain
        if gain is not None:
            norm = _scaled(norm, gain, x)
            plus_norm = None if plus is None else _scaled(plus_norm, gain, x)
        first_width = self.surrogate.first_width
        if first_width is None:
            out = self._run(
                x,
                self.surrogate.positive_width,
                self._starting_potential(x),
                self.needs_final_potential,
                norm=norm,
                plus=plus,
                plus_norm=plus_norm,
                steps=steps,
            )
        else:
            out = self._run_first_apart(x, first_width, norm, plus, plus_norm, steps)
        self._store(out)
        return self._output(out.spikes)

    def _without_padding(self, out: LIFOutput, threshold: Tensor, first: int | None) -> LIFOutput:
        """The output with a histogram that leaves padded steps out."""
        if not self.recording or out.history is None or not padding.active():
            return out
        potentials = padding.only_valid(out.history, first)
        threshold = broadcast_channels(threshold, potentials, 2)
        return out._replace(histogram=histogram(potentials - threshold, threshold))

    def _run(
        self,
        x: Tensor,
        width: Tensor,
        initial: Tensor | None,
        keep_final: bool,
        *,
        threshold_offset: float = 0.0,
        first_step: int | None = None,
        **fused: Any,
    ) -> LIFOutput:
        """Call the kernel; where `needs_history`, its output has the potentials of every step.

        Args:
            x: currents [T, N, C, ...].
            width: the surrogate's width.
            initial: the potential before the first step; None stands for 0.
            keep_final: whether to return the potential after the last step.
            threshold_offset: what is added to the threshold.
            first_step: the number of the first step of x in its sequences, where x has not all their steps.
            **fused: norm, plus, plus_norm and steps, as in `surgrad.lif`.
        """
        threshold = self.threshold + threshold_offset if threshold_offset else self.threshold
        fused |= {
            "surrogate": self.surrogate.function,
            "threshold": threshold,
            "reset": self.reset_mode,
            "initial_potential": initial,
            "detach_reset": self.detach_reset,
            "return_histogram": self.recording,
            "return_potential": keep_final,
            "return_history": self.needs_history,
            "backend": self.backend,
        }
        return self._without_padding(lif(x, self.decay, width, **fused), threshold, first_step)

    def _run_first_apart(
        self,
        x: Tensor,
        first_width: Tensor,
        norm: Norm | None,
        plus: Tensor | None,
        plus_norm: Norm | None,
        steps: int | None,
    ) -> LIFOutput:
        """Run the first step with a separate width, then the others from where it ended."""
        if any(given is not None and given.batch for given in (norm, plus_norm)):
            raise BadValue(
                "a norm with statistics of the batch needs all steps in one call, and the first step of this neuron is "
                "a separate call (Surrogate(first=True)); apply the norm before the neuron"
            )
        total = max(len(x), 0 if plus is None else len(plus), steps or 1)
        early = None if plus is None else plus[:1]
        initial = self._starting_potential(x)
        first = self._run(x[:1], first_width, initial, True, first_step=0, norm=norm, plus=early, plus_norm=plus_norm)
        if total == 1:
            return first
        x = x if len(x) == 1 else x[1:]
        plus = plus if plus is None or len(plus) == 1 else plus[1:]
        rest = self._run(
            x,
            self.surrogate.width,
            first.potential,
            self.needs_final_potential,
            first_step=1,
            norm=norm,
            plus=plus,
            plus_norm=plus_norm,
            steps=total - 1,
        )
        counts = None if first.histogram is None or rest.histogram is None else first.histogram + rest.histogram
        history = None if first.history is None or rest.history is None else torch.cat([first.history, rest.history])
        return LIFOutput(torch.cat([first.spikes, rest.spikes]), rest.potential, counts, history)


def _scaled(norm: Norm | None, gain: Tensor, x: Tensor) -> Norm:
    """The norm with its output multiplied by `gain`; None stands for the norm that changes nothing."""
    if norm is None:
        size = gain.shape if gain.ndim else x.shape[2:3] if x.ndim > 2 else (1,)
        zeros = torch.zeros(size, dtype=gain.dtype, device=x.device)
        norm = Norm(zeros, zeros + 1, zeros + 1, zeros, 0.0, batch=False)
    return norm._replace(weight=norm.weight * gain, bias=norm.bias * gain, rows=None)
