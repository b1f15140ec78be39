"""Downloads: they resume, are checked before use, and only the expected files are unpacked."""

import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from shutil import copyfileobj
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from surgrad.data.base import Source, raw_md5
from surgrad.errors import DataError
from surgrad.process import alive

Progress = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes received so far, and its size in bytes if the server states it."""

TIMEOUT = 10.0  # seconds without an answer or a byte
CHUNK = 1 << 18
ATTEMPTS = 100  # connections per address; each must receive something


class StderrLine:
    """The default progress: one line on stderr, rewritten on a terminal, written once per 10 s elsewhere."""

    def __init__(self) -> None:
        self.next = 0.0

    def __call__(self, name: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        tty = sys.stderr.isatty()
        if now < self.next and done != total:
            return
        self.next = now + (0.2 if tty else 10.0)
        size = f" of {total / 1e6:.1f}" if total else ""
        end = "\r" if tty and done != total else "\n"
        print(f"downloading {name}: {done / 1e6:.1f}{size} MB", end=end, file=sys.stderr, flush=True)


def fetch(
    source: Source, root: Path, *, online: bool = True, timeout: float = TIMEOUT, progress: Progress | None = None
) -> None:
    """Put the files of `source` under `root`, from an archive that is there already or from its address.

    Args:
        source: what to download.
        root: the folder of data sets.
        online: whether downloads are allowed.
        timeout: seconds without an answer or a byte.
        progress: called while data is received.

    Raises:
        DataError: if the download fails or is not the file expected, or if the folder cannot be written.
    """
    folder = root / source.into
    target = (root if source.members else folder) / source.filename
    try:
        if target.is_file():
            if source.members:
                _check(target, source.md5, f"delete {target} and load again")
                unpack(target, folder, source.members)
        elif online:
            with alone(target):
                _fetch(source, target, folder, timeout, progress)
    except OSError as err:
        raise DataError(f"{target}: cannot be written or read ({err}); use a writable folder as data root") from err


def _fetch(source: Source, target: Path, folder: Path, timeout: float, progress: Progress | None) -> None:
    """Download and unpack a source, unless another process has done so while this one waited for its turn."""
    wanted = [folder / name for name in source.members] or [target]
    if all(path.is_file() for path in wanted):
        return
    _download(source.urls, target, source.md5, timeout, progress or StderrLine())
    if source.members:
        unpack(target, folder, source.members)
        target.unlink()


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Within it, no other process downloads this file; wait for one that does. Where there are no locks, do nothing."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    made = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f"{target.name}.lock")
    try:
        with path.open("w") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
    finally:
        with suppress(OSError):  # another process may have removed it
            path.unlink()
        if made:
            with suppress(OSError):  # not empty
                target.parent.rmdir()


def _check(path: Path, md5: str, remedy: str) -> None:
    found = raw_md5(path)
    if found != md5:
        size = path.stat().st_size
        raise DataError(f"{path}: checksum differs: expected md5 {md5}, found {found} ({size} bytes); {remedy}")


def download(
    urls: Sequence[str], target: Path, md5: str, *, timeout: float = TIMEOUT, progress: Progress | None = None
) -> None:
    """Download the first of `urls` whose content has this md5 to `target`; an interrupted transfer is resumed. If
    another process downloads it at the same time, wait for that one.

    Raises:
        DataError: if none of them does.
    """
    with alone(target):
        if not (target.is_file() and raw_md5(target) == md5):
            _download(urls, target, md5, timeout, progress or StderrLine())


def _download(urls: Sequence[str], target: Path, md5: str, timeout: float, report: Progress) -> None:
    part = target.with_name(target.name + ".part")
    reasons = []
    for url in urls:
        try:
            _transfer(url, part, timeout, report)
        except (OSError, HTTPException) as err:
            reasons.append(f"{url}: {err or type(err).__name__}")
            continue
        try:
            _check(part, md5, f"the content of {url} is not the expected file and was removed; load again later")
        except DataError as err:
            part.unlink()  # resuming would keep the wrong bytes
            reasons.append(str(err))
            continue
        part.replace(target)
        return
    raise DataError("; ".join(reasons))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _transfer(url: str, part: Path, timeout: float, report: Progress) -> None:
    """Complete `part`, connecting again as long as each connection receives bytes."""
    for _ in range(ATTEMPTS):
        have = _size(part)
        error: Exception | None = None
        try:
            if _receive(url, part, have, timeout, report):
                return
        except HTTPError as err:
            if err.code != 416 or not have:
                raise  # the server has answered, so another request would not help
            if err.headers.get("Content-Range", "") == f"bytes */{have}":
                return
            part.unlink()  # longer than the file: a part of another file
            continue
        except (OSError, HTTPException) as err:
            error = err
        if _size(part) <= have:
            raise error or ConnectionError(f"the connection was cut at {have} bytes repeatedly")
    raise ConnectionError(f"not complete after {ATTEMPTS} connections")


def _receive(url: str, part: Path, have: int, timeout: float, report: Progress) -> bool:
    """Append the bytes of one connection to `part`; return whether the file is complete."""
    headers = {"User-Agent": "surgrad"} | ({"Range": f"bytes={have}-"} if have else {})
    with urlopen(Request(url, headers=headers), timeout=timeout) as reply:
        if reply.status != 206:
            have = 0  # the server sends the whole file
        elif not reply.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise ConnectionError(f"requested bytes from {have}, got {reply.headers.get('Content-Range')}")
        length = reply.headers.get("Content-Length")
        total = have + int(length) if length else None
        part.parent.mkdir(parents=True, exist_ok=True)  # only now, so that a failed download makes no folders
        with part.open("ab" if have else "wb") as out:
            while chunk := reply.read(CHUNK):
                out.write(chunk)
                have += len(chunk)
                alive()
                report(part.stem, have, total)
    return total is None or have >= total


def unpack(archive: Path, folder: Path, members: Sequence[str]) -> None:
    """Write the regular files `folder.name`/`members` of a .tar.gz to `folder`, and nothing else.

    Raises:
        DataError: if the archive is damaged or a member is missing.
    """
    left = {f"{folder.name}/{name}": name for name in members}
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for info in tar:
                # the archive's own paths are compared, never used: no member can point elsewhere
                name = left.get(info.name.removeprefix("./"))
                stream = tar.extractfile(info) if name and info.isreg() else None
                if name is None or stream is None:
                    continue
                part = folder / f"{name}.part"
                with part.open("wb") as out:
                    copyfileobj(stream, out, 1 << 20)
                part.replace(folder / name)
                del left[f"{folder.name}/{name}"]
                if not left:
                    break
    except (tarfile.TarError, EOFError, zlib.error) as err:
        raise DataError(f"{archive}: cannot be unpacked ({err}); delete it and load again") from err
    if left:
        raise DataError(f"{archive}: lacks the regular files {', '.join(left)}; use the official archive")
