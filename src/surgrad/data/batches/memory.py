"""Batches whose order and augmentation depend on (seed, epoch, batch) alone, so that any of them can be made again."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surgrad.config.recipe import DataConfig, StartConfig
from surgrad.data import ImageData, Split
from surgrad.data.augment import Augment, window
from surgrad.errors import BadValue

Batch = tuple[Tensor, Tensor]


class Batches:
    """Training and test batches of a data set held in memory as uint8, on the device.

    A batch is (images [N, C, H, W] float32, normalised; labels [N] int64). The last, smaller batch of a training
    epoch is left out."""

    about: Mapping[str, Any] = MappingProxyType({})
    """What a run's environment says of the data besides its recipe."""

    def __init__(
        self,
        data: ImageData,
        config: DataConfig,
        augment: Augment,
        seed: int,
        device: torch.device,
        channels_last: bool,
        start: StartConfig | None = None,
        epochs: int = 1,
    ):
        self._train, self._test = (_on(split, config.limit, device) for split in (data.train, data.test))
        self._augment = augment
        self._seed = seed
        self.size = config.batch
        shape = (1, -1, 1, 1)
        self._mean = 255 * torch.tensor(data.mean, device=device).view(shape)
        self._std = 255 * torch.tensor(data.std, device=device).view(shape)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self.per_epoch = len(self._train) // self.size
        if self.per_epoch < 1:
            raise BadValue(f"data.batch = {self.size} of {len(self._train)} training images; give 1 to that many")
        start = start or StartConfig()
        whole = min(self._train.images.shape[2:])
        if start.side is not None and start.side > whole:
            raise BadValue(f"start.side = {start.side} of images of {whole} pixels; give a side within them, or none")
        if start.side is not None and not start.share:
            raise BadValue(
                f"start.side = {start.side} for no part of the training; give start.share above 0, or no side"
            )
        self.start = start
        self._until = round(start.share * epochs * self.per_epoch)

    def train(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch in its shuffled order, from batch `first` on."""
        order = torch.randperm(len(self._train), generator=seeded(self._seed, 0, epoch))
        for number in range(first, self.per_epoch):
            chosen = order[number * self.size : (number + 1) * self.size].to(self._train.labels.device)
            images = self._augment(self._train.images[chosen], seeded(self._seed, 1, epoch, number))
            if self.start.side is not None and self.starting(epoch, number):
                images = window(images, self.start.side, seeded(self._seed, 2, epoch, number))
            yield self._normalised(images), self._train.labels[chosen]

    def starting(self, epoch: int, number: int) -> bool:
        """Whether a batch belongs to the cheaper start of the training."""
        return epoch * self.per_epoch + number < self._until

    def test(self) -> Iterator[Batch]:
        """The test images in their order, all of them."""
        for images, labels in zip(
            self._test.images.split(2 * self.size), self._test.labels.split(2 * self.size), strict=True
        ):
            yield self._normalised(images), labels

    @property
    def test_images(self) -> int:
        return len(self._test)

    holdout_count = 0
    """Training examples that are held out, for the choice of the best epoch."""

    def holdout(self) -> Iterator[Batch]:
        """The training examples that are held out, as they are evaluated."""
        return iter(())

    def _normalised(self, images: Tensor) -> Tensor:
        return ((images.float() - self._mean) / self._std).contiguous(memory_format=self._format)


def seeded(*key: int) -> torch.Generator:
    """A generator that depends on these numbers alone."""
    seed = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed >> np.uint64(1)))


def _on(split: Split, limit: int | None, device: torch.device) -> Split:
    return Split(split.images[:limit].to(device), split.labels[:limit].to(device))
