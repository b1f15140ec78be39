"""Checkpoints that survive a kill at any moment.

A checkpoint is a pair: NAME.safetensors (the weights, widths included) and NAME.pt (optimisers, adapter, random
numbers, progress), tied by the digest of the weights' file, which the state carries. Saving writes both beside,
turns `last` into `previous`, then renames: whenever the power goes, one whole pair is there.
"""

import hashlib
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from surgrad.errors import CheckpointError
from surgrad.train.files import replace_file, write_beside

_CORRUPT = (EOFError, RuntimeError, ValueError, KeyError, struct.error, pickle.UnpicklingError, zipfile.BadZipFile)


def save(folder: Path, model: nn.Module, state: dict[str, Any]) -> None:
    """Make (model, state) the folder's `last` checkpoint; the one before becomes `previous`."""
    last, previous = _paths(folder, "last"), _paths(folder, "previous")
    weights = write_beside(last[0], lambda path: save_file(_tensors(model), path))
    state = {**state, "weights": _digest(weights)}
    rest = write_beside(last[1], lambda path: torch.save(state, path))
    for old, new in zip(last, previous, strict=True):
        if old.exists():
            os.replace(old, new)
    os.replace(weights, last[0])
    os.replace(rest, last[1])


def save_best(folder: Path, model: nn.Module) -> None:
    replace_file(folder / "best.safetensors", lambda path: save_file(_tensors(model), path))


def load(folder: Path, say: Callable[[str], None]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The newest whole checkpoint of a run folder: (model state, state). Says so where it is not the last one saved."""
    faults = []
    for name in ("last", "previous"):
        path = _paths(folder, name)[1]
        if not path.exists():
            continue
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
            weights = _matching(folder, state["weights"])
        except _CORRUPT as error:
            faults.append(f"{path.name} is cut short or altered ({type(error).__name__})")
            continue
        if weights is None:
            faults.append(f"the weights that belong to {path.name} are cut short, altered or gone")
            continue
        if faults:
            say(f"{'; '.join(faults)}: going on from {path.name}, of epoch {state['progress']['epoch']}")
        return load_file(weights), state
    what = "; ".join(faults) if faults else "it holds none"
    raise CheckpointError(f"no whole checkpoint in {folder}: {what}. Train it anew into another --out")


def exists(folder: Path) -> bool:
    """Whether the folder holds a checkpoint, whole or not."""
    return any(path.exists() for name in ("last", "previous") for path in _paths(folder, name))


def load_weights(folder: Path, name: str = "last") -> dict[str, Tensor]:
    """The weights of `last` or `best`, as a model's state dict."""
    path = folder / f"{name}.safetensors"
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{folder} holds no {path.name}; train first, with --out {folder}") from None
    except SafetensorError as error:
        raise CheckpointError(f"{path} is cut short or altered ({error}); resume the training to write it") from None


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.safetensors", folder / f"{name}.pt"


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}


def _matching(folder: Path, digest: str) -> Path | None:
    """The weights' file of that digest: after a kill between two renames it may bear the other name."""
    for name in ("last", "previous"):
        path = _paths(folder, name)[0]
        if path.exists() and _digest(path) == digest:
            return path
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
