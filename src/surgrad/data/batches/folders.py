"""Batches of images that stay on disk, decoded by worker processes."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from surgrad.data.batches.stored import StoredBatches, View
from surgrad.data.folder import FolderData, Tree, evaluation_view, training_view
from surgrad.data.sampling import divide, random_part
from surgrad.data.source import BatchSettings
from surgrad.errors import DataError


@dataclass(frozen=True)
class Cuts:
    """How images become squares. side: of the squares, in pixels. resize: the shorter side of an evaluated image before
    the middle square is cut out. flip: mirror training images with probability 1/2."""

    side: int
    resize: int
    flip: bool


class FolderBatches(StoredBatches[Tree]):
    """Batches of squares [N, 3, side, side], cut at random from the images of a tree of class folders.

    A limit takes a random part of each part, since images are stored class by class.
    """

    def __init__(self, data: FolderData, cuts: Cuts, settings: BatchSettings, workers: int | None):
        parts = divide(
            data.train,
            data.test,
            holdout=settings.holdout,
            seed=settings.seed,
            limited=lambda part: random_part(part, settings.limit),
        )
        super().__init__(parts, settings, workers)
        self._cuts = cuts
        self._format = torch.channels_last if settings.channels_last else torch.contiguous_format
        self._mean = 255 * torch.tensor(data.mean, device=settings.device).view(1, -1, 1, 1)
        self._std = 255 * torch.tensor(data.std, device=settings.device).view(1, -1, 1, 1)

    def views(self, part: Tree, seed: tuple[int, int] | None) -> Dataset[View]:
        return _Views(part, self._cuts, seed)

    def finished(self, samples: Tensor) -> Tensor:
        return ((samples.float() - self._mean) / self._std).contiguous(memory_format=self._format)


class _Views(Dataset[View]):
    """Squares of a tree's images; seed: of the random ones, None for the middle of each."""

    def __init__(self, tree: Tree, cuts: Cuts, seed: tuple[int, int] | None):
        self._tree = tree
        self._cuts = cuts
        self._seed = seed

    def __getitem__(self, index: int) -> View:
        path = self._tree.paths[index]
        cuts = self._cuts
        try:
            if self._seed is None:
                image = evaluation_view(path, cuts.side, cuts.resize)
            else:
                image = training_view(path, cuts.side, cuts.flip, (*self._seed, index))
        except DataError as error:  # raised again in the main process
            return str(error), torch.empty(0), self._tree.labels[index]
        return None, image, self._tree.labels[index]
