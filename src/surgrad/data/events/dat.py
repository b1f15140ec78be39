"""Prophesee's .dat, as N-Cars is published: lines of text that begin with %, two bytes (the kind of event, its size),
then time and data of each event, 32 bits each, little-endian: 14 bits of x, 14 of y, one of polarity.
"""

import re
from pathlib import Path

import numpy as np

from surgrad.data.events.records import Parsed, bad, header_end, unwrapped, whole_records

_KINDS = (0, 12)  # changes at a pixel, of two generations


def parse(path: Path, data: bytes) -> Parsed:
    """Parse all events of a .dat file."""
    at = header_end(path, data, b"%")
    if len(data) - at < 2:
        raise bad(path, at, "the file is truncated after its header; download it again")
    kind = data[at]
    size = data[at + 1]
    if kind not in _KINDS or size != 8:
        raise bad(path, at, f"events of kind {kind} and {size} bytes; supported are kinds 0 and 12 of 8 bytes")
    start = at + 2
    count = whole_records(path, data, start, 8)
    words = np.frombuffer(data, "<u4", 2 * count, start).reshape(-1, 2)
    t = unwrapped(words[:, 0].astype(np.int64), 2**32)
    where = words[:, 1].copy()
    return Parsed(
        where & 0x3FFF,
        (where >> 14) & 0x3FFF,
        t,
        (where >> 28) & 1,
        lambda number: start + 8 * number,
        _sensor(data[:at]),
    )


def _sensor(header: bytes) -> tuple[int, int] | None:
    found = [re.search(rb"(?im)^% *" + word + rb" +(\d{1,5}) *\r?$", header) for word in (b"width", b"height")]
    return (int(found[0][1]), int(found[1][1])) if found[0] and found[1] else None
