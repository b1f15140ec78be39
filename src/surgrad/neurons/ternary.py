"""Ternary spikes."""

import torch
from torch import Tensor, nn

from surgrad.neurons.stepped import Stepped
from surgrad.surrogates import spike


class TernaryLIF(Stepped):
    """Ternary spikes (Guo et al. 2024): o = sign(u)·1[|u| >= v_th], reset where it fired, times a trained amplitude a
    (`trained_amplitude`, 1 at the start; one a layer or a channel), which in inference belongs to the weights behind.

    Backward: the surrogate's slope at both thresholds. Reset "zero" takes the potential, "subtract" v_th·o."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.trained_amplitude = nn.Parameter(torch.ones(self.threshold.shape))

    @property
    def amplitude(self) -> Tensor:
        return self.trained_amplitude

    def fire(self, x: Tensor, width: Tensor, threshold: Tensor) -> Tensor:
        return spike(x, width, self.surrogate.function) - spike(-x - 2 * threshold, width, self.surrogate.function)

    def left(self, state: Tensor | None, u: Tensor, fired: Tensor, threshold: Tensor) -> Tensor:
        return super().left(state, u, fired.abs() if self.reset_mode == "zero" else fired, threshold)
