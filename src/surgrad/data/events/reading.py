"""Read event files: choose the parser by name and content."""

from collections.abc import Callable
from pathlib import Path

from numpy.typing import NDArray

from surgrad.data.events import aedat2, aedat3, aedat4, arrays, dat, hdf5, mat, ndataset, raw, slayer, text
from surgrad.data.events.arrays import PLAIN, Layout, Unit
from surgrad.data.events.records import Parsed, bad, checked
from surgrad.errors import DataError, unknown

Parser = Callable[[Path, bytes], Parsed | NDArray]
ArrayParser = Callable[[Path, bytes, Layout], Parsed | NDArray]
ARRAYS: dict[str, ArrayParser] = {
    "npz": arrays.parse_numpy,
    "npy": arrays.parse_numpy,
    "h5": hdf5.parse,
    "hdf5": hdf5.parse,
    "mat": mat.parse,
    "txt": text.parse,
    "csv": text.parse,
}
"""Parsers of formats that many programs write, each in a layout of its kind, by the suffix of a file's name."""
FORMATS: dict[str, Parser | ArrayParser] = {
    "aedat2": aedat2.parse,
    "aedat3": aedat3.parse,
    "aedat4": aedat4.parse,
    "bin": ndataset.parse,
    "bs2": slayer.parse_bs2,
    "bs3": slayer.parse_bs3,
    "dat": dat.parse,
    "raw": raw.parse,
    **ARRAYS,
}
"""Parsers by the suffix of a file's name; AEDAT files state their version in the first line."""
VERSIONS = {b"2.0": "aedat2", b"3.1": "aedat3", b"4.0": "aedat4"}


def read(
    path: Path | str,
    *,
    sensor: tuple[int, int] | None = None,
    sort: bool = False,
    columns: str | None = None,
    unit: Unit = "us",
) -> NDArray:
    """Read the events of a file.

    Args:
        path: the file, of a format of `FORMATS`.
        sensor: its (width, height), inside which events must be; by default as the file or its format states.
        sort: sort events that are out of order; otherwise they are an error.
        columns: the order of the columns of an array or a text without names, as in "txyp".
        unit: of time in arrays and texts, where it is not µs: "s", "ms" or "ns". Times are rounded to whole µs.

    Returns:
        An array of `EVENT` (fields x, y, t in µs, p), at least one event, in order of time.

    Raises:
        DataError: with the file's name and the byte offset, if something is wrong.
        UnknownName: if the format is not known.
    """
    found = read_either(Path(path), sensor, sort, Layout(columns, unit))
    if found.dtype.names is None:
        raise DataError(f"{path}: it holds frames, not events; read it with surgrad.data.events.read_frames")
    return found


def read_frames(path: Path | str) -> NDArray:
    """Read a .npz, .npy, .h5 or .hdf5 file that holds frames instead of events.

    Returns:
        Counts [T, 2, H, W] of darker and brighter events, in the smallest unsigned integers that hold them.

    Raises:
        DataError: with the file's name, if something is wrong.
    """
    found = read_either(Path(path), None, True)
    if found.dtype.names is not None:
        raise DataError(f"{path}: it holds events; make frames of them with surgrad.data.events.frames.frames")
    return found


def read_either(path: Path, sensor: tuple[int, int] | None, sort: bool, layout: Layout = PLAIN) -> NDArray:
    """Read events, or frames [T, 2, H, W] if the file holds those."""
    data = _bytes(path)
    name = _format(path, data)
    found = ARRAYS[name](path, data, layout) if name in ARRAYS else FORMATS[name](path, data)  # type: ignore[call-arg]
    return checked(path, found, sensor, sort) if isinstance(found, Parsed) else found


def suffix(path: Path) -> bool:
    """Whether a file's name has the suffix of a recording."""
    return path.suffix.lower().lstrip(".") in {*FORMATS, "aedat"}


def _bytes(path: Path) -> bytes:
    try:
        if not path.is_file():  # a directory, a pipe, a broken link
            raise DataError(f"{path}: there is no such file; give the name of a recording")
        return path.read_bytes()
    except OSError as err:
        raise DataError(
            f"{path}: cannot be read ({err.strerror}); check its permissions or download it again"
        ) from None


def _format(path: Path, data: bytes) -> str:
    named = path.suffix.lower().lstrip(".")
    if data.startswith(aedat2.MAGIC):
        version = data[:40].splitlines()[0][len(aedat2.MAGIC) :].strip()
        if version not in VERSIONS:
            raise bad(path, 0, f"the version is AEDAT '{version.decode('latin-1')}'; supported are 2.0, 3.1 and 4.0")
        return VERSIONS[version]
    if named.startswith("aedat"):
        raise bad(path, 0, "an AEDAT file must begin with '#!AER-DAT'; download the file again")
    if named not in FORMATS:
        raise unknown("format of events", path.suffix, [*FORMATS, "aedat"])
    return named
