"""What a reader gives, and what is checked of it."""

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
    """The columns of a file. place: the offset in bytes of the event of that number, for what is said of it; None where
    a package decodes the file. sensor: (width, height), where the format or the file says it."""

    x: NDArray
    y: NDArray
    t: NDArray
    p: NDArray
    place: Callable[[int], int] | None = None
    sensor: tuple[int, int] | None = None


def pack(x: NDArray, y: NDArray, t: NDArray, p: NDArray) -> NDArray:
    """Columns of the same length as one array of `EVENT`."""
    events = np.empty(len(t), EVENT)
    events["x"] = x
    events["y"] = y
    events["t"] = t
    events["p"] = p
    return events


def bad(path: Path, offset: int, what: str) -> DataError:
    """The error that every reader raises of a file: which, where, and what is wrong."""
    return DataError(f"{path}, byte {offset}: {what}")


def header_end(path: Path, data: bytes, mark: bytes) -> int:
    """Where the lines of text that begin with that character end."""
    at = 0
    while data[at : at + 1] == mark:
        line = data.find(b"\n", at)
        if line < 0:
            raise bad(path, at, "the header does not end; get the file anew")
        at = line + 1
    return at


def whole_records(path: Path, data: bytes, start: int, size: int) -> int:
    """How many records of `size` bytes follow `start`; refuses a part of one."""
    count, rest = divmod(len(data) - start, size)
    if rest:
        raise bad(path, len(data) - rest, f"the file is cut short, {rest} of the {size} bytes of an event; get it anew")
    return count


def unwrapped(t: NDArray, period: int) -> NDArray:
    """Times int64 of a counter that begins anew after `period`: a step back by more than half of it is that, and a step
    forward by more than half of it an event from before."""
    steps = np.diff(t)
    turns = (steps < -(period // 2)).astype(np.int64) - (steps > period // 2)
    return t if not turns.any() else t + period * np.concatenate([[0], np.cumsum(turns)])


def checked(path: Path, found: Parsed, sensor: tuple[int, int] | None, sort: bool) -> NDArray:
    """The events, of which there is at least one, within the sensor and in order of time; sorted where asked."""
    if not len(found.t):
        raise DataError(f"{path}: it holds no event; leave it out")
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
                f"sensor of {sensor[0]}×{sensor[1]}; give its size, or get the file anew",
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
        "read it with sort=True, or get the file anew",
    )


def _bad_event(path: Path, found: Parsed, number: int, what: str) -> DataError:
    if found.place is None:
        return DataError(f"{path}, event {number}: {what}")
    return bad(path, found.place(number), what)
