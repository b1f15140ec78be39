"""Stateless layers applied to every time step at once."""

from torch import Tensor, nn


class PerStep(nn.Sequential):
    """Apply layers that know no time to every step: [T, N, ...] -> [T·N, ...] -> layers -> [T, N, ...].

    >>> PerStep(nn.Conv2d(3, 8, 3), nn.AvgPool2d(2))
    """

    def forward(self, input: Tensor) -> Tensor:
        steps = input.shape[:2]
        return super().forward(input.flatten(0, 1)).unflatten(0, steps)
