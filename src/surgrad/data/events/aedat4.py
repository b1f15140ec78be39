"""AEDAT 4, written by current cameras: compressed packets and a table of offsets, decoded by the package `aedat`."""

from dataclasses import replace
from pathlib import Path

from surgrad.data.events.arrays import columns
from surgrad.data.events.records import Parsed, no_event
from surgrad.data.events.sandbox import decode

_DECODE = """
import aedat
found, stream, decoder = [], None, aedat.Decoder(path)
for packet in decoder:
    if "events" in packet and stream in (None, packet["stream_id"]):
        stream = packet["stream_id"]
        found.append(packet["events"])
if found:
    about = decoder.id_to_stream()[stream]
    give([about["width"], about["height"]])
    give(numpy.concatenate(found))
"""


def parse(path: Path, data: bytes) -> Parsed:
    """Parse the events of the first stream that has any."""
    found = decode(path, "aedat", "AEDAT 4", _DECODE)
    if not found:
        raise no_event(path)
    (width, height), whole = found
    parsed = columns(path, {"x": whole["x"], "y": whole["y"], "t": whole["t"], "p": whole["on"]})
    return replace(parsed, sensor=(int(width), int(height)))
