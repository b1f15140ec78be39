"""Spiking Heidelberg Digits and Spiking Speech Commands (Cramer et al. 2022): one HDF5 file for each part, with many
recordings of 700 cochlea channels. A recording becomes events of row 0, whose column is the channel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from surgrad.data.events.records import pack
from surgrad.data.events.sandbox import decode
from surgrad.errors import DataError

CHANNELS = 700


@dataclass(frozen=True)
class SpokenSet:
    """A data set of spoken words.

    Attributes:
        folders: where it may be below the root.
        train: the file of its training samples.
        test: the file of its test samples.
    """

    name: str
    folders: tuple[str, ...]
    train: str
    test: str
    classes: tuple[str, ...]


_ENGLISH = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_GERMAN = ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
SPOKEN_SETS = {
    entry.name: entry
    for entry in (
        SpokenSet("shd", ("shd", "SHD", "."), "shd_train.h5", "shd_test.h5", (*_ENGLISH, *_GERMAN)),
        SpokenSet("ssc", ("ssc", "SSC", "."), "ssc_train.h5", "ssc_test.h5", tuple(map(str, range(35)))),
    )
}
"""SHD: English digits, then German ones. SSC: 35 words, named by their numbers in the files."""
_DECODE = """
import h5py, os
with h5py.File(path, "r") as file:
    for name in ("spikes/times", "spikes/units", "labels"):
        if file[name].size > os.path.getsize(path):  # a recording takes at least one byte
            sys.exit(f"{name} claims {file[name].size:,} recordings in {os.path.getsize(path):,} bytes")
    for name in ("spikes/times", "spikes/units"):
        kind = h5py.check_vlen_dtype(file[name].dtype)
        if file[name].ndim != 1 or kind is None or numpy.dtype(kind).kind not in "iuf":
            sys.exit(f"{name} is not a list of lists of numbers")
        rows = file[name][()]
        give([len(row) for row in rows])
        give(numpy.concatenate([numpy.empty(0, kind), *rows]))
    if file["labels"].ndim != 1 or file["labels"].dtype.kind not in "iu":
        sys.exit("labels is not a list of whole numbers")
    give(file["labels"][()])
"""


def read_spoken(path: Path | str) -> list[tuple[NDArray, int]]:
    """Read all recordings of shd_train.h5 or a file of its layout.

    Args:
        path: a file with `spikes/times` in seconds, `spikes/units` and `labels`.

    Returns:
        The (events, label) of every recording. Events are of `EVENT`, with p = 1.

    Raises:
        DataError: if the file is missing or damaged.
    """
    return list(spoken_recordings(path))


def spoken_recordings(path: Path | str) -> Iterator[tuple[NDArray, int]]:
    """The recordings of `read_spoken`, one at a time, which takes less memory."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; give the name of a part, such as shd_train.h5")
    times_of, times, units_of, units, labels = decode(path, "h5py", "HDF5", _DECODE)
    if not len(times_of) == len(units_of) == len(labels):
        raise DataError(
            f"{path}: {len(times_of)} recordings of times, {len(units_of)} of units, {len(labels)} labels; download it "
            "again"
        )
    recordings = zip(_parts(times, times_of), _parts(units, units_of), labels, strict=True)
    for number, (own_times, own_units, label) in enumerate(recordings):
        yield _events(path, number, own_times, own_units), int(label)


def _parts(whole: NDArray, lengths: NDArray) -> list[NDArray]:
    return np.split(whole, np.cumsum(lengths, dtype=np.int64)[:-1]) if len(lengths) else []


def _events(path: Path, number: int, times: NDArray, units: NDArray) -> NDArray:
    t = np.rint(times.astype(np.float64) * 1e6)
    if not len(t) or len(t) != len(units):
        raise DataError(f"{path}, recording {number}: {len(t)} times of {len(units)} units; download the file again")
    if not (np.isfinite(t).all() and (t >= 0).all() and (units >= 0).all() and (units < CHANNELS).all()):
        raise DataError(
            f"{path}, recording {number}: times from {t.min() / 1e6:g} s and units from {units.min()} to "
            f"{units.max()}; times must be at least 0 and units from 0 to {CHANNELS - 1}"
        )
    order = np.argsort(t, kind="stable")
    ones = np.ones(len(t), np.uint8)
    return pack(units[order], np.zeros(len(t), np.uint16), t[order].astype(np.int64), ones)
