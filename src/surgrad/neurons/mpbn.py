"""MPBN: a norm between the potential and the threshold."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgrad.errors import BadValue
from surgrad.neurons.lif import LIF
from surgrad.neurons.stepped import Stepped


class MPBN(Stepped):
    """Membrane potential batch normalisation (Guo et al. 2023): what is compared with the threshold is

        û_t = γ·(u_t - mean_t)/√(var_t + ε) + μ,

    with the statistics of that step's batch in training, and of a running estimate over all steps in evaluation, and
    where a batch of one value a channel has no variance; the reset acts on u_t itself. γ is `norm_weight` (1 at the
    start), μ `norm_bias` (0). One norm a channel where it stands behind a norm (`NormNeuron`) or is given `channels`,
    as published; else one a layer.

    momentum: of the running estimate, a share a step; None: it is the mean over the steps of the newest call alone.

    `folded` gives the neuron that needs no norm in evaluation.
    """

    norm_mean: Tensor
    norm_variance: Tensor

    def __init__(self, *args, channels: int | None = None, eps: float = 1e-5, momentum: float | None = 0.1, **options):
        super().__init__(*args, channels=channels, **options)
        self.eps = eps
        self.momentum = momentum
        self.for_channels(channels)

    def for_channels(self, channels: int | None) -> None:
        size = () if channels is None else (channels,)
        if "norm_mean" in self._buffers and self.norm_mean.shape == size:
            return  # what it may have learned stays
        self.norm_weight = nn.Parameter(torch.ones(size))
        self.norm_bias = nn.Parameter(torch.zeros(size))
        self.register_buffer("norm_mean", torch.zeros(size))
        self.register_buffer("norm_variance", torch.ones(size))

    def forward(self, *args: Any, **options: Any) -> Tensor:
        """As `LIF.forward`."""
        self._steps_seen = 0
        return super().forward(*args, **options)

    def seen(self, u: Tensor) -> Tensor:
        self._steps_seen += 1
        share = 1 / self._steps_seen if self.momentum is None else self.momentum
        values = (u if self.norm_weight.ndim else u.reshape(1, 1, -1)).to(self.norm_mean.dtype)
        by_batch = self.training and values.numel() > self.norm_weight.numel()
        mean = self.norm_mean.view(-1)  # written to, as these are views
        variance = self.norm_variance.view(-1)
        out = F.batch_norm(
            values, mean, variance, self.norm_weight.view(-1), self.norm_bias.view(-1), by_batch, share, self.eps
        )
        return out.view_as(u).to(u.dtype)

    @torch.no_grad()
    def folded(self) -> LIF:
        """The neuron that spikes in evaluation where this one does, without a norm (Guo et al. 2023): with

            v' = (v_th - μ)·√(var + ε)/γ + mean

        as the threshold of a layer or channel, so that a kernel serves it. Where γ < 0, which turns the comparison
        round, the current changes its sign, and the threshold. Its slope is not this one's: to be evaluated only."""
        if self.reset_mode == "subtract":
            raise BadValue(
                "a folded threshold is another one than the reset subtracts; fold a neuron that resets to "
                "zero, or not at all"
            )
        scale = self.norm_weight / torch.sqrt(self.norm_variance + self.eps)
        above = self.threshold - self.norm_bias
        level = torch.where(scale == 0, torch.where(above > 0, torch.inf, -torch.inf), above / scale + self.norm_mean)
        return _Folded(self, torch.where(scale < 0, -1.0, 1.0), level)


class _Folded(LIF):
    """An LIF with any threshold, 0 or below too, and a sign of its input."""

    sign: Tensor

    def __init__(self, of: MPBN, sign: Tensor, level: Tensor):
        super().__init__(
            0.5,
            surrogate=of.surrogate,
            reset=of.reset_mode,
            detach_reset=of.detach_reset,
            carry=of.carry,
            backend=of.backend,
        )
        self.fixed_decay = of.decay.clone()
        self.threshold = sign * level
        self.register_buffer("sign", sign)
        self.train(of.training)

    @property
    def gain(self) -> Tensor:
        return self.sign
