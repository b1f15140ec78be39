"""Frames of a recording: the number of events of each polarity at every pixel in every slice of time."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from surgrad.errors import BadValue, unknown

MOST_PIXELS = 2**28
"""The largest number of counts in the frames of one recording."""
MOST_STEP = 10**12
"""The longest duration of a frame, in µs."""
SlicingRule = Literal["count", "time", "step"]
"""The names of `SLICINGS`."""


def by_count(t: NDArray, frames: int, step: int) -> NDArray:
    """Equal numbers of events in every frame, ⌊n/T⌋; the remainder at the end is dropped (Deng et al. 2022, TET)."""
    return np.arange(frames + 1) * (len(t) // frames)


def by_time(t: NDArray, frames: int, step: int) -> NDArray:
    """Equal durations, each a T-th of the time from the first event to the last."""
    first = int(t[0])
    whole = int(t[-1]) - int(t[0])
    edges = np.array([first + -(-whole * k // frames) for k in range(frames)])  # rounded up: t is in whole µs
    if whole == 0:
        edges[1:] += 1  # all events are at one time, which belongs to the first frame
    return np.append(np.searchsorted(t, edges, "left"), len(t))


def by_step(t: NDArray, frames: int, step: int) -> NDArray:
    """`step` µs in every frame from the first event on, 5,000 in Lian et al. 2023 (LSG). Later events are dropped, and
    frames after the last event are empty."""
    return np.searchsorted(t, int(t[0]) + step * np.arange(frames + 1), "left")


SLICINGS: dict[str, Callable[[NDArray, int, int], NDArray]] = {"count": by_count, "time": by_time, "step": by_step}
"""By name, functions of (event times [n], T, step in µs) that give the T + 1 event numbers at which frames begin and
end."""


def frames(
    events: NDArray, count: int, sensor: tuple[int, int], *, slicing: str = "count", step: int = 5000
) -> NDArray:
    """Count the events of a recording in frames.

    Args:
        events: array of `surgrad.data.events.EVENT`.
        count: T, the number of frames.
        sensor: its (width, height), W and H.
        slicing: how time is divided, of `SLICINGS`.
        step: the duration of a frame with slicing by step, in µs.

    Returns:
        Histograms [T, 2, H, W], polarity 0 (darker) first; uint8 if no count is above 255, else uint16, else uint32.

    Raises:
        UnknownName: if there is no such slicing.
        BadValue: if the frames would be none, or too many for memory.
    """
    if slicing not in SLICINGS:
        raise unknown("slicing", slicing, SLICINGS)
    width, height = sensor
    if count < 1 or not 1 <= step <= MOST_STEP:
        raise BadValue(f"need at least 1 frame of 1 to {MOST_STEP:,} µs, got {count} frames of {step} µs")
    if count * 2 * height * width > MOST_PIXELS:
        raise BadValue(
            f"{count} frames of {width}×{height} pixels take more than {8 * MOST_PIXELS // 2**30} GiB; give fewer "
            "frames, or the size of the sensor"
        )
    edges = SLICINGS[slicing](events["t"], count, step)
    chosen = events[edges[0] : edges[-1]]
    number = np.repeat(np.arange(count), np.diff(edges))
    place = ((number * 2 + chosen["p"]) * height + chosen["y"]) * width + chosen["x"]
    found = np.bincount(place, minlength=count * 2 * height * width)
    kind = np.min_scalar_type(int(found.max(initial=0)))
    return found.astype(kind).reshape(count, 2, height, width)
