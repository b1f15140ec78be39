"""Files that are either complete or absent, and the JSON files of a run folder. Needs no torch.

A file is written under a temporary name, flushed to the disk and renamed. A .jsonl file holds one JSON object a line, a
row; only its last line can be incomplete, after a kill.
"""

import errno
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from surgrad.errors import CheckpointError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_beside(path: Path, write: Callable[[Path], object], shared: bool = False) -> Path:
    """Write a temporary file in the folder of `path` and flush it to the disk; a failure leaves no temporary file.

    Args:
        path: the file that the temporary one is to be renamed to; both have the same suffix.
        write: called with the temporary file's path; it fills the file.
        shared: whether other processes or threads may write the same file at the same time.

    Returns:
        The path of the temporary file.
    """
    own = f".{os.getpid()}-{threading.get_ident()}" if shared else ""
    temporary = path.with_name(f"{path.stem}{own}.tmp{path.suffix}")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def replace_file(path: Path, write: Callable[[Path], object], shared: bool = False) -> Path:
    """Write a file so that a reader, or a kill, finds either the complete old file or the complete new one.

    The parameters are those of `write_beside`.

    Returns:
        `path`.
    """
    temporary = write_beside(path, write, shared)
    try:
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


@contextmanager
def room_needed(folder: Path) -> Iterator[None]:
    """Turn the error of a full disk into one that says what to do.

    Raises:
        CheckpointError: where the disk is full. Everything that was complete before is still complete.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        raise CheckpointError(
            f"no space left to write in {folder}; all files that were complete before still are. Free some space on "
            f"that disk and continue with `surgrad train --resume --out {folder}`"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, indented, so that it is either complete or the old one.

    Args:
        path: the file.
        value: anything that `json.dumps` takes.

    Raises:
        CheckpointError: where the disk is full.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    with room_needed(path.parent):
        replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        CheckpointError: where the file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is cut short or altered ({error}); restore it, or train again") from error


def append_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Append rows to a .jsonl file and flush them to the disk.

    Args:
        path: the file, which need not exist.
        rows: dicts of JSON values.

    Raises:
        CheckpointError: where the disk is full.
    """
    with room_needed(path.parent), path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())


def read_rows(path: Path, on_bad_line: Callable[[int, bool], object] | None = None) -> list[dict[str, Any]]:
    """The rows of a .jsonl file; none where there is no file.

    Args:
        path: the file.
        on_bad_line: called for every line that is not a row, with the line's number, from 1, and whether it is an
            incomplete last line. None: an incomplete last line is left out silently, and any other is an error.

    Raises:
        CheckpointError: for a line that is not a row, unless `on_bad_line` is given.
    """
    # A kill can cut a line inside a character, so bytes that are not text must not stop the reading.
    text = path.read_bytes().decode("utf-8", errors="replace") if path.exists() else ""
    *lines, last = text.split("\n")
    found = []
    for number, line in enumerate(lines, start=1):
        row = _row(line)
        if row is not None:
            found.append(row)
        elif on_bad_line is not None and line.strip():
            on_bad_line(number, False)
        elif line.strip():
            raise CheckpointError(f"{path}, line {number} is not a JSON object; correct or delete that line")
    if last.strip() and on_bad_line is not None:
        on_bad_line(len(lines) + 1, True)
    return found


def keep_rows(path: Path, keep: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Delete from a .jsonl file the rows that `keep` refuses, and an incomplete last line.

    Args:
        path: the file.
        keep: whether a row stays.

    Returns:
        The rows that are still there.

    Raises:
        CheckpointError: for a complete line that is not a row.
    """
    if not path.exists():
        return []
    kept = [row for row in read_rows(path) if keep(row)]
    text = "".join(json.dumps(row) + "\n" for row in kept)
    with room_needed(path.parent):
        replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return kept


def _row(line: str) -> dict[str, Any] | None:
    """The JSON object of a line, or None where the line is not one."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
