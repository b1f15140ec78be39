"""The comparison of several runs: one row each, means over seeds, and the settings that differ."""

import json
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from surgrad.config.flat import differing
from surgrad.report.read import Run
from surgrad.report.words import NONE, duration, epochs_of, label, percent, settings, value_text

DESCRIPTIVE = ("format", "name", "summary", "source", "published", "deviations", "seed")
"""Recipe keys that do not change the training, or that have a separate column."""


@dataclass(frozen=True)
class Line:
    """One run's row in the comparison table."""

    recipe: str
    seed: str
    final: str
    average: str
    """Test accuracy of averaged weights."""
    holdout: str
    """Accuracy on images held out from training."""
    best: str
    epochs: str
    time: str
    published: str
    finished: bool


@dataclass(frozen=True)
class Group:
    """Runs of one recipe that differ only in the seed."""

    recipe: str
    settings: str
    """Settings that differ from other groups of the same recipe name."""
    count: int
    accuracy: str
    seeds: str
    note: str


def labels(runs: list[Run]) -> list[str]:
    """A unique label per run: recipe and seed, and the folder where other runs have the same."""
    plain = [label(run) for run in runs]
    named = [
        f"{text} ({run.folder.resolve().name})" if plain.count(text) > 1 else text
        for text, run in zip(plain, runs, strict=True)
    ]
    return [f"{text} [{place}]" if named.count(text) > 1 else text for place, text in enumerate(named, start=1)]


def lines(runs: list[Run]) -> list[Line]:
    """One row per run, in the order given."""
    return [
        Line(
            recipe=run.name,
            seed=value_text(run.seed),
            final=percent(run.final[1]) if run.final else NONE,
            average=percent(run.last("test_accuracy_average")),
            holdout=percent(run.last("holdout_accuracy")),
            best=_best(run),
            epochs=epochs_of(run),
            time=duration(run.train_seconds),
            published=percent(run.published),
            finished=run.finished,
        )
        for run in runs
    ]


def _best(run: Run) -> str:
    if run.best is None:
        return NONE
    epoch, accuracy = run.best
    return f"{percent(accuracy)} (epoch {epoch}{', by held-out images' if run.held_out else ''})"


def groups(runs: list[Run]) -> list[Group]:
    """Mean and standard deviation over seeds, per recipe; empty where every recipe has only one run.

    Runs of the same name whose other settings differ form separate groups.
    """
    kept: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        kept.setdefault((run.name, json.dumps(_training(run), sort_keys=True)), []).append(run)
    if all(len(members) == 1 for members in kept.values()):
        return []
    return [_group(members, [run for run in runs if run.name == name]) for (name, _), members in kept.items()]


def _group(members: list[Run], namesakes: list[Run]) -> Group:
    by_seed: dict[str, float] = {}
    for run in members:
        if run.finished and run.final:
            by_seed.setdefault(value_text(run.seed), run.final[1])
    scores = list(by_seed.values())
    usable = sum(1 for run in members if run.finished and run.final)
    note = [f"{len(members) - usable} unfinished not counted"] if usable < len(members) else []
    note += [f"{usable - len(scores)} with a repeated seed not counted"] if len(scores) < usable else []
    values = settings(members[0].recipe)
    differ = [f"{key} = {values.get(key, NONE)}" for key in differences(namesakes)]
    return Group(members[0].name, ", ".join(differ), len(scores), _spread(scores), ", ".join(by_seed), "; ".join(note))


def _spread(scores: list[float]) -> str:
    if not scores:
        return NONE
    if len(scores) == 1:
        return percent(scores[0])
    return f"{100 * mean(scores):.2f} ± {percent(stdev(scores))}"


def differences(runs: list[Run]) -> dict[str, list[str]]:
    """The settings that differ between the runs, with one value per run."""
    found = differing([_training(run) for run in runs])
    return {path: [value_text(value) for value in values] for path, values in found.items()}


def _training(run: Run) -> dict[str, Any]:
    """The settings that change the training."""
    return {key: value for key, value in run.recipe.items() if key not in DESCRIPTIVE}
