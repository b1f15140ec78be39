"""Data sets of images in class folders, as ImageNet."""

from pathlib import Path
from typing import Annotated

from surgrad.config.values import Count, Range, Size
from surgrad.data.batches.folders import Cuts, FolderBatches, ShardBatches
from surgrad.data.folder import FolderData, check_views, load_folder
from surgrad.data.shards import ShardData, load_shards
from surgrad.data.source import BatchSettings

Side = Annotated[int, Range(8)]
"""Pixels of a square's side."""


class FolderSource:
    """Images on disk, from which squares are cut: at random for training, the middle for evaluation.

    Args:
        data: the name of a data set of `FOLDER_SETS`, or a listed one.
        root: where data sets are; see `surgrad.data.data_root`.
        side: the side of the squares, in pixels.
        resize: the shorter side of an evaluated image before its middle is cut out, in pixels; at least `side`.
        flip: mirror training images left to right with probability 1/2.
        workers: processes that read images; None: one for each core.

    Raises:
        BadValue: if `resize` is smaller than `side`.
        DataError: if the folders are missing, empty or inconsistent, or pillow is not installed.
    """

    is_sequence = False

    def __init__(
        self,
        data: str | FolderData,
        root: Path | str | None = None,
        *,
        side: Side = 224,
        resize: Side = 256,
        flip: bool = False,
        workers: Size | None = None,
    ):
        check_views(side, resize)
        self.data = load_folder(data, root) if isinstance(data, str) else data
        self.classes = self.data.classes
        self.input_shape = (3, side, side)
        self.cuts = Cuts(side, resize, flip)
        self.workers = workers

    def batches(self, settings: BatchSettings) -> FolderBatches:
        """The batches of these images for the settings of a run."""
        return FolderBatches(self.data, self.cuts, settings, self.workers)


class ShardSource(FolderSource):
    """The same of images in tar files of WebDataset's format (`surgrad.data.shards`).

    Each epoch has the shards in a random order and mixes the images of `window` successive ones, so that a training
    reads few files at a time.

    Args:
        data: what `load_shards` returned; None: the shards below the root.
        root: as in `FolderSource`.
        window: how many shards are mixed.
        cache: the folder in which the indices of shards are kept; None: .surgrad in the root.
        side: as in `FolderSource`.
        resize: as in `FolderSource`.
        flip: as in `FolderSource`.
        workers: as in `FolderSource`.

    Raises:
        BadValue: as in `FolderSource`.
        DataError: if shards are missing or damaged, or pillow is not installed.
    """

    data: ShardData

    def __init__(
        self,
        data: ShardData | None = None,
        root: Path | str | None = None,
        *,
        window: Count = 16,
        cache: str | None = None,
        side: Side = 224,
        resize: Side = 256,
        flip: bool = False,
        workers: Size | None = None,
    ):
        check_views(side, resize)
        data = load_shards(root, cache=cache) if data is None else data
        super().__init__(data, side=side, resize=resize, flip=flip, workers=workers)
        self.window = window

    def batches(self, settings: BatchSettings) -> ShardBatches:
        """The batches of these images for the settings of a run."""
        return ShardBatches(self.data, self.cuts, settings, self.workers, self.window)
