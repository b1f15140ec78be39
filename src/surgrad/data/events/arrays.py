"""Events as arrays, as the files of NumPy and HDF5 hold them: one array with fields x, y, t, p, or four arrays of these
names. Or frames, as other libraries keep them: an array `frames` [T, 2, H, W] of counts.
"""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surgrad.data.events.records import Parsed
from surgrad.errors import DataError

FIELDS = ("x", "y", "t", "p")
_LARGEST_RATIO = 1000
_SPARE = 2**20
"""A compressed file may hold `_LARGEST_RATIO` times its size, plus `_SPARE` bytes."""


def parse_numpy(path: Path, data: bytes) -> Parsed | NDArray:
    """Parse .npy and .npz; nothing in them is unpickled."""
    try:
        if data[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(data)) as packed:
                check_size(path, sum(entry.file_size for entry in packed.infolist()), len(data))
        held = np.load(io.BytesIO(data), allow_pickle=False)
        if not isinstance(held, np.ndarray):
            names = held.files
            columns_of = ("frames",) if "frames" in names else FIELDS
            held = held["events"] if names == ["events"] else {name: held[name] for name in columns_of if name in names}
    except DataError:
        raise
    except Exception as err:  # damaged files raise many kinds of error
        raise unreadable(path, "NumPy", err) from None
    return events_or_frames(path, held)


def columns(path: Path, held: Any) -> Parsed:
    """Check the columns of a structured array or of a mapping."""
    names = held.dtype.names or () if isinstance(held, np.ndarray) else tuple(held) if isinstance(held, dict) else ()
    missing = [name for name in FIELDS if name not in names]
    if missing:
        raise DataError(
            f"{path}: it has {', '.join(names) or 'no named columns'}; the columns must be named x, y, t and p"
        )
    found = {name: np.asarray(held[name]) for name in FIELDS}
    count = found["t"].size
    for name, column in found.items():
        if column.shape != (count,) or column.dtype.kind not in "iufb":
            raise DataError(
                f"{path}: its {name} is {column.dtype} {list(column.shape)}, not a column of {count} numbers; x, y, t "
                "and p must have equal lengths"
            )
        low, high = (0, 2**16 - 1) if name in "xy" else (-(2**62), 2**62)
        if count and not (low <= column.min() and column.max() <= high):
            raise DataError(
                f"{path}: its {name} goes from {column.min()} to {column.max()}; it must be from {low} to {high}"
            )
    x, y, t = (_whole(path, name, found[name]) for name in "xyt")
    return Parsed(x.astype(np.uint16), y.astype(np.uint16), t.astype(np.int64), polarity(path, found["p"]))


def _whole(path: Path, name: str, column: NDArray) -> NDArray:
    """A column of whole numbers, of whatever type."""
    if column.dtype.kind != "f" or np.array_equal(column, np.rint(column)):
        return column
    odd = column[column != np.rint(column)][0]
    remedy = "times must be in whole µs: multiply seconds by 1e6" if name == "t" else "pixels are whole numbers"
    raise DataError(f"{path}: its {name} has the value {odd}; {remedy}")


def polarity(path: Path, column: NDArray) -> NDArray:
    """0 for darker and 1 for brighter, from any of the known codes: 0 and 1, -1 and 1, 1 and 2, true and false.

    Raises:
        DataError: for values that are in no such code.
    """
    values = [int(value) if value == int(value) else value for value in np.unique(column).tolist()]
    wrapped = {2**bits - 1 for bits in (8, 16, 32, 64)}  # -1 in an unsigned type
    if set(values) <= {0, 1} or set(values) <= {-1, 1}:
        return (column > 0).astype(np.uint8)
    if set(values) in ({1, 2}, {2}):
        return (column == 2).astype(np.uint8)
    if column.dtype.kind == "u" and len(values) <= 2 and set(values) <= {1, *wrapped}:
        return (column == 1).astype(np.uint8)
    shown = ", ".join(map(str, values[:4])) + (", ..." if len(values) > 4 else "")
    raise DataError(
        f"{path}: its p has the values {shown}; give 0 and 1, -1 and 1, or 1 and 2, for darker and brighter"
    )


def events_or_frames(path: Path, held: Any) -> Parsed | NDArray:
    """Events, or frames: an array named `frames`, or one of four dimensions."""
    if isinstance(held, dict) and "frames" in held:
        return frames_of(path, np.asarray(held["frames"]))  # NumPy gives bytes for an entry that is not an array
    if isinstance(held, np.ndarray) and held.dtype.names is None and held.ndim == 4:
        return frames_of(path, held)
    return columns(path, held)


def frames_of(path: Path, held: NDArray) -> NDArray:
    """Check counts [T, 2, H, W] and convert them to the smallest unsigned integers that hold them."""
    if held.ndim != 4 or held.shape[1] != 2 or not held.size or held.dtype.kind not in "iufb":
        raise DataError(
            f"{path}: its frames are {held.dtype} {list(held.shape)}; they must be numbers [T, 2, H, W], the counts of "
            "darker and of brighter events"
        )
    low = held.min()
    high = held.max()
    if not (low >= 0 and high < 2**32 and (held.dtype.kind != "f" or np.array_equal(held, np.rint(held)))):
        raise DataError(
            f"{path}: its frames go from {low} to {high}; they must be counts of events, whole numbers from 0: save "
            "them before normalisation"
        )
    return held.astype(np.min_scalar_type(int(high)))


def check_size(path: Path, size: int, held: int) -> None:
    """Raise DataError, before anything is allocated, if a file claims far more bytes than it has."""
    if size > _LARGEST_RATIO * held + _SPARE:
        raise DataError(
            f"{path}: its {held:,} bytes claim to hold {size:,}, far more than a recording does; download it again"
        )


def unreadable(path: Path, package: str, err: Exception) -> DataError:
    """The error for a file that a package cannot read, with the package's own message."""
    said = str(err).splitlines()[0] if str(err) else type(err).__name__
    return DataError(f"{path}: {package} cannot read it ({said}); download it again")


def need(package: str, what: str) -> Any:
    """Import a package of the extra `events`."""
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError:
        raise DataError(
            f"{what} is read with {package}, which is not installed: pip install 'surgrad[events]'"
        ) from None
