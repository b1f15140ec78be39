"""Checkpoints that survive a kill at any moment.

A checkpoint is a pair of files: NAME.safetensors (the weights, widths included) and NAME.pt (optimisers, adapter,
observers, random numbers, position), which holds the digests of both. Saving writes both under temporary names, renames
the pair `last` to `previous`, then the new pair to `last`. Whenever the process is killed, one complete pair exists,
perhaps under mixed names. Loading finds it and names it `last` again, so that what is renamed to `previous` is always
complete.
"""

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surgrad.errors import CheckpointError
from surgrad.files import replace_file, room_needed, write_beside

NAMES = ("last", "previous")

Say = Callable[[str], object]
"""Called with a sentence for the person who reads the output."""


def save(folder: Path, model: nn.Module, state: dict[str, Any]) -> None:
    """Make (model, state) the folder's `last` checkpoint; the one before becomes `previous`."""
    weights = _weights(model)
    sealed = _sealed({**state, "weights": _digest(weights)})
    last = _pair(folder, "last")
    previous = _pair(folder, "previous")
    with room_needed(folder):
        new = [write_beside(last[0], lambda path: path.write_bytes(weights))]
        try:
            new.append(write_beside(last[1], lambda path: path.write_bytes(sealed)))
        except BaseException:
            new[0].unlink()
            raise
    for old, target in zip(last, previous, strict=True):
        if old.exists():
            os.replace(old, target)
    for fresh, target in zip(new, last, strict=True):
        os.replace(fresh, target)
    _flush(folder)


def save_best(folder: Path, model: nn.Module) -> None:
    """Make the model's weights the folder's `best`."""
    with room_needed(folder):
        replace_file(folder / "best.safetensors", lambda path: path.write_bytes(_weights(model)))


def load(folder: Path, say: Say) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The newest complete checkpoint of a run folder, which becomes its `last`.

    Args:
        folder: the run folder.
        say: called with a sentence where the newest checkpoint is not the last one saved.

    Returns:
        The model's state dict, and the state.

    Raises:
        CheckpointError: where no checkpoint is complete.
    """
    weights, path, state, faults = _newest(folder)
    if faults:
        say(_fallback(faults, path, state))
    tensors = _read(weights)
    for found, target in zip((weights, path), _pair(folder, "last"), strict=True):
        os.replace(found, target)
    return tensors, state


def exists(folder: Path) -> bool:
    """Whether the folder holds a checkpoint, complete or damaged. Weights alone are not a checkpoint: the first save
    was interrupted."""
    return any(_pair(folder, name)[1].exists() for name in NAMES)


def load_weights(folder: Path, name: str, say: Say) -> dict[str, Tensor]:
    """Weights of a run folder, as a model's state dict.

    Args:
        folder: the run folder.
        name: "last" (of the newest complete checkpoint), "best", or "average" (the average in that checkpoint).
        say: called with a sentence where the newest complete checkpoint is not the last one saved.

    Raises:
        CheckpointError: where the folder does not hold these weights, or they are damaged.
    """
    from safetensors import SafetensorError

    path = folder / f"{name}.safetensors"
    if name in ("last", "average") and exists(folder):
        path, found, state, faults = _newest(folder)
        if faults:
            say(_fallback(faults, found, state))
        if name == "average":
            return _average(folder, state)
    try:
        return _read(path)
    except FileNotFoundError:
        raise CheckpointError(f"{folder} holds no {path.name}; train first, with --out {folder}") from None
    except SafetensorError as error:
        raise CheckpointError(f"{path} is cut short or altered ({error}); resume the training to write it") from None


def _average(folder: Path, state: dict[str, Any]) -> dict[str, Tensor]:
    """The averaged weights in a checkpoint's state."""
    held = state.get("observers", {}).get("average")
    if held is None:
        raise CheckpointError(f'{folder} holds no average of the weights; train with one, or give "last" or "best"')
    return held["weights"]


def _newest(folder: Path) -> tuple[Path, Path, dict[str, Any], list[str]]:
    """The newest complete pair: its weights' path, its state's path, the state, and what is wrong with newer ones."""
    faults: list[str] = []
    for path in (_pair(folder, name)[1] for name in NAMES):
        if not path.exists():
            continue
        state = _unsealed(path)
        weights = None if state is None else _matching(folder, state["weights"])
        if state is not None and weights is not None:
            return weights, path, state, faults
        what = path.name if state is None else f"the weights that belong to {path.name}"
        faults.append(f"{what}: cut short, altered or missing")
    what = "; ".join(faults) or "there is none"
    raise CheckpointError(f"no complete checkpoint in {folder} ({what}); train again into another --out")


def _fallback(faults: list[str], path: Path, state: dict[str, Any]) -> str:
    return f"{'; '.join(faults)}. Continuing from {path.name}, of epoch {state['progress']['epoch']}"


def _flush(folder: Path) -> None:
    """Flush renames to the disk, where the system lets a folder be flushed."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _pair(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.safetensors", folder / f"{name}.pt"


def _weights(model: nn.Module) -> bytes:
    from safetensors.torch import save  # here, so that the loop can be imported with only torch and numpy installed

    return save({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()})


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def _matching(folder: Path, digest: str) -> Path | None:
    """The weights' file of that digest: after a kill between two renames it may have the other name."""
    paths = [_pair(folder, name)[0] for name in NAMES]
    return next((path for path in paths if path.exists() and _digest(path.read_bytes()) == digest), None)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _bytes(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _sealed(state: dict[str, Any]) -> bytes:
    """The state with its own digest: a zip's checksums do not protect the tensors that torch reads from it."""
    inner = _bytes(state)
    return _bytes({"digest": _digest(inner), "state": torch.frombuffer(bytearray(inner), dtype=torch.uint8)})


def _unsealed(path: Path) -> dict[str, Any] | None:
    """The state of a file, or None where the file is not as it was written."""
    try:
        outer = torch.load(path, weights_only=True, map_location="cpu")
        inner = outer["state"].numpy().tobytes()
        whole = _digest(inner) == outer["digest"]
    except Exception:  # torch.load raises whatever a damaged zip or pickle leads it to
        return None
    return torch.load(io.BytesIO(inner), weights_only=True, map_location="cpu") if whole else None
