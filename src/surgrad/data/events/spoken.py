"""Spiking Heidelberg Digits and Speech Commands (Cramer et al. 2022): one HDF5 file a part, with many recordings of 700
channels of a cochlea. A recording becomes events of row 0, whose column is the channel.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from surgrad.data.events.arrays import need, unreadable
from surgrad.data.events.records import pack
from surgrad.errors import DataError

CHANNELS = 700


def read_spoken(path: Path | str) -> list[tuple[NDArray, int]]:
    """The (events, label) of every recording of shd_train.h5 and its like: `spikes/times` in seconds, `spikes/units`
    and `labels`. p is 1."""
    path, h5py = Path(path), need("h5py", "HDF5")
    try:
        with h5py.File(path, "r") as file:
            times, units, labels = file["spikes/times"][()], file["spikes/units"][()], file["labels"][()]
    except Exception as err:  # it raises whatever the library beneath it came upon
        raise unreadable(path, "h5py", err) from None
    columns = [np.asarray(column) for column in (times, units, labels)]
    if any(column.ndim != 1 for column in columns) or columns[2].dtype.kind not in "iu":
        raise DataError(f"{path}: spikes/times, spikes/units and labels are not a column each, of whole labels; get it "
                        "anew")  # fmt: skip
    if not len(times) == len(units) == len(labels):
        raise DataError(f"{path}: {len(times)} recordings of times, {len(units)} of units, {len(labels)} labels; get "
                        "it anew")  # fmt: skip
    return [(_events(path, number, *recording), int(label))
            for number, (*recording, label) in enumerate(zip(times, units, labels, strict=True))]  # fmt: skip


def _events(path: Path, number: int, times: NDArray, units: NDArray) -> NDArray:
    if any(np.asarray(column).ndim != 1 or np.asarray(column).dtype.kind not in "iuf" for column in (times, units)):
        raise DataError(f"{path}, recording {number}: its times or units are no column of numbers; get it anew")
    t = np.rint(np.asarray(times, np.float64) * 1e6)
    unit = np.asarray(units)
    if not len(t) or len(t) != len(unit):
        raise DataError(f"{path}, recording {number}: {len(t)} times of {len(unit)} units; get it anew")
    if not (np.isfinite(t).all() and (t >= 0).all() and (unit >= 0).all() and (unit < CHANNELS).all()):
        raise DataError(f"{path}, recording {number}: times from {t.min() / 1e6:g} s and units from {unit.min()} to "
                        f"{unit.max()}; give times from 0 and units from 0 to {CHANNELS - 1}")  # fmt: skip
    order = np.argsort(t, kind="stable")
    ones = np.ones(len(t), np.uint8)
    return pack(unit[order], np.zeros(len(t), np.uint16), t[order].astype(np.int64), ones)
