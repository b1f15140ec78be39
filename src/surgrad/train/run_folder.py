"""Who may write in a run folder, and when; docs/run_folders.md states what is promised.

- recipe.json, env.json, model.json: the settings; where it was computed; the classes and inputs of the network.
- metrics.jsonl: a row for each epoch. widths.jsonl: a row for each epoch and layer (`surgrad.measure.LayerEvidence`).
- adapt.jsonl, alarms.jsonl, where there is any: what a controller based its widths on; what was found wrong.
- last.safetensors, last.pt: the newest checkpoint (previous.*: the one before).
- best.safetensors: the weights of the best epoch so far, by accuracy on the held-out examples; where there are none, by
  test accuracy, which makes that test accuracy too optimistic to report.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from weakref import WeakSet

from surgrad.config.reading import from_dict
from surgrad.config.recipe import Recipe
from surgrad.errors import CheckpointError
from surgrad.files import read_json, read_rows, remove_quietly, set_aside, writing_in
from surgrad.train import checkpoint
from surgrad.train.logs import LOGS

RECIPE = "recipe.json"
METRICS = "metrics.jsonl"
WEIGHTS = tuple(f"{name}.safetensors" for name in ("last", "previous", "best"))
FILES = (
    RECIPE,
    "env.json",
    "model.json",
    METRICS,
    *LOGS,
    *WEIGHTS,
    "last.pt",
    "previous.pt",
    "report.html",
    "example.png",
    "example.gif",
)
"""What a training writes in its folder."""
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def claimed(out: Path, resume: bool | None, say: Callable[[str], object]) -> Iterator[bool]:
    """Within it, this process alone writes in a run folder, which is created if need be.

    Args:
        out: the folder.
        resume: whether a training that is in it is to be continued; None: what is made now never is.
        say: called with a sentence where the file system has no locks.

    Returns:
        A context manager that says whether the folder holds a checkpoint to continue from. If not, it holds no epoch of
        a training.

    Raises:
        CheckpointError: where another training is writing there, the folder holds anything that must not be
            overwritten, or it cannot be written in.
    """
    fresh = _make(out)
    try:
        with _locked(out, say):
            yield _check(out, resume)
    finally:
        if fresh:
            with suppress(OSError):  # not empty: it is in use
                out.rmdir()


def recipe_of(folder: Path) -> Recipe:
    """The recipe of a run folder.

    Raises:
        CheckpointError: where the folder holds no recipe.
    """
    path = Path(folder) / RECIPE
    if not path.exists():
        raise CheckpointError(f"{folder} is not a run folder: it holds no {RECIPE}; give the --out of a training")
    return from_dict(read_json(path))


def _check(out: Path, resume: bool | None) -> bool:
    held = [name for name in FILES if (out / name).exists()]
    if not held:
        return False
    if not _is_run(out):
        raise CheckpointError(
            f"{out} holds {held[0]}, which no training of surgrad wrote, and a training would replace it; choose "
            "another --out"
        )
    if not resume:
        advice = "" if resume is None else "add --resume to continue it, or "
        raise CheckpointError(f"{out} already holds a run; {advice}choose another --out")
    if checkpoint.exists(out):
        return True
    if read_rows(out / METRICS):
        raise CheckpointError(
            f"{out} holds the log of a run without its checkpoint (last.pt), so the run cannot be continued, and "
            "nothing replaces it; choose another --out"
        )
    with writing_in(out):
        for path in (out / name for name in WEIGHTS if (out / name).exists()):  # the first save was interrupted
            set_aside(path, "unused")
    return False


def _is_run(out: Path) -> bool:
    """Whether the folder's recipe.json is that of a training: an object with a network and an optimiser."""
    path = out / RECIPE
    if not path.exists():
        return False
    value = read_json(path)
    return isinstance(value, dict) and {"name", "model", "optim"} <= value.keys()


def _make(out: Path) -> bool:
    """Create the folder; returns whether it is new."""
    fresh = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{out} cannot be a run folder ({error.strerror}); choose another --out") from error
    return fresh


_locks: WeakSet[IO[str]] = WeakSet()


def _leave_locks() -> None:
    """In a forked process: a worker that outlives the training must not keep its folder locked."""
    for file in _locks:
        file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_locks)


@contextmanager
def _locked(out: Path, say: Callable[[str], object]) -> Iterator[None]:
    """Lock the folder; refuse one that another training is writing in. Where the system has no locks, say so."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    path = out / ".lock"
    try:
        file = path.open("w")
    except OSError as error:
        raise CheckpointError(f"{out} cannot be written in ({error.strerror}); choose another --out") from error
    _locks.add(file)
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # the training before may have removed this file between our two calls
            if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                raise BlockingIOError
        except (BlockingIOError, PermissionError) as error:
            raise CheckpointError(f"another training is writing in {out}; stop it, or choose another --out") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise CheckpointError(f"{out} cannot be locked ({error.strerror}); choose another --out") from error
            say(f"the file system of {out} has no locks: see to it that no other training writes there")
        try:
            yield
        finally:
            remove_quietly(path)
