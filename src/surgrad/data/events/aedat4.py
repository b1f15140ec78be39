"""AEDAT 4, of today's cameras: compressed packets behind a table of their places, decoded by the package `aedat`.

It runs in a process of its own: a damaged file can bring the decoder down, and would take this one with it.
"""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np

from surgrad.data.events.arrays import columns, need
from surgrad.data.events.records import Parsed
from surgrad.errors import DataError

_SECONDS = 600
_DECODE = """
import sys, aedat, numpy
found, stream = [], None
for packet in aedat.Decoder(sys.argv[1]):
    if "events" in packet and stream in (None, packet["stream_id"]):
        stream = packet["stream_id"]
        found.append(packet["events"])
if found:
    numpy.save(sys.stdout.buffer, numpy.concatenate(found))
"""


def parse(path: Path, data: bytes) -> Parsed:
    """The events of the first stream that has any."""
    need("aedat", "AEDAT 4")
    command = [sys.executable, "-c", _DECODE, str(path.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise DataError(f"{path}: aedat did not read it within {_SECONDS} s; get it anew") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise DataError(f"{path}: aedat cannot read it ({said[-1]}); get it anew")
    if not done.stdout:
        raise DataError(f"{path}: it holds no event; leave it out")
    whole = np.load(io.BytesIO(done.stdout), allow_pickle=False)
    return columns(path, {"x": whole["x"], "y": whole["y"], "t": whole["t"], "p": whole["on"]})
