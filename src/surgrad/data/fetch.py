"""Downloads that resume, are checked before they are used, and unpack only what is expected."""

import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from shutil import copyfileobj
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from surgrad.data.base import Source, raw_md5
from surgrad.errors import DataError

Progress = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes here so far, and its size in bytes where the server tells it."""

TIMEOUT = 10.0  # seconds without an answer or a byte
CHUNK = 1 << 18
ATTEMPTS = 100  # connections per address; each must bring something


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
    """Bring the files of `source` under `root`, from an archive that lies there already or from its address."""
    folder = root / source.into
    target = (root if source.members else folder) / source.filename
    try:
        here = target.is_file()
        if not here and not online:
            return
        if not here:
            download(source.urls, target, source.md5, timeout=timeout, progress=progress)
        if source.members:
            if here:
                _check(target, source.md5, f"delete {target} and load again")
            unpack(target, folder, source.members)
            if not here:  # an archive that somebody put there stays
                target.unlink()
    except OSError as err:
        raise DataError(f"{target}: cannot be written or read ({err}); name a writable folder as data root") from err


def _check(path: Path, md5: str, remedy: str) -> None:
    found = raw_md5(path)
    if found != md5:
        size = path.stat().st_size
        raise DataError(f"{path}: checksum differs: expected md5 {md5}, found {found} ({size} bytes); {remedy}")


def download(
    urls: Sequence[str], target: Path, md5: str, *, timeout: float = TIMEOUT, progress: Progress | None = None
) -> None:
    """Get the first of `urls` that gives bytes of this md5 into `target`; a broken transfer is taken up again."""
    part = target.with_name(target.name + ".part")
    report = progress or StderrLine()
    reasons = []
    for url in urls:
        try:
            _transfer(url, part, timeout, report)
        except (OSError, HTTPException) as err:
            reasons.append(f"{url}: {err or type(err).__name__}")
            continue
        try:
            _check(part, md5, f"what {url} gave is not the file wanted and was removed; load again later")
        except DataError as err:
            part.unlink()  # resuming onto wrong bytes can never come right
            reasons.append(str(err))
            continue
        part.replace(target)
        return
    raise DataError("; ".join(reasons))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _transfer(url: str, part: Path, timeout: float, report: Progress) -> None:
    """Bring `part` to its full length, connecting again as long as each connection brings bytes."""
    for _ in range(ATTEMPTS):
        have = _size(part)
        fault: Exception | None = None
        try:
            if _receive(url, part, have, timeout, report):
                return
        except HTTPError as err:
            if err.code != 416 or not have:
                raise  # the server has answered: asking again changes nothing
            if err.headers.get("Content-Range", "") == f"bytes */{have}":
                return
            part.unlink()  # longer than the file: a part of something else
            continue
        except (OSError, HTTPException) as err:
            fault = err
        if _size(part) <= have:
            raise fault or ConnectionError(f"the connection was cut at {have} bytes, again and again")
    raise ConnectionError(f"not complete after {ATTEMPTS} connections")


def _receive(url: str, part: Path, have: int, timeout: float, report: Progress) -> bool:
    """Append to `part` what one connection gives; whether that is all."""
    headers = {"User-Agent": "surgrad"} | ({"Range": f"bytes={have}-"} if have else {})
    with urlopen(Request(url, headers=headers), timeout=timeout) as reply:
        if reply.status != 206:
            have = 0  # the whole file comes, whatever was asked for
        elif not reply.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise ConnectionError(f"asked for bytes from {have}, got {reply.headers.get('Content-Range')}")
        length = reply.headers.get("Content-Length")
        total = have + int(length) if length else None
        part.parent.mkdir(parents=True, exist_ok=True)  # not before: a failed download leaves no folders behind
        with part.open("ab" if have else "wb") as out:
            while chunk := reply.read(CHUNK):
                out.write(chunk)
                have += len(chunk)
                report(part.stem, have, total)
    return total is None or have >= total


def unpack(archive: Path, folder: Path, members: Sequence[str]) -> None:
    """Write the regular files `folder.name`/`members` of a .tar.gz into `folder`; nothing else is written."""
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
        raise DataError(f"{archive}: lacks the regular files {', '.join(left)}; get the official archive")
