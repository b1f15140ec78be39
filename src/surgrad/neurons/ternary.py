"""Ternary spikes."""

import torch
from torch import Tensor, nn

from surgrad.config.values import Count, Fraction, Positive
from surgrad.kernels.lif import Reset
from surgrad.neurons.base import TimeConstant
from surgrad.neurons.stepped import SteppedNeuron
from surgrad.surrogates import Surrogate, SurrogateFunction, spike


class TernaryLIF(SteppedNeuron):
    """Ternary spikes (Guo et al. 2024): o = sign(u)·1[|u| >= v_th], times a trained amplitude a.

    a is `trained_amplitude`, 1 at the start; one per layer or per channel. In inference it can be multiplied into the
    weights of the next layer.

    The backward pass has the surrogate's slope at both thresholds. Reset "zero" sets the potential to 0 where it fired
    with either sign, "subtract" subtracts v_th·o. The parameters are those of `Neuron`.
    """

    def __init__(
        self,
        decay: Fraction | None = None,
        *,
        tau: TimeConstant | None = None,
        train_decay: bool = False,
        threshold: Positive = 0.5,
        surrogate: Surrogate | SurrogateFunction | str = "rect",
        reset: Reset = "zero",
        detach_reset: bool = False,
        channels: Count | None = None,
        carry: bool = False,
        backend: str = "auto",
    ):
        super().__init__(
            decay,
            tau=tau,
            train_decay=train_decay,
            threshold=threshold,
            surrogate=surrogate,
            reset=reset,
            detach_reset=detach_reset,
            channels=channels,
            carry=carry,
            backend=backend,
        )
        self.trained_amplitude = nn.Parameter(torch.ones(self.threshold.shape))

    @property
    def amplitude(self) -> Tensor:
        return self.trained_amplitude

    def fire(self, x: Tensor, width: Tensor, threshold: Tensor) -> Tensor:
        return spike(x, width, self.surrogate.function) - spike(-x - 2 * threshold, width, self.surrogate.function)

    def next_state(self, state: Tensor | None, current: Tensor, u: Tensor, fired: Tensor, threshold: Tensor) -> Tensor:
        fired = fired.abs() if self.reset_mode == "zero" else fired
        return super().next_state(state, current, u, fired, threshold)
