"""Batches of recordings: frames from a cache on disk, made on first use."""

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from surgrad import ranks
from surgrad.data.batches.slots import View
from surgrad.data.batches.stored import StoredBatches, worker_count
from surgrad.data.events.cache import FrameCache
from surgrad.data.events.sets import EventData, Recordings, Span
from surgrad.data.events.views import View as FrameView
from surgrad.data.sampling import Parts, divide, random_part
from surgrad.data.source import BatchSettings
from surgrad.errors import DataError
from surgrad.process import with_signs_of_life

MOST_BAD = 0.01
"""The largest share of a data set's recordings that may be left out as unreadable."""
MANY = 500
"""From this number of recordings on, several processes slice them."""


class EventBatches(StoredBatches[Recordings]):
    """Batches [T, N, 2, side, side] of the frames of recordings, which are all sliced before the first batch.

    A limit takes a random part of each part, since recordings are stored class by class.

    Args:
        data: the data set.
        cache: where its frames are kept.
        view: how the network sees frames.
        settings: of the run.
        skip_bad: leave out recordings that cannot be read, if they are at most 1 % of all.
        workers: processes that slice and read recordings; None: one for each core.
    """

    is_sequence = True

    def __init__(
        self,
        data: EventData,
        cache: FrameCache,
        view: FrameView,
        settings: BatchSettings,
        *,
        skip_bad: bool = False,
        workers: int | None = None,
    ):
        self.check_progressive(settings.progressive)  # before anything is sliced, which may take long
        parts = divide(
            data.train,
            data.test,
            holdout=settings.holdout,
            seed=settings.seed,
            limited=lambda part: random_part(part, settings.limit),
        )
        parts, left_out = prepare(cache, parts, skip_bad, workers)
        super().__init__(parts, settings, workers)
        self._cache = cache
        self._view = view
        held = {"held_out": self.holdout_count} if settings.holdout else {}
        self.about = {
            "split": data.split,
            "trained_on": self.train_count,
            "tested_on": self.test_count,
            "left_out": left_out,
            **held,
        }

    def views(self, part: Recordings, seed: tuple[int, int] | None) -> Dataset[View]:
        return _Views(part, self._cache, self._view, seed)

    def finished(self, samples: Tensor) -> Tensor:
        return samples.transpose(0, 1).clone(memory_format=torch.contiguous_format)


def prepare(
    cache: FrameCache, parts: Parts[Recordings], skip_bad: bool, workers: int | None
) -> tuple[Parts[Recordings], list[str]]:
    """Slice every recording that is not yet in the cache. Of several ranks, each slices a share.

    Args:
        cache: where the frames are kept.
        parts: the recordings.
        skip_bad: leave out recordings that cannot be read, if they are at most 1 % of all, and print which.
        workers: processes that slice; None: one for each core.

    Returns:
        The parts without the recordings that were left out, and the error texts of those.

    Raises:
        DataError: if recordings cannot be read, and `skip_bad` is false or they are more than 1 %.
    """
    items = [item for part in vars(parts).values() for item in part.items()]
    errors = _errors(cache, items, worker_count(workers))
    if not errors:
        return parts, []
    first = next(iter(errors.values()))
    if not skip_bad:
        others = len(errors) - 1
        more = f"; and {others} more, of {len(items)}" if others else ""
        raise DataError(f"{first}{more}. Use data.skip_bad=true to leave them out, up to 1 % of all")
    if len(errors) > MOST_BAD * len(items):
        raise DataError(f"{len(errors)} of {len(items)} recordings cannot be read, more than 1 %, the first: {first}")
    if not ranks.place().rank:
        for error in errors.values():
            print(f"left out: {error}", file=sys.stderr)
        print(f"left out {len(errors)} of {len(items)} recordings, {len(errors) / len(items):.2%}", file=sys.stderr)
    bad = {items[number] for number in errors}
    good = {
        name: part.only([number for number, item in enumerate(part.items()) if item not in bad])
        for name, part in vars(parts).items()
    }
    return Parts(**good), list(errors.values())


def _errors(cache: FrameCache, items: list[tuple[str, Span | None]], workers: int) -> dict[int, str]:
    """The error texts of the recordings that cannot be sliced, by their numbers; the same on all ranks."""
    own = items[ranks.place().share(len(items))]
    slice_one = partial(_slice, cache)
    if workers > 1 and len(own) > MANY:
        with ProcessPoolExecutor(workers) as pool:
            found = list(with_signs_of_life(pool.map(slice_one, own, chunksize=50)))
    else:
        found = list(with_signs_of_life(map(slice_one, own)))
    errors = chain.from_iterable(ranks.gathered_objects(found))
    return {number: error for number, error in enumerate(errors) if error is not None}


def _slice(cache: FrameCache, item: tuple[str, Span | None]) -> str | None:
    try:
        cache.frames(Path(item[0]), item[1])
    except DataError as error:
        return str(error)
    return None


class _Views(Dataset[View]):
    """Frames of recordings as the network sees them; seed: of the augmentation, None for none."""

    def __init__(self, part: Recordings, cache: FrameCache, view: FrameView, seed: tuple[int, int] | None):
        self._part = part
        self._cache = cache
        self._view = view
        self._seed = seed

    def __getitem__(self, index: int) -> View:
        part = self._part
        try:
            frames = self._view.plain(self._cache.frames(Path(part.paths[index]), part.spans[index]))
        except DataError as error:  # raised again in the main process
            return str(error), torch.empty(0), part.labels[index]
        if self._seed is not None:
            frames = self._view.augmented(frames, (*self._seed, index))
        return None, frames, part.labels[index]
