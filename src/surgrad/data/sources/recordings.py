"""Data sets of recordings of event cameras, as CIFAR10-DVS."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from numpy.typing import NDArray

from surgrad.config.values import Count, Range, Size
from surgrad.data.batches.recordings import EventBatches
from surgrad.data.events.arrays import Layout, Unit
from surgrad.data.events.cache import FrameCache, Slicing
from surgrad.data.events.frames import MOST_STEP, SlicingRule
from surgrad.data.events.sets import EventData, load_events
from surgrad.data.events.views import Normalise, Scaling, View
from surgrad.data.source import BatchSettings
from surgrad.data.sources.folders import Side


class EventSource:
    """Recordings, sliced into as many frames as the network has time steps.

    Args:
        data: the name of a data set of `EVENT_SETS`, or a listed one.
        root: where data sets are; see `surgrad.data.data_root`.
        split: the name of the rule that splits the data set; None: its default. Not used for a listed one.
        slicing: count: equal numbers of events in each frame; time: equal durations; step: `step_us` each.
        step_us: the duration of a frame with slicing by step, in µs.
        normalise: frame: divide each frame by its largest count; binary: 1 where there is any event; none: counts as
            they are.
        scaling: how frames are resized.
        flip: mirror training recordings left to right with probability 1/2.
        roll: shift training recordings by up to this many pixels along both axes, around the edge.
        nda: roll, rotate or shear training recordings (see `surgrad.data.events.views.View`).
        side: the side of the squares that frames are resized to, in pixels.
        height: the height of frames that are not square, in pixels; `side` is then their width.
        columns: the order of the columns in recordings that are arrays or texts without names, as in txyp.
        time_unit: of times in arrays and texts.
        sensor: width and height of the sensor, inside which events must be; None: as the data set has it.
        cache: the folder in which frames are kept; None: .surgrad in the folder of the recordings.
        skip_bad: leave out recordings that cannot be read, if they are at most 1 % of all.
        workers: processes that slice and read recordings; None: one for each core.

    Raises:
        UnknownName: if there is no such split.
        DataError: if the recordings are missing or inconsistent.
    """

    is_sequence = True

    def __init__(
        self,
        data: str | EventData,
        root: Path | str | None = None,
        *,
        split: str | None = None,
        slicing: SlicingRule = "count",
        step_us: Annotated[int, Range(1, MOST_STEP)] = 5000,
        normalise: Normalise = "frame",
        scaling: Scaling = "bilinear",
        flip: bool = False,
        roll: Size = 0,
        nda: bool = False,
        side: Side = 224,
        height: Side | None = None,
        sensor: tuple[Count, Count] | None = None,
        columns: str | None = None,
        time_unit: Unit = "us",
        cache: str | None = None,
        skip_bad: bool = False,
        workers: Size | None = None,
    ):
        self.data = load_events(data, root, split) if isinstance(data, str) else data
        self.classes = self.data.classes
        if sensor is not None:
            self.data = replace(self.data, sensor=sensor)
        self.input_shape = (2, height or side, side)
        self.view = View(side, normalise, scaling, flip, roll, nda, height)
        self.layout = Layout(columns, time_unit)
        self.slicing = slicing
        self.step_us = step_us
        self.skip_bad = skip_bad
        self.workers = workers
        self._folder = self.data.root / ".surgrad" if cache is None else Path(cache)

    def batches(self, settings: BatchSettings) -> EventBatches:
        """The batches of these recordings for the settings of a run."""
        return EventBatches(
            self.data,
            self.frame_cache(settings.steps),
            self.view,
            settings,
            skip_bad=self.skip_bad,
            workers=self.workers,
        )

    def frame_cache(self, steps: int) -> FrameCache:
        """The cache of frames for this number of time steps."""
        layout = self.layout
        slicing = Slicing(steps, self.data.sensor, self.slicing, self.step_us, columns=layout.columns, unit=layout.unit)
        return FrameCache(self._folder, self.data.root, slicing)

    def example(self, steps: int) -> NDArray:
        """The frames [T, 2, H, W] of the first test recording, counts before any view; for a picture of the data."""
        return self.frame_cache(steps).frames(Path(self.data.test.paths[0]), self.data.test.spans[0])
