"""The format of N-MNIST and N-Caltech101 (Orchard et al. 2015), five bytes for each event: x, y, then one bit of
polarity and 23 of time, the highest first. A record of row 240 is not an event: it adds 2^13 µs to the times of all
that follow.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from surgrad.data.events.records import Parsed, unwrapped, whole_records

_TICK_ROW = 240
_TICK = 2**13


def records(path: Path, data: bytes) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """The columns x, y, t and p of all records; the times are unwrapped."""
    count = whole_records(path, data, 0, 5)
    bytes_ = np.frombuffer(data, np.uint8, 5 * count).reshape(-1, 5)
    high = bytes_[:, 2].astype(np.int32)
    t = ((high & 127) << 16 | bytes_[:, 3].astype(np.int32) << 8 | bytes_[:, 4]).astype(np.int64)
    return bytes_[:, 0], bytes_[:, 1], unwrapped(t, 2**23), high >> 7


def parse(path: Path, data: bytes) -> Parsed:
    """Parse all events of a .bin file."""
    x, y, t, p = records(path, data)
    ticks = y == _TICK_ROW
    index = None
    if ticks.any():
        t = t + _TICK * np.cumsum(ticks)
        index = np.flatnonzero(~ticks)
        x = x[index]
        y = y[index]
        t = t[index]
        p = p[index]
    return Parsed(x, y, t, p, lambda number: 5 * (number if index is None else int(index[number])))
