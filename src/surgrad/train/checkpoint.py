"""Checkpoints that survive a kill, or a failing disk, at any moment; docs/run_folders.md states what is promised.

A checkpoint is a pair of files: NAME.safetensors (the weights, widths included) and NAME.pt (optimisers, adapter,
observers, random numbers, position, recipe), which holds the digests of both. Saving writes both under temporary names,
renames the pair `last` to `previous`, then the new pair to `last`. Whenever the process is killed, one complete pair
exists, perhaps under mixed names. Loading finds it and names it `last` again, so that what is renamed to `previous` is
always complete.

A file counts as damaged only if its content contradicts its digest. Any other error in reading it, such as a network
drive that does not answer, stops the reading and changes nothing.
"""

import hashlib
import io
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surgrad.errors import CheckpointError
from surgrad.files import flush_folder, read_bytes, remove_quietly, replace_file, set_aside, write_beside, writing_in

NAMES = ("last", "previous")
_MAGIC = b"surgrad checkpoint 2\n"
_READINGS = 4  # of a folder that another process may be writing in
_PAUSE = 0.15  # seconds between them

Say = Callable[[str], object]
"""Called with a sentence for the person who reads the output."""


def save(folder: Path, model: nn.Module, state: dict[str, Any]) -> None:
    """Make (model, state) the folder's `last` checkpoint; the one before becomes `previous`.

    Raises:
        CheckpointError: where the folder cannot be written. The newest complete checkpoint is then as it was.
    """
    weights = _weights(model)
    sealed = _sealed({**state, "weights": _digest(weights)})
    last = _pair(folder, "last")
    previous = _pair(folder, "previous")
    with writing_in(folder):
        new: list[Path] = []
        try:
            new.append(write_beside(last[0], lambda path: path.write_bytes(weights)))
            new.append(write_beside(last[1], lambda path: path.write_bytes(sealed)))
            for old, target in zip(last, previous, strict=True):
                if old.exists():
                    os.replace(old, target)
            for fresh, target in zip(new, last, strict=True):
                os.replace(fresh, target)
        except BaseException:
            for fresh in new:
                remove_quietly(fresh)
            raise
        flush_folder(folder)


def save_best(folder: Path, model: nn.Module) -> None:
    """Make the model's weights the folder's `best`.

    Raises:
        CheckpointError: where the folder cannot be written. The file is then as it was.
    """
    with writing_in(folder):
        replace_file(folder / "best.safetensors", lambda path: path.write_bytes(_weights(model)))


def load(folder: Path, say: Say) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The newest complete checkpoint of a run folder, which becomes its `last`. Damaged files get other names.

    Args:
        folder: the run folder.
        say: called with a sentence where the newest checkpoint is not the last one saved.

    Returns:
        The model's state dict, and the state.

    Raises:
        CheckpointError: where no checkpoint is complete, or a file cannot be read; nothing is changed then.
    """
    found = _newest(folder)
    tensors = _tensors(found.content)
    last = _pair(folder, "last")
    with writing_in(folder):
        kept = [set_aside(path, "damaged") for path in found.damaged if path in last]
        for source, target in zip((found.weights, found.path), last, strict=True):
            if source != target:
                os.replace(source, target)
    if found.faults:
        aside = f". What is damaged is kept as {', '.join(path.name for path in kept)}" if kept else ""
        say(f"{found.fallback()}{aside}")
    return tensors, found.state


def exists(folder: Path) -> bool:
    """Whether the folder holds a checkpoint, complete or damaged. Weights alone are not a checkpoint: the first save
    was interrupted."""
    return any(_pair(folder, name)[1].exists() for name in NAMES)


def load_weights(folder: Path, name: str, say: Say) -> dict[str, Tensor]:
    """Weights of a run folder, as a model's state dict. Nothing is changed; a training may be writing there.

    Args:
        folder: the run folder.
        name: "last" (of the newest complete checkpoint), "best", or "average" (the average in that checkpoint).
        say: called with a sentence where the newest complete checkpoint is not the last one saved.

    Raises:
        CheckpointError: where the folder does not hold these weights, or they are damaged or cannot be read.
    """
    from safetensors import SafetensorError

    path = folder / f"{name}.safetensors"
    if name in ("last", "average") and exists(folder):
        found = _newest(folder)
        if found.faults:
            say(found.fallback())
        return _average(folder, found.state) if name == "average" else _tensors(found.content)
    try:
        return _tensors(read_bytes(path))
    except FileNotFoundError:
        raise CheckpointError(f"{folder} holds no {path.name}; train first, with --out {folder}") from None
    except SafetensorError as error:
        raise CheckpointError(f"{path} is cut short or altered ({error}); resume the training to write it") from None


def fit(model: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    """Load the weights of a run folder into its network.

    Raises:
        CheckpointError: where they do not fit; see `misfits`.
    """
    faults = misfits(model, weights)
    if faults:
        raise CheckpointError(
            f"the weights in {folder} do not fit the network of its recipe.json: {in_short(faults)}; restore the "
            "folder as the training wrote it"
        )
    model.load_state_dict(weights)


def misfits(model: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    """Why weights are not those of a network: each tensor that is missing, that the network does not have, or that has
    another shape or type, and each parameter that is not finite."""
    own = model.state_dict()
    return [
        *(f"'{name}' is missing" for name in own if name not in weights),
        *(f"'{name}' is in no layer of the network" for name in weights if name not in own),
        *(
            f"'{name}' is {_kind(weights[name])} and the network's is {_kind(held)}"
            for name, held in own.items()
            if name in weights and _kind(weights[name]) != _kind(held)
        ),
        *(
            f"'{name}' is not finite"
            for name, _ in model.named_parameters()
            if name in weights and not torch.isfinite(weights[name]).all()
        ),
    ]


def in_short(faults: list[str]) -> str:
    """The first of some faults, and the number of the others."""
    return faults[0] + (f", and {len(faults) - 1} more" if len(faults) > 1 else "")


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _average(folder: Path, state: dict[str, Any]) -> dict[str, Tensor]:
    """The averaged weights in a checkpoint's state."""
    held = state.get("observers", {}).get("average")
    if held is None:
        raise CheckpointError(f'{folder} holds no average of the weights; train with one, or give "last" or "best"')
    return held["weights"]


@dataclass
class _Found:
    """The newest complete pair of a folder, and what is wrong with newer ones. `content` is that of the weights' file:
    another process may have renamed the file since it was read."""

    weights: Path
    content: bytes
    path: Path
    state: dict[str, Any]
    faults: list[str]
    damaged: list[Path]

    def fallback(self) -> str:
        return f"{'; '.join(self.faults)}. Continuing from {self.path.name}, of epoch {self.state['progress']['epoch']}"


def _newest(folder: Path) -> _Found:
    """The newest complete pair. While another process renames files, none may be seen: it is looked for again."""
    for attempt in range(_READINGS):
        found, faults = _look(folder)
        if found is not None:
            return found
        if attempt + 1 < _READINGS:
            time.sleep(_PAUSE)
    what = "; ".join(faults) or "there is none"
    raise CheckpointError(f"no complete checkpoint in {folder} ({what}); train again into another --out")


def _look(folder: Path) -> tuple[_Found | None, list[str]]:
    faults: list[str] = []
    damaged: list[Path] = []
    for path in (_pair(folder, name)[1] for name in NAMES):
        data = _content(path)
        if data is None:
            continue
        inner = _unsealed(data)
        if inner is None:
            damaged.append(path)
            faults.append(f"{path.name}: cut short, altered or missing")
            continue
        state = _state(path, inner)
        matching = _matching(folder, state["weights"])
        if matching is not None:
            return _Found(*matching, path, state, faults, damaged), faults
        own = path.with_suffix(".safetensors")
        damaged += [own] if own.exists() else []
        faults.append(f"the weights that belong to {path.name}: cut short, altered or missing")
    return None, faults


def _content(path: Path) -> bytes | None:
    """The content of a file; None where there is none."""
    try:
        return read_bytes(path)
    except FileNotFoundError:
        return None


def _pair(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.safetensors", folder / f"{name}.pt"


def _weights(model: nn.Module) -> bytes:
    from safetensors.torch import save  # here, so that the loop can be imported with only torch and numpy installed

    return save({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()})


def _tensors(content: bytes) -> dict[str, Tensor]:
    from safetensors.torch import load

    return load(content)


def _matching(folder: Path, digest: str) -> tuple[Path, bytes] | None:
    """The weights' file of that digest, with its content: after a kill between two renames it may have the other
    name."""
    for name in NAMES:
        path = _pair(folder, name)[0]
        data = _content(path)
        if data is not None and _digest(data) == digest:
            return path, data
    return None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sealed(state: dict[str, Any]) -> bytes:
    """The state behind its own digest: a zip's checksums do not protect the tensors that torch reads from it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    inner = buffer.getvalue()
    return _MAGIC + _digest(inner).encode() + b"\n" + inner


def _unsealed(data: bytes) -> bytes | None:
    """The state's bytes in the content of a file, or None where they are not as they were written."""
    if not data.startswith(_MAGIC):
        return _unsealed_of_version_1(data)
    digest, _, inner = data[len(_MAGIC) :].partition(b"\n")
    return inner if _digest(inner).encode() == digest else None


def _unsealed_of_version_1(data: bytes) -> bytes | None:
    """Likewise, of the former layout: a torch file that holds the bytes of another, and their digest."""
    try:
        outer = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        inner = outer["state"].numpy().tobytes()
        whole = _digest(inner) == outer["digest"]
    except MemoryError:
        raise
    except Exception:  # torch.load raises whatever a damaged zip or pickle leads it to
        return None
    return inner if whole else None


def _state(path: Path, inner: bytes) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(inner), weights_only=True, map_location="cpu")
    except Exception as error:  # its content is what was written, so it is not damaged
        raise CheckpointError(
            f"{path} is complete and cannot be read by torch {torch.__version__} ({error}); nothing was changed. Use "
            "the torch that wrote it, or a later one"
        ) from error
    return state
