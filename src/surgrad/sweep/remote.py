"""What a machine of a cluster does for a sweep: one training."""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from surgrad.process import CORES, PARENT

MARK = ".cluster"
"""A file in a run folder by which a machine sees that the folder is that of the sweep, and not its own."""
WAIT = 120.0
"""Seconds to wait for a folder that the process of a lost worker still writes in."""


class Outcome(NamedTuple):
    """What came of a training.

    Attributes:
        fault: what went wrong; empty: nothing.
        files: its run folder as a tar archive; empty where the machine wrote in the folder itself.
    """

    fault: str
    files: bytes


def train_here(words: Sequence[str], folder: str, token: str, cpus: float) -> Outcome:
    """Train, or continue a training.

    Args:
        words: the arguments of the command line, up to --out.
        folder: the run folder, on the machine of the sweep.
        token: what the mark in it says. Where this machine sees another folder, or none, under that path, it trains in
            a temporary one, and returns its files.
        cpus: the cores of the training, for its readers; Ray itself limits its threads.
    """
    os.environ[CORES] = str(max(1, round(cpus)))
    if _mark_of(Path(folder)) == token:
        return Outcome(_train([*words, "--out", folder, "--resume"]), b"")
    with tempfile.TemporaryDirectory() as place:
        own = Path(place) / Path(folder).name
        fault = _train([*words, "--out", str(own), "--resume"])
        return Outcome(fault, packed(own) if own.exists() else b"")


def _mark_of(folder: Path) -> str:
    try:
        return (folder / MARK).read_text()
    except OSError:
        return ""


def _train(words: Sequence[str]) -> str:
    """Run the command in a process that ends with this one; what went wrong."""
    until = time.monotonic() + WAIT
    while True:
        code, said = _run(words)
        last = (said.strip().splitlines() or ["failed"])[-1]
        if code == 0:
            return ""
        if "another training" not in last or time.monotonic() > until:
            return last
        time.sleep(2)


def _run(words: Sequence[str]) -> tuple[int, str]:
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "surgrad", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, PARENT: str(reading)},
            pass_fds=(reading,),
        )
    finally:
        os.close(reading)
        os.close(writing)
    return done.returncode, done.stderr


def packed(folder: Path) -> bytes:
    """The files of a folder as a tar archive."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w:gz", compresslevel=1) as archive:
        archive.add(folder, arcname=".")
    return memory.getvalue()


def unpack(files: bytes, folder: Path) -> None:
    """Write the files of an archive by `packed` into a folder, and nowhere else."""
    with tarfile.open(fileobj=io.BytesIO(files), mode="r:gz") as archive:
        archive.extractall(folder, filter="data")
