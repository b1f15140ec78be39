"""Files that are whole or absent: written beside, flushed, renamed."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from surgrad.errors import CheckpointError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_beside(path: Path, write: Callable[[Path], Any]) -> Path:
    """Let `write` fill a file beside `path`, flush it to the disk, and return it, to be renamed onto `path`."""
    beside = path.with_name(path.name + ".tmp")
    try:
        write(beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
    except BaseException as error:
        beside.unlink(missing_ok=True)
        raise _explained(error, path) from error
    return beside


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file so that a reader, or a kill, at any moment finds the old one whole or the new one whole."""
    os.replace(write_beside(path, write), path)


def write_json(path: Path, value: Any) -> None:
    replace_file(path, lambda beside: beside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n"))


def append_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows to a .jsonl file and flush them to the disk."""
    try:
        with path.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _explained(error, path) from error


def keep_lines(path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Drop from a .jsonl file the rows that `keep` refuses, and a last line that was cut short."""
    if path.exists():
        whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        kept = "".join(line for line in whole if keep(json.loads(line)))
        replace_file(path, lambda beside: beside.write_text(kept))


def is_full(error: BaseException) -> bool:
    """Whether a write failed for want of space; safetensors says so in words of its own."""
    return getattr(error, "errno", None) in _FULL or any(f"os error {code}" in str(error) for code in _FULL)


def _explained(error: BaseException, path: Path) -> BaseException:
    if not is_full(error):
        return error
    return CheckpointError(
        f"no space left to write {path}; what was there before is whole. Free some space on that disk and go on with "
        f"`surgrad train --resume --out {path.parent}`"
    )
