"""Per-time-step normalisation."""

from functools import partial

import torch
from torch import Tensor, nn

from surgrad import ranks
from surgrad.broadcasting import broadcast_channels
from surgrad.config.values import Count, Fraction, Positive
from surgrad.errors import BadValue
from surgrad.norm.batch import BatchNorm
from surgrad.padding import only_valid, per_sample, valid, zeroed


class StepBatchNorm(BatchNorm):
    """Batch normalisation of each time step alone, as a network that runs step by step has it.

        y_t = γ·(x_t - mean_t)/√(var_t + ε) + μ

    The steps share γ, μ and one running estimate, which every step updates in turn. Codes that call `nn.BatchNorm2d`
    in a loop over time do the same (Fang et al. 2021, PLIF; Meng et al. 2023, SLTT; Huang et al. 2024, CLIF). An input
    that is the same in every step, such as a static image behind the first convolution, is normalised once.

    Args:
        channels: C.
        eps: as in `BatchNorm`.
        momentum: as in `BatchNorm`.
    """

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        if not self.training:
            return super().forward(input)
        ranks.refuse_padding(type(self).__name__)
        mask = valid(input)
        masks = [None] * len(input) if mask is None else mask.split(1)
        steps = zip(input.split(1), masks, strict=True)
        return torch.cat([per_sample(self._normalised, step, of_step) for step, of_step in steps])


class TEBN(BatchNorm):
    """Temporal effective batch normalisation (Duan et al. 2022): `BatchNorm`, times a trained scale for each step.

        y_t = p_t·(γ·(x_t - mean)/√(var + ε) + μ),

    p is `step_scale` [steps], 1 at the start. Shorter sequences use its first entries.

    Args:
        channels: C.
        steps: the longest sequence.
        eps: as in `BatchNorm`.
        momentum: as in `BatchNorm`.
    """

    per_time_step = True

    def __init__(self, channels: int, steps: Count, *, eps: Positive = 1e-5, momentum: Fraction | None = 0.1):
        super().__init__(channels, eps=eps, momentum=momentum)
        self.step_scale = nn.Parameter(torch.ones(steps))

    def forward(self, input: Tensor) -> Tensor:
        _check_steps(input, len(self.step_scale))
        return super().forward(input) * _broadcast_steps(self.step_scale, input)


class BNTT(BatchNorm):
    """Batch normalisation through time (Kim and Panda 2021): each step has separate statistics and weights.

    There is no bias: y_t = γ_t·(x_t - mean_t)/√(var_t + ε). `weight`, `running_mean`, `running_var`: [steps·C], one
    step after the other.

    Args:
        channels: C.
        steps: the longest sequence.
        eps: as in `BatchNorm`.
        momentum: as in `BatchNorm`.
    """

    per_time_step = True

    def __init__(self, channels: int, steps: Count, *, eps: Positive = 1e-4, momentum: Fraction | None = 0.1):
        super().__init__(steps * channels, eps=eps, momentum=momentum)
        self.register_parameter("bias", None)
        self.steps = steps
        self.channels = channels

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        if self.training:
            ranks.refuse_padding(type(self).__name__)
        mask = valid(input)
        if mask is not None:
            return self._step_by_step(input, mask)
        steps = len(input)
        size = len(input) * self.channels
        out = ranks.batch_norm(
            input.transpose(0, 1).flatten(1, 2),
            self.running_mean[:size],
            self.running_var[:size],
            self.weight[:size],
            None,
            self.training,
            self._next_momentum(),
            self.eps,
        )
        return out.unflatten(1, (steps, self.channels)).transpose(0, 1)

    def _step_by_step(self, input: Tensor, mask: Tensor) -> Tensor:
        """The same for padded sequences, of which a step has fewer samples than the one before."""
        momentum = self._next_momentum()
        found = []
        for t, (step, of_step) in enumerate(zip(input.split(1), mask.split(1), strict=True)):
            self._check_count(only_valid(step, t)[0])
            own = slice(t * self.channels, (t + 1) * self.channels)
            normalised = partial(
                ranks.batch_norm,
                running_mean=self.running_mean[own],
                running_var=self.running_var[own],
                weight=self.weight[own],
                training=self.training,
                momentum=momentum,
                eps=self.eps,
            )
            found.append(per_sample(normalised, step, of_step))
        return torch.cat(found)

    def _check(self, input: Tensor) -> None:
        if input.ndim < 3 or input.shape[2] != self.channels:
            raise BadValue(f"input {list(input.shape)} does not fit; give [T, N, {self.channels}, ...]")
        _check_steps(input, self.steps)


class TAB(BatchNorm):
    """Temporal accumulated batch normalisation (Jiang et al. 2024).

    The statistics of a step are those of all steps up to it, mean_1..t and var_1..t, so that no step depends on a later
    one,

        y_t = p_t²·(γ_t·(x_t - mean_1..t)/√(var_1..t + ε) + μ_t),

    with a trained p (`step_scale` [steps], 1 at the start), and γ and μ of each step (`weight`, `bias`: [steps·C], one
    step after the other), as in the authors' code. Running estimates: [steps, C].

    Args:
        channels: C.
        steps: the longest sequence.
        eps: as in `BatchNorm`.
        momentum: as in `BatchNorm`.
    """

    per_time_step = True

    def __init__(self, channels: int, steps: Count, *, eps: Positive = 1e-5, momentum: Fraction | None = 0.1):
        super().__init__(channels, eps=eps, momentum=momentum)
        self.weight = nn.Parameter(torch.ones(steps * channels))
        self.bias = nn.Parameter(torch.zeros(steps * channels))
        self.step_scale = nn.Parameter(torch.ones(steps))
        self.running_mean = torch.zeros(steps, channels)
        self.running_var = torch.ones(steps, channels)

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        _check_steps(input, len(self.step_scale))
        input = zeroed(input)
        mean, variance = self._moments(input)
        x = input.to(mean.dtype)
        scale = _broadcast_steps(self.step_scale.square(), input)
        gain, shift = (_broadcast_statistics(self._of_steps(rows, len(input)), x) for rows in (self.weight, self.bias))
        centred = x - _broadcast_statistics(mean, x)
        out = scale * (gain * centred * torch.rsqrt(_broadcast_statistics(variance, x) + self.eps) + shift)
        return zeroed(out.to(input.dtype))

    def _of_steps(self, rows: Tensor, steps: int) -> Tensor:
        """The first steps of a parameter [steps·C], as [steps, C]."""
        return rows.view(-1, self.channels)[:steps]

    def _moments(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance [T, C] of the steps up to each; in evaluation the running estimates."""
        running_mean = self.running_mean
        running_var = self.running_var
        steps = len(input)
        momentum = self._next_momentum()
        if not self.training:
            return running_mean[:steps], running_var[:steps]
        ranks.refuse_padding(type(self).__name__)
        values = input.to(torch.promote_types(input.dtype, torch.float32)).movedim(2, 1).flatten(2)
        if not ranks.has_variance(values.shape[2]):
            raise BadValue(
                f"input {list(input.shape)} has one value per channel and step, which has no variance; give a larger "
                "batch"
            )
        first, second, count = self._sums(values, input)
        mean = first.cumsum(0) / count
        variance = second.cumsum(0) / count - mean.square()
        with torch.no_grad():
            running_mean[:steps].lerp_(mean.to(running_mean), momentum)
            running_var[:steps].lerp_((variance * count / (count - 1)).to(running_var), momentum)
        return mean, variance

    @staticmethod
    def _sums(values: Tensor, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The sums [T, C] of values [T, C, N·space], 0 in the padding, and of their squares in each step, and the
        number of values [T, 1] up to it."""
        mask = valid(input)
        space = values.shape[2] // input.shape[1]
        if mask is None:
            count = values.shape[2] * torch.arange(1, len(values) + 1, device=input.device).view(-1, 1)
        else:
            count = space * mask.sum(1).cumsum(0).view(-1, 1)
        first, second = values.sum(2), values.square().sum(2)
        if not ranks.share_statistics():
            return first, second, count
        return ranks.total(first), ranks.total(second), ranks.total(count)


def _check_steps(input: Tensor, most: int) -> None:
    if len(input) > most:
        raise BadValue(
            f"input {list(input.shape)} has {len(input)} steps, and this norm was built for {most}; build it with "
            f"steps={len(input)}"
        )


def _broadcast_steps(scale: Tensor, input: Tensor) -> Tensor:
    """One number per step, shaped to broadcast against [T, N, C, ...]."""
    return broadcast_channels(scale[: len(input)], input, 0).to(input.dtype)


def _broadcast_statistics(values: Tensor, input: Tensor) -> Tensor:
    """[T, C] shaped to broadcast against [T, N, C, ...]."""
    return values.view(len(values), 1, -1, *[1] * (input.ndim - 3))
