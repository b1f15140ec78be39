"""Spiking Heidelberg Digits and Speech Commands (Cramer et al. 2022): one HDF5 file a part, with many recordings of 700
channels of a cochlea. A recording becomes events of row 0, whose column is the channel.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from surgrad.data.events.apart import decoded
from surgrad.data.events.records import pack
from surgrad.errors import DataError

CHANNELS = 700
_DECODE = """
import h5py, os
with h5py.File(path, "r") as file:
    for name in ("spikes/times", "spikes/units", "labels"):
        if file[name].size > os.path.getsize(path):  # a recording takes some bytes of it
            sys.exit(f"{name} says that it is of {file[name].size:,} recordings, in {os.path.getsize(path):,} bytes")
    for name in ("spikes/times", "spikes/units"):
        kind = h5py.check_vlen_dtype(file[name].dtype)
        if file[name].ndim != 1 or kind is None or numpy.dtype(kind).kind not in "iuf":
            sys.exit(f"{name} is no column of columns of numbers")
        rows = file[name][()]
        give([len(row) for row in rows])
        give(numpy.concatenate([numpy.empty(0, kind), *rows]))
    if file["labels"].ndim != 1 or file["labels"].dtype.kind not in "iu":
        sys.exit("labels is no column of whole numbers")
    give(file["labels"][()])
"""


def read_spoken(path: Path | str) -> list[tuple[NDArray, int]]:
    """The (events, label) of every recording of shd_train.h5 and its like: `spikes/times` in seconds, `spikes/units`
    and `labels`. p is 1."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; give the name of a part, as shd_train.h5")
    times_of, times, units_of, units, labels = decoded(path, "h5py", "HDF5", _DECODE)
    if not len(times_of) == len(units_of) == len(labels):
        raise DataError(
            f"{path}: {len(times_of)} recordings of times, {len(units_of)} of units, {len(labels)} labels; get it anew"
        )
    return [
        (_events(path, number, *recording), int(label))
        for number, (*recording, label) in enumerate(
            zip(_parts(times, times_of), _parts(units, units_of), labels, strict=True)
        )
    ]


def _parts(whole: NDArray, lengths: NDArray) -> list[NDArray]:
    return np.split(whole, np.cumsum(lengths, dtype=np.int64)[:-1]) if len(lengths) else []


def _events(path: Path, number: int, times: NDArray, units: NDArray) -> NDArray:
    t = np.rint(times.astype(np.float64) * 1e6)
    if not len(t) or len(t) != len(units):
        raise DataError(f"{path}, recording {number}: {len(t)} times of {len(units)} units; get it anew")
    if not (np.isfinite(t).all() and (t >= 0).all() and (units >= 0).all() and (units < CHANNELS).all()):
        raise DataError(
            f"{path}, recording {number}: times from {t.min() / 1e6:g} s and units from {units.min()} to "
            f"{units.max()}; give times from 0 and units from 0 to {CHANNELS - 1}"
        )
    order = np.argsort(t, kind="stable")
    ones = np.ones(len(t), np.uint8)
    return pack(units[order], np.zeros(len(t), np.uint16), t[order].astype(np.int64), ones)
