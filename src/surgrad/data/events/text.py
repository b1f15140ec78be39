"""Events in lines of text: four numbers, separated by blanks or commas.

A first line of names says their order, and one of two numbers is the sensor's width and height, as the recordings of
the Robotics and Perception Group have it. Lines that begin with # are comments.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from surgrad.data.events.arrays import PLAIN, Layout, events_or_frames, unreadable
from surgrad.data.events.records import Parsed


def parse(path: Path, data: bytes, layout: Layout = PLAIN) -> Parsed | NDArray:
    """Parse .txt and .csv."""
    try:
        lines = [line for line in data.decode("utf-8-sig").splitlines() if line.strip() and not line.startswith("#")]
        first = lines[0].replace(",", " ").split() if lines else []
        names = [] if all(map(_is_number, first)) else first
        rows = lines[1:] if names or len(first) == 2 else lines
        held = (
            np.loadtxt(io.StringIO("\n".join(rows).replace(",", " ")), np.float64, ndmin=2)
            if rows
            else np.empty((0, 4))
        )
    except ValueError as err:
        raise unreadable(path, "NumPy", err) from None
    if names and len(names) == held.shape[1]:
        return events_or_frames(path, dict(zip(names, held.T, strict=True)), layout)
    return events_or_frames(path, held, layout)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
