"""Files that are whole or absent: written beside, flushed to the disk, renamed."""

import os
import threading
from collections.abc import Callable
from pathlib import Path


def write_beside(path: Path, write: Callable[[Path], object], shared: bool = False) -> Path:
    """Let `write` fill a file beside `path` (of the same suffix), flush it to the disk, and return it, to be renamed
    onto `path`; after a failure nothing is left of it. shared: others may write the same at the same time."""
    own = f".{os.getpid()}-{threading.get_ident()}" if shared else ""
    beside = path.with_name(f"{path.stem}{own}.tmp{path.suffix}")
    try:
        write(beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return beside


def replace_file(path: Path, write: Callable[[Path], object], shared: bool = False) -> Path:
    """Write a file so that a reader, or a kill, at any moment finds the old one whole or the new one whole."""
    beside = write_beside(path, write, shared)
    try:
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path
