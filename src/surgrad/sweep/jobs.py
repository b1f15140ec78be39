"""What a sweep is to train."""

import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgrad.errors import BadValue, unknown

if TYPE_CHECKING:
    from surgrad.config.recipe import Recipe


KEYS = ("recipe", "label", "set", "seeds", "against")
"""Of a [[run]]."""


@dataclass(frozen=True)
class Entry:
    """A line of the table: a recipe, with fields set as by `surgrad train --set`, under a label. seeds: how many; None:
    as many as the sweep has. against: labels of others to compare it with, seed by seed."""

    label: str
    recipe: str
    settings: tuple[str, ...] = ()
    seeds: int | None = None
    against: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """One training."""

    entry: Entry
    seed: int
    folder: Path

    def words(self, data: Path | None) -> list[str]:
        """Of the command line that trains it, or goes on with it."""
        where = [] if data is None else ["--data", str(data.resolve())]
        settings = [word for setting in self.entry.settings for word in ("--set", setting)]
        return [
            "train",
            self.entry.recipe,
            *where,
            "--seed",
            str(self.seed),
            *settings,
            "--out",
            str(self.folder),
            "--resume",
        ]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        path = self.folder / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @property
    def done(self) -> bool:
        rows = self.metrics
        return bool(rows) and rows[-1]["epoch"] == rows[-1]["epochs"]


def entries(names: Iterable[str]) -> list[Entry]:
    """Of recipe names and of files. A file is TOML: [[run]] tables with `recipe`, and perhaps `label`, `set`, a list of
    path=value, `seeds`, a number, and `against`, a list of labels; `set` at its top applies to all."""
    found: list[Entry] = []
    for name in names:
        found += _from_file(Path(name)) if name.endswith(".toml") else [Entry(name, name)]
    labels = [entry.label for entry in found]
    for label in labels:
        if labels.count(label) > 1:
            raise BadValue(f"label '{label}' occurs {labels.count(label)} times; give each run a label of its own")
        if not label.replace("_", "").replace("-", "").replace(".", "").isalnum():
            raise BadValue(f"label '{label}' names a folder; give letters, digits, '.', '-' and '_'")
    for entry in found:
        for other in entry.against:
            if other not in labels:
                raise unknown("label", other, labels)
    return found


def _from_file(path: Path) -> list[Entry]:
    try:
        held = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadValue(f"{path} cannot be read ({error.strerror}); give a file of runs, or a recipe's name") from error
    except tomllib.TOMLDecodeError as error:
        raise BadValue(f"{path} is no TOML ({error}); see `surgrad sweep --help`") from error
    for key in held:
        if key not in ("set", "run"):
            raise unknown("key", key, ("set", "run"))
    common = _texts(path, held, "set", "optim.lr=0.05")
    found = []
    for run in held.get("run", ()):
        if not isinstance(run, dict):
            raise BadValue(f"{path} has [run] once for all; write [[run]] before each")
        for key in run:
            if key not in KEYS:
                raise unknown("key", f"run.{key}", [f"run.{known}" for known in KEYS])
        found.append(_entry(path, run, common))
    if not found:
        raise BadValue(f"{path} holds no [[run]]; see `surgrad sweep --help`")
    return found


def _entry(path: Path, run: dict[str, Any], common: tuple[str, ...]) -> Entry:
    if "recipe" not in run:
        raise BadValue(f"a [[run]] of {path} names no recipe; give one that `surgrad list` shows")
    seeds = run.get("seeds")
    if seeds is not None and (type(seeds) is not int or seeds < 1):
        raise BadValue(f"{path} has seeds = {seeds!r}; give a whole number, 1 or more")
    recipe = str(run["recipe"])
    return Entry(
        str(run.get("label", recipe)),
        recipe,
        (*common, *_texts(path, run, "set", "optim.lr=0.05")),
        seeds,
        _texts(path, run, "against", "lsg"),
    )


def _texts(path: Path, held: dict[str, Any], key: str, example: str) -> tuple[str, ...]:
    texts = held.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadValue(f'{path} has {key} = {texts!r}; give a list of texts, as in {key} = ["{example}"]')
    return tuple(texts)


def jobs_of(entries: Sequence[Entry], seeds: int, out: Path) -> list[Job]:
    """Every entry with seed 0 first, so that a sweep that is stopped has something of all. What is wrong with one, or
    was trained otherwise in its folder, is said before any of them trains."""
    from surgrad.config import derive, set_fields
    from surgrad.recipes import find_recipe

    if seeds < 1:
        raise BadValue(f"{seeds} seeds train nothing; give 1 or more")
    found = []
    for seed in range(max(entry.seeds or seeds for entry in entries)):
        for entry in entries:
            if seed >= (entry.seeds or seeds):
                continue
            recipe = set_fields(find_recipe(entry.recipe), entry.settings)
            job = Job(entry, seed, out.resolve() / f"{entry.label}-seed{seed}")
            _check_held(job.folder / "recipe.json", derive(recipe, seed=seed))
            found.append(job)
    return found


def _check_held(path: Path, wanted: "Recipe") -> None:
    """Refuse a folder in which something else was trained."""
    from surgrad.config import derive, from_dict
    from surgrad.config.text import differences

    if not path.exists():
        return
    words = {"summary": wanted.summary, "source": wanted.source, "published": wanted.published}
    try:
        held = derive(from_dict(json.loads(path.read_text())), **words)
    except ValueError as error:
        raise BadValue(f"{path} is cut short or altered ({error}); delete that folder to train it anew") from error
    differing = differences(held, wanted)
    if differing:
        raise BadValue(
            f"{path.parent} holds a training with other settings: {'; '.join(differing)}; give another "
            "label or --out, or delete that folder"
        )
