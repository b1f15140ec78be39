"""Memory through which worker processes hand over batches."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from surgrad.errors import DataError

View = tuple[str | None, Tensor, Tensor]
"""The error text of a sample that cannot be read, or None; the sample; its label."""
AHEAD = 2
"""Batches for each worker that are being read or waiting."""


class Slots:
    """Memory for batches: one for each that a worker reads or that waits, and one that is in use.

    Workers write into it, so that nothing is copied on the way, and it is used again, since new memory costs a page
    fault for every 4 KiB.

    Args:
        sample: one of the samples.
        sizes: samples in each of the batches that are to come.
        workers: processes that write; without any, the main process does.

    Raises:
        DataError: if the system has too little shared memory.
    """

    def __init__(self, sample: Tensor, sizes: Sequence[int], workers: int):
        self.count = min(AHEAD * workers + 1, len(sizes))
        samples = torch.empty(self.count, max(sizes), *sample.shape, dtype=sample.dtype)
        labels = torch.empty(self.count, max(sizes), dtype=torch.int64)
        self.memory = (samples, labels)
        if workers:
            self._share(workers)

    def _share(self, workers: int) -> None:
        try:
            for tensor in self.memory:
                tensor.share_memory_()
        except RuntimeError as error:
            size = sum(tensor.nbytes for tensor in self.memory) / 2**30
            raise DataError(
                f"data.workers = {workers} need {size:.2g} GiB of shared memory for their batches, and there is less "
                f"({str(error).splitlines()[0]}); set data.workers or data.batch to less, or allow more memory (in a "
                "container: --shm-size)"
            ) from error


class Filled(Dataset[tuple[int, str | None]]):
    """Puts whole batches into slots.

    An item is a slot and the numbers of the samples. It becomes the slot, and the error text of the first sample that
    cannot be read, or None.

    Args:
        views: the samples.
        slots: where they go.
    """

    def __init__(self, views: Dataset[View], slots: Slots):
        self._views = views
        self._slots = slots

    def __getitems__(self, item: tuple[int, Sequence[int]]) -> tuple[int, str | None]:
        slot, members = item
        samples, labels = (whole[slot] for whole in self._slots.memory)
        for place, member in enumerate(members):
            error, sample, label = self._views[member]
            if error is None and (sample.shape, sample.dtype) != (samples.shape[1:], samples.dtype):
                error = (
                    f"sample {member} is {sample.dtype} {list(sample.shape)}, and the first one was {samples.dtype} "
                    f"{list(samples.shape[1:])}; all samples of a data set must be alike"
                )
            if error is not None:
                return slot, error
            samples[place] = sample
            labels[place] = label
        return slot, None


def unchanged(batch: Any) -> Any:
    """What a loader does with a batch that is complete."""
    return batch
