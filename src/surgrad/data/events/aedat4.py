"""AEDAT 4, of today's cameras: compressed packets behind a table of their places, decoded by the package `aedat`."""

import tempfile
from pathlib import Path

import numpy as np

from surgrad.data.events.arrays import columns, need, unreadable
from surgrad.data.events.records import Parsed
from surgrad.errors import DataError


def parse(path: Path, data: bytes) -> Parsed:
    """The events of the first stream that has any."""
    aedat = need("aedat", "AEDAT 4")
    found, stream = [], None
    try:
        with tempfile.NamedTemporaryFile(suffix=".aedat4") as file:  # it takes a path
            file.write(data)
            file.flush()
            for packet in aedat.Decoder(file.name):
                if "events" in packet and stream in (None, packet["stream_id"]):
                    stream = packet["stream_id"]
                    found.append(packet["events"])
    except Exception as err:  # it raises whatever it came upon
        raise unreadable(path, "aedat", err) from None
    if not found:
        raise DataError(f"{path}: it holds no event; leave it out")
    whole = np.concatenate(found)
    return columns(path, {"x": whole["x"], "y": whole["y"], "t": whole["t"], "p": whole["on"]})
