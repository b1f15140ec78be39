"""Decode files in a separate process with limited time and memory.

A damaged file can crash a decoder or keep it busy for ever, and would take this process down with it.
"""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from surgrad.data.events.arrays import need
from surgrad.errors import DataError

SECONDS = 30
"""The time limit of an empty file, in s."""
_MEMORY = 2**31
"""The memory limit of an empty file, in bytes."""
_BYTES_A_SECOND = 2**20
"""The time limit grows by 1 s for this many bytes of the file."""
_MEMORY_PER_BYTE = 100
"""The memory limit grows by this many bytes for each byte of the file."""
_BEGIN = """
import sys, numpy
path, memory, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if sys.platform == "linux":
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))  # if the parent process has ended
def give(array):
    numpy.save(sys.stdout.buffer, array, allow_pickle=False)
"""


def decode(path: Path, package: str, what: str, program: str, seconds: int | None = None) -> list[NDArray]:
    """Run a program on a file, in a separate process, and return its arrays.

    Args:
        path: the file; the program finds it as `path`.
        package: the package of the extra `events` that the program uses.
        what: the format that it reads, for the error if the package is missing.
        program: lines of Python that call give(array) for each array to return.
        seconds: the time limit of an empty file; `SECONDS` by default.

    Raises:
        DataError: if the package is missing, or the program fails or takes too long.
    """
    need(package, what)
    size = path.stat().st_size
    limit = (SECONDS if seconds is None else seconds) + size // _BYTES_A_SECOND
    memory = _MEMORY + _MEMORY_PER_BYTE * size
    command = [sys.executable, "-P", "-c", _BEGIN + program, str(path.resolve()), str(memory), str(limit + 1)]
    single = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # each thread has buffers, which count as memory
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit, check=False, env=single)
    except subprocess.TimeoutExpired:
        raise DataError(f"{path}: {package} did not read it within {limit} s; download it again") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise DataError(f"{path}: {package} cannot read it ({said[-1]}); download it again")
    out = io.BytesIO(done.stdout)
    found = []
    while out.tell() < len(done.stdout):
        found.append(np.load(out, allow_pickle=False))
    return found
