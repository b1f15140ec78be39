"""Events in the files of NumPy and HDF5: one array with fields x, y, t, p, or four arrays of these names; t in µs. Or
frames, as other libraries keep them: an array `frames` [T, 2, H, W] of counts.
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
                _check_size(path, sum(entry.file_size for entry in packed.infolist()), len(data))
        held = np.load(io.BytesIO(data), allow_pickle=False)
        if not isinstance(held, np.ndarray):
            names = held.files
            columns_of = ("frames",) if "frames" in names else FIELDS
            held = held["events"] if names == ["events"] else {name: held[name] for name in columns_of if name in names}
    except DataError:
        raise
    except Exception as err:  # damaged files raise many kinds of error
        raise unreadable(path, "NumPy", err) from None
    return _found(path, held)


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
    x, y = (found[name].astype(np.uint16) for name in "xy")
    return Parsed(x, y, found["t"].astype(np.int64), (found["p"] > 0).astype(np.uint8))


def parse_hdf5(path: Path, data: bytes) -> Parsed | NDArray:
    """Parse .h5 and .hdf5: a data set `events` with fields, x, y, t, p in the root or a group `events`, or `frames`."""
    h5py = need("h5py", "HDF5")
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            if "spikes" in file:
                raise DataError(
                    f"{path}: it holds many recordings of spikes; read it with surgrad.data.events.read_spoken"
                )
            place = file.get("events", file)
            columns_of = ("frames",) if "frames" in file else FIELDS
            parts = {"": place} if isinstance(place, h5py.Dataset) else {n: place[n] for n in columns_of if n in place}
            _check_size(path, sum(part.size * part.dtype.itemsize for part in parts.values()), len(data))
            ragged = any(
                part.dtype.hasobject for part in parts.values()
            )  # their length is stored elsewhere in the file
            held = {} if ragged else {name: part[()] for name, part in parts.items()}
    except DataError:
        raise
    except Exception as err:  # damaged files raise many kinds of error
        raise unreadable(path, "h5py", err) from None
    return _found(path, held.get("", held))


def _found(path: Path, held: Any) -> Parsed | NDArray:
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


def _check_size(path: Path, size: int, held: int) -> None:
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
