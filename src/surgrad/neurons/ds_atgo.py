"""DS-ATGO: a threshold that follows the potentials."""

import torch
from torch import Tensor

from surgrad import padding
from surgrad.config.values import Count, Fraction, Positive
from surgrad.kernels.lif import Reset
from surgrad.neurons.base import TimeConstant
from surgrad.neurons.stepped import SteppedNeuron
from surgrad.surrogates import Surrogate, SurrogateFunction

STEPS = 64
"""Time steps with a separate running threshold; later steps share the last one."""


class DSATGO(SteppedNeuron):
    """DS-ATGO (AAAI 2026): the threshold of a step is the mean plus the standard deviation of its potentials.

        v_th(t) = mean(u_t) + std(u_t)   over the batch and the layer.

    It is a constant in the backward pass. In evaluation its running average is used. The widths follow the spread of
    the potentials (`surgrad.adapt`, "ds_atgo"). `threshold` remains the unit of histograms. The other parameters are
    those of `Neuron`.

    Args:
        momentum: weight of the newest batch in the running average, in [0, 1].
    """

    shares_batches = False
    tracks_batch_statistics = False  # a probe lets the running threshold move with each question
    running_threshold: Tensor

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
        momentum: Fraction = 0.1,
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
        self.momentum = momentum
        self.register_buffer("running_threshold", torch.full((STEPS,), self.threshold.mean().item()))

    def threshold_of(self, u: Tensor, threshold: Tensor, step: int) -> Tensor:
        u = padding.only_valid(u[None], step)[0]
        step = min(step, STEPS - 1)
        if not self.training or not u.numel():
            return self.running_threshold[step].to(u)
        with torch.no_grad():
            found = u.mean() + u.std(correction=0)
            self.running_threshold[step].lerp_(found.to(self.running_threshold), self.momentum)
        return found
