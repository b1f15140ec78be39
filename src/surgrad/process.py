"""How a process of its own waits and allocates: for programs that train, before torch is loaded."""

import os


def tune() -> None:
    """Set both; what the environment sets stays."""
    wait_shortly()
    use_huge_pages()


def wait_shortly() -> None:
    """Let a waiting thread of GNU's OpenMP sleep soon; read when torch loads.

    The default, 300,000 looks before it sleeps, slows a training severalfold when another program wants a core. Far
    fewer than 10,000 cost a small network time that has the processor for itself."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def use_huge_pages() -> None:
    """Have torch ask for huge pages, on Linux, for tensors of 2 MB and more; read at the first of them.

    Glibc gives every block above 32 MB back to the system at once, and each new one costs a page fault for every 4 KiB;
    with huge pages, for every 2 MiB. To keep the freed memory instead would be faster still, and take more memory."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
