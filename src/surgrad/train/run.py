"""A run folder, from a recipe to its last line.

- recipe.json, env.json: what was asked, where it ran.
- metrics.jsonl, widths.jsonl: a row an epoch; a row an epoch and layer (`surgrad.measure.LayerEvidence`).
- adapt.jsonl, alarms.jsonl: what a controller based its widths on; what ailed a layer, once. Where there is any.
- last.safetensors, last.pt: the newest checkpoint (previous.*: the one before).
- best.safetensors: the weights of the best test accuracy so far; not a fair choice, kept for use.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from surgrad.config.recipe import Recipe, derive, differences, from_dict, to_dict
from surgrad.errors import BadValue, CheckpointError
from surgrad.files import read_json, write_json
from surgrad.train import checkpoint
from surgrad.train.build import Parts, build
from surgrad.train.environment import environment
from surgrad.train.loop import Loop, evaluate
from surgrad.train.progress import Progress, progress

LOGS = ("metrics.jsonl", "widths.jsonl", "adapt.jsonl", "alarms.jsonl")


def train(
    recipe: Recipe, out: Path, *, data: Path | None = None, resume: bool = False, show: Progress | None = None
) -> Path:
    """Train a recipe in the folder `out`, and return it. resume: go on from what `out` holds, or begin where it
    holds nothing. data: where the data sets are (`surgrad.data.load`). The page of a run is made by
    `surgrad.report.write_report`."""
    out = Path(out)
    _check(recipe, out, resume)
    parts = build(recipe, data)
    _make(out)
    with _alone(out):
        return _train(recipe, out, parts, resume, show)


def _train(recipe: Recipe, out: Path, parts: Parts, resume: bool, show: Progress | None) -> Path:
    loop = Loop(parts, recipe.optim, out, show or progress(recipe.optim.epochs))
    env = environment(parts.device, parts.bf16) | dict(parts.batches.about)
    resumes = resume and checkpoint.exists(out)
    if recipe.start.weights is not None and not resumes:
        _start_from(Path(recipe.start.weights), parts.model)
    if resumes:
        loop.resume()
        env = _resumed(out / "env.json", env, loop.progress)
    else:
        for name in LOGS:  # of a run that was killed before its first checkpoint
            (out / name).unlink(missing_ok=True)
    write_json(out / "recipe.json", to_dict(recipe))
    write_json(out / "env.json", env)
    loop.run()
    return out


def _start_from(folder: Path, model: nn.Module) -> None:
    """Load the newest weights of a run of the same network."""
    weights = checkpoint.load_weights(folder, "last", partial(print, file=sys.stderr))
    own = model.state_dict()
    differing = [
        key
        for key in {**own, **weights}
        if key not in own or key not in weights or own[key].shape != weights[key].shape
    ]
    if differing:
        raise BadValue(
            f"start.weights = {folder} holds another network: '{differing[0]}' and {len(differing) - 1} "
            "other tensors differ; give a run of the same network, classes and neuron"
        )
    model.load_state_dict(weights)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Refuse a folder that another training is writing in, where the system has locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    path = out / ".lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CheckpointError(f"another training is writing in {out}; stop it, or choose another --out") from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _resumed(path: Path, env: dict[str, Any], show: Progress) -> dict[str, Any]:
    """The run's environment, with this resumption and what differs in it; says what may change the numbers."""
    if not path.exists():
        return env
    first = read_json(path)
    for key in ("split", "left_out", "trained_on"):
        if key in first and first[key] != env.get(key):
            raise CheckpointError(
                f"the training in {path.parent} began with {key} = {first[key]}, and now it is "
                f"{env.get(key)}; put the data back, or begin anew in another folder"
            )
    other = {key: env[key] for key in env if env[key] != first.get(key) and key not in ("started", "resumed")}
    if other:
        changes = "; ".join(f"{key}: {first.get(key)} -> {value}" for key, value in other.items())
        show.say(f"resumed elsewhere than begun, so perhaps not bit for bit: {changes}")
    return {**first, "resumed": [*first["resumed"], {"at": env["started"], **other}]}


def recipe_of(folder: Path) -> Recipe:
    """The recipe of a run folder."""
    path = Path(folder) / "recipe.json"
    if not path.exists():
        raise CheckpointError(f"{folder} is not a run folder: it holds no recipe.json; give the --out of a training")
    return from_dict(read_json(path))


def evaluate_run(
    folder: Path, *, data: Path | None = None, which: str = "last", say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Test loss and accuracy of a run's weights, `last` or `best`: {"run", "weights", "test_loss", "test_accuracy"}.
    say: told where the last checkpoint is damaged, and the one before is taken."""
    weights = checkpoint.load_weights(Path(folder), which, say)
    # compiling would take longer than the evaluation
    parts = build(derive(recipe_of(folder), run={"compile": False}), data)
    parts.model.load_state_dict(weights)
    loss, accuracy = evaluate(parts)
    return {"run": str(folder), "weights": which, "test_loss": loss, "test_accuracy": accuracy}


def new_folder(out: Path) -> None:
    """Make a folder for a run; refuse one that holds a run."""
    if checkpoint.exists(out):
        raise CheckpointError(f"{out} already holds a run; choose another --out")
    _make(out)


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{out} cannot be a run folder ({error.strerror}); choose another --out") from error


def _check(recipe: Recipe, out: Path, resume: bool) -> None:
    """Refuse to overwrite a run, or to go on with it by another recipe."""
    if not checkpoint.exists(out):
        return
    if not resume:
        raise CheckpointError(f"{out} already holds a run; add --resume to go on with it, or choose another --out")
    words = {"summary": recipe.summary, "source": recipe.source, "published": recipe.published}
    differing = differences(derive(recipe_of(out), **words), recipe)
    if differing:
        raise CheckpointError(
            f"{out} was trained by another recipe; resumed, these would differ: {'; '.join(differing)}. "
            "Give the same recipe and settings, or choose another --out"
        )
