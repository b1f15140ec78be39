"""A training in a run folder (`surgrad.train.run_folder`), and the evaluation of its weights."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from surgrad import ranks
from surgrad.config.parts import resolved
from surgrad.config.recipe import Recipe, derive, described_as, to_dict
from surgrad.config.text import differences
from surgrad.errors import BadValue, CheckpointError
from surgrad.files import read_json, write_json, writing_in
from surgrad.train import checkpoint
from surgrad.train.building import Data, build, check_for_ranks, check_recipe_for_ranks, naming_data, unread_settings
from surgrad.train.environment import environment
from surgrad.train.evaluation import evaluate, selection_split
from surgrad.train.events import Observer
from surgrad.train.inputs import check_inputs, write_inputs
from surgrad.train.logs import LOGS, standard_observers
from surgrad.train.loop import Loop
from surgrad.train.parts import Parts
from surgrad.train.progress import Progress, Silent, progress, say_on_stderr
from surgrad.train.run_folder import METRICS, claimed, recipe_of
from surgrad.train.watch import watching


def train(
    recipe: Recipe,
    out: Path,
    *,
    data: Data | None = None,
    resume: bool = False,
    show: Progress | None = None,
    observers: Iterable[Observer] = (),
) -> Path:
    """Train a recipe in a folder. `surgrad.report.write_report` makes the page of such a run.

    Args:
        recipe: what to train.
        out: the run folder.
        data: where the data sets are, or the data itself; see `surgrad.train.build`.
        resume: continue from the checkpoint in `out`; begin where there is none.
        show: shows the training to a person; None: a bar on a terminal, lines elsewhere.
        observers: receive the events of the training, after the package's own observers; see `surgrad.train.events`.

    Returns:
        The run folder.

    Raises:
        CheckpointError: where the folder holds a run that must not be overwritten, or cannot be resumed.
        Interrupted: after Ctrl-C or SIGTERM, when the training is saved.
        TrainingStopped: where the loss or the gradient is not finite.

    Example:
        >>> import tempfile, torch
        >>> from surgrad import Recipe, derive
        >>> from surgrad.data import ArraySource
        >>> images, labels = torch.rand(16, 1, 8, 8), torch.arange(16) % 2
        >>> recipe = derive(Recipe("tiny"), data={"batch": 8}, model={"steps": 2}, optim={"epochs": 1})
        >>> source = ArraySource((images, labels), (images, labels))
        >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +ELLIPSIS
        ...     run = train(recipe, Path(folder) / "tiny", data=source)
        ...     result = evaluate_run(run, data=source)
        epoch   1/1  loss ...
        >>> sorted(result)
        ['best_by', 'run', 'test_accuracy', 'test_loss', 'weights']
    """
    out = Path(out)
    recipe = naming_data(recipe, data)
    with ranks.joined(recipe.run.sync_norms) as place, watching(place):
        show = Silent() if place.rank else show or progress(recipe.optim.epochs)
        with _claimed(recipe, out, resume, show) as continues:
            ranks.on_each(lambda: check_recipe_for_ranks(recipe))
            parts = ranks.on_each(lambda: build(recipe, data))
            ranks.on_each(lambda: check_for_ranks(parts))
            ranks.equalise(parts.model.state_dict().values())
            for sentence in unread_settings(recipe):
                show.say(sentence)
            average = [] if parts.average is None else [parts.average]
            mine = [*standard_observers(), *average, *observers]
            attached = [one for one in mine if one.on_every_rank or not place.rank]
            return _train(recipe, Loop(parts, recipe.optim, out, show, attached), continues)


@contextmanager
def _claimed(recipe: Recipe, out: Path, resume: bool, show: Progress) -> Iterator[bool]:
    """Claim the run folder, by one process for all ranks; whether the training in it continues."""

    def claim() -> bool:
        continues = stack.enter_context(claimed(out, resume, show.say))
        if continues:
            _check_recipe(recipe, recipe_of(out), out)
        return continues

    with ExitStack() as stack:
        yield ranks.from_first(claim)


def _train(recipe: Recipe, loop: Loop, continues: bool) -> Path:
    out = loop.folder
    parts = loop.parts
    counts = {"trained_on": parts.batches.train_count, "tested_on": parts.batches.test_count}
    best_by = {"best_by": selection_split(parts)}
    env = environment(parts.device, parts.bf16) | counts | dict(parts.batches.about) | best_by
    if continues:
        ranks.from_first(lambda: check_inputs(out, parts.inputs))
        loop.resume()
        env = ranks.from_first(lambda: _resumed(out / "env.json", env, loop.progress))
    elif recipe.init_from is not None:
        ranks.on_each(lambda: _load_initial_weights(Path(recipe.init_from or ""), parts.model))
    ranks.from_first(lambda: _begin_folder(recipe, loop, env, continues))
    loop.run()
    return out


def _begin_folder(recipe: Recipe, loop: Loop, env: dict[str, Any], continues: bool) -> None:
    """Write what a run folder holds besides logs and checkpoints."""
    out = loop.folder
    if not continues:
        with writing_in(out):
            for name in (METRICS, *LOGS):  # of a run that was killed before its first checkpoint
                (out / name).unlink(missing_ok=True)
    write_json(out / "recipe.json", to_dict(resolved(recipe)))
    write_json(out / "env.json", env)
    write_inputs(out, loop.parts.inputs)


def _load_initial_weights(folder: Path, model: nn.Module) -> None:
    """Load the newest weights of a run of the same network."""
    weights = checkpoint.load_weights(folder, "last", say_on_stderr)
    faults = checkpoint.misfits(model, weights)
    if faults:
        raise BadValue(
            f"init_from = {folder} holds another network: {checkpoint.in_short(faults)}; give a run of the same "
            "network, classes and neuron"
        )
    model.load_state_dict(weights)


def _check_recipe(recipe: Recipe, held: Recipe, out: Path) -> None:
    """Refuse to continue a run by another recipe."""
    differing = differences(described_as(held, recipe), recipe)
    if differing:
        raise CheckpointError(
            f"{out} was trained by another recipe; these settings differ: {'; '.join(differing)}. "
            "Give the same recipe and settings, or choose another --out"
        )


def _resumed(path: Path, env: dict[str, Any], show: Progress) -> dict[str, Any]:
    """The run's environment with an entry for this resumption; says what differs and may change the numbers."""
    if not path.exists():
        return env
    first = {"best_by": "test", **read_json(path)}  # older versions did not write it, and had no other choice
    for key in ("split", "left_out", "trained_on", "tested_on", "best_by"):
        if key in first and first[key] != env.get(key):
            raise CheckpointError(
                f"the training in {path.parent} began with {key} = {first[key]}, and now it is "
                f"{env.get(key)}; put the data back, or begin again in another folder"
            )
    other = {key: env[key] for key in env if env[key] != first.get(key) and key not in ("started", "resumed")}
    if other:
        changes = "; ".join(f"{key}: {first.get(key)} -> {value}" for key, value in other.items())
        show.say(f"resumed in another environment, so perhaps not bit for bit: {changes}")
    return {**first, "resumed": [*first["resumed"], {"at": env["started"], **other}]}


def _say_other_counts(folder: Path, parts: Parts, say: checkpoint.Say) -> None:
    """Say so where the test examples are not as many as those of the training."""
    path = folder / "env.json"
    held = read_json(path).get("tested_on") if path.exists() else None
    if held not in (None, parts.batches.test_count):
        say(f"the training was tested on {held:,} examples, and this data has {parts.batches.test_count:,}")


def evaluate_run(
    folder: Path, *, data: Data | None = None, which: str = "last", say: checkpoint.Say = print
) -> dict[str, Any]:
    """Evaluate a run's weights on the test examples, and on the held-out ones where there are any.

    Args:
        folder: the run folder.
        data: where the data sets are, or the data itself; see `surgrad.train.build`.
        which: the weights: "last", "best" or "average".
        say: called with a sentence where the last checkpoint is damaged and the one before it is used.

    Returns:
        {"run", "weights", "best_by", "test_loss", "test_accuracy"}, and "holdout_loss", "holdout_accuracy" where
        examples are held out; best_by: "holdout" or "test", the examples by which the best epoch was chosen.

    Raises:
        CheckpointError: where the folder does not hold these weights, or the data has other classes or shapes than that
            of the training.
    """
    weights = checkpoint.load_weights(Path(folder), which, say)
    # compiling would take longer than the evaluation
    parts = build(derive(recipe_of(folder), run={"compile": False}), data)
    check_inputs(Path(folder), parts.inputs)
    _say_other_counts(Path(folder), parts, say)
    best_by = selection_split(parts)
    result: dict[str, Any] = {"run": str(folder), "weights": which, "best_by": best_by}
    checkpoint.fit(parts.model, weights, folder)
    for split in dict.fromkeys(("test", best_by)):
        loss, accuracy = evaluate(parts, split)
        result |= {f"{split}_loss": loss, f"{split}_accuracy": accuracy}
    return result
