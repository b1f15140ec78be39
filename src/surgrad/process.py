"""How a process of its own waits and allocates: for programs that train, before torch is loaded."""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of glibc's mallopt


def tune() -> None:
    """Set both; what the environment sets stays."""
    wait_shortly()
    keep_memory()


def wait_shortly() -> None:
    """Let a waiting thread of GNU's OpenMP sleep soon; read when torch loads.

    The default, 300,000 looks before it sleeps, slows a training severalfold when another program wants a core; 3,000
    cost next to nothing."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def keep_memory() -> bool:
    """Keep freed memory for the next tensors, where the C library is glibc; returns whether it was set.

    Glibc gives every block above 32 MB back to the system at once, and a new one costs a page fault for each 4 KiB:
    a fifth of a small network's training step. The process then keeps what it needed at its peak."""
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library
    return all(mallopt(*option) == 1 for option in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**30), (_TOP_PAD, 2**26)))
