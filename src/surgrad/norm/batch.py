"""Normalisation over time: statistics of a channel over T, N and space."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from surgrad.errors import BadValue
from surgrad.kernels.lif import Norm, moments


class BatchNorm(_BatchNorm):
    """Batch normalisation with statistics over T, N, H, W: [T, N, C, ...] -> the same shape.

    y = s·γ·(x - mean)/√(var + ε) + μ with scale s = 1; γ is `weight` [C], μ is `bias` [C]. The biased variance
    normalises, the unbiased one enters the running estimate, which is used in evaluation. momentum: of that estimate;
    None averages over all batches."""

    per_time_step = False
    """Whether it does another thing in every step, and so needs their number (`steps`) and no static image."""

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float | None = 0.1):
        super().__init__(channels, eps, momentum)
        self.channels = channels
        self.scale = 1.0

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        out = F.batch_norm(
            input.flatten(0, 1),
            self.running_mean,
            self.running_var,
            self._gain(),
            self.bias,
            self.training,
            self._momentum(),
            self.eps,
        )
        return out.unflatten(0, input.shape[:2])

    def statistics(self, input: Tensor, backend: str) -> Norm:
        """What `forward` would do to the input, for a neuron that does it in its own pass: of the batch in training,
        which also moves the running estimate, and of that estimate in evaluation."""
        self._check(input)
        mean = self.running_mean
        variance = self.running_var
        assert mean is not None  # a BatchNorm always tracks
        assert variance is not None
        if self.training:
            count = input.numel() // self.num_features
            if count < 2:
                raise BadValue(f"input {list(input.shape)} has one value a channel, which has no variance; give more")
            found = moments(backend, input)
            with torch.no_grad():
                momentum = self._momentum()
                mean.lerp_(found[0].to(mean), momentum)
                variance.lerp_((found[1] * (count / (count - 1))).to(variance), momentum)
            mean, variance = found
        return Norm(mean, variance, self._gain(), self.bias, self.eps, self.training)

    def _gain(self) -> Tensor:
        return self.weight * self.scale if self.scale != 1 else self.weight

    def _check(self, input: Tensor) -> None:
        if input.ndim < 3 or input.shape[2] != self.num_features:
            raise BadValue(f"input {list(input.shape)} does not fit; give [T, N, {self.num_features}, ...]")

    def _momentum(self) -> float:
        """Of this forward pass, which it counts in training."""
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                return 1 / float(self.num_batches_tracked)
        return self.momentum or 0.0


class NoNorm(nn.Identity):
    """In a norm's place, nothing: currents as they come."""

    per_time_step = False

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels


class TDBN(BatchNorm):
    """Threshold-dependent batch normalisation (Zheng et al. 2021, tdBN): `BatchNorm` with scale s = α·v_th, so that
    currents start at N(0, (α·v_th)²). α is 1, or 1/√2 for the two summands of a residual addition."""

    def __init__(self, channels: int, threshold: float = 0.5, alpha: float = 1.0, **options):
        super().__init__(channels, **options)
        self.scale = alpha * threshold
