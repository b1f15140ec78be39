"""Frames kept on disk, as whole numbers, so that a recording is read and sliced once.

There is one folder for each slicing, named by a hash of everything that affects frames, and one .npy file for each
recording. A file is written under a temporary name and renamed, so that processes may share a folder and an interrupted
one leaves no partial file. CIFAR10-DVS's 10,000 recordings take 3.1 GiB at T = 10.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from surgrad.data.events.arrays import Layout, Unit
from surgrad.data.events.frames import SlicingRule, frames
from surgrad.data.events.reading import read_either
from surgrad.errors import DataError, SurgradError
from surgrad.files import replace_file

VERSION = 1  # raised when readers, `frames` or this file make other frames of a recording


@dataclass(frozen=True)
class Slicing:
    """How frames are made of a recording: see `frames`. A file that holds frames is not sliced.

    Attributes:
        sort: see `read`.
        columns: see `read`.
        unit: see `read`.
    """

    count: int
    sensor: tuple[int, int]
    slicing: SlicingRule = "count"
    step: int = 5000
    sort: bool = True
    columns: str | None = None
    unit: Unit = "us"

    def apply(self, path: Path, span: tuple[int, int] | None = None) -> NDArray:
        """The frames [T, 2, H, W] of a file, or of its events within `span`, in µs.

        Raises:
            DataError: if the file cannot be read, or has too few events or another number of frames.
        """
        events = read_either(path, self.sensor, self.sort, Layout(self.columns, self.unit))
        if events.dtype.names is None:
            if len(events) != self.count:
                raise DataError(
                    f"{path}: it holds {len(events)} frames, not {self.count}; set model.steps={len(events)}"
                )
            return events
        if span is not None:
            first, last = np.searchsorted(events["t"], span, "left")
            events = events[first:last]
            if not len(events):
                raise DataError(
                    f"{path}: it holds no event from {span[0]} to {span[1]} µs; download it and its labels again"
                )
        if self.slicing == "count" and len(events) < self.count:
            raise DataError(
                f"{path}: {len(events)} events are too few for {self.count} frames of equal counts; exclude this "
                "recording"
            )
        return frames(events, self.count, self.sensor, slicing=self.slicing, step=self.step)

    @property
    def key(self) -> str:
        """A hash of everything that affects frames."""
        shaped = {**asdict(self), "version": VERSION}
        if self.slicing != "step":
            shaped.pop("step")
        for name, default in (("columns", None), ("unit", "us")):  # newer than many caches
            if shaped[name] == default:
                shaped.pop(name)
        return hashlib.sha256(json.dumps(shaped, sort_keys=True).encode()).hexdigest()[:16]


class CacheError(SurgradError):
    """The cache cannot be written; the recording itself is fine."""


class FrameCache:
    """The frames of recordings below `root`: read from `folder` if they are there, else made and written there."""

    def __init__(self, folder: Path, root: Path, slicing: Slicing):
        where = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]
        self.folder = folder / f"frames-{slicing.key}-{where}"
        self.root = root
        self.slicing = slicing

    def place(self, path: Path, span: tuple[int, int] | None = None) -> Path:
        """The file of a recording's frames. It is named by the recording's name, size and modification time, so that a
        changed recording gets new frames."""
        about = path.stat()
        inner = path.relative_to(self.root)
        part = "" if span is None else f"-{span[0]}-{span[1]}"
        return self.folder / inner.parent / f"{inner.name}{part}-{about.st_size:x}-{about.st_mtime_ns:x}.npy"

    def frames(self, path: Path, span: tuple[int, int] | None = None) -> NDArray:
        """The frames [T, 2, H, W] of a recording, or of its events within `span`, in µs.

        Raises:
            DataError: if the recording cannot be read or sliced.
            CacheError: if its frames cannot be written.
        """
        try:
            place = self.place(path, span)
        except OSError as err:
            raise DataError(
                f"{path}: cannot be read ({err.strerror}); check its permissions or download it again"
            ) from None
        if place.exists():
            held = _held(place, self.slicing)
            if held is not None:
                return held
        made = self.slicing.apply(path, span)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            replace_file(place, lambda target: _write(target, made), shared=True)
            self._describe()
        except OSError as err:
            raise CacheError(
                f"frames cannot be kept in {self.folder} ({err.strerror}); use data.cache=DIR, a writable folder with "
                "enough space"
            ) from None
        return made

    def _describe(self) -> None:
        """Write what the folder's name stands for."""
        about = self.folder / "slicing.json"
        if not about.exists():
            text = json.dumps({**asdict(self.slicing), "version": VERSION}, indent=1) + "\n"
            replace_file(about, lambda target: target.write_text(text), shared=True)


def _write(target: Path, made: NDArray) -> None:
    with target.open("wb") as file:
        np.save(file, made, allow_pickle=False)


def _held(place: Path, slicing: Slicing) -> NDArray | None:
    """The frames in a file of the cache; None if the file is damaged."""
    try:
        found = np.load(place, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.ndim == 4 and found.shape[:2] == (slicing.count, 2) and found.dtype.kind == "u" else None
