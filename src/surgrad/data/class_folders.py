"""Trees of class folders, ROOT/train/CLASS/FILE and ROOT/test/CLASS/FILE: how such data sets are scanned."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from surgrad.errors import DataError


def part_folders(where: Path, train: Sequence[str], test: Sequence[str]) -> tuple[Path, Path] | None:
    """The folders of training and test samples below `where`, each the first of these names that exists; None if one is
    missing."""
    found = [next((where / name for name in names if (where / name).is_dir()), None) for names in (train, test)]
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def class_names(folder: Path, counts: Callable[[Path], bool] = lambda path: True) -> tuple[str, ...]:
    """The names of the class folders in `folder`, sorted; hidden folders, and those for which `counts` is false, are
    not classes."""
    names = (name for name in entries(folder) if name[0] != "." and (folder / name).is_dir())
    return tuple(sorted(name for name in names if counts(folder / name)))


def check_same_classes(train: Path, test: Path, in_train: Sequence[str], in_test: Sequence[str]) -> None:
    """Raise DataError if the two parts of a data set do not have the same class folders."""
    odd = sorted({*in_train} ^ {*in_test})
    if odd:
        raise DataError(
            f"{train} and {test} have different class folders: {odd[0]} and {len(odd) - 1} more are in only one of "
            "them; put all samples of a class under the same name in both"
        )


def entries(folder: Path) -> list[str]:
    """The names in a folder.

    Raises:
        DataError: if it cannot be listed.
    """
    try:
        return os.listdir(folder)
    except OSError as err:
        raise DataError(f"{folder}: cannot be listed ({err.strerror}); check its permissions") from None
