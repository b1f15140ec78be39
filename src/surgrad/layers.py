"""Stateless layers applied to every time step at once."""

import torch
from torch import Tensor, nn

from surgrad.errors import BadValue


class PerStep(nn.Sequential):
    """Apply layers that know no time to every step: [T, N, ...] -> [T·N, ...] -> layers -> [T, N, ...].

    >>> PerStep(nn.Conv2d(3, 8, 3), nn.AvgPool2d(2))
    """

    def forward(self, input: Tensor) -> Tensor:
        steps = input.shape[:2]
        return super().forward(input.flatten(0, 1)).unflatten(0, steps)


class Dropout(nn.Module):
    """Dropout of the same units at every step (Fang et al. 2021): [T, N, ...] -> the same, in training with a share
    `p` of the units of each sample set to 0 in all steps, and the others divided by 1 - p."""

    def __init__(self, p: float = 0.5):
        super().__init__()
        if not 0 <= p < 1:
            raise BadValue(f"p {p} is no share to drop; give 0 to less than 1")
        self.p = p

    @property
    def supports_streaming(self) -> bool:
        """Whether a sequence may come in several calls: not while they draw."""
        return not self.training or self.p == 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        return x * torch.empty_like(x[:1]).bernoulli_(1 - self.p).div_(1 - self.p)


class ModerateDropout(nn.Module):
    """Dropout that spares the busy (Wang et al. 2022a, LTMD): a unit of rate d (its mean over the steps) is kept with
    probability

        1 - (1 - p)·share/(1 - mean p),   p = (d - min d)/(max d - min d) over the batch,

    at most 1, the same at all steps, and then divided by it: [T, N, ...] -> the same, in training. So the mean chance
    of being dropped is `share`, and the busiest unit never is."""

    def __init__(self, share: float = 0.2):
        super().__init__()
        if not 0 <= share < 1:
            raise BadValue(f"share {share} is no share to drop; give 0 to less than 1")
        self.share = share

    @property
    def supports_streaming(self) -> bool:
        """Whether a sequence may come in several calls: not while they draw."""
        return not self.training or self.share == 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.share == 0:
            return x
        with torch.no_grad():
            rate = x.detach().to(torch.promote_types(x.dtype, torch.float32)).mean(0)
            low, high = rate.aminmax()
            p = (rate - low) / (high - low).clamp(min=1e-12)
            kept = (1 - (1 - p) * self.share / (1 - p.mean())).clamp(0, 1)
            factor = torch.bernoulli(kept) / kept.clamp(min=1e-12)
        return x * factor.to(x.dtype)


class Vote(nn.Module):
    """`votes` outputs a class, averaged (Fang et al. 2021): [T, N, classes·votes] -> [T, N, classes]."""

    def __init__(self, votes: int = 10):
        super().__init__()
        self.votes = votes

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (-1, self.votes)).mean(3)
