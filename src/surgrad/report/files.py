"""Writing a file so that a reader sees the old one or the whole new one."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from surgrad.errors import BadValue


def replace(out: Path, write: Callable[[Path], object]) -> Path:
    """Lets `write` fill a file beside `out`, then renames it; after a failure `out` is as it was."""
    out = Path(out)
    if out.is_dir():
        raise BadValue(f"{out} is a folder; give the name of a file in it")
    beside = out.with_name(f".{out.name}.{os.getpid()}.part{out.suffix}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write(beside)
        os.replace(beside, out)
    except OSError as error:
        raise BadValue(f"{out} cannot be written ({error.strerror or error}); choose another place") from error
    finally:
        with suppress(OSError):
            beside.unlink()
    return out
