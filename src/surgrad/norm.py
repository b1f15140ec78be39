"""Normalisation over time: statistics of a channel over T, N and space."""

import copy
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from surgrad.errors import BadValue
from surgrad.kernels.lif import COMPILED, Norm, choose, moments
from surgrad.neurons import LIF


class BatchNorm(_BatchNorm):
    """Batch normalisation with statistics over T, N, H, W: [T, N, C, ...] -> the same shape.

    y = s·γ·(x - mean)/√(var + ε) + μ with scale s = 1; γ is `weight` [C], μ is `bias` [C]. The biased variance
    normalises, the unbiased one enters the running estimate, which is used in evaluation. momentum: of that estimate;
    None averages over all batches."""

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float | None = 0.1):
        super().__init__(channels, eps, momentum)
        self.scale = 1.0

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        out = F.batch_norm(input.flatten(0, 1), self.running_mean, self.running_var, self._gain(), self.bias,
                           self.training, self._momentum(), self.eps)  # fmt: skip
        return out.unflatten(0, input.shape[:2])

    def statistics(self, input: Tensor, backend: str) -> Norm:
        """What `forward` would do to the input, for a neuron that does it in its own pass: of the batch in training,
        which also moves the running estimate, and of that estimate in evaluation."""
        self._check(input)
        mean, variance = self.running_mean, self.running_var
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


class TDBN(BatchNorm):
    """Threshold-dependent batch normalisation (Zheng et al. 2021, tdBN): `BatchNorm` with scale s = α·v_th, so that
    currents start at N(0, (α·v_th)²). α is 1, or 1/√2 for the two summands of a residual addition."""

    def __init__(self, channels: int, threshold: float = 0.5, alpha: float = 1.0, **options):
        super().__init__(channels, **options)
        self.scale = alpha * threshold


class NormNeuron(nn.Module):
    """A norm and the neuron that follows it: neuron(norm(x)), or neuron(norm(x) + plus_norm(plus)).

    Where a compiled kernel serves (`surgrad.lif`), the norm is part of the neuron's pass, and only its input and the
    spikes stay in memory; else, and where hooks look at either of them, they run one after the other, with the same
    outcome up to rounding.

    norm, plus_norm: of x, and of a second summand if that has one. neuron: any module on currents [T, N, C, ...].
    """

    def __init__(self, norm: nn.Module, neuron: nn.Module, plus_norm: nn.Module | None = None):
        super().__init__()
        self.norm, self.neuron, self.plus_norm = norm, neuron, plus_norm

    def forward(self, x: Tensor, plus: Tensor | None = None, steps: int | None = None) -> Tensor:
        """x, plus [T, N, C, ...], or [1, N, C, ...] shown for `steps` steps -> spikes [T, N, C, ...]."""
        backend = self._fused(x, plus)
        if backend is not None:
            norm, plus_norm = cast(BatchNorm, self.norm), cast(BatchNorm | None, self.plus_norm)
            summand = None if plus is None or plus_norm is None else plus_norm.statistics(plus, backend)
            return self.neuron(x, norm.statistics(x, backend), plus, summand, steps)
        current = self.norm(x)
        if plus is not None:
            current = current + (plus if self.plus_norm is None else self.plus_norm(plus))
        if steps is not None and len(current) != steps:
            current = current.expand(steps, *current.shape[1:])
        return self.neuron(current)

    def _fused(self, x: Tensor, plus: Tensor | None) -> str | None:
        """The compiled backend that will do all at once; None where there is none."""
        norms = [norm for norm in (self.norm, self.plus_norm) if norm is not None]
        if not _plain(self.neuron, LIF) or not all(_plain(norm, BatchNorm) for norm in norms):
            return None
        if any(_hooked(module) for module in (self.neuron, *norms)):  # somebody looks at what is between them
            return None
        if plus is not None and (plus.dtype, plus.shape[1:]) != (x.dtype, x.shape[1:]):
            return None
        assert isinstance(self.neuron, LIF)
        if self.neuron.surrogate.first_width is not None:  # its first step is a call of its own
            return None
        backend = choose(self.neuron.backend, x, self.neuron.surrogate.shape)
        return backend if backend in COMPILED else None


def _plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module does what that class does, and no subclass's `forward` stands in between."""
    return isinstance(module, kind) and type(module).forward is kind.forward


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
                or module._backward_pre_hooks)  # fmt: skip


NORMS: dict[str, Callable[..., BatchNorm]] = {"tdbn": TDBN, "batchnorm": BatchNorm}


@torch.no_grad()
def fold(conv: nn.Conv2d | nn.Linear, norm: BatchNorm) -> nn.Conv2d | nn.Linear:
    """The convolution (or linear layer) that computes norm(conv(x)) in evaluation, with a bias; conv is left as it is.

    The norm must follow the convolution at once; past a max-pool the folding holds only where γ >= 0.

    w' = w·sγ/√(σ²+ε), bias' = μ + (bias - mean)·sγ/√(σ²+ε)  (Zheng et al. 2021, section on inference)."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None  # a BatchNorm always tracks
    assert variance is not None
    gain = norm.scale * norm.weight / torch.sqrt(variance + norm.eps)
    shift = norm.bias - gain * mean
    folded = copy.deepcopy(conv)
    folded.weight.mul_(gain.view(-1, *[1] * (conv.weight.ndim - 1)))
    bias = shift if conv.bias is None else shift + gain * conv.bias
    folded.bias = nn.Parameter(bias.to(conv.weight))
    return folded
