"""The protocol of data sets: a `DataSource` owns its options and makes `Batches` for the settings of a run.

To train on data of your own, use `surgrad.data.ArraySource`, or write a class with the four members of `DataSource`.
"""

import typing
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from surgrad import ranks
from surgrad.config.values import Count, Fraction, checked, is_plain
from surgrad.data.sampling import seeded
from surgrad.errors import BadValue
from surgrad.transfer import from_side_stream

Batch = tuple[Tensor, Tensor]
"""Samples float32, images [N, C, H, W] or recordings [T, N, C, ...], and labels int64 [N]."""


class _Checked:
    """A frozen dataclass whose plain fields are checked against their annotations."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self), include_extras=True)
        for field in fields(self):  # type: ignore[arg-type]  # each subclass is a dataclass
            if is_plain(hints[field.name]):
                value = checked(f"{self._path}{field.name}", getattr(self, field.name), hints[field.name])
                object.__setattr__(self, field.name, value)

    _path = ""


@dataclass(frozen=True)
class Progressive(_Checked):
    """A cheaper first part of a training on static images.

    Args:
        fraction: the share of all training batches that are cheaper.
        steps: the time steps for which images are shown in them.
        image_size: the side of the random square window that is cut from each image, in pixels; None: whole images.

    Raises:
        BadValue: if a value is out of range, or an image size is given for no batch.
    """

    fraction: Fraction = 0.0
    steps: Count = 1
    image_size: Count | None = None

    _path = "progressive."

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size is not None and not self.fraction:
            raise BadValue(
                f"progressive.image_size = {self.image_size} has no effect with progressive.fraction = 0; "
                "set progressive.fraction above 0, or progressive.image_size=none"
            )


@dataclass(frozen=True)
class BatchSettings(_Checked):
    """How a run wants its batches, whatever the data set.

    Args:
        batch: samples in a training batch. Evaluation takes twice as many as are computed at once in training: of
            several ranks, or of several parts, twice a rank's share of a part.
        seed: of order, augmentation and holdout.
        device: where the batches are needed.
        epochs: of the whole training; `progressive.fraction` is a share of them.
        steps: time steps of a recording. Static images have none.
        limit: use at most this many samples of each part (training, holdout, test); None: all.
        holdout: the share of the training samples that is set apart, in [0, 1). It is drawn class by class from the
            whole training part, by `seed` alone and before `limit` applies, so that a sample is on the same side under
            every limit. Held-out samples are never trained on, and `Batches.holdout()` shows them without augmentation.
            See `surgrad.data.sampling.split_holdout`.
        channels_last: the memory format of batches of images.
        progressive: a cheaper first part of the training.
        parts: into which each training batch is divided, to be computed one after the other.

    Raises:
        BadValue: if a value is out of range.
    """

    batch: Count
    seed: int
    device: torch.device
    epochs: Count = 1
    steps: Count = 1
    limit: Count | None = None
    holdout: Fraction = 0.0
    channels_last: bool = True
    progressive: Progressive = Progressive()
    parts: Count = 1


class Batches(ABC):
    """The batches of one run.

    The samples of a batch and their augmentation depend on (seed, epoch, batch) alone, so that any batch can be made
    again: a resumed training sees what the interrupted one would have seen.

    Args:
        train_count: samples in the training part.
        holdout_count: samples in the held-out part.
        test_count: samples in the test part.
        settings: the settings of the run.

    Attributes:
        size: samples in a training batch.
        per_epoch: training batches in an epoch; the last, smaller batch is left out.

    Raises:
        BadValue: for a batch larger than the training part, or a cheaper first part that these samples cannot have.
    """

    is_sequence: bool = False
    """Whether samples are recordings, with a time axis."""
    about: Mapping[str, Any] = MappingProxyType({})
    """Facts about the data that are recorded in a run's env.json."""

    def __init__(self, train_count: int, holdout_count: int, test_count: int, settings: BatchSettings):
        if settings.batch > train_count:
            raise BadValue(
                f"data.batch = {settings.batch} of {train_count} training samples; give at most {train_count}"
            )
        self.check_progressive(settings.progressive)
        self.size = settings.batch
        self.train_count = train_count
        self.holdout_count = holdout_count
        self.test_count = test_count
        self.per_epoch = train_count // self.size
        self.progressive = settings.progressive
        self._seed = settings.seed
        self._device = settings.device
        self._divided = settings.parts
        self._evaluated = 2 * -(-self.size // (settings.parts * ranks.place().count))
        self._cheaper_batches = round(settings.progressive.fraction * settings.epochs * self.per_epoch)

    def check_progressive(self, progressive: Progressive) -> None:
        """Raise BadValue if these samples cannot be shown as `progressive` says."""
        if self.is_sequence and progressive.fraction:
            raise BadValue(
                f"progressive.fraction = {progressive.fraction:g} shows smaller images, or for fewer time steps, and "
                "these samples are recordings with their own time steps; set progressive.fraction=0"
            )

    def order(self, epoch: int) -> Tensor:
        """The numbers of the training samples in the order of an epoch."""
        return torch.randperm(self.train_count, generator=seeded(self._seed, 0, epoch))

    def train(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The training batches of an epoch in its shuffled order, from batch `first` on; of each, the share of this
        rank (`surgrad.ranks`)."""
        order = self.order(epoch)
        chosen = [order[n * self.size : (n + 1) * self.size] for n in range(first, self.per_epoch)]
        return from_side_stream(self._training(epoch, first, chosen), self._device)

    def holdout(self) -> Iterator[Batch]:
        """The held-out samples in their order, without augmentation; nothing without a holdout. All of them, or the
        batches of this rank, which are as many as each other's, or one more."""
        return from_side_stream(self._evaluation("holdout", self._chunks(self.holdout_count)), self._device)

    def test(self) -> Iterator[Batch]:
        """The test samples in their order, without augmentation. All of them, or the batches of this rank."""
        return from_side_stream(self._evaluation("test", self._chunks(self.test_count)), self._device)

    def shares(self) -> list[range]:
        """The samples of a training batch that this rank computes, by their place in the batch: of each part, some."""
        return ranks.place().shares(self.size, self._divided)

    def own(self) -> slice | list[int]:
        """The same of all parts, as an index: a slice where they are adjacent."""
        parts = self.shares()
        adjacent = all(a.stop == b.start for a, b in pairwise(parts))
        return slice(parts[0].start, parts[-1].stop) if adjacent else [n for part in parts for n in part]

    def starting(self, epoch: int, number: int) -> bool:
        """Whether a training batch belongs to the cheaper first part of the training (see `progressive`)."""
        return epoch * self.per_epoch + number < self._cheaper_batches

    def _chunks(self, count: int) -> list[range]:
        size = self._evaluated
        chunks = [range(at, min(at + size, count)) for at in range(0, count, size)]
        own = ranks.place()
        return chunks[own.rank :: own.count]

    @abstractmethod
    def _training(self, epoch: int, first: int, chosen: Sequence[Tensor]) -> Iterator[Batch]:
        """The augmented batches of the training samples with these numbers, of each the share of this rank; `first` is
        the number of the first."""

    @abstractmethod
    def _evaluation(self, part: str, chosen: Sequence[range]) -> Iterator[Batch]:
        """The batches of the samples of a part ("holdout" or "test") with these numbers."""


@runtime_checkable
class DataSource(Protocol):
    """A data set with its options: what a training needs to know of its data.

    Attributes:
        classes: the names of the classes, by label.
        input_shape: of one sample at one time step, as the network sees it: (C, H, W), or (C, L).
        is_sequence: whether a sample is a recording [T, C, ...], and not a static image.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def input_shape(self) -> tuple[int, ...]: ...

    @property
    def is_sequence(self) -> bool: ...

    def batches(self, settings: BatchSettings) -> Batches:
        """The batches of this data set for the settings of a run."""
        ...
