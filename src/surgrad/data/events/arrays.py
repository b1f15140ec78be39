"""Events in the files of NumPy and HDF5: one array with fields x, y, t, p, or one array of each; t in µs. Or frames, as
other libraries keep them: an array `frames` [T, 2, H, W] of counts.
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
_TIMES = 1000
_SPARE = 2**20
"""What may come out of a compressed file: so many times its own bytes, and so many more."""


def parse_numpy(path: Path, data: bytes) -> Parsed | NDArray:
    """.npy and .npz; nothing in them is unpickled."""
    try:
        if data[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(data)) as packed:
                _check_size(path, sum(entry.file_size for entry in packed.infolist()), len(data))
        held = np.load(io.BytesIO(data), allow_pickle=False)
        if not isinstance(held, np.ndarray):
            names = held.files
            wanted = ("frames",) if "frames" in names else FIELDS
            held = held["events"] if names == ["events"] else {name: held[name] for name in wanted if name in names}
    except DataError:
        raise
    except Exception as err:  # it raises whatever the zip, the header or the type led to
        raise unreadable(path, "NumPy", err) from None
    return _found(path, held)


def columns(path: Path, held: Any) -> Parsed:
    """The columns of a structured array or of a mapping."""
    names = held.dtype.names or () if isinstance(held, np.ndarray) else tuple(held) if isinstance(held, dict) else ()
    missing = [name for name in FIELDS if name not in names]
    if missing:
        raise DataError(
            f"{path}: it has {', '.join(names) or 'no named columns'}, and x, y, t, p are wanted; name its columns so"
        )
    found = {name: np.asarray(held[name]) for name in FIELDS}
    count = found["t"].size
    for name, column in found.items():
        if column.shape != (count,) or column.dtype.kind not in "iufb":
            raise DataError(
                f"{path}: its {name} is {column.dtype} {list(column.shape)}, and a column of {count} "
                "numbers is wanted; give x, y, t and p alike"
            )
        low, high = (0, 2**16 - 1) if name in "xy" else (-(2**62), 2**62)
        if count and not (low <= column.min() and column.max() <= high):
            raise DataError(f"{path}: its {name} goes from {column.min()} to {column.max()}; give {low} to {high}")
    x, y = (found[name].astype(np.uint16) for name in "xy")
    return Parsed(x, y, found["t"].astype(np.int64), (found["p"] > 0).astype(np.uint8))


def parse_hdf5(path: Path, data: bytes) -> Parsed | NDArray:
    """.h5 and .hdf5: a data set `events` with fields, x, y, t, p in the root or in a group `events`, or `frames`."""
    h5py = need("h5py", "HDF5")
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            if "spikes" in file:
                raise DataError(
                    f"{path}: it holds many recordings of spikes; read it with surgrad.data.events.read_spoken"
                )
            place = file.get("events", file)
            wanted = ("frames",) if "frames" in file else FIELDS
            parts = {"": place} if isinstance(place, h5py.Dataset) else {n: place[n] for n in wanted if n in place}
            _check_size(path, sum(part.size * part.dtype.itemsize for part in parts.values()), len(data))
            ragged = any(part.dtype.hasobject for part in parts.values())  # of any length, wherever in the file
            held = {} if ragged else {name: part[()] for name, part in parts.items()}
    except DataError:
        raise
    except Exception as err:  # it raises whatever the library beneath it came upon
        raise unreadable(path, "h5py", err) from None
    return _found(path, held.get("", held))


def _found(path: Path, held: Any) -> Parsed | NDArray:
    """Events, or frames: those of that name, or what has four dimensions."""
    if isinstance(held, dict) and "frames" in held:
        return frames_of(path, np.asarray(held["frames"]))  # NumPy gives the bytes of what is no array
    if isinstance(held, np.ndarray) and held.dtype.names is None and held.ndim == 4:
        return frames_of(path, held)
    return columns(path, held)


def frames_of(path: Path, held: NDArray) -> NDArray:
    """Counts [T, 2, H, W] in as few bytes as they take."""
    if held.ndim != 4 or held.shape[1] != 2 or not held.size or held.dtype.kind not in "iufb":
        raise DataError(
            f"{path}: its frames are {held.dtype} {list(held.shape)}, and numbers [T, 2, H, W] are wanted; "
            "give the darker and the brighter events of each"
        )
    low = held.min()
    high = held.max()
    if not (low >= 0 and high < 2**32 and (held.dtype.kind != "f" or np.array_equal(held, np.rint(held)))):
        raise DataError(
            f"{path}: its frames go from {low} to {high}, and counts of events are wanted, whole and from "
            "0; keep them as they are before they are normalised"
        )
    return held.astype(np.min_scalar_type(int(high)))


def _check_size(path: Path, size: int, held: int) -> None:
    """Refuse a file that would become so much larger than it is, before anything is made of it."""
    if size > _TIMES * held + _SPARE:
        raise DataError(f"{path}: its {held:,} bytes say that they hold {size:,}, which no recording does; get it anew")


def unreadable(path: Path, package: str, err: Exception) -> DataError:
    """What a package could not read, in its own words."""
    said = str(err).splitlines()[0] if str(err) else type(err).__name__
    return DataError(f"{path}: {package} cannot read it ({said}); get it anew")


def need(package: str, what: str) -> Any:
    """A package of the extra `events`."""
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError:
        raise DataError(f"{what} is read by {package}, which is not installed: pip install 'surgrad[events]'") from None
