"""Frames kept on disk, as whole numbers, so that a recording is read and sliced once.

A folder a slicing, named by all that shaped it; a .npy file a recording, written beside and renamed, so that processes
may share it and a broken-off one leaves no half file. CIFAR10-DVS's 10,000 recordings take 3.1 GiB at T = 10.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from surgrad.data.events.frames import frames
from surgrad.data.events.reading import read_either
from surgrad.errors import DataError, SurgradError
from surgrad.files import replace_file

VERSION = 1  # of what readers, `frames` and this file do with a recording


@dataclass(frozen=True)
class Slicing:
    """How frames are made of a recording: see `frames`. sort: see `read`. A file of frames keeps its own."""

    count: int
    sensor: tuple[int, int]
    slicing: str = "count"
    step: int = 5000
    sort: bool = True

    def of(self, path: Path, span: tuple[int, int] | None = None) -> NDArray:
        """The frames [T, 2, H, W] of that file, or of what lies within those µs of it."""
        events = read_either(path, self.sensor, self.sort)
        if events.dtype.names is None:
            if len(events) != self.count:
                raise DataError(
                    f"{path}: it holds {len(events)} frames, and {self.count} are asked for; give as many "
                    "time steps, model.steps"
                )
            return events
        if span is not None:
            first, last = np.searchsorted(events["t"], span, "left")
            events = events[first:last]
            if not len(events):
                raise DataError(f"{path}: it holds no event from {span[0]} to {span[1]} µs; get it and its labels anew")
        if self.slicing == "count" and len(events) < self.count:
            raise DataError(
                f"{path}: it holds {len(events)} events, and {self.count} frames of as many each are asked "
                "for; leave it out"
            )
        return frames(events, self.count, self.sensor, slicing=self.slicing, step=self.step)

    @property
    def key(self) -> str:
        shaped = {**asdict(self), "version": VERSION}
        if self.slicing != "step":
            shaped.pop("step")
        return hashlib.sha256(json.dumps(shaped, sort_keys=True).encode()).hexdigest()[:16]


class CacheError(SurgradError):
    """The cache cannot be written: no fault of a recording."""


class FrameCache:
    """`frames(path)` of recordings below `root`, from `folder` where they are there, and put there else."""

    def __init__(self, folder: Path, root: Path, slicing: Slicing):
        where = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]
        self.folder = folder / f"frames-{slicing.key}-{where}"
        self.root = root
        self.slicing = slicing

    def place(self, path: Path, span: tuple[int, int] | None = None) -> Path:
        """Where a recording's frames are kept: by its name, size and time of writing, so that a changed file has new
        ones."""
        about = path.stat()
        inner = path.relative_to(self.root)
        part = "" if span is None else f"-{span[0]}-{span[1]}"
        return self.folder / inner.parent / f"{inner.name}{part}-{about.st_size:x}-{about.st_mtime_ns:x}.npy"

    def frames(self, path: Path, span: tuple[int, int] | None = None) -> NDArray:
        try:
            place = self.place(path, span)
        except OSError as err:
            raise DataError(f"{path}: it cannot be read ({err.strerror}); get leave, or get it anew") from None
        if place.exists():
            held = _held(place, self.slicing)
            if held is not None:
                return held
        made = self.slicing.of(path, span)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            replace_file(place, lambda beside: _write(beside, made), shared=True)
            self._describe()
        except OSError as err:
            raise CacheError(
                f"frames cannot be kept in {self.folder} ({err.strerror}); give data.cache=DIR, where "
                "there is room and leave to write"
            ) from None
        return made

    def _describe(self) -> None:
        """What the folder's name stands for, for whoever finds it."""
        about = self.folder / "slicing.json"
        if not about.exists():
            text = json.dumps({**asdict(self.slicing), "version": VERSION}, indent=1) + "\n"
            replace_file(about, lambda beside: beside.write_text(text), shared=True)


def _write(beside: Path, made: NDArray) -> None:
    with beside.open("wb") as file:
        np.save(file, made, allow_pickle=False)


def _held(place: Path, slicing: Slicing) -> NDArray | None:
    """What is kept there; None where it is not what was written."""
    try:
        found = np.load(place, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.ndim == 4 and found.shape[:2] == (slicing.count, 2) and found.dtype.kind == "u" else None
