"""Several runs side by side: one row each, means over seeds, and the settings that differ."""

import json
from dataclasses import dataclass
from statistics import mean, stdev

from surgrad.report.read import Run
from surgrad.report.words import NONE, duration, epochs_of, flat, label, percent, value_text

PROSE = ("name", "summary", "source", "published", "seed")
"""Recipe keys that change nothing about the training itself, or are shown in a column of their own."""


@dataclass(frozen=True)
class Line:
    """One run's row in the comparison table."""

    recipe: str
    seed: str
    final: str
    best: str
    epochs: str
    time: str
    published: str
    finished: bool


@dataclass(frozen=True)
class Group:
    """Runs of one recipe that differ in nothing but the seed."""

    recipe: str
    settings: str
    """What sets this group apart from others of the same recipe name."""
    count: int
    accuracy: str
    seeds: str
    note: str


def labels(runs: list[Run]) -> list[str]:
    """A distinct label per run: recipe and seed, with the folder where that is not enough."""
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
            best=f"{percent(run.best[1])} (epoch {run.best[0]})" if run.best else NONE,
            epochs=epochs_of(run),
            time=duration(run.train_seconds),
            published=percent(run.published),
            finished=run.finished,
        )
        for run in runs
    ]


def groups(runs: list[Run]) -> list[Group]:
    """Mean and spread over seeds, per recipe; empty where every recipe has one run only.

    Runs of one name whose other settings differ are kept apart: their mean would describe neither.
    """
    kept: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        settings = {key: value for key, value in run.recipe.items() if key not in PROSE}
        kept.setdefault((run.name, json.dumps(settings, sort_keys=True)), []).append(run)
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
    note = [f"{len(members) - usable} unfinished left out"] if usable < len(members) else []
    note += [f"{usable - len(scores)} of a repeated seed left out"] if len(scores) < usable else []
    own = flat(members[0].recipe)
    apart = [f"{key} = {own.get(key, NONE)}" for key in differences(namesakes)]
    return Group(members[0].name, ", ".join(apart), len(scores), _spread(scores), ", ".join(by_seed), "; ".join(note))


def _spread(scores: list[float]) -> str:
    if not scores:
        return NONE
    if len(scores) == 1:
        return percent(scores[0])
    return f"{100 * mean(scores):.2f} ± {percent(stdev(scores))}"


def differences(runs: list[Run]) -> dict[str, list[str]]:
    """The settings in which the runs differ, with one value per run."""
    found = [flat({key: value for key, value in run.recipe.items() if key not in PROSE}) for run in runs]
    keys = dict.fromkeys(key for settings in found for key in settings)
    rows = {key: [settings.get(key, NONE) for settings in found] for key in keys}
    return {key: values for key, values in rows.items() if len(set(values)) > 1}
