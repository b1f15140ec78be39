"""What a run folder's text files hold: JSON, and a row a line."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from surgrad.errors import CheckpointError
from surgrad.files import replace_file

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def room_needed(folder: Path) -> Iterator[None]:
    """Turn a full disk into an error that says what to do; nothing that was whole before is lost by it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise CheckpointError(
            f"no space left to write in {folder}; what was there before is whole. Free some space on that disk and "
            f"go on with `surgrad train --resume --out {folder}`"
        ) from error


def write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    with room_needed(path.parent):
        replace_file(path, lambda beside: beside.write_text(text))


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is cut short or altered ({error}); restore it, or train anew") from error


def append_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows to a .jsonl file and flush them to the disk."""
    with room_needed(path.parent), path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl file, without a last line that was cut short; none where there is no file."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def keep_rows(path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Drop from a .jsonl file the rows that `keep` refuses, and a last line that was cut short."""
    if path.exists():
        whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        try:
            kept = "".join(line for line in whole if keep(json.loads(line)))
        except ValueError as error:
            raise CheckpointError(f"{path} has a line that is no JSON ({error}); mend or delete that line") from error
        with room_needed(path.parent):
            replace_file(path, lambda beside: beside.write_text(kept))
