"""Spiking Heidelberg Digits and Spiking Speech Commands: spoken words as spikes of 700 cochlea channels."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch

from surgrad.config.values import Range
from surgrad.data.base import Split
from surgrad.data.batches.memory import MemoryBatches
from surgrad.data.events.frames import MOST_STEP, frames
from surgrad.data.events.spoken import CHANNELS, SPOKEN_SETS, SpokenSet, spoken_recordings
from surgrad.data.loading import data_root
from surgrad.data.source import BatchSettings
from surgrad.errors import DataError, unknown


class SpokenSource:
    """Recordings [T, 1, bins] of spoken words, held in memory: spikes counted in time steps and in groups of channels.

    The files, say shd_train.h5 and shd_test.h5, are looked for in the folders that `SPOKEN_SETS` names below the root.
    A sample is read once, when batches are made; SSC takes several GB of memory then. SSC's validation part is not
    used: set a holdout apart instead.

    Args:
        name: of `SPOKEN_SETS`.
        root: where data sets are; see `surgrad.data.data_root`.
        bins: groups of neighbouring channels, whose spikes are counted together; 700 keeps the channels.
        slicing: time: time steps of equal duration, from the first spike of a recording to its last; step: of `step_us`
            each, from the first spike on.
        step_us: the duration of a time step with slicing by step, in µs.

    Raises:
        UnknownName: if there is no such data set.
        DataError: if its files are missing.
    """

    is_sequence = True

    def __init__(
        self,
        name: str,
        root: Path | str | None = None,
        *,
        bins: Annotated[int, Range(1, CHANNELS)] = 140,
        slicing: Literal["time", "step"] = "time",
        step_us: Annotated[int, Range(1, MOST_STEP)] = 10_000,
    ):
        if name not in SPOKEN_SETS:
            raise unknown("data set", name, SPOKEN_SETS)
        self.spec = SPOKEN_SETS[name]
        self.folder = _find(self.spec, data_root(root))
        self.classes = self.spec.classes
        self.input_shape = (1, bins)
        self.bins = bins
        self.slicing = slicing
        self.step_us = step_us

    def batches(self, settings: BatchSettings) -> MemoryBatches:
        """The batches of these recordings, sliced into `settings.steps` time steps."""
        return MemoryBatches(
            self._read(self.spec.train, settings.steps),
            self._read(self.spec.test, settings.steps),
            settings,
            augment=lambda samples, *generators: samples,
            mean=(0.0,),
            std=(1.0,),
            scale=1,
            is_sequence=True,
        )

    def _read(self, name: str, steps: int) -> Split:
        """Counts [N, T, 1, bins] of a part."""
        path = self.folder / name
        samples = []
        labels: list[int] = []
        for events, label in spoken_recordings(path):
            if not 0 <= label < len(self.classes):
                raise DataError(
                    f"{path}, recording {len(labels)}: label {label} found; labels must be from 0 to "
                    f"{len(self.classes) - 1}"
                )
            events["x"] = events["x"].astype(np.int64) * self.bins // CHANNELS
            counts = frames(events, steps, (self.bins, 1), slicing=self.slicing, step=self.step_us)
            samples.append(counts[:, 1].copy())  # all spikes have polarity 1
            labels.append(label)
        if not labels:
            raise DataError(f"{path}: it holds no recording; download it again")
        whole = np.stack(samples)
        if whole.dtype != np.uint8:  # a count is above 255
            whole = whole.astype(np.int32)
        return Split(torch.from_numpy(whole), torch.tensor(labels))


def _find(spec: SpokenSet, root: Path) -> Path:
    """The first folder that holds both files."""
    folders = [root / folder for folder in spec.folders]
    for folder in folders:
        if (folder / spec.train).is_file() and (folder / spec.test).is_file():
            return folder
    looked = ", ".join(map(str, folders))
    raise DataError(
        f"{spec.name}: {spec.train} and {spec.test} were not found, looked in {looked}; unpack the published files "
        "there, or name their folder: --data DIR"
    )
