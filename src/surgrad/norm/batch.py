"""Normalisation over time: statistics of a channel over T, N and space."""

from typing import Any

import torch
from torch import Tensor, nn

from surgrad import ranks
from surgrad.config.values import Fraction, Positive
from surgrad.errors import BadValue
from surgrad.kernels.lif import Norm, moments, norm_rows
from surgrad.padding import per_sample


class BatchNorm(nn.Module):
    """Batch normalisation with statistics over T, N, H, W: [T, N, C, ...] -> the same shape.

    y = s·γ·(x - mean)/√(var + ε) + μ with scale s = 1; γ is `weight` [C], μ is `bias` [C]. The biased variance
    normalises. The unbiased one enters the running estimate, which is used in evaluation.

    Parameters and buffers have the names of torch's batch norms, so that weights can be exchanged. It does not derive
    from them: `nn.SyncBatchNorm.convert_sync_batchnorm` would replace it by a norm over another axis.

    Args:
        channels: C.
        eps: ε.
        momentum: weight of the newest batch in the running estimate, in [0, 1]; None averages over all batches.
    """

    _version = 2  # of the state dict, as of torch's batch norms: older ones have no num_batches_tracked

    per_time_step = False
    """Whether it has parameters or statistics for each time step, so that its constructor takes `steps`."""
    tracks_batch_statistics = True
    """Whether it uses statistics of the batch in training, and a running estimate of them in evaluation."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    bias: nn.Parameter  # None in BNTT

    def __init__(self, channels: int, *, eps: Positive = 1e-5, momentum: Fraction | None = 0.1):
        super().__init__()
        self.channels = channels
        self.num_features = channels
        self.eps = eps
        self.momentum = momentum
        self.scale = 1.0
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long))

    def forward(self, input: Tensor) -> Tensor:
        """input [T, N, C, ...] -> the same shape and dtype."""
        self._check(input)
        return per_sample(self._normalised, input)

    def _normalised(self, samples: Tensor) -> Tensor:
        """The samples [M, C, ...], normalised."""
        self._check_count(samples)
        return ranks.batch_norm(
            samples,
            self.running_mean,
            self.running_var,
            self._gain(),
            self.bias,
            self.training,
            self._next_momentum(),
            self.eps,
        )

    def statistics(self, input: Tensor, backend: str) -> Norm:
        """The normalisation that `forward` would apply, for a neuron that applies it in its own pass.

        In training these are the statistics of the batch, and the running estimate is updated; in evaluation they are
        the running estimate.
        """
        self._check(input)
        if not self.training:
            return self._norm(self.running_mean, self.running_var, batch=False)
        self._check_count(input)
        shared = ranks.share_statistics()
        if self.momentum is not None and not shared:
            state = (self.running_mean, self.running_var, self.num_batches_tracked)
            rows = norm_rows(backend, input, self.weight, self.bias, *state, self.momentum)
            if rows is not None:
                mean, variance, weight, bias = rows.unbind()
                return Norm(mean, variance, weight, bias, self.eps, True, rows, self.scale)
        found = self._of_batch(input, backend, shared)
        ranks.follow((self.running_mean, self.running_var), found, self._next_momentum())
        return self._norm(found.mean, found.variance, batch=True, shared=shared)

    @torch.no_grad()
    def _of_batch(self, input: Tensor, backend: str, shared: bool) -> ranks.Moments:
        """Statistics of each channel, over all ranks if shared."""
        if shared:
            return ranks.moments(input, 2, lambda share: moments(backend, share))
        mean, variance = moments(backend, input)
        return ranks.Moments(mean, variance, input.numel() // self.num_features)

    def _norm(self, mean: Tensor, variance: Tensor, *, batch: bool, shared: bool = False) -> Norm:
        return Norm(mean, variance, self.weight, self.bias, self.eps, batch, scale=self.scale, shared=shared)

    def _gain(self) -> Tensor:
        return self.weight * self.scale if self.scale != 1 else self.weight

    def _check(self, input: Tensor) -> None:
        if input.ndim < 3 or input.shape[2] != self.num_features:
            raise BadValue(f"input {list(input.shape)} does not fit; give [T, N, {self.num_features}, ...]")

    def _check_count(self, values: Tensor) -> None:
        if self.training and not ranks.has_variance(values.numel() // self.channels):
            raise BadValue(
                f"{list(values.shape)} is one value per channel, which has no variance; give a larger batch (of "
                "padded sequences, one whose last step more than one reaches), or a norm of all steps together"
            )

    def _next_momentum(self) -> float:
        """The momentum of this forward pass, which is counted in training."""
        if self.training:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                return 1 / float(self.num_batches_tracked)
        return self.momentum or 0.0

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any, **options: Any
    ) -> None:
        version = local_metadata.get("version")
        if version is None or version < 2:
            count = torch.tensor(0) if self.num_batches_tracked.is_meta else self.num_batches_tracked
            state_dict.setdefault(f"{prefix}num_batches_tracked", count)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args, **options)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class NoNorm(nn.Identity):
    """No normalisation: currents pass unchanged.

    Args:
        channels: C; the same constructor as that of the norms.
    """

    per_time_step = False
    tracks_batch_statistics = False

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels


class TDBN(BatchNorm):
    """Threshold-dependent batch normalisation (Zheng et al. 2021, tdBN): `BatchNorm` with scale s = α·v_th.

    Currents start at N(0, (α·v_th)²).

    Args:
        channels: C.
        threshold: v_th of the neuron that follows.
        alpha: α: 1, or 1/√2 for the two summands of a residual addition.
        eps: as in `BatchNorm`.
        momentum: as in `BatchNorm`.

    Example:
        >>> norm = TDBN(3, threshold=0.5)
        >>> currents = norm(torch.rand(4, 2, 3, 8, 8))  # [T, N, C, H, W]
        >>> abs(currents.std().item() - 0.5) < 0.01
        True
    """

    def __init__(
        self,
        channels: int,
        threshold: Positive = 0.5,
        alpha: Positive = 1.0,
        *,
        eps: Positive = 1e-5,
        momentum: Fraction | None = 0.1,
    ):
        super().__init__(channels, eps=eps, momentum=momentum)
        self.scale = alpha * threshold
