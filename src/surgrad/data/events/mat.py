"""MATLAB files: those of versions 4 to 7 are decoded by scipy, in a separate process, and those of 7.3 are HDF5.

They hold variables x, y, t and p, or one struct with these fields, by any of the names in `ALIASES`; or a matrix
`events` [events, 4]; or the spikes of ST-MNIST (See et al. 2020). Pixels are taken as they are: whether the first is 0
or 1 is not known.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from surgrad.data.events import hdf5
from surgrad.data.events.arrays import ALIASES, PLAIN, Layout, columns
from surgrad.data.events.hdf5 import TRAIN
from surgrad.data.events.records import Parsed
from surgrad.data.events.sandbox import decode
from surgrad.errors import DataError

TAXELS = 10
"""Rows and columns of ST-MNIST's sensor of touch."""
_HDF5 = b"\x89HDF\r\n\x1a\n"
_DECODE = """
import math, os, scipy.io

def check(claimed):
    size = os.path.getsize(path)
    if claimed > 1000 * size + 2**20:
        sys.exit(f"its {size:,} bytes claim to hold {claimed:,}, far more than a recording does")

kinds = {name: kind for name, _, kind in scipy.io.whosmat(path)}
names = [name for name in kinds if name.lower() in ALIASES]
structs = [name for name, kind in kinds.items() if kind == "struct"]
if TRAIN in kinds:
    names = [TRAIN]
elif len({ALIASES[name.lower()] for name in names}) < 4 and len(structs) == 1:
    names = structs
elif not names and "events" in kinds:
    names = ["events"]
if not names:
    sys.exit(f"it has {', '.join(kinds) or 'no variable'}; it needs x, y, t and p, or one struct of these")
check(sum(math.prod(shape) for name, shape, _ in scipy.io.whosmat(path) if name in names))
parts = scipy.io.loadmat(path, variable_names=names)
parts = {"" if name == "events" else name: parts[name] for name in names}
if names == structs:
    (struct,) = parts.values()
    if struct.shape != (1, 1):
        sys.exit(f"its struct {structs[0]} has {struct.size} elements; keep one, with columns as fields")
    parts = {name: struct[0, 0][name] for name in struct.dtype.names or () if name.lower() in ALIASES}
for name, part in parts.items():
    if not isinstance(part, numpy.ndarray) or part.dtype.hasobject:
        sys.exit(f"{name} holds other arrays, or is sparse; make it an array of numbers")
check(sum(part.nbytes for part in parts.values()))
for name, part in parts.items():
    give(numpy.array(name))
    give(numpy.asarray(part))
"""
_DECODE = _DECODE.replace("ALIASES", repr(ALIASES)).replace("TRAIN", repr(TRAIN))


def parse(path: Path, data: bytes, layout: Layout = PLAIN) -> Parsed:
    """Parse a .mat file."""
    if _HDF5 in (data[:8], data[512:520]):
        held = {name: array.T for name, array in hdf5.contents(path, matlab=True).items()}  # MATLAB's order
    else:
        found = decode(path, "scipy", "A MATLAB file", _DECODE)
        held = {str(name): array for name, array in zip(found[::2], found[1::2], strict=True)}
    if TRAIN in held:
        return _touches(path, held[TRAIN])
    return columns(path, held[""] if "" in held else {name: _column(part) for name, part in held.items()}, layout)


def _column(array: NDArray) -> NDArray:
    """A row or column of a matrix as an array of one dimension; MATLAB has no others."""
    return array.reshape(-1) if array.ndim == 2 and (min(array.shape) == 1 or not array.size) else array


def _touches(path: Path, train: NDArray) -> Parsed:
    """The spikes of ST-MNIST: a row for each of 100 taxels with 1, -1 or 0 for each event, and the times in s."""
    rows = TAXELS**2 + 1
    if train.ndim != 2 or train.shape[0] != rows or train.dtype.kind not in "iuf":
        raise DataError(
            f"{path}: its {TRAIN} is {train.dtype} {list(train.shape)}; it must be numbers [{rows}, events], "
            f"{rows - 1} taxels and the times in s"
        )
    spikes = train[:-1].T
    seconds = train[-1].astype(np.float64)
    odd = spikes[~np.isin(spikes, (-1, 0, 1))]
    if odd.size or not (np.abs(seconds) < 2**32).all():
        what = f"the value {odd[0]}; spikes are 1, -1 or 0" if odd.size else "times that are not seconds"
        raise DataError(f"{path}: its {TRAIN} has {what}; download the file again")
    event, taxel = np.nonzero(spikes)
    t = np.rint(seconds * 1e6).astype(np.int64)
    p = (spikes[event, taxel] > 0).astype(np.uint8)
    return Parsed(taxel % TAXELS, taxel // TAXELS, t[event], p, sensor=(TAXELS, TAXELS))
