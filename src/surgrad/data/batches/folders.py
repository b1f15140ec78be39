"""Batches of images that stay on disk, decoded by worker processes."""

import torch
from torch import Tensor
from torch.utils.data import Dataset

from surgrad.config.recipe import DataConfig, StartConfig
from surgrad.data.batches.stored import StoredBatches, View, some_of
from surgrad.data.folder import FolderData, Tree, check_views, evaluation_view, training_view
from surgrad.errors import BadValue, DataError


class FolderBatches(StoredBatches):
    """Batches of a tree of class folders: views cut at random from its images."""

    def __init__(
        self,
        data: FolderData,
        config: DataConfig,
        seed: int,
        device: torch.device,
        channels_last: bool,
        start: StartConfig,
        epochs: int,
    ):
        for name, value in (("crop", config.crop), ("autoaugment", config.autoaugment), ("cutout", config.cutout)):
            if value:
                raise BadValue(
                    f"data.{name} is for images in memory, and {data.name} is cut at random from its files; "
                    f"set data.{name} to nothing"
                )
        check_views(config.side, config.resize)
        train, test = (_some(tree, config.limit) for tree in (data.train, data.test))
        super().__init__(train, test, config, seed, device, start, epochs)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._mean, self._std = (
            255 * torch.tensor(row, device=device).view(1, -1, 1, 1) for row in (data.mean, data.std)
        )

    def views(self, part: Tree, seed: tuple[int, int] | None) -> Dataset[View]:  # type: ignore[override]  # its own
        return _Views(part, self._config, seed)

    def finished(self, examples: Tensor) -> Tensor:
        return ((examples.float() - self._mean) / self._std).contiguous(memory_format=self._format)


class _Views(Dataset[View]):
    """Views of a tree's images; seed: of the random ones, None for the middle of each."""

    def __init__(self, tree: Tree, config: DataConfig, seed: tuple[int, int] | None):
        self._tree = tree
        self._config = config
        self._seed = seed

    def __getitem__(self, index: int) -> View:
        path = self._tree.paths[index]
        config = self._config
        try:
            if self._seed is None:
                image = evaluation_view(path, config.side, config.resize)
            else:
                image = training_view(path, config.side, config.flip, (*self._seed, index))
        except DataError as error:  # told by the main process, in a sentence of its own
            return str(error), torch.empty(0), self._tree.labels[index]
        return None, image, self._tree.labels[index]


def _some(tree: Tree, limit: int | None) -> Tree:
    chosen = some_of(len(tree), limit)
    return tree if chosen is None else Tree(tuple(tree.paths[index] for index in chosen), tree.labels[chosen])
