"""Decoding in a process of its own, with so much time and memory: a damaged file can bring a decoder down, or keep it
for ever, and would take this process with it.
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

_SECONDS = 30
_MEMORY = 2**31
_BYTES_A_SECOND = 2**20
_TIMES = 100
"""What decoding may take; a second more for so many bytes of the file, and so many bytes more for each."""
_BEGIN = """
import sys, numpy
path, memory, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if sys.platform == "linux":
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))  # where nobody is left to end it
def give(array):
    numpy.save(sys.stdout.buffer, array, allow_pickle=False)
"""


def decoded(path: Path, package: str, what: str, program: str) -> list[NDArray]:
    """The arrays that `program` gives of the file `path`: lines of Python that call give(array). package: of the extra
    `events`, which reads `what`."""
    need(package, what)
    size = path.stat().st_size
    seconds = _SECONDS + size // _BYTES_A_SECOND
    memory = _MEMORY + _TIMES * size
    command = [sys.executable, "-P", "-c", _BEGIN + program, str(path.resolve()), str(memory), str(seconds + 1)]
    single = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # each thread has buffers, which count
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False, env=single)
    except subprocess.TimeoutExpired:
        raise DataError(f"{path}: {package} did not read it within {seconds} s; get it anew") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise DataError(f"{path}: {package} cannot read it ({said[-1]}); get it anew")
    out = io.BytesIO(done.stdout)
    found = []
    while out.tell() < len(done.stdout):
        found.append(np.load(out, allow_pickle=False))
    return found
