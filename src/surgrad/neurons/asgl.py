"""Adaptive smoothing gradient learning: a fraction of the neurons is smooth in the forward pass."""

import torch
from torch import Tensor

from surgrad.config.values import Count, Fraction, Positive
from surgrad.errors import BadValue
from surgrad.kernels.lif import Reset
from surgrad.neurons.base import TimeConstant, new_surrogate
from surgrad.neurons.stepped import SteppedNeuron
from surgrad.surrogates import Surrogate, SurrogateFunction


class ASGL(SteppedNeuron):
    """Wang et al. 2023: in training each neuron is smooth with probability `smooth` in each step.

        o = G(u - v_th) + m·[Θ(u - v_th) - G(u - v_th)],  m = 0 or 1 with probability smooth or 1 - smooth.

    The bracket is a constant in the backward pass; G is the surrogate's smoothed step. The width appears in the forward
    pass through the smooth neurons, so it has a true gradient and is trained. In evaluation every neuron spikes. m is
    drawn from torch's global generator.

    Their code has G = clamp(e^α·x + ½, 0, 1), which is the surrogate function `rect` of width e^(-α), and smooth
    between 0.1 and 0.2. The other parameters are those of `Neuron`.

    Args:
        surrogate: a `Surrogate` that learns its width. A surrogate function or its name makes one of width 1.
        smooth: the probability that a neuron is smooth in a step, in [0, 1].

    Raises:
        BadValue: for a `Surrogate` that does not learn, or a probability outside [0, 1].
    """

    shares_batches = False

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
        smooth: Fraction = 0.2,
    ):
        if not 0 <= smooth <= 1:
            raise BadValue(f"smooth must be from 0 to 1, got {smooth:g}")
        if not isinstance(surrogate, Surrogate):
            surrogate = new_surrogate(surrogate, 1.0, channels, learn=True)
        if not surrogate.width.requires_grad:
            raise BadValue(
                "asgl trains its width, and this surrogate does not learn; set surrogate.learn=true and "
                "adapt.name=fixed (in Python: Surrogate(learn=True))"
            )
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
        self.smooth = smooth

    @property
    def binary(self) -> bool:
        return not self.training

    def fire(self, x: Tensor, width: Tensor, threshold: Tensor) -> Tensor:
        if not self.training:
            return super().fire(x, width, threshold)
        smooth = self.surrogate.function.step(x, width)
        spikes = torch.rand_like(x) >= self.smooth
        return smooth + (spikes * ((x >= 0).to(x.dtype) - smooth)).detach()
