"""The two official versions of CIFAR-10 and CIFAR-100: pickles and plain binary records."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from surgrad.data.base import Reader, Split, make_split, opened
from surgrad.data.pickles import load_pickle
from surgrad.errors import DataError

SHAPE = (3, 32, 32)  # channels (red, green, blue), rows, columns
PIXELS = 3072


def _joined(parts: list[tuple[np.ndarray, np.ndarray]], paths: Sequence[Path], n_classes: int) -> Split:
    images = np.concatenate([pixels for pixels, _ in parts])  # copies, so that the tensor may be written to
    labels = np.concatenate([one for _, one in parts])
    where = ", ".join([str(paths[0]), *(p.name for p in paths[1:])])
    return make_split(images.reshape(-1, *SHAPE), labels, n_classes, where)


def read_pickles(label_key: str) -> Reader:
    """Make a reader of the Python version, whose labels have the key `label_key`."""

    def read(paths: Sequence[Path], n_classes: int) -> Split:
        return _joined([_pickle_part(p, label_key, n_classes) for p in paths], paths, n_classes)

    return read


def _pickle_part(path: Path, label_key: str, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    items = load_pickle(path)
    for key in ("data", label_key):
        if key not in items:
            raise DataError(f"{path}: holds no '{key}'; it has {', '.join(sorted(items)) or 'nothing'}")
    data: Any = items["data"]
    labels: Any = items[label_key]
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != PIXELS:
        found = f"shape {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DataError(f"{path}: 'data' is {found}; it must be a uint8 array [N, {PIXELS}]")
    # type, not isinstance: True and False are ints too, but not labels
    if not isinstance(labels, list) or not all(type(n) is int and 0 <= n < n_classes for n in labels):
        raise DataError(f"{path}: '{label_key}' is not a list of integers from 0 to {n_classes - 1}")
    if len(labels) != len(data):
        raise DataError(f"{path}: {len(data)} images but {len(labels)} labels; the file is altered")
    return data, np.array(labels, np.int64)


def read_records(label_bytes: int) -> Reader:
    """Make a reader of the binary version: records of `label_bytes` labels (the last is used) and 3072 pixels."""
    return partial(_read_records, label_bytes=label_bytes)


def _read_records(paths: Sequence[Path], n_classes: int, label_bytes: int) -> Split:
    parts = []
    for path in paths:
        with opened(path) as stream:
            raw = np.frombuffer(stream.read(), np.uint8)
        if len(raw) % (label_bytes + PIXELS):
            raise DataError(
                f"{path}: {len(raw)} bytes are not a whole number of records of {label_bytes + PIXELS} bytes "
                f"({label_bytes} for labels, {PIXELS} for pixels); the file is truncated or of another data set"
            )
        records = raw.reshape(-1, label_bytes + PIXELS)
        parts.append((records[:, label_bytes:], records[:, label_bytes - 1]))
    return _joined(parts, paths, n_classes)
