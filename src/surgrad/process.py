"""A process: how its threads wait and it allocates memory, what it prints, if it is alive, and when and how it ends."""

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import NoReturn, TextIO, TypeVar

T = TypeVar("T")

PARENT = "SURGRAD_PARENT_PIPE"
"""The environment variable with the number of a pipe that the parent process holds open."""


def tune() -> None:
    """Apply both settings; a variable that the environment already sets is not changed."""
    shorten_spinning()
    use_huge_pages()


def shorten_spinning() -> None:
    """Let a waiting thread of GNU's OpenMP sleep early; read when torch is loaded.

    By default a thread checks 300,000 times before it sleeps, which makes a training several times slower when another
    program needs a core. Far fewer than 10,000 checks slow down a small network that has the processor for itself."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def use_huge_pages() -> None:
    """Let torch request huge pages, on Linux, for tensors of 2 MB or more; read when the first one is allocated.

    Glibc returns every block above 32 MB to the system at once, and each new one costs a page fault for every 4 KiB;
    with huge pages, one for every 2 MiB. Keeping the freed memory would be still faster, but takes more memory."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def print_what_can_be_printed() -> None:
    """Let a character that the terminal's encoding does not have be printed as "?", and not be an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


CORES = "SURGRAD_CORES"
"""The environment variable with the number of cores that a training may use, where that is fewer than it sees."""


def cores() -> int:
    """The processor cores that this process may use."""
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(seen, int(os.environ.get(CORES, seen)))


_alive = time.monotonic()


def alive() -> None:
    """Note that long work goes forward; called between its parts."""
    global _alive
    _alive = time.monotonic()


def with_signs_of_life(items: Iterable[T]) -> Iterator[T]:
    """The items, of which each is long work: `alive` is called after each."""
    for item in items:
        alive()
        yield item


def seconds_since_alive() -> float:
    """How long ago `alive` was called."""
    return time.monotonic() - _alive


def silence(stream: TextIO) -> None:
    """Let what is printed from now on go nowhere: it is not read any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def end_with_parent() -> None:
    """Where the parent process asks for it (`PARENT`), stop as by SIGTERM when that process ends, however it ends."""
    number = os.environ.pop(PARENT, None)
    if number is not None:
        threading.Thread(target=_wait_for_end, args=(int(number),), daemon=True).start()


def _wait_for_end(pipe: int) -> None:
    os.read(pipe, 1)  # returns when the other end is closed: the parent writes nothing
    os.kill(os.getpid(), signal.SIGTERM)


def end(status: int) -> NoReturn:
    """End this process; where torchrun started it, without the end of Python's interpreter.

    A thread of torch.distributed that frees the last tensor of an exchange while the interpreter ends would end the
    process by SIGABRT, and torchrun would call a finished training a failed one.

    Args:
        status: the exit status.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        sys.exit(status)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
