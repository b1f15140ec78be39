"""Normalisation that does another thing in every step."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgrad.errors import BadValue
from surgrad.norm.batch import BatchNorm


class TEBN(BatchNorm):
    """Temporal effective batch normalisation (Duan et al. 2022): `BatchNorm`, times a trained scale of each step,

        y_t = p_t·(γ·(x_t - mean)/√(var + ε) + μ),

    p is `step_scale` [steps], 1 at the start. Shorter sequences use the first of it."""

    per_time_step = True

    def __init__(self, channels: int, steps: int, **options):
        super().__init__(channels, **options)
        self.step_scale = nn.Parameter(torch.ones(steps))

    def forward(self, input: Tensor) -> Tensor:
        _check_steps(input, len(self.step_scale))
        return super().forward(input) * _of_steps(self.step_scale, input)


class BNTT(BatchNorm):
    """Batch normalisation through time (Kim and Panda 2021): each step has statistics and a weight of its own, and no
    bias: y_t = γ_t·(x_t - mean_t)/√(var_t + ε). `weight`, `running_mean`, `running_var`: [steps·C], step by step."""

    per_time_step = True

    def __init__(self, channels: int, steps: int, *, eps: float = 1e-4, momentum: float | None = 0.1):
        super().__init__(steps * channels, eps=eps, momentum=momentum)
        self.register_parameter("bias", None)
        self.steps = steps
        self.channels = channels

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        steps = len(input)
        size = len(input) * self.channels
        mean = self.running_mean
        variance = self.running_var
        assert mean is not None  # a BatchNorm always tracks
        assert variance is not None
        out = F.batch_norm(
            input.transpose(0, 1).flatten(1, 2),
            mean[:size],
            variance[:size],
            self.weight[:size],
            None,
            self.training,
            self._momentum(),
            self.eps,
        )
        return out.unflatten(1, (steps, self.channels)).transpose(0, 1)

    def _check(self, input: Tensor) -> None:
        if input.ndim < 3 or input.shape[2] != self.channels:
            raise BadValue(f"input {list(input.shape)} does not fit; give [T, N, {self.channels}, ...]")
        _check_steps(input, self.steps)


class TAB(BatchNorm):
    """Temporal accumulated batch normalisation (Jiang et al. 2024): the statistics of a step are those of all steps up
    to it, mean_1..t and var_1..t, so that no step sees a later one,

        y_t = p_t·(γ·(x_t - mean_1..t)/√(var_1..t + ε) + μ),

    with a trained scale p (`step_scale` [steps], 1 at the start). Running estimates: [steps, C]."""

    per_time_step = True

    def __init__(self, channels: int, steps: int, **options):
        super().__init__(channels, **options)
        self.step_scale = nn.Parameter(torch.ones(steps))
        self.running_mean = torch.zeros(steps, channels)
        self.running_var = torch.ones(steps, channels)

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        _check_steps(input, len(self.step_scale))
        mean, variance = self._moments(input)
        x = input.to(mean.dtype)
        scale = _of_steps(self.step_scale, input)
        shape = (1, 1, -1, *[1] * (input.ndim - 3))
        gain = self.weight.view(shape)
        shift = self.bias.view(shape)
        out = scale * (gain * (x - _of_channels(mean, x)) * torch.rsqrt(_of_channels(variance, x) + self.eps) + shift)
        return out.to(input.dtype)

    def _moments(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance [T, C] of the steps up to each; in evaluation the running estimates."""
        held = self.running_mean
        spread = self.running_var
        assert held is not None  # a BatchNorm always tracks
        assert spread is not None
        steps = len(input)
        momentum = self._momentum()
        if not self.training:
            return held[:steps], spread[:steps]
        values = input.to(torch.promote_types(input.dtype, torch.float32)).movedim(2, 1).flatten(2)
        if values.shape[2] < 2:
            raise BadValue(
                f"input {list(input.shape)} has one value a channel and step, which has no variance; give more"
            )
        seen = torch.arange(1, steps + 1, device=input.device).view(-1, 1)
        variances, means = torch.var_mean(values, 2, correction=0)
        mean = means.cumsum(0) / seen
        variance = (variances + means.square()).cumsum(0) / seen - mean.square()
        count = seen * values.shape[2]
        with torch.no_grad():
            held[:steps].lerp_(mean.to(held), momentum)
            spread[:steps].lerp_((variance * count / (count - 1)).to(spread), momentum)
        return mean, variance


def _check_steps(input: Tensor, most: int) -> None:
    if len(input) > most:
        raise BadValue(
            f"input {list(input.shape)} has {len(input)} steps and this norm was made for {most}; give it "
            "steps = the network's"
        )


def _of_steps(scale: Tensor, input: Tensor) -> Tensor:
    return scale[: len(input)].view(-1, *[1] * (input.ndim - 1)).to(input.dtype)


def _of_channels(values: Tensor, input: Tensor) -> Tensor:
    """[T, C] shaped to meet [T, N, C, ...]."""
    return values.view(len(values), 1, -1, *[1] * (input.ndim - 3))
