"""Frames of a recording: how many events of each polarity every pixel saw in every slice of time."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from surgrad.errors import BadValue, unknown

MOST_PIXELS = 2**28
MOST_STEP = 10**12
"""Counts of one recording, and µs of one frame."""


def by_count(t: NDArray, frames: int, step: int) -> NDArray:
    """The same number of events in every frame, ⌊n/T⌋; the remainder at the end is dropped (Deng et al. 2022, TET)."""
    return np.arange(frames + 1) * (len(t) // frames)


def by_time(t: NDArray, frames: int, step: int) -> NDArray:
    """The same time in every frame, a T-th of that from the first event to the last."""
    first = int(t[0])
    whole = int(t[-1]) - int(t[0])
    edges = np.array([first + -(-whole * k // frames) for k in range(frames)])  # rounded up: t is in whole µs
    if whole == 0:
        edges[1:] += 1  # the only time that there is belongs to the first frame
    return np.append(np.searchsorted(t, edges, "left"), len(t))


def by_step(t: NDArray, frames: int, step: int) -> NDArray:
    """`step` µs in every frame from the first event on, 5,000 in Lian et al. 2023 (LSG); what comes later is dropped,
    and frames after the last event are empty."""
    return np.searchsorted(t, int(t[0]) + step * np.arange(frames + 1), "left")


SLICINGS: dict[str, Callable[[NDArray, int, int], NDArray]] = {"count": by_count, "time": by_time, "step": by_step}
"""Each gives the T + 1 numbers of events between which the frames lie, of their times [n], T and a step in µs."""


def frames(
    events: NDArray, count: int, sensor: tuple[int, int], *, slicing: str = "count", step: int = 5000
) -> NDArray:
    """Histograms [T, 2, H, W] of a recording, the polarity 0 (darker) first; uint8 where no count is above 255, else
    uint16, else uint32.

    count: T. sensor: (W, H). slicing: of `SLICINGS`; step: in µs, where it goes by that."""
    if slicing not in SLICINGS:
        raise unknown("slicing", slicing, SLICINGS)
    width, height = sensor
    if count < 1 or not 1 <= step <= MOST_STEP:
        raise BadValue(f"{count} frames of {step} µs are no frames; give 1 or more, of 1 to {MOST_STEP:,} µs")
    if count * 2 * height * width > MOST_PIXELS:
        raise BadValue(
            f"{count} frames of {width}×{height} pixels take more than {8 * MOST_PIXELS // 2**30} GiB; give "
            "fewer, or the size of the sensor"
        )
    edges = SLICINGS[slicing](events["t"], count, step)
    chosen = events[edges[0] : edges[-1]]
    number = np.repeat(np.arange(count), np.diff(edges))
    place = ((number * 2 + chosen["p"]) * height + chosen["y"]) * width + chosen["x"]
    found = np.bincount(place, minlength=count * 2 * height * width)
    kind = np.min_scalar_type(int(found.max(initial=0)))
    return found.astype(kind).reshape(count, 2, height, width)
