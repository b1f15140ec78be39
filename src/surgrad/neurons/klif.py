"""KLIF: a trained scale before the threshold."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgrad.broadcasting import broadcast_channels
from surgrad.config.values import Count, Fraction, Positive
from surgrad.kernels.lif import Reset
from surgrad.neurons.base import TimeConstant
from surgrad.neurons.stepped import SteppedNeuron
from surgrad.surrogates import Surrogate, SurrogateFunction


class KLIF(SteppedNeuron):
    """KLIF (Jiang and Zhang 2023): the potential is scaled and rectified before it fires and is reset.

        u_t = relu(k·(β·v_{t-1} + I_t)),

    with a trained k (`scale`, 1 at the start; one per layer or per channel). The slope of the spike with respect to the
    current is k times as steep and its window k times as narrow, so training k trains the width. The parameters are
    those of `Neuron`.
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
        self.scale = nn.Parameter(torch.ones(self.threshold.shape))

    def charge(self, state: Tensor | None, current: Tensor, decay: Tensor, step: int) -> Tensor:
        return F.relu(broadcast_channels(self.scale, current) * super().charge(state, current, decay, step))
