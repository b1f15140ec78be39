"""Temperatures b = 2·v_th/width, among which Dspike and DGS search."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from surgrad.errors import BadValue


@dataclass(frozen=True)
class Temperatures:
    """The temperatures of a search: it begins at `start`, and moves by multiples of `delta` within [low, high]."""

    start: float
    delta: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not (0 < self.low <= self.start <= self.high and self.delta > 0):
            raise BadValue(
                f"the temperatures need 0 < low <= start <= high and delta > 0, got low {self.low}, "
                f"start {self.start}, high {self.high}, delta {self.delta}"
            )

    def around(self, temperature: float, multiples: Iterable[int]) -> list[float]:
        """The temperature moved by these multiples of `delta`, clipped to [low, high]."""
        return [min(max(temperature + k * self.delta, self.low), self.high) for k in multiples]


def width_at(neuron: Any, temperature: float) -> Tensor:
    """The width 2·v_th/b of a neuron's surrogate at temperature b."""
    width: Tensor = 2 * neuron.threshold.detach() / temperature
    return width
