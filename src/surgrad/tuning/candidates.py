"""What is raced: ways to choose a surrogate function and its width."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

SURROGATES = ("rect", "triangle", "atan", "fast_sigmoid")
SHARES = (0.2, 0.3, 0.4)


@dataclass(frozen=True)
class Candidate:
    """A surrogate function, and the controller that chooses its widths.

    Attributes:
        label: names it.
        surrogate: the name of the surrogate function; None: that of the network.
        controller: the name of the controller; None: that of the recipe, or in Python none, so that widths stay.
        options: options of the controller.
    """

    label: str
    surrogate: str | None = None
    controller: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def settings(self) -> tuple[str, ...]:
        """The changes of a recipe, as in `surgrad train --set`."""
        chosen = {"surrogate.name": self.surrogate, "adapt.name": self.controller}
        chosen |= {f"adapt.{name}": value for name, value in self.options.items()}
        return tuple(f"{path}={value}" for path, value in chosen.items() if value is not None)


AS_IT_IS = Candidate("as_it_is")
"""The network or recipe without a change: what the others are compared with."""


def default_candidates(
    surrogates: Sequence[str] = SURROGATES, shares: Sequence[float] = SHARES
) -> tuple[Candidate, ...]:
    """The network as it is; shares χ* with every surrogate function; LSG; a rectangle of width 1, as in many papers.

    Args:
        surrogates: names of surrogate functions.
        shares: values of χ* (`surgrad.adapt.KeepShare`).
    """
    kept = [
        Candidate(f"share_{share}_{surrogate}", surrogate, "share", {"share": share})
        for share, surrogate in product(shares, surrogates)
    ]
    return (
        AS_IT_IS,
        *kept,
        Candidate("lsg", "rect", "lsg"),
        Candidate("fixed_1_rect", "rect", "fixed", {"width": 1.0}),
    )
