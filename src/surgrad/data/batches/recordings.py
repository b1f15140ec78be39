"""Batches of recordings: frames from a cache on disk, made on first use."""

import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from surgrad.config.recipe import DataConfig, StartConfig
from surgrad.data.batches.stored import StoredBatches, View, some_of
from surgrad.data.events.cache import FrameCache, Slicing
from surgrad.data.events.sets import EventData, Recordings, Span
from surgrad.data.events.views import View as FrameView
from surgrad.errors import BadValue, DataError

MOST_BAD = 0.01
"""The share of a data set's recordings that may be left out as bad."""


class EventBatches(StoredBatches):
    """Batches [T, N, 2, side, side] of the frames of recordings, all sliced before the first of them."""

    def __init__(
        self,
        data: EventData,
        config: DataConfig,
        steps: int,
        seed: int,
        device: torch.device,
        start: StartConfig,
        epochs: int,
    ):
        for name, value in (("crop", config.crop), ("autoaugment", config.autoaugment), ("cutout", config.cutout)):
            if value:
                raise BadValue(
                    f"data.{name} is for images, and {data.name} has recordings; set it to nothing (these "
                    "have data.flip, data.roll and data.nda)"
                )
        if start.share:
            raise BadValue("start.share shortens images in time, and recordings bring their own; give 0")
        self._cache = cache_of(data, config, steps)
        self._view = view_of(config)
        train, test = (_some(part, config.limit) for part in (data.train, data.test))
        train, test, left_out = prepare(self._cache, (train, test), config.skip_bad, config.workers)
        super().__init__(train, test, config, seed, device, start, epochs)
        self.about = {"split": data.split, "trained_on": len(train), "tested_on": len(test), "left_out": left_out}

    def views(self, part: Recordings, seed: tuple[int, int] | None) -> Dataset[View]:  # type: ignore[override]  # its own
        return _Views(part, self._cache, self._view, seed)

    def finished(self, examples: Tensor) -> Tensor:
        return examples.transpose(0, 1).contiguous()


def cache_of(data: EventData, config: DataConfig, steps: int) -> FrameCache:
    """Where the recipe's frames are kept."""
    folder = data.root / ".surgrad" if config.cache is None else Path(config.cache)
    return FrameCache(folder, data.root, Slicing(steps, data.sensor, config.slicing, config.step_us))


def view_of(config: DataConfig) -> FrameView:
    """How the recipe sees frames."""
    return FrameView(config.side, config.normalise, config.scaling, config.flip, config.roll, config.nda)


def prepare(
    cache: FrameCache, parts: tuple[Recordings, Recordings], skip_bad: bool, workers: int | None
) -> tuple[Recordings, Recordings, list[str]]:
    """Slice every recording that is not yet in the cache. skip_bad: leave out those that cannot be read, if they are no
    more than a hundredth of all, and say which; else the first of them is the error. Returns what is left of the parts,
    and what was wrong with the others."""
    asked = [(path, span) for part in parts for path, span in zip(part.paths, part.spans, strict=True)]
    faults = dict(_faults(cache, asked, workers))
    if not faults:
        return (*parts, [])
    first = next(iter(faults.values()))
    others = len(faults) - 1
    if not skip_bad:
        more = f"; and {others} more, of {len(asked)}" if others else ""
        raise DataError(f"{first}{more}. Give data.skip_bad=true to leave them out, up to 1 % of all")
    if len(faults) > MOST_BAD * len(asked):
        raise DataError(f"{len(faults)} of {len(asked)} recordings cannot be read, more than 1 %, the first: {first}")
    for fault in faults.values():
        print(f"left out: {fault}", file=sys.stderr)
    print(f"left out {len(faults)} of {len(asked)} recordings, {len(faults) / len(asked):.2%}", file=sys.stderr)
    bad = {asked[number] for number in faults}
    train, test = (
        part.only([n for n, item in enumerate(zip(part.paths, part.spans, strict=True)) if item not in bad])
        for part in parts
    )
    return train, test, list(faults.values())


def _faults(cache: FrameCache, asked: list[tuple[str, Span | None]], workers: int | None) -> Iterable[tuple[int, str]]:
    """(number, what is wrong) of each that cannot be sliced; several at a time where there are many to slice."""
    workers = min(os.cpu_count() or 1, 16) if workers is None else workers
    look = partial(_sliced, cache)
    if workers > 1 and len(asked) > 500:
        with ProcessPoolExecutor(workers) as pool:
            said = list(pool.map(look, asked, chunksize=50))
    else:
        said = [look(item) for item in asked]
    return ((number, fault) for number, fault in enumerate(said) if fault is not None)


def _sliced(cache: FrameCache, item: tuple[str, Span | None]) -> str | None:
    try:
        cache.frames(Path(item[0]), item[1])
    except DataError as error:
        return str(error)
    return None


class _Views(Dataset[View]):
    """Frames of recordings as a network sees them; seed: of the random turns, None for none."""

    def __init__(self, part: Recordings, cache: FrameCache, view: FrameView, seed: tuple[int, int] | None):
        self._part = part
        self._cache = cache
        self._view = view
        self._seed = seed

    def __getitem__(self, index: int) -> View:
        part = self._part
        try:
            frames = self._view.plain(self._cache.frames(Path(part.paths[index]), part.spans[index]))
        except DataError as error:  # told by the main process, in a sentence of its own
            return str(error), torch.empty(0), part.labels[index]
        if self._seed is not None:
            frames = self._view.turned(frames, (*self._seed, index))
        return None, frames, part.labels[index]


def _some(part: Recordings, limit: int | None) -> Recordings:
    chosen = some_of(len(part), limit)
    return part if chosen is None else part.only(chosen)
