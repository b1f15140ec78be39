"""Layers without state, applied to all time steps at once."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from surgrad.config.values import Count, Fraction
from surgrad.errors import BadValue
from surgrad.neurons import Neuron
from surgrad.padding import time_mean


class PerStep(nn.Sequential):
    """Layers without a time axis, applied to every step: [T, N, ...] -> [T·N, ...] -> layers -> [T, N, ...].

    Args:
        *args: the layers, as of `nn.Sequential`.

    Raises:
        BadValue: for a neuron among them: it would take the samples of a batch for time steps; for an input with too
            few axes for the first layer.

    Example:
        >>> layers = PerStep(nn.Conv2d(3, 8, 3), nn.AvgPool2d(2))
        >>> layers(torch.zeros(4, 2, 3, 10, 10)).shape
        torch.Size([4, 2, 8, 4, 4])
    """

    def __init__(self, *args: Any):
        super().__init__(*args)
        for name, module in self.named_modules():
            if isinstance(module, Neuron):
                raise BadValue(
                    f"layer '{name}' of PerStep is a neuron ({type(module).__name__}), which needs the time axis that "
                    "PerStep removes; put it after the PerStep"
                )

    def forward(self, input: Tensor) -> Tensor:
        steps = input.shape[:2]
        least = _least_axes(self)
        if input.ndim < least:
            raise BadValue(
                f"PerStep with {type(self[0]).__name__} takes sequences [T, N, ...] of {least} axes, got "
                f"{list(input.shape)}; show samples without a time axis T times: x.expand(T, *x.shape)"
            )
        return super().forward(input.flatten(0, 1)).unflatten(0, steps)


def _least_axes(layers: nn.Sequential) -> int:
    """The axes of a sequence that the first layer takes, those of time and samples included, where it says so."""
    first = layers[0] if len(layers) else None
    if isinstance(first, _ConvNd):
        return 3 + len(first.kernel_size)
    return 3 if isinstance(first, nn.Linear) else 0


class Dropout(nn.Module):
    """Dropout of the same units at every step (Fang et al. 2021): [T, N, ...] -> the same shape.

    In training a fraction `p` of the units of each sample is set to 0 in all steps, and the others are divided by
    1 - p.

    Args:
        p: dropout probability, in [0, 1).

    Raises:
        BadValue: for a probability outside [0, 1).
    """

    couples_samples = True
    """Whether, in training, the output of one sample depends on the other samples of the batch or on random
    numbers."""
    shares_batches = False
    """Whether processes that have shares of a batch compute what one computes that has all of it (`surgrad.ranks`)."""

    def __init__(self, p: Fraction = 0.5):
        super().__init__()
        _check_probability(p)
        self.p = p

    @property
    def supports_streaming(self) -> bool:
        """Whether a sequence may come in several calls: not in training, where each call draws new units."""
        return not self.training or self.p == 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        return x * torch.empty_like(x[:1]).bernoulli_(1 - self.p).div_(1 - self.p)


class ModerateDropout(nn.Module):
    """Activity-dependent dropout (Wang et al. 2022a, LTMD): active units are kept more often.

    In training a unit with firing rate d (its mean over the steps) is kept with probability

        1 - (1 - p)·share/(1 - mean p),   p = (d - min d)/(max d - min d) over the batch,

    at most 1, the same at all steps, and divided by that probability: [T, N, ...] -> the same shape. The mean
    probability of being dropped is `share`, and the most active unit is never dropped.

    Args:
        share: mean dropout probability, in [0, 1).

    Raises:
        BadValue: for a probability outside [0, 1).
    """

    couples_samples = True
    shares_batches = False

    def __init__(self, share: Fraction = 0.2):
        super().__init__()
        _check_probability(share)
        self.share = share

    @property
    def supports_streaming(self) -> bool:
        """Whether a sequence may come in several calls: not in training, where each call draws new units."""
        return not self.training or self.share == 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.share == 0:
            return x
        with torch.no_grad():
            rate = time_mean(x.detach().to(torch.promote_types(x.dtype, torch.float32)))
            low, high = rate.aminmax()
            p = (rate - low) / (high - low).clamp(min=1e-12)
            kept = (1 - (1 - p) * self.share / (1 - p.mean())).clamp(0, 1)
            factor = torch.bernoulli(kept) / kept.clamp(min=1e-12)
        return x * factor.to(x.dtype)


class Vote(nn.Module):
    """The average of `votes` outputs per class (Fang et al. 2021): [T, N, classes·votes] -> [T, N, classes].

    Args:
        votes: outputs per class, at least 1.
    """

    def __init__(self, votes: Count = 10):
        super().__init__()
        self.votes = votes

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (-1, self.votes)).mean(3)


def _check_probability(p: float) -> None:
    if not 0 <= p < 1:
        raise BadValue(f"dropout probability must be in [0, 1), got {p:g}")
