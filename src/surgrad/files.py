"""Files that are whole or absent (written next to their place, flushed to the disk, renamed), and JSON read back."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from surgrad.errors import CheckpointError


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


def read_json(path: Path) -> Any:
    """The value in a JSON file; CheckpointError where it is damaged."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is cut short or altered ({error}); restore it, or train again") from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl file, without a last line that was cut short; an empty list where there is no file."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]
