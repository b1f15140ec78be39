"""Events and frames in HDF5 files, decoded in a separate process.

HDF5 files can name other files of the machine (external links, external storage, virtual data sets), and damaged or
virtual ones can end the process that reads them. Such data sets are refused before any of them is read.
"""

from pathlib import Path

from numpy.typing import NDArray

from surgrad.data.events.arrays import ALIASES, PLAIN, Layout, events_or_frames
from surgrad.data.events.records import Parsed
from surgrad.data.events.sandbox import decode

PLACES = ("events", "CD/events", "davis/left/events")
"""Where events are: most writers (v2e, rpg, DSEC); Metavision; MVSEC, whose left camera is read."""
TRAIN = "spiketrain"
"""The variable of a MATLAB file of ST-MNIST."""
_DECODE = """
import h5py, os

def plain(group, name):
    if isinstance(group.get(name, getlink=True), h5py.ExternalLink) or group[name].file.filename != group.file.filename:
        sys.exit(f"{name} is a link to another file; copy what it leads to into this one")
    found = group[name]
    if isinstance(found, h5py.Dataset):
        if found.is_virtual or found.external:
            sys.exit(f"{name} lies in other files; copy it into this one")
        if found.dtype.hasobject:
            sys.exit(f"{name} has entries of different lengths")
    return found

with h5py.File(path, "r") as file:
    if "spikes" in file:
        sys.exit("it holds many recordings of spikes; read it with surgrad.data.events.read_spoken")
    place = file
    for names in PLACES:
        inner = file
        for name in names.split("/"):
            inner = plain(inner, name) if isinstance(inner, h5py.Group) and name in inner else None
        if inner is not None:
            place = inner
            break
    if MATLAB and place is file and TRAIN not in file:
        columns = {ALIASES[name.lower()] for name in file if name.lower() in ALIASES}
        own = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink) and name[:1] != "#"]
        structs = [name for name in own if isinstance(file[name], h5py.Group)]  # and cells under #refs#
        if len(columns) < 4 and len(structs) == 1:
            place = plain(file, structs[0])
    if isinstance(place, h5py.Dataset):
        parts = {"": place}
    elif "frames" in place:
        parts = {"frames": plain(place, "frames")}
    else:
        taken = [TRAIN] if MATLAB and TRAIN in place else [name for name in place if name.lower() in ALIASES]
        parts = {name: plain(place, name) for name in taken}
    claimed = sum(part.size * part.dtype.itemsize for part in parts.values())
    if claimed > 1000 * os.path.getsize(path) + 2**20:
        sys.exit(f"its {os.path.getsize(path):,} bytes claim to hold {claimed:,}, far more than a recording does")
    for name, part in parts.items():
        give(numpy.array(name))
        give(numpy.zeros(0) if MATLAB and part.attrs.get("MATLAB_empty") else part[()])
"""
_DECODE = _DECODE.replace("ALIASES", repr(ALIASES)).replace("PLACES", repr(PLACES)).replace("TRAIN", repr(TRAIN))


def parse(path: Path, data: bytes, layout: Layout = PLAIN) -> Parsed | NDArray:
    """Parse .h5 and .hdf5: `frames`, or events at one of `PLACES` or in the root, as a data set with fields, an array
    [events, 4], or a group of columns."""
    held = contents(path)
    return events_or_frames(path, held.get("", held), layout)


def contents(path: Path, *, matlab: bool = False) -> dict[str, NDArray]:
    """The arrays by their names; a single array without columns has the name "".

    Args:
        path: the file.
        matlab: MATLAB has written it: the only struct may have any name, there may be `TRAIN`, and an attribute marks
            arrays without elements.
    """
    found = decode(path, "h5py", "HDF5", f"MATLAB = {matlab}{_DECODE}")
    return {str(name): array for name, array in zip(found[::2], found[1::2], strict=True)}
