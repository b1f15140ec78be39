"""Batches of images that stay on disk, decoded by worker processes."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from surgrad.data.batches.slots import View
from surgrad.data.batches.stored import StoredBatches
from surgrad.data.folder import FolderData, Images, evaluation_view, training_view
from surgrad.data.sampling import divide, random_part
from surgrad.data.shards import ShardData, Shards
from surgrad.data.source import BatchSettings
from surgrad.errors import DataError


@dataclass(frozen=True)
class Cuts:
    """How images become squares. side: of the squares, in pixels. resize: the shorter side of an evaluated image before
    the middle square is cut out. flip: mirror training images with probability 1/2."""

    side: int
    resize: int
    flip: bool


class FolderBatches(StoredBatches[Images]):
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
        self._mean = 255 * torch.tensor(data.mean, device=settings.device).repeat(cuts.side)  # of a row of pixels
        self._std = 255 * torch.tensor(data.std, device=settings.device).repeat(cuts.side)

    def views(self, part: Images, seed: tuple[int, int] | None) -> Dataset[View]:
        return _Views(part, self._cuts, seed)

    def finished(self, samples: Tensor) -> Tensor:
        rows = samples.flatten(2).to(torch.float32).sub_(self._mean).div_(self._std)
        return rows.view(samples.shape).permute(0, 3, 1, 2).contiguous(memory_format=self._format)


class ShardBatches(FolderBatches):
    """The same of images in shards, of which `window` at a time are mixed."""

    def __init__(self, data: ShardData, cuts: Cuts, settings: BatchSettings, workers: int | None, window: int):
        super().__init__(data, cuts, settings, workers)
        self._window = window

    def order(self, epoch: int) -> Tensor:
        shards = self._parts.train
        assert isinstance(shards, Shards)
        return shards.mixed(self._window, self._seed, 0, epoch)


class _Views(Dataset[View]):
    """Squares of images; seed: of the random ones, None for the middle of each."""

    def __init__(self, images: Images, cuts: Cuts, seed: tuple[int, int] | None):
        self._images = images
        self._cuts = cuts
        self._seed = seed

    def __getitem__(self, index: int) -> View:
        place = self._images.place(index)
        cuts = self._cuts
        try:
            if self._seed is None:
                image = evaluation_view(place, cuts.side, cuts.resize)
            else:
                image = training_view(place, cuts.side, cuts.flip, (*self._seed, index))
        except DataError as error:  # raised again in the main process
            return str(error), torch.empty(0), self._images.labels[index]
        return None, image.permute(1, 2, 0), self._images.labels[index]  # as in memory, so that copying it is fast
