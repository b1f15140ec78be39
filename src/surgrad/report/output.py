"""Writing pages and pictures."""

from collections.abc import Callable
from pathlib import Path

from surgrad.errors import BadValue
from surgrad.files import replace_file


def replace(out: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file next to `out`, then rename it to `out`; after a failure `out` is unchanged."""
    out = Path(out)
    if out.is_dir():
        raise BadValue(f"{out} is a folder; give the name of a file in it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return replace_file(out, write)
    except OSError as error:
        raise BadValue(f"{out} cannot be written ({error.strerror or error}); choose another place") from error
