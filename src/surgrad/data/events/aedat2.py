"""AEDAT 2.0, the format of CIFAR10-DVS: lines of text that begin with #, then address and time of each event, 32 bits
each, big-endian. The address is that of a DVS128: bit 0 is 1 if the pixel became darker, bits 1 to 7 and 8 to 14 are
the pixel.
"""

import re
from pathlib import Path

import numpy as np

from surgrad.data.events.records import Parsed, bad, header_end, unwrapped, whole_records

MAGIC = b"#!AER-DAT"
_CHIP = re.compile(rb"^# ?AEChip: *([^\r\n]*)", re.MULTILINE)
SENSOR = (128, 128)


def parse(path: Path, data: bytes) -> Parsed:
    """Parse the events of pixels; other kinds (frames, external signals) are left out.

    The published recordings are upright when the chip's axes are exchanged and reversed: x = 127 - bits 8 to 14, y =
    127 - bits 1 to 7, as other readers do.
    """
    start = header_end(path, data, b"#")
    chip = _CHIP.search(data, 0, start)
    if chip is not None and b"dvs128" not in chip[1].lower():
        raise bad(
            path,
            chip.start(),
            f"the recording is of a {chip[1].decode('latin-1').rpartition('.')[2]}; only AEDAT 2 files of a DVS128 are "
            "supported: convert it to AEDAT 4, or to .npz with x, y, t and p",
        )
    count = whole_records(path, data, start, 8)
    words = np.frombuffer(data, ">u4", 2 * count, start).reshape(-1, 2)
    address = words[:, 0].astype(np.uint32)
    t = unwrapped(words[:, 1].astype(np.int64), 2**32)
    other = address & 0x80008000
    index = None
    if other.any():
        index = np.flatnonzero(other == 0)
        address = address[index]
        t = t[index]
    beyond = address >> 16
    if beyond.any():
        at = int((beyond != 0).argmax())
        first = at if index is None else int(index[at])
        raise bad(
            path,
            start + 8 * first,
            f"the address {int(address[at]):#x} is outside the 128×128 pixels of a DVS128; only AEDAT 2 files of that "
            "camera are supported",
        )
    return Parsed(
        127 - ((address >> 8) & 127),
        127 - ((address >> 1) & 127),
        t,
        1 - (address & 1),
        lambda number: start + 8 * (number if index is None else int(index[number])),
        SENSOR,
    )
