"""The leaky integrate-and-fire neuron, and its two closest relatives."""

import math

from torch import Tensor

from surgrad.config.values import Count, Fraction, Positive
from surgrad.kernels.lif import Reset
from surgrad.neurons.base import TimeConstant, new_surrogate
from surgrad.neurons.fused import FusedNeuron
from surgrad.surrogates import Surrogate, SurrogateFunction


class LIF(FusedNeuron):
    """Leaky integrate-and-fire (Lian et al. 2023, eqs. 1 and 2): u_t = β·v_{t-1} + I_t, spike at u_t >= v_th.

    The parameters are those of `Neuron`.

    Example:
        >>> import torch
        >>> neuron = LIF(0.2, train_decay=True, surrogate="triangle", channels=3)
        >>> spikes = neuron(torch.rand(4, 2, 3, 8, 8))  # currents [T, N, C, H, W]
        >>> spikes.shape, neuron.decay.shape
        (torch.Size([4, 2, 3, 8, 8]), torch.Size([3]))
    """


class PLIF(FusedNeuron):
    """Parametric LIF (Fang et al. 2021): v += (x - v)/τ, that is β = 1 - 1/τ and an input scaled by 1/τ.

    Defaults as in the paper's code: τ₀ = 2 trained, threshold 1, hard reset detached, and SpikingJelly's ATan with
    α = 2 (width 1/π). The parameters are those of `Neuron`.
    """

    def __init__(
        self,
        decay: Fraction | None = None,
        *,
        tau: TimeConstant | None = None,
        train_decay: bool = True,
        threshold: Positive = 1.0,
        surrogate: Surrogate | SurrogateFunction | str | None = None,
        reset: Reset = "zero",
        detach_reset: bool = True,
        channels: Count | None = None,
        carry: bool = False,
        backend: str = "auto",
    ):
        if decay is None and tau is None:
            tau = 2.0
        super().__init__(
            decay,
            tau=tau,
            train_decay=train_decay,
            threshold=threshold,
            surrogate=new_surrogate("atan", 1 / math.pi, channels) if surrogate is None else surrogate,
            reset=reset,
            detach_reset=detach_reset,
            channels=channels,
            carry=carry,
            backend=backend,
        )

    @property
    def gain(self) -> Tensor:
        return 1 - self.decay


class IF(FusedNeuron):
    """Integrate-and-fire: a LIF without a leak (β = 1). Threshold 1 by default (Fang et al. 2021, SEW-ResNet).

    The parameters are those of `Neuron`, without a decay.
    """

    has_decay = False

    def __init__(
        self,
        *,
        threshold: Positive = 1.0,
        surrogate: Surrogate | SurrogateFunction | str = "rect",
        reset: Reset = "zero",
        detach_reset: bool = False,
        channels: Count | None = None,
        carry: bool = False,
        backend: str = "auto",
    ):
        super().__init__(
            1.0,
            threshold=threshold,
            surrogate=surrogate,
            reset=reset,
            detach_reset=detach_reset,
            channels=channels,
            carry=carry,
            backend=backend,
        )
