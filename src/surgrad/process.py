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

    The default, 300,000 looks before it sleeps, slows a training severalfold when another program wants a core; 10,000
    cost nothing otherwise, where 3,000 cost 6 % of a small network's step."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def keep_memory() -> bool:
    """Keep all freed memory for the next tensors, and ask for huge pages; returns whether it was set.

    Glibc gives every block above 32 MB back to the system at once, and each new one costs a page fault for every 4 KiB:
    three quarters of the time of a layer of a million neurons at T = 16. The process then keeps what it needed at its
    peak. Torch's huge pages come with blocks aligned to a page; else what the alignment leaves over would keep glibc
    from using a freed block for another of the same size. Only where the C library is glibc, torch is not yet loaded,
    and the environment sets neither."""
    set_already = any(name.startswith(("MALLOC_", "THP_MEM_ALLOC")) for name in os.environ)
    if sys.platform != "linux" or "torch" in sys.modules or set_already:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"
    return all(mallopt(*option) == 1 for option in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 2**26)))
