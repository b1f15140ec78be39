"""Adaptive smoothing gradient learning: a share of the neurons is smooth in the forward pass."""

import torch
from torch import Tensor

from surgrad.errors import BadValue
from surgrad.neurons.stepped import Stepped
from surgrad.surrogates import Surrogate


class ASGL(Stepped):
    """Wang et al. 2023: in training each neuron is smooth with probability `smooth` in each step,

        o = G(u - v_th) + m·[Θ(u - v_th) - G(u - v_th)],  m = 0 or 1 with probability smooth or 1 - smooth,

    the bracket a constant of the backward pass; G is the surrogate's smoothed step. Its width stands in the forward
    pass through the smooth neurons, so it has a true gradient, and is trained. In evaluation every neuron spikes. m is
    drawn from torch's global generator.

    Their code has G = clamp(e^α·x + ½, 0, 1), which is the shape `rect` of width e^(-α), and a share of 0.1 to 0.2."""

    def __init__(self, *args, smooth: float = 0.2, surrogate: Surrogate | None = None, **options):
        if not 0 <= smooth <= 1:
            raise BadValue(f"smooth {smooth} is no share of the neurons; give 0 to 1")
        surrogate = Surrogate("rect", 1.0, learn=True) if surrogate is None else surrogate
        super().__init__(*args, surrogate=surrogate, **options)
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
