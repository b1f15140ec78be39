"""Files that are either complete or absent, and the JSON files of a run folder. Needs no torch.

A file is written under a temporary name, flushed to the disk and renamed. A .jsonl file holds one JSON object a line, a
row; only its last line can be incomplete, after a kill.
"""

import errno
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
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
            _flush(file.fileno())
    except BaseException:
        remove_quietly(temporary)
        raise
    return temporary


def replace_file(path: Path, write: Callable[[Path], object], shared: bool = False) -> Path:
    """Write a file so that a reader, or a kill, finds either the complete old file or the complete new one.

    A link is followed: what it leads to is replaced. A device, a pipe or a socket is written to and stays what it is.

    The parameters are those of `write_beside`.

    Returns:
        `path`.
    """
    target = Path(os.path.realpath(path))
    if _is_stream(path, target):
        write(path)
        return path
    temporary = write_beside(target, write, shared)
    try:
        os.replace(temporary, target)
    except BaseException:
        remove_quietly(temporary)
        raise
    return path


def _is_stream(path: Path, target: Path) -> bool:
    """Whether a path names something that must not be replaced by a file: a device, a pipe, or the output of this
    process under another name (/dev/stdout, /proc/self/fd/1)."""
    if target.exists() and not target.is_file():
        return True
    return Path(os.path.abspath(path)).parts[1:2] in (("dev",), ("proc",))


def set_aside(path: Path, why: str) -> Path:
    """Rename a file so that nothing uses it any more, and it is not lost.

    Args:
        path: the file.
        why: one word for its new name, as in "damaged".

    Returns:
        Its new path.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.{why}{number}")).exists():
        number += 1
    os.replace(path, aside)
    return aside


def flush_folder(folder: Path) -> None:
    """Flush renames to the disk, where the system lets a folder be flushed."""
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder may be written in and not be read
        return
    try:
        _flush(handle)
    finally:
        os.close(handle)


def _flush(handle: int) -> None:
    """Flush a file to the disk. Some file systems cannot be asked to; theirs is the best that there is."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


def remove_quietly(path: Path) -> None:
    """Remove a temporary file after an error, which is reported; that it cannot be removed either does no harm."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


@contextmanager
def writing_in(folder: Path) -> Iterator[None]:
    """Turn an error in writing to a run folder into one that says what to do.

    Raises:
        CheckpointError: for any OSError. Everything that was complete before is still complete.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in _DISK_FULL
        what = "no space left to write in" if full else f"{error.strerror or error}: cannot write in"
        remedy = "Free some space on that disk" if full else "Make it writable again"
        raise CheckpointError(
            f"{what} {folder}; all files that were complete before still are. {remedy} and continue with `surgrad "
            f"train --resume --out {folder}`"
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
    with writing_in(path.parent):
        replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError: where there is none.
        CheckpointError: where it cannot be read, which does not mean that it is damaged.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except (OSError, MemoryError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "out of memory"
        raise CheckpointError(
            f"{path} cannot be read now ({reason}), which does not mean that it is damaged; it stays as it is. Try "
            "again when it can be read"
        ) from error


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        CheckpointError: where the file cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_bytes(path).decode("utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is cut short or altered ({error}); restore it, or train again") from error


def append_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Append rows to a .jsonl file and flush them to the disk: all of them, or none where that fails.

    Args:
        path: the file, which need not exist.
        rows: dicts of JSON values.

    Raises:
        CheckpointError: where the disk is full.
    """
    data = "".join(json.dumps(row) + "\n" for row in rows).encode("utf-8")
    with writing_in(path.parent), path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            while data:
                data = data[file.write(data) :]
            _flush(file.fileno())
        except BaseException:
            with suppress(OSError):  # the error that is reported is the first one
                file.truncate(end)
            raise


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
    text = read_bytes(path).decode("utf-8", errors="replace") if path.exists() else ""
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
    with writing_in(path.parent):
        replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return kept


def _row(line: str) -> dict[str, Any] | None:
    """The JSON object of a line, or None where the line is not one."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
