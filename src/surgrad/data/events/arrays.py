"""Events as arrays, as the files of NumPy and HDF5 hold them: one array with fields x, y, t, p, or four arrays of these
names. Or frames, as other libraries keep them: an array `frames` [T, 2, H, W] of counts.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from surgrad.data.events.records import Parsed
from surgrad.errors import BadValue, DataError, unknown

FIELDS = ("x", "y", "t", "p")
ALIASES = {
    **{name: name for name in FIELDS},
    **dict.fromkeys(("xs", "x_pos"), "x"),
    **dict.fromkeys(("ys", "y_pos"), "y"),
    **dict.fromkeys(("ts", "time", "timestamp", "timestamps"), "t"),
    **dict.fromkeys(("ps", "pol", "polarity", "polarities", "on"), "p"),
}
"""Names of columns in common use, in lower case, and ours."""
UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
"""Units of time, in µs."""
Unit = Literal["s", "ms", "us", "ns"]
_LARGEST_RATIO = 1000
_SPARE = 2**20
"""A compressed file may hold `_LARGEST_RATIO` times its size, plus `_SPARE` bytes."""


@dataclass(frozen=True)
class Layout:
    """What an array of events does not say of itself.

    Attributes:
        columns: the order of the columns of an array [events, 4] without names, as in "txyp".
        unit: of time.
    """

    columns: str | None = None
    unit: Unit = "us"

    def __post_init__(self) -> None:
        if self.columns is not None and sorted(self.columns) != sorted(FIELDS):
            raise BadValue(f"columns = '{self.columns}' is no order of x, y, t and p; give one, as in txyp")
        if self.unit not in UNITS:
            raise unknown("unit of time", self.unit, UNITS)


PLAIN = Layout()
"""Named columns, and time in µs."""


def parse_numpy(path: Path, data: bytes, layout: Layout = PLAIN) -> Parsed | NDArray:
    """Parse .npy and .npz; nothing in them is unpickled."""
    try:
        if data[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(data)) as packed:
                check_size(path, sum(entry.file_size for entry in packed.infolist()), len(data))
        held = np.load(io.BytesIO(data), allow_pickle=False)
        if not isinstance(held, np.ndarray):
            names = held.files
            taken = ["frames"] if "frames" in names else [name for name in names if name.lower() in ALIASES]
            held = held["events"] if names == ["events"] else {name: held[name] for name in taken}
    except DataError:
        raise
    except Exception as err:  # damaged files raise many kinds of error
        raise unreadable(path, "NumPy", err) from None
    return events_or_frames(path, held, layout)


def columns(path: Path, held: Any, layout: Layout = PLAIN) -> Parsed:
    """Check the columns of a structured array, of a mapping, or of an array whose order is known."""
    held = _by_field(path, held, layout)
    found = {name: np.asarray(held[name]) for name in FIELDS}
    if layout.unit != "us" and found["t"].dtype.kind in "iuf":
        found["t"] = np.rint(found["t"].astype(np.float64) * UNITS[layout.unit])
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


def _by_field(path: Path, held: Any, layout: Layout) -> dict[str, Any]:
    """The columns x, y, t and p, by these names."""
    if isinstance(held, np.ndarray) and held.dtype.names is None and held.ndim == 2 and held.shape[1] == len(FIELDS):
        if layout.columns is None:
            raise DataError(
                f"{path}: it holds an array {list(held.shape)} without names; say the order of its columns, as in "
                "columns='txyp' (data.columns=txyp)"
            )
        return {name: held[:, number] for number, name in enumerate(layout.columns)}
    names = held.dtype.names or () if isinstance(held, np.ndarray) else tuple(held) if isinstance(held, dict) else ()
    found = {ALIASES[name.lower()]: held[name] for name in names if name.lower() in ALIASES}
    if len(found) < len(FIELDS):
        raise DataError(
            f"{path}: it has {', '.join(names) or 'no named columns'}; the columns must be named x, y, t and p"
        )
    return found


def _whole(path: Path, name: str, column: NDArray) -> NDArray:
    """A column of whole numbers, of whatever type."""
    if column.dtype.kind != "f" or np.array_equal(column, np.rint(column)):
        return column
    odd = column[column != np.rint(column)][0]
    remedy = "give times in whole µs, or their unit (data.time_unit=s)" if name == "t" else "pixels are whole numbers"
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


def events_or_frames(path: Path, held: Any, layout: Layout = PLAIN) -> Parsed | NDArray:
    """Events, or frames: an array named `frames`, or one of four dimensions."""
    if isinstance(held, dict) and "frames" in held:
        return frames_of(path, np.asarray(held["frames"]))  # NumPy gives bytes for an entry that is not an array
    if isinstance(held, np.ndarray) and held.dtype.names is None and held.ndim == 4:
        return frames_of(path, held)
    return columns(path, held, layout)


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
