"""Batches of what stays on disk, read by worker processes."""

import os
from collections.abc import Iterator, Mapping, Sequence, Sized
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from surgrad.config.recipe import DataConfig, StartConfig
from surgrad.data.batches.memory import Batch, seeded
from surgrad.errors import BadValue, DataError

View = tuple[str | None, Tensor, Tensor]
"""What is wrong with an example, or None, the example and its label."""


class StoredBatches:
    """`surgrad.data.batches.memory.Batches` for examples on disk: the order and every example's view depend on (seed,
    epoch, example) alone, so that any batch can be made again. A subclass says how an example is seen (`views`) and
    what a batch of them becomes (`finished`)."""

    about: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        train: Sized,
        test: Sized,
        config: DataConfig,
        seed: int,
        device: torch.device,
        start: StartConfig,
        epochs: int,
    ):
        if start.side is not None:
            raise BadValue(f"start.side = {start.side} is for images in memory; give start.side=none")
        self._train = train
        self._test = test
        self._config = config
        self._seed = seed
        self.size = config.batch
        self._device = device
        self.per_epoch = len(train) // self.size
        if self.per_epoch < 1:
            raise BadValue(f"data.batch = {self.size} of {len(train)} training examples; give 1 to that many")
        self.start = start
        self._until = round(start.share * epochs * self.per_epoch)

    def views(self, part: Sized, seed: tuple[int, int] | None) -> Dataset[View]:
        """The examples of a part as they are seen; seed: of the random ones, None in evaluation."""
        raise NotImplementedError

    def finished(self, examples: Tensor) -> Tensor:
        """What the network gets of a stack of examples, on the device."""
        raise NotImplementedError

    def train(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch in its shuffled order, from batch `first` on."""
        order = torch.randperm(len(self._train), generator=seeded(self._seed, 0, epoch)).tolist()
        chosen = [order[n * self.size : (n + 1) * self.size] for n in range(first, self.per_epoch)]
        return self._loaded(self.views(self._train, (self._seed, epoch)), chosen)

    def starting(self, epoch: int, number: int) -> bool:
        """Whether a batch belongs to the cheaper start of the training."""
        return epoch * self.per_epoch + number < self._until

    def test(self) -> Iterator[Batch]:
        """The test examples in their order, all of them."""
        every = list(range(len(self._test)))
        chosen = [every[at : at + 2 * self.size] for at in range(0, len(every), 2 * self.size)]
        return self._loaded(self.views(self._test, None), chosen)

    @property
    def test_images(self) -> int:
        return len(self._test)

    holdout_count = 0
    """Training examples that are held out, for the choice of the best epoch."""

    def holdout(self) -> Iterator[Batch]:
        """The training examples that are held out, as they are evaluated."""
        return iter(())

    def _loaded(self, views: Dataset[View], chosen: Sequence[list[int]]) -> Iterator[Batch]:
        workers = self._config.workers
        workers = min(os.cpu_count() or 1, 16) if workers is None else workers
        private = torch.Generator()  # else each loader draws a seed from torch's own, and a resumed training one more
        loader = DataLoader(views, batch_sampler=chosen, num_workers=workers, generator=private, collate_fn=_batch)
        for fault, examples, labels in loader:
            if fault is not None:
                raise DataError(fault)
            yield self.finished(examples.to(self._device)), labels.to(self._device)


def some_of(count: int, limit: int | None) -> list[int] | None:
    """Which of `count` examples are used where only so many are wanted: a part drawn at random and always the same,
    since they lie class by class; None: all."""
    if limit is None or limit >= count:
        return None
    return torch.randperm(count, generator=seeded(3))[:limit].sort().values.tolist()


def _batch(views: list[View]) -> View:
    """One batch, or what is wrong with its first faulty example."""
    faults, examples, labels = zip(*views, strict=True)
    fault = next((fault for fault in faults if fault is not None), None)
    return (fault, examples[0], labels[0]) if fault is not None else (None, torch.stack(examples), torch.stack(labels))
