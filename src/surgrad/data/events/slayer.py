"""The formats of SLAYER (Shrestha and Orchard 2018): .bs2, the record of N-MNIST, and .bs3, seven bytes for each event:
12 bits of x, 12 of y, 8 of polarity, 24 of time, the highest first.

slayerPytorch reads all records as events, also those of row 240, which add to the time in N-MNIST (`ndataset`).
"""

from pathlib import Path

import numpy as np

from surgrad.data.events.ndataset import records
from surgrad.data.events.records import Parsed, bad, unwrapped, whole_records


def parse_bs2(path: Path, data: bytes) -> Parsed:
    """Parse all events of a .bs2 file."""
    x, y, t, p = records(path, data)
    return Parsed(x, y, t, p, lambda number: 5 * number)


def parse_bs3(path: Path, data: bytes) -> Parsed:
    """Parse all events of a .bs3 file."""
    count = whole_records(path, data, 0, 7)
    bytes_ = np.frombuffer(data, np.uint8, 7 * count).reshape(-1, 7)
    wide = bytes_.astype(np.int32)
    p = bytes_[:, 3]
    other = p > 1
    if other.any():
        first = int(other.argmax())
        raise bad(
            path,
            7 * first + 3,
            f"an event of polarity {p[first]}; give 0 and 1, for darker and brighter, or download the file again",
        )
    t = (wide[:, 4] << 16 | wide[:, 5] << 8 | wide[:, 6]).astype(np.int64)
    return Parsed(
        wide[:, 0] << 4 | wide[:, 1] >> 4,
        (wide[:, 1] & 15) << 8 | wide[:, 2],
        unwrapped(t, 2**24),
        p,
        lambda number: 7 * number,
    )
