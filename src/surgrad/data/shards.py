"""Images in tar files of WebDataset's format, their *shards*: few large files, which network storage reads fast.

ROOT/train/000000.tar, which has for every sample n01440764_10026.jpg, and its class as a number in n01440764_10026.cls
ROOT/val/000000.tar

A shard is indexed once: where each image is, and its class. Images are then read from their places, in any order, so
that trainings resume exactly and ranks have their shares as with images in folders.
"""

import hashlib
import os
import tarfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from surgrad import ranks
from surgrad.data.folder import FOLDER_SETS, SUFFIXES, TEST_FOLDERS, TRAIN_FOLDERS, FolderData
from surgrad.data.loading import data_root
from surgrad.data.sampling import seeded
from surgrad.errors import DataError
from surgrad.files import replace_file
from surgrad.process import with_signs_of_life

NAME = "image_shards"
LABEL = "cls"
"""The suffix of the file with a sample's class."""
CLASS_NAMES = "classes.txt"
"""A file in their folder with a class on each line; without it, classes are called by their numbers."""
MOST_OPEN = 64
"""Shards that a process keeps open."""
LONGEST_LABEL = 32
MOST_CLASSES = 2**20
AT_ONCE = 8
"""Shards that are indexed at the same time."""


class Member(NamedTuple):
    """An image in a shard.

    Attributes:
        shard: path of the tar file.
        name: in it.
        offset: where its bytes begin.
        size: how many they are.
    """

    shard: str
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.name} in {self.shard}"

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            OSError: the shard cannot be read, or ends before.
        """
        found = os.pread(_opened(self.shard).fileno(), self.size, self.offset)
        if len(found) < self.size:
            raise OSError("the shard is shorter than when it was indexed")
        return found


_open: dict[str, BinaryIO] = {}


def _opened(shard: str) -> BinaryIO:
    """A shard, which stays open; the one that was opened first is closed where there are too many."""
    if shard not in _open:
        while len(_open) >= MOST_OPEN:
            _open.pop(next(iter(_open))).close()
        _open[shard] = open(shard, "rb")  # noqa: SIM115  # closed above, or at the end of the process
    return _open[shard]


@dataclass(frozen=True)
class Shards:
    """The images of one part of a data set, shard after shard.

    Attributes:
        files: the paths of the shards.
        shard: of each image, the number of its file, int64 [N].
        names: in its shard, [N].
        offsets: where its bytes begin, int64 [N].
        sizes: how many they are, int64 [N].
        labels: int64 [N].
    """

    files: tuple[str, ...]
    shard: Tensor
    names: np.ndarray
    offsets: Tensor
    sizes: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, chosen: Sequence[int]) -> "Shards":
        """The images with these numbers, in the order given."""
        numbers = torch.as_tensor(chosen, dtype=torch.int64)
        names = self.names[numbers.numpy()]
        rows = (values[numbers] for values in (self.offsets, self.sizes, self.labels))
        return Shards(self.files, self.shard[numbers], names, *rows)

    def place(self, index: int) -> Member:
        """Where an image is."""
        shard = self.files[int(self.shard[index])]
        return Member(shard, str(self.names[index]), int(self.offsets[index]), int(self.sizes[index]))

    def mixed(self, window: int, *key: int) -> Tensor:
        """A random order of the images, which depends on `key` alone: shards in a random order, the images of `window`
        successive ones mixed."""
        generator = seeded(*key)
        at = torch.empty(len(self.files), dtype=torch.int64)
        at[torch.randperm(len(self.files), generator=generator)] = torch.arange(len(self.files))
        order = torch.randperm(len(self), generator=generator)
        return order[torch.argsort(at[self.shard[order]] // window, stable=True)]


@dataclass(frozen=True)
class ShardData(FolderData):
    """A data set of images in shards: indexed, not read. The parameters are those of `FolderData`."""


def load_shards(root: Path | str | None = None, *, cache: Path | str | None = None) -> ShardData:
    """Index the shards below a folder; of several ranks, each a share of them.

    Args:
        root: the folder with train/ and val/ (or test/), or with shards whose names contain these words; see
            `surgrad.data.data_root`.
        cache: the folder in which indices are kept; None: .surgrad in the root.

    Raises:
        DataError: if shards are missing, damaged, or have images without a class.
    """
    where = data_root(root)
    train_files = _shards_of(where, TRAIN_FOLDERS)
    test_files = [file for file in _shards_of(where, TEST_FOLDERS) if file not in train_files]
    if not train_files or not test_files:
        raise DataError(
            f"{NAME}: no tar files in {where / 'train'} and {where / 'val'}, nor any in {where} with 'train' and 'val' "
            "in their names; put the shards there, or name their folder: --data DIR"
        )
    folder = where / ".surgrad" if cache is None else Path(cache)
    files = train_files + test_files
    own = files[ranks.place().share(len(files))]
    ranks.on_each(lambda: _indices(own, folder))  # so that the others find them
    train, test = (_part(part, folder) for part in (train_files, test_files))
    spec = FOLDER_SETS["imagenet"]
    return ShardData(NAME, train, test, _class_names(where, train, test), spec.mean, spec.std)


def _shards_of(where: Path, words: Sequence[str]) -> list[Path]:
    """The shards of a part: those in the first folder of these names that has any, or with the first of these words in
    their names that any has."""
    for folder in (where / word for word in words):
        if found := sorted(folder.glob("*.tar")):
            return found
    found = sorted(where.glob("*.tar"))
    return next(filter(None, ([path for path in found if word in path.name] for word in words)), [])


def _class_names(where: Path, *parts: Shards) -> tuple[str, ...]:
    count = 1 + max(int(part.labels.max()) for part in parts)
    listed = where / CLASS_NAMES
    if not listed.exists():
        return tuple(map(str, range(count)))
    names = tuple(listed.read_text("utf-8").splitlines())
    if len(names) < count:
        raise DataError(f"{listed} names {len(names)} classes, and there are images of class {count - 1}")
    return names


class Index(NamedTuple):
    """What a shard holds: see `Shards`."""

    names: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray


def _part(files: Sequence[Path], folder: Path) -> Shards:
    found = _indices(files, folder)
    counts = torch.tensor([len(index.labels) for index in found])
    names, *numbers = (np.concatenate(column) for column in zip(*found, strict=True))
    return Shards(
        tuple(map(str, files)),
        torch.arange(len(files)).repeat_interleave(counts),
        names,
        *(torch.from_numpy(column) for column in numbers),
    )


def _indices(files: Sequence[Path], folder: Path) -> list[Index]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(with_signs_of_life(pool.map(lambda file: _indexed(file, folder), files)))


def _indexed(shard: Path, folder: Path) -> Index:
    """The index of a shard, from the cache where it is of this very file."""
    try:
        state = shard.stat()
    except OSError as error:
        raise DataError(f"{shard} cannot be read ({error.strerror})") from None
    key = hashlib.sha256(f"{shard.resolve()}|{state.st_size}|{state.st_mtime_ns}".encode()).hexdigest()[:32]
    kept = folder / f"shard-{key}.npz"
    index = _kept(kept)
    if index is not None:
        return index
    index = _scanned(shard)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(kept, lambda path: np.savez(path, **index._asdict()), shared=True)
    except OSError as error:
        warnings.warn(
            f"the index of {shard} cannot be kept in {folder} ({error.strerror}), so every training makes it again; "
            "set data.cache to a folder that can be written",
            stacklevel=2,
        )
    return index


def _kept(path: Path) -> Index | None:
    """The index in a file of the cache; None without one, or where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return Index(*(held[name] for name in Index._fields))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _scanned(shard: Path) -> Index:
    rows = []
    for key, files in _samples(shard):
        images = [suffix for suffix in files if f".{suffix}".lower().endswith(SUFFIXES)]
        if len(images) != 1 or LABEL not in files:
            has = ", ".join(f".{suffix}" for suffix in files)
            raise DataError(
                f"{shard}: sample '{key}' has {has}; each needs one image ({', '.join(SUFFIXES)}) and its class as a "
                f"number in .{LABEL}"
            )
        member, _ = files[images[0]]
        rows.append((member.name, member.offset_data, member.size, _label(shard, key, files[LABEL][1])))
    if not rows:
        raise DataError(f"{shard} holds no sample; remove it")
    names, *numbers = zip(*rows, strict=True)
    return Index(np.array(names), *(np.array(column, dtype=np.int64) for column in numbers))


def _label(shard: Path, key: str, text: bytes) -> int:
    try:
        label = int(text)
    except ValueError:
        label = -1
    if not 0 <= label < MOST_CLASSES:
        raise DataError(
            f"{shard}: the class of sample '{key}' is {text!r}; give a number from 0 to less than {MOST_CLASSES}"
        )
    return label


Sample = dict[str, tuple[tarfile.TarInfo, bytes]]
"""The files of a sample by suffix; of that with the class also what it holds."""


def _samples(shard: Path) -> Iterator[tuple[str, Sample]]:
    """(key, files) of each sample: successive files whose names are equal up to the first dot."""
    key = ""
    files: Sample = {}
    for member, text in _members(shard):
        folder, _, name = member.name.rpartition("/")
        stem, _, suffix = name.partition(".")
        own = f"{folder}/{stem}" if folder else stem
        if files and own != key:
            yield key, files
            files = {}
        key = own
        files[suffix] = (member, text)
    if files:
        yield key, files


def _check_end(shard: Path, offset: int) -> None:
    """A tar file ends in blocks of zeros; tarfile also takes a damaged header for the end."""
    with shard.open("rb") as file:
        file.seek(offset)
        rest = file.read(tarfile.BLOCKSIZE)
        if len(rest) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it has no end: it may be cut off")
        while rest:
            if rest.strip(b"\0"):
                raise tarfile.ReadError(
                    f"a header is damaged at byte {offset}, or there is another file behind its end"
                )
            rest = file.read(2**20)


def _members(shard: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """The plain files of a tar file, with the text of those that hold a class."""
    size = shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if not member.isreg() or member.issparse():
                    continue
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError("it is cut off")
                file = tar.extractfile(member) if member.name.endswith(f".{LABEL}") else None
                yield member, b"" if file is None else file.read(LONGEST_LABEL)
            _check_end(shard, tar.offset)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(f"{shard} cannot be read as a plain tar file ({error}); replace it") from error
