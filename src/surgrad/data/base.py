"""Data sets of images in memory, their layouts on disk, and the checks that every file passes before it is parsed."""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from surgrad.errors import DataError


@dataclass(frozen=True)
class Split:
    """The samples and labels of one part of a data set, all in memory.

    Args:
        images: uint8 [N, C, H, W], contiguous; of `ArraySource` also float32, and recordings [N, T, C, ...].
        labels: int64 [N].
    """

    images: Tensor  # uint8 [N, C, H, W], contiguous; of `ArraySource` also float32, and recordings [N, T, C, ...]
    labels: Tensor  # int64 [N]

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, chosen: Sequence[int]) -> "Split":
        """The samples with these numbers, in the order given; a copy."""
        numbers = torch.tensor(chosen, dtype=torch.int64)
        return Split(self.images[numbers], self.labels[numbers])

    def first(self, limit: int | None) -> "Split":
        """The first `limit` samples, or all; a view."""
        return Split(self.images[:limit], self.labels[:limit])

    def to(self, device: torch.device) -> "Split":
        """The same samples on a device."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class ImageData:
    """A loaded data set.

    Args:
        name: of the data set.
        train: the training images.
        test: the test images.
        classes: the names of the classes, by label.
        mean: per channel, of the training images, in units of [0, 1].
        std: per channel, of the training images, in units of [0, 1].
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image: channels, height, width."""
        return tuple(self.train.images.shape[1:])


Reader = Callable[[Sequence[Path], int], Split]
"""Reads the files of one split: (paths in the order of the layout, number of classes) -> the split."""


@dataclass(frozen=True)
class DataFile:
    """A file of a layout; it may also be there as `name`.gz."""

    name: str
    md5: str | None = None  # of the content (of a .gz: after gunzip); None: not checked


@dataclass(frozen=True)
class Layout:
    """One layout of a data set on disk: the files of each split, all in one folder."""

    folders: tuple[str, ...]  # below the root, in the order tried; "." is the root itself
    train: tuple[DataFile, ...]
    test: tuple[DataFile, ...]
    read: Reader

    @property
    def files(self) -> tuple[DataFile, ...]:
        return self.train + self.test


@dataclass(frozen=True)
class Source:
    """A file to download: a tar archive if `members` are named, else a data file of the first layout."""

    urls: tuple[str, ...]  # of the same bytes, tried in this order
    md5: str  # of those bytes
    into: str  # folder below the root; for an archive also the folder inside it
    members: tuple[str, ...] = ()  # the only files taken from the archive

    @property
    def filename(self) -> str:
        return self.urls[0].rsplit("/", 1)[1]


@dataclass(frozen=True)
class DataSet:
    """The description of a data set of images, from which it is found, downloaded, checked and read.

    Args:
        name: of the data set.
        classes: the names of the classes, by label.
        shape: of one image: channels, height, width.
        mean: per channel, of the training images, in units of [0, 1].
        std: per channel, of the training images, in units of [0, 1].
        layouts: the layouts on disk, in the order tried.
        sources: what to download where no layout is found.
        counts: the numbers of training and test images; None: not checked.
        bundled: its folder inside the package, where it comes with surgrad; then no root is needed.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]  # of one image: channels, height, width
    mean: tuple[float, ...]  # per channel, in units of [0, 1]
    std: tuple[float, ...]
    layouts: tuple[Layout, ...]
    sources: tuple[Source, ...] = ()
    counts: tuple[int, int] | None = None  # training and test images; None: not checked
    bundled: Path | None = None  # its folder inside the package; then no root is needed

    def unchecked(self) -> "DataSet":
        """The same formats and folders without the official checksums and counts, for other files."""

        def bare(files: tuple[DataFile, ...]) -> tuple[DataFile, ...]:
            return tuple(replace(f, md5=None) for f in files)

        layouts = tuple(replace(one, train=bare(one.train), test=bare(one.test)) for one in self.layouts)
        return replace(self, layouts=layouts, counts=None)


@contextmanager
def opened(path: Path) -> Iterator[BufferedIOBase]:
    """Open the content of `path` as a stream, gunzipped if it is a .gz; disk and gzip errors become DataError."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            yield stream
    except (OSError, EOFError, zlib.error) as err:
        raise DataError(
            f"{path}: cannot be read ({err}); the file is truncated, altered or not readable: {REMEDY}"
        ) from err


REMEDY = "delete it and load again to download a fresh copy, or put the official file in its place"


def _md5(stream: BufferedIOBase) -> str:
    # usedforsecurity: the official sums guard against damage, and FIPS builds refuse md5 otherwise
    return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def raw_md5(path: Path) -> str:
    """The md5 of the bytes on disk, not gunzipped."""
    with path.open("rb") as stream:
        return _md5(stream)


def verify(path: Path, md5: str | None) -> None:
    """Raise DataError unless the content of `path` (gunzipped) has this md5; None: no check."""
    if md5 is None:
        return
    try:
        with opened(path) as stream:
            found = _md5(stream)
    except DataError as err:
        raise DataError(f"{err} (expected md5 {md5}, found none)") from err
    if found != md5:
        raise DataError(
            f"{path}: checksum differs: expected md5 {md5}, found {found} ({path.stat().st_size} bytes on disk). "
            f"The file is truncated, altered, or another data set's file of the same name: {REMEDY}"
        )


def make_split(images: np.ndarray, labels: np.ndarray, n_classes: int, where: object) -> Split:
    """Make a Split of writable uint8 [N, C, H, W] and integer [N] arrays; `where` names the files in errors."""
    if len(images) != len(labels):
        raise DataError(f"{where}: {len(images)} images but {len(labels)} labels; the files do not belong together")
    if not len(labels):
        raise DataError(f"{where}: holds no images; at least one is needed")
    low = int(labels.min())
    high = int(labels.max())
    if low < 0 or high >= n_classes:
        raise DataError(
            f"{where}: label {high if high >= n_classes else low} found; labels must be from 0 to {n_classes - 1}"
        )
    return Split(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64)))
