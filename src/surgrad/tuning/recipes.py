"""Racing the surrogates of a recipe, by trainings in run folders."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from surgrad.config import parts, set_fields
from surgrad.config.recipe import Recipe
from surgrad.criteria import GOOD_SHARE
from surgrad.errors import BadValue, Interrupted, SurgradError
from surgrad.files import read_json, replace_file
from surgrad.optim.schedules import read_drops
from surgrad.report import write_scores
from surgrad.sweep import Entry, Job, train_all
from surgrad.tuning.candidates import Candidate, default_candidates
from surgrad.tuning.outcome import Outcome
from surgrad.tuning.race import FAILED, Question, Race, Rung, planned

HOLDOUT = 0.1
"""The share of the training samples by which candidates are compared, where the recipe sets none apart."""
TIMED_STEPS = 40
PLAN = "plan.json"


@dataclass(frozen=True)
class Queue:
    """How trainings run; see `surgrad.sweep.train_all`."""

    data: Path | None = None
    workers: int = 1
    address: str | None = None


def tune_recipe(
    name: str,
    settings: Sequence[str] = (),
    *,
    out: Path,
    minutes: float = 30.0,
    seeds: int = 3,
    candidates: Sequence[Candidate] | None = None,
    queue: Queue | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Find the surrogate function and the controller for a recipe, by a race of short trainings.

    The candidates are compared on samples that are set apart from the training data, not on test samples. The same call
    with the same folder continues a race that was stopped.

    Args:
        name: of the recipe, a path/to/file.py:function, or the recipe.json of a run.
        settings: changes of the recipe, as in `surgrad train --set`.
        out: the folder of the race: its trainings, race.log (an Optuna journal), table.md and table.png.
        minutes: the time for all trainings.
        seeds: trainings of each finalist.
        candidates: what is raced; by default `default_candidates`. The first is what the others are compared with.
        queue: how trainings run.
        say: called with every line of progress.

    Raises:
        BadValue: the time is too short, or a setting is not allowed.
        Interrupted: it was stopped; the same call continues it.
    """
    from surgrad.recipes import find_recipe

    recipe = set_fields(find_recipe(name), settings)
    queue = queue or Queue()
    chosen = default_candidates() if candidates is None else candidates
    racing = [candidate for candidate in chosen if _fits(recipe, candidate, say)]
    base = Entry("race", name, tuple(settings))
    rungs, per_epoch = _plan(recipe, base, len(racing), out, minutes, seeds, queue, say)

    def measure(number: int, rung: Rung, questions: Sequence[Question]) -> Iterator[tuple[Question, float]]:
        jobs = {}
        for candidate, seed in questions:
            changes = (*settings, *candidate.settings, *_shortened(recipe, rung.steps, per_epoch))
            entry = Entry(candidate.label, name, changes)
            jobs[candidate, seed] = Job(
                entry, seed, out.resolve() / f"rung{number + 1}" / f"{candidate.label}-seed{seed}"
            )
        yield from _trained(jobs, queue, say)

    standings = Race(racing, out / "race.log").run(rungs, measure, say)
    found = Outcome(standings, "accuracy on held-out samples", True, rungs[-1].steps, racing[0].label)
    rows = [
        (standing.candidate.label, standing.rung, [score for score in standing.scores.values() if score > FAILED])
        for standing in standings
    ]
    write_scores([row for row in rows if row[2]], out / "table.png", "Accuracy on held-out samples, %", "rung")
    replace_file(out / "table.md", lambda path: path.write_text(found.table + "\n", encoding="utf-8"))
    return found


def _fits(recipe: Recipe, candidate: Candidate, say: Callable[[str], None]) -> bool:
    """Whether a candidate can be set in a recipe."""
    try:
        parts.check(set_fields(recipe, candidate.settings))
    except SurgradError as error:
        say(f"{candidate.label} is left out: {error}")
        return False
    return True


def _plan(
    recipe: Recipe,
    base: Entry,
    candidates: int,
    out: Path,
    minutes: float,
    seeds: int,
    queue: Queue,
    say: Callable[[str], None],
) -> tuple[list[Rung], int]:
    """The rungs, and the steps of an epoch; those of the last call, where the race is continued."""
    asked = {
        "minutes": minutes,
        "seeds": seeds,
        "candidates": candidates,
        "recipe": base.recipe,
        "set": [*base.settings],
    }
    path = out / PLAN
    if path.exists():
        held = read_json(path)
        if held["asked"] != asked:
            raise BadValue(
                f"{out} has a race that was asked for otherwise, {held['asked']}; give another --out, or delete that "
                "folder"
            )
        return [Rung(**rung) for rung in held["rungs"]], held["per_epoch"]
    say("timing a training step")
    began = time.monotonic()
    short = (*base.settings, *_shortened(recipe, TIMED_STEPS, TIMED_STEPS + 1))
    job = Job(Entry("timing", base.recipe, short), 0, out.resolve() / "timing")
    train_all([job], data=queue.data, address=queue.address, say=lambda text: None)
    last = job.metrics[-1]
    step = last["train_seconds"] / last["step"]
    start = max(0.0, time.monotonic() - began - last["train_seconds"])
    per_epoch = _calibrated(recipe, queue.data, say)
    rungs = planned(
        candidates, 60 * minutes, step=step, start=start, seeds=seeds, longest=recipe.optim.epochs * per_epoch
    )
    held = {"asked": asked, "rungs": [vars(rung) for rung in rungs], "per_epoch": per_epoch}
    replace_file(path, lambda to: to.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8"))
    return rungs, per_epoch


def _calibrated(recipe: Recipe, data: Path | None, say: Callable[[str], None]) -> int:
    """Say which widths calibration chooses; returns the number of steps of an epoch."""
    from surgrad.measure import evidence
    from surgrad.train.building import build

    built = build(set_fields(recipe, _held_out(recipe)), data)
    built.model.duplicate_batch = False
    layers = evidence(built.model.train(), next(iter(built.batches.train(0))), built.loss, gradients=False)
    say(f"widths for which {100 * GOOD_SHARE:.0f} % of the potentials get a gradient, and those that are set:")
    for layer in layers:
        found = "none has that share" if layer.calibrated is None else f"{layer.calibrated:.3g}"
        say(f"  {layer.layer}: {found} (set: {layer.width:.3g}, share {100 * layer.chi:.0f} %)")
    return built.batches.per_epoch


def _held_out(recipe: Recipe) -> tuple[str, ...]:
    return () if recipe.data.holdout else (f"data.holdout={HOLDOUT}",)


def _shortened(recipe: Recipe, steps: int, per_epoch: int) -> tuple[str, ...]:
    """The changes that make a recipe a training of that length, whose learning rate goes through its whole schedule:
    fewer epochs, or a single one of fewer samples."""
    epochs = max(1, steps // per_epoch)
    changes = [*_held_out(recipe), f"optim.epochs={epochs}"]
    if steps < per_epoch:
        changes.append(f"data.limit={steps * recipe.data.batch}")
    factor = epochs / recipe.optim.epochs
    for name in ("warmup", "period"):
        value = recipe.schedule.options.get(name)
        if value:
            changes.append(f"schedule.{name}={value * factor:.6g}")
    if "drops" in recipe.schedule.options:
        drops = [f"{epoch * factor:.6g}:{drop:g}" for epoch, drop in read_drops(recipe.schedule.options["drops"])]
        changes.append(f"schedule.drops={','.join(drops)}")
    return tuple(changes)


def _trained(jobs: dict[Question, Job], queue: Queue, say: Callable[[str], None]) -> Iterator[tuple[Question, float]]:
    """The scores of trainings: the accuracy on held-out samples after the final epoch. One that failed has `FAILED`."""
    try:
        train_all([*jobs.values()], workers=queue.workers, data=queue.data, address=queue.address, say=say)
    except Interrupted:
        raise
    except SurgradError as error:
        if not any(job.done for job in jobs.values()):
            raise
        say(str(error))
    for question, job in jobs.items():
        yield question, job.metrics[-1]["holdout_accuracy"] if job.done else FAILED
