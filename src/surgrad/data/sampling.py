"""Which samples are used, in which order: every choice depends on seeds and numbers alone, never on a global state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from surgrad.errors import BadValue


class Part(Protocol):
    """One part of a data set: samples in a fixed order, with their labels int64 [N]."""

    @property
    def labels(self) -> Tensor: ...

    def __len__(self) -> int: ...

    def only(self, chosen: Sequence[int]) -> Self:
        """The samples with these numbers, in the order given."""
        ...


P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class Parts(Generic[P]):
    """The samples that a run uses.

    Attributes:
        train: the samples to train on.
        holdout: the part of the training samples that is set apart; empty without one.
        test: the test samples.
    """

    train: P
    holdout: P
    test: P


def seeded(*key: int) -> torch.Generator:
    """A CPU generator that depends on these numbers alone."""
    seed = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed >> np.uint64(1)))


def divide(train: P, test: P, *, holdout: float, seed: int, limited: Callable[[P], P]) -> Parts[P]:
    """The parts that a run uses: first the holdout is set apart, then each of the three parts is limited on its own.

    So which samples are ever held out depends on the training labels, `holdout` and `seed` alone: no limit moves a
    sample between training and holdout.

    Args:
        train: the training samples of the data set, all of them.
        test: its test samples.
        holdout: the share of the training samples to set apart, in [0, 1); see `split_holdout`.
        seed: of the holdout.
        limited: gives the samples of a part that remain under the limit.
    """
    if not holdout:
        return Parts(limited(train), train.only([]), limited(test))
    kept, held = split_holdout(train.labels, holdout, seed)
    return Parts(limited(train.only(kept)), limited(train.only(held)), limited(test))


def split_holdout(labels: Tensor, holdout: float, seed: int) -> tuple[list[int], list[int]]:
    """The numbers of the samples to train on and of those held out, both ascending.

    Of the n samples of each class, `holdout`·n are held out, rounded to the nearest whole number (halves up), but never
    all of them. Which ones is drawn once for a seed.

    Raises:
        BadValue: if the share is not in [0, 1), or so small that nothing is held out.
    """
    if not 0 <= holdout < 1:
        raise BadValue(f"data.holdout = {holdout} is not a share of the training samples; give 0 to less than 1")
    order = torch.randperm(len(labels), generator=seeded(seed, 4))
    shuffled = labels.cpu()[order]
    held: list[int] = []
    for label in shuffled.unique().tolist():
        members = order[shuffled == label]
        count = min(int(holdout * len(members) + 0.5), len(members) - 1)
        held += members[:count].tolist()
    if holdout and not held:
        raise BadValue(
            f"data.holdout = {holdout} of {len(labels)} training samples sets none apart; give a larger share, or 0"
        )
    chosen = {*held}
    return [number for number in range(len(labels)) if number not in chosen], sorted(held)


def random_part(part: P, limit: int | None) -> P:
    """`limit` samples of a part, drawn at random and always the same, for samples that are stored class by class; the
    whole part without a limit or if it has fewer samples."""
    if limit is None or limit >= len(part):
        return part
    return part.only(torch.randperm(len(part), generator=seeded(3))[:limit].sort().values.tolist())
