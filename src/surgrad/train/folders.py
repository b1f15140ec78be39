"""Batches of images that stay on disk, decoded by worker processes."""

import os
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from surgrad.data.folder import FolderData, Tree, check_views, evaluation_view, training_view
from surgrad.errors import BadValue, DataError
from surgrad.train.batches import Batch, seeded
from surgrad.train.recipe import DataConfig, StartConfig


class FolderBatches:
    """`surgrad.train.batches.Batches` for a tree of class folders: the order and every image's view depend on (seed,
    epoch, image) alone, so that any batch can be made again."""

    def __init__(self, data: FolderData, config: DataConfig, seed: int, device: torch.device, channels_last: bool,
                 start: StartConfig, epochs: int):  # fmt: skip
        for name, value in (("crop", config.crop), ("autoaugment", config.autoaugment), ("cutout", config.cutout)):
            if value:
                raise BadValue(f"data.{name} is for images in memory, and {data.name} is cut at random from its files; "
                               f"set data.{name} to nothing")  # fmt: skip
        if start.side is not None:
            raise BadValue(f"start.side = {start.side} is for images in memory; give start.side=none")
        check_views(config.side, config.resize)
        self._data, self._config, self._seed, self.size = data, config, seed, config.batch
        self._train, self._test = (_some(tree, config.limit) for tree in (data.train, data.test))
        self._device = device
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._mean, self._std = (255 * torch.tensor(row, device=device).view(1, -1, 1, 1)
                                 for row in (data.mean, data.std))  # fmt: skip
        self.per_epoch = len(self._train) // self.size
        if self.per_epoch < 1:
            raise BadValue(f"data.batch = {self.size} of {len(self._train)} training images; give 1 to that many")
        self.start, self._until = start, round(start.share * epochs * self.per_epoch)

    def train(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch in its shuffled order, from batch `first` on."""
        order = torch.randperm(len(self._train), generator=seeded(self._seed, 0, epoch)).tolist()
        chosen = [order[n * self.size : (n + 1) * self.size] for n in range(first, self.per_epoch)]
        return self._loaded(_Views(self._train, self._config, (self._seed, epoch)), chosen)

    def starting(self, epoch: int, number: int) -> bool:
        """Whether a batch belongs to the cheaper start of the training."""
        return epoch * self.per_epoch + number < self._until

    def test(self) -> Iterator[Batch]:
        """The test images in their order, all of them."""
        every = list(range(len(self._test)))
        chosen = [every[at : at + 2 * self.size] for at in range(0, len(every), 2 * self.size)]
        return self._loaded(_Views(self._test, self._config, None), chosen)

    @property
    def test_images(self) -> int:
        return len(self._test)

    def _loaded(self, views: "_Views", chosen: Sequence[list[int]]) -> Iterator[Batch]:
        workers = self._config.workers
        workers = min(os.cpu_count() or 1, 16) if workers is None else workers
        private = torch.Generator()  # else each loader draws a seed from torch's own, and a resumed training one more
        loader = DataLoader(views, batch_sampler=chosen, num_workers=workers, generator=private, collate_fn=_batch)
        for fault, images, labels in loader:
            if fault is not None:
                raise DataError(fault)
            images = (images.to(self._device).float() - self._mean) / self._std
            yield images.contiguous(memory_format=self._format), labels.to(self._device)


_View = tuple[str | None, Tensor, Tensor]
"""What is wrong with an image, or None, the image and its label."""


class _Views(Dataset[_View]):
    """Views of a tree's images; seed: of the random ones, None for the middle of each."""

    def __init__(self, tree: Tree, config: DataConfig, seed: tuple[int, int] | None):
        self._tree, self._config, self._seed = tree, config, seed

    def __getitem__(self, index: int) -> _View:
        path, config = self._tree.paths[index], self._config
        try:
            if self._seed is None:
                image = evaluation_view(path, config.side, config.resize)
            else:
                image = training_view(path, config.side, config.flip, (*self._seed, index))
        except DataError as error:  # told by the main process, in a sentence of its own
            return str(error), torch.empty(0), self._tree.labels[index]
        return None, image, self._tree.labels[index]


def _batch(views: list[_View]) -> _View:
    """One batch, or what is wrong with its first faulty image."""
    faults, images, labels = zip(*views, strict=True)
    fault = next((fault for fault in faults if fault is not None), None)
    return (fault, images[0], labels[0]) if fault is not None else (None, torch.stack(images), torch.stack(labels))


def _some(tree: Tree, limit: int | None) -> Tree:
    """A part of a tree, drawn at random and always the same, where only so many images are wanted: in a tree they lie
    class by class."""
    if limit is None or limit >= len(tree):
        return tree
    chosen = torch.randperm(len(tree), generator=seeded(3))[:limit].sort().values
    return Tree(tuple(tree.paths[index] for index in chosen.tolist()), tree.labels[chosen])
