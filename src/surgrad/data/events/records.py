"""The result of a reader, and the checks that it passes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from surgrad.errors import DataError

EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("t", "<i8"), ("p", "u1")])
"""An event: pixel x (from the left), y (from the top), time t in µs, polarity p (1: brighter, 0: darker)."""


@dataclass
class Parsed:
    """The columns of a file.

    Attributes:
        place: gives the byte offset of an event by its number, for errors; None if a package decodes the file.
        sensor: (width, height), if the format or the file states it.
    """

    x: NDArray
    y: NDArray
    t: NDArray
    p: NDArray
    place: Callable[[int], int] | None = None
    sensor: tuple[int, int] | None = None


def pack(x: NDArray, y: NDArray, t: NDArray, p: NDArray) -> NDArray:
    """Join columns of equal length into one array of `EVENT`.

    Args:
        x: pixels from the left.
        y: pixels from the top.
        t: times in µs.
        p: polarities: 1 brighter, 0 darker.
    """
    events = np.empty(len(t), EVENT)
    events["x"] = x
    events["y"] = y
    events["t"] = t
    events["p"] = p
    return events


def bad(path: Path, offset: int, what: str) -> DataError:
    """The error that every reader raises: the file, the byte, and what is wrong."""
    return DataError(f"{path}, byte {offset}: {what}")


def no_event(path: Path) -> DataError:
    """The error for a file without events."""
    return DataError(f"{path}: it holds no event; exclude this recording")


def header_end(path: Path, data: bytes, mark: bytes, last: bytes | None = None) -> int:
    """The offset at which the lines of text that begin with `mark` end, or the line `last`, if there is one."""
    at = 0
    line = b""
    while data.startswith(mark, at) and line != last:
        end = data.find(b"\n", at)
        if end < 0:
            raise bad(path, at, "the header does not end; download the file again")
        line = data[at:end].rstrip()
        at = end + 1
    return at


def whole_records(path: Path, data: bytes, start: int, size: int) -> int:
    """The number of records of `size` bytes after `start`; an incomplete one is an error."""
    count, rest = divmod(len(data) - start, size)
    if rest:
        raise bad(
            path, len(data) - rest, f"the file is truncated, {rest} of the {size} bytes of an event; download it again"
        )
    return count


def unwrapped(t: NDArray, period: int) -> NDArray:
    """Unwrap times int64 of a counter that restarts after `period`.

    A step back by more than half a period is a restart. A step forward by more than half a period is an event from
    before the last restart.
    """
    steps = np.diff(t)
    turns = (steps < -(period // 2)).astype(np.int64) - (steps > period // 2)
    return t if not turns.any() else t + period * np.concatenate([[0], np.cumsum(turns)])


def checked(path: Path, found: Parsed, sensor: tuple[int, int] | None, sort: bool) -> NDArray:
    """The events as one array, checked: at least one, inside the sensor, in order of time (or sorted, with `sort`)."""
    if not len(found.t):
        raise no_event(path)
    sensor = sensor or found.sensor
    if sensor is not None:
        outside = (found.x >= sensor[0]) | (found.y >= sensor[1])
        if outside.any():
            first = int(outside.argmax())
            raise _bad_event(
                path,
                found,
                first,
                f"an event at x {found.x[first]}, y {found.y[first]} is outside the "
                f"sensor of {sensor[0]}×{sensor[1]}; give the sensor's size, or download the file again",
            )
    events = pack(found.x, found.y, found.t, found.p)
    if (found.t[1:] >= found.t[:-1]).all():
        return events
    if sort:
        return events[np.argsort(found.t, kind="stable")]
    first = int((found.t[1:] < found.t[:-1]).argmax()) + 1
    raise _bad_event(
        path,
        found,
        first,
        f"an event at {found.t[first]} µs follows one at {found.t[first - 1]} µs; "
        "read it with sort=True, or download the file again",
    )


def _bad_event(path: Path, found: Parsed, number: int, what: str) -> DataError:
    if found.place is None:
        return DataError(f"{path}, event {number}: {what}")
    return bad(path, found.place(number), what)
