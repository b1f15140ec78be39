"""Batches of samples that stay on disk and are read by worker processes."""

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from surgrad import process
from surgrad.data.batches.slots import AHEAD, Filled, Slots, View, unchanged
from surgrad.data.sampling import Part, Parts
from surgrad.data.source import Batch, Batches, BatchSettings, Progressive
from surgrad.errors import BadValue, DataError
from surgrad.transfer import to_device

P = TypeVar("P", bound=Part)


def worker_count(workers: int | None) -> int:
    """The number of worker processes; by default one for each core, at most 16, shared with the other ranks of the
    machine."""
    if workers is not None:
        return workers
    return max(1, min(process.cores(), 16) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class StoredBatches(Batches, Generic[P]):
    """Batches of samples on disk.

    A training sample's augmentation depends on (seed, epoch, its number among the training samples) alone. A subclass
    says how a sample is read (`views`) and how a stack of samples becomes a batch (`finished`).

    Args:
        parts: the samples that the run uses.
        settings: of the run.
        workers: processes that read the samples; None: one for each core.
    """

    def __init__(self, parts: Parts[P], settings: BatchSettings, workers: int | None):
        super().__init__(len(parts.train), len(parts.holdout), len(parts.test), settings)
        self._parts = parts
        self._workers = worker_count(workers)

    def check_progressive(self, progressive: Progressive) -> None:
        super().check_progressive(progressive)
        if progressive.image_size is not None:
            raise BadValue(
                f"progressive.image_size = {progressive.image_size} is for images in memory, and these samples are "
                "read from disk; set progressive.image_size=none"
            )

    @abstractmethod
    def views(self, part: P, seed: tuple[int, int] | None) -> Dataset[View]:
        """The samples of a part as the network sees them; seed: of the augmentation, None for evaluation."""

    @abstractmethod
    def finished(self, samples: Tensor) -> Tensor:
        """The batch that the network gets, made of a stack of samples on the device."""

    def _training(self, epoch: int, first: int, chosen: Sequence[Tensor]) -> Iterator[Batch]:
        views = self.views(self._parts.train, (self._seed, epoch))
        own = self.own()
        return self._loaded(views, [members[own].tolist() for members in chosen])

    def _evaluation(self, part: str, chosen: Sequence[range]) -> Iterator[Batch]:
        return self._loaded(self.views(getattr(self._parts, part), None), chosen)

    def _loaded(self, views: Dataset[View], chosen: Sequence[Sequence[int]]) -> Iterator[Batch]:
        if not chosen:
            return
        error, sample, _ = views[chosen[0][0]]
        if error is not None:
            raise DataError(error)
        slots = Slots(sample, [len(members) for members in chosen], self._workers)
        # With no generator given, each loader draws a seed from torch's global one, and a resumed training draws once
        # more than an uninterrupted one.
        private = torch.Generator()
        items: Any = [(number % slots.count, members) for number, members in enumerate(chosen)]
        loader = DataLoader(
            Filled(views, slots),
            batch_sampler=items,
            num_workers=self._workers,
            prefetch_factor=AHEAD if self._workers else None,
            generator=private,
            collate_fn=unchanged,
        )
        for members, (slot, error) in zip(chosen, loader, strict=True):
            if error is not None:
                raise DataError(error)
            with _one_thread() if self._workers >= process.cores() else nullcontext():
                samples, labels = (to_device(whole[slot, : len(members)], self._device) for whole in slots.memory)
                batch = self.finished(samples), labels.clone()
            yield batch


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: others would wait for cores that the workers have, and take them while they wait."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)
