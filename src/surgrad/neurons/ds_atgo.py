"""DS-ATGO: a threshold that follows the potentials."""

import torch
from torch import Tensor

from surgrad.neurons.stepped import Stepped

STEPS = 64
"""Steps that have a running threshold of their own; later ones share the last."""


class DSATGO(Stepped):
    """DS-ATGO (AAAI 2026): the threshold of a step is the mean and a standard deviation of its potentials in the layer,

        v_th(t) = mean(u_t) + std(u_t),

    constants of the backward pass; in evaluation the running average of it, by `momentum`. Its widths follow the spread
    of the potentials: `follow("ds_atgo")`. `threshold` remains the unit of histograms."""

    running_threshold: Tensor

    def __init__(self, *args, momentum: float = 0.1, **options):
        super().__init__(*args, **options)
        self.momentum = momentum
        self.register_buffer("running_threshold", torch.full((STEPS,), self.threshold.mean().item()))

    def threshold_of(self, u: Tensor, threshold: Tensor, step: int) -> Tensor:
        step = min(step, STEPS - 1)
        if not self.training:
            return self.running_threshold[step].to(u)
        with torch.no_grad():
            found = u.mean() + u.std(correction=0)
            self.running_threshold[step].lerp_(found.to(self.running_threshold), self.momentum)
        return found
