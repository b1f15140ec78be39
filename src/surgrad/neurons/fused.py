"""Neurons whose recurrence is the LIF's, so that the fused kernels compute them."""

from typing import Any

import torch
from torch import Tensor

from surgrad import padding
from surgrad.broadcasting import broadcast_channels
from surgrad.kernels.lif import LIFOutput, Norm, StepCounter, lif
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

    @property
    def needs_history(self) -> bool:
        return self.penalised or self.watcher is not None or self.counts_by_step

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
        initial = self._starting_potential(x)
        out = self._run(x, initial, self.needs_final_potential, norm=norm, plus=plus, plus_norm=plus_norm, steps=steps)
        self._store(out)
        return self._output(out.spikes)

    def _counted(self, out: LIFOutput, threshold: Tensor) -> LIFOutput:
        """The output with the histograms that the kernel cannot count, from its history."""
        if not self.counts_by_step or out.history is None:
            return out
        counter = StepCounter(self.histogram_shape)
        mask = padding.valid(out.history)
        threshold = broadcast_channels(threshold, out.history, 2)
        for step, u in enumerate(out.history.detach()):
            counter.add(step, u - threshold, threshold, None if mask is None else mask[step])
        return out._replace(histogram=counter.counts)

    def _run(
        self,
        x: Tensor,
        initial: Tensor | None,
        keep_final: bool,
        *,
        threshold_offset: float = 0.0,
        **fused: Any,
    ) -> LIFOutput:
        """Call the kernel; where `needs_history`, its output has the potentials of every step.

        Args:
            x: currents [T, N, C, ...].
            initial: the potential before the first step; None stands for 0.
            keep_final: whether to return the potential after the last step.
            threshold_offset: what is added to the threshold.
            **fused: norm, plus, plus_norm and steps, as in `surgrad.lif`.
        """
        threshold = self.threshold + threshold_offset if threshold_offset else self.threshold
        fused |= {
            "surrogate": self.surrogate.function,
            "threshold": threshold,
            "reset": self.reset_mode,
            "initial_potential": initial,
            "detach_reset": self.detach_reset,
            "return_histogram": self.recording and not self.counts_by_step,
            "return_potential": keep_final,
            "return_history": self.needs_history,
            "backend": self.backend,
        }
        return self._counted(lif(x, self.decay, self.surrogate.positive_width, **fused), threshold)


def _scaled(norm: Norm | None, gain: Tensor, x: Tensor) -> Norm:
    """The norm with its output multiplied by `gain`; None stands for the norm that changes nothing."""
    if norm is None:
        size = gain.shape if gain.ndim else x.shape[2:3] if x.ndim > 2 else (1,)
        zeros = torch.zeros(size, dtype=gain.dtype, device=x.device)
        norm = Norm(zeros, zeros + 1, zeros + 1, zeros, 0.0, batch=False)
    return norm._replace(weight=norm.weight * gain, bias=norm.bias * gain, rows=None)
