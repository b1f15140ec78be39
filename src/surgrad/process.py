"""Settings of a process that trains: how its threads wait, and how it allocates memory. Set before torch is loaded."""

import os


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
