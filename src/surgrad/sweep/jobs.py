"""The trainings of a sweep."""

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgrad.errors import BadValue, CheckpointError, SurgradError, unknown
from surgrad.files import read_json, read_rows

if TYPE_CHECKING:
    from surgrad.config.recipe import Recipe


KEYS = ("recipe", "label", "set", "vary", "seeds", "against")
"""The keys that a [[run]] may have."""

LONGEST_LABEL = 100
"""It becomes a part of a folder's name."""


@dataclass(frozen=True)
class Entry:
    """A line of the table: a recipe with some settings, under a label.

    Attributes:
        label: names the line and its run folders.
        recipe: the name of a recipe, or path/to/file.py:function.
        settings: changes of the recipe, as in `surgrad train --set`.
        seeds: the number of seeds; None: that of the sweep.
        against: labels of other entries; the differences to them are computed seed by seed.
    """

    label: str
    recipe: str
    settings: tuple[str, ...] = ()
    seeds: int | None = None
    against: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """One training: an entry with a seed, in a run folder.

    Args:
        entry: the line of the table that it belongs to.
        seed: of weights, order and augmentation.
        folder: the run folder.
    """

    entry: Entry
    seed: int
    folder: Path

    def words(self, data: Path | None) -> list[str]:
        """The arguments of the command line that trains it, but for its folder."""
        where = [] if data is None else ["--data", str(data.resolve())]
        settings = [word for setting in self.entry.settings for word in ("--set", setting)]
        seed = ["--seed", str(self.seed)]
        return ["train", self.entry.recipe, *where, *seed, *settings]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of its metrics.jsonl, one per finished epoch."""
        return read_rows(self.folder / "metrics.jsonl")

    @property
    def done(self) -> bool:
        """Whether all epochs are finished."""
        rows = self.metrics
        return bool(rows) and rows[-1]["epoch"] == rows[-1]["epochs"]


def entries(names: Iterable[str], settings: Sequence[str] = ()) -> list[Entry]:
    """The entries of a sweep.

    Args:
        names: recipes (a name, or path/to/file.py:function), and .toml files. A file has [[run]] tables with `recipe`
            and, optionally, `label`, `set` (a list of path=value), `vary` (lists of values by path), `seeds` (a number)
            and `against` (a list of labels). `set` at its top is for all runs. A run that varies paths stands for one
            run of every combination of their values, which are added to its label.
        settings: changes of all recipes (path=value), as `set` at the top of a file, which they replace. What a run
            sets or varies stays.

    Raises:
        BadValue: a file cannot be read, or a value in it is not allowed; or a setting is that of the seed.
        UnknownName: a key or a label that does not exist.
    """
    found: list[Entry] = []
    for name in names:
        one = Entry(_label_of(name), name, (*settings,))
        found += _from_file(Path(name), settings) if name.endswith(".toml") else [one]
    labels = [entry.label for entry in found]
    for label in labels:
        if labels.count(label) > 1:
            raise BadValue(f"label '{label}' occurs {labels.count(label)} times; give each run a different label")
        if len(label) > LONGEST_LABEL:
            raise BadValue(f"label '{label[:20]}...' has {len(label)} characters; give at most {LONGEST_LABEL}")
        if not label.replace("_", "").replace("-", "").replace(".", "").isalnum():
            raise BadValue(f"label '{label}' cannot name a folder; use letters, digits, '.', '-' and '_' only")
    for entry in found:
        if any(setting.partition("=")[0] == "seed" for setting in entry.settings):
            raise BadValue(f"run '{entry.label}' sets the seed; give --seeds N, or seeds = N in its [[run]]")
        for other in entry.against:
            if other not in labels:
                raise unknown("label", other, labels)
    return found


def _label_of(recipe: str) -> str:
    """The label of a recipe: its name, or the function of path/to/file.py:function."""
    return recipe.rpartition(":")[2]


def _from_file(path: Path, settings: Sequence[str]) -> list[Entry]:
    try:
        held = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadValue(
            f"{path} cannot be read ({error.strerror}); give a .toml file of runs, or the name of a recipe"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadValue(f"{path} is not valid TOML in UTF-8 ({error}); see `surgrad sweep --help`") from error
    for key in held:
        if key not in ("set", "run"):
            raise unknown("key", key, ("set", "run"))
    common = (*_texts(path, held, "set", "optim.lr=0.05"), *settings)
    found: list[Entry] = []
    runs = held.get("run", [])
    if not isinstance(runs, list):
        what = "a table [run]" if isinstance(runs, dict) else f"run = {runs!r}"
        raise BadValue(f"{path} has {what}; write [[run]] before each run")
    for run in runs:
        if not isinstance(run, dict):
            raise BadValue(f"{path} has a table [run]; write [[run]] before each run")
        for key in run:
            if key not in KEYS:
                raise unknown("key", f"run.{key}", [f"run.{known}" for known in KEYS])
        found += _entries(path, run, common)
    if not found:
        raise BadValue(f"{path} has no [[run]]; see `surgrad sweep --help`")
    return found


def _entries(path: Path, run: dict[str, Any], common: tuple[str, ...]) -> Iterator[Entry]:
    """The entries of a [[run]]: one, or one for every combination of the values that it varies."""
    if "recipe" not in run:
        raise BadValue(f"a [[run]] in {path} has no recipe; give a name that `surgrad list` shows")
    seeds = run.get("seeds")
    if seeds is not None and (type(seeds) is not int or seeds < 1):
        raise BadValue(f"{path} has seeds = {seeds!r}; give a whole number, 1 or more")
    recipe = str(run["recipe"])
    label = str(run.get("label", _label_of(recipe)))
    fixed = (*common, *_texts(path, run, "set", "optim.lr=0.05"))
    against = _texts(path, run, "against", "lsg")
    varied = _varied(path, run)
    for values in product(*varied.values()):
        settings = tuple(f"{name}={value}" for name, value in zip(varied, values, strict=True))
        yield Entry("_".join((label, *values)), recipe, (*fixed, *settings), seeds, against)


def _varied(path: Path, run: dict[str, Any]) -> dict[str, list[str]]:
    """The values of each path that a [[run]] varies, as they are written in a setting."""
    varied = run.get("vary", {})
    if not isinstance(varied, dict) or not all(isinstance(values, list) and values for values in varied.values()):
        raise BadValue(f'{path} has vary = {varied!r}; give lists by path, as in vary = {{"optim.lr" = [0.05, 0.1]}}')
    return {name: [_text(value) for value in values] for name, values in varied.items()}


def _text(value: Any) -> str:
    """A value of a TOML file as it is written in a setting."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _texts(path: Path, held: dict[str, Any], key: str, example: str) -> tuple[str, ...]:
    texts = held.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadValue(f'{path} has {key} = {texts!r}; give a list of texts, as in {key} = ["{example}"]')
    return tuple(texts)


def jobs_of(entries: Sequence[Entry], seeds: int, out: Path) -> list[Job]:
    """The queue of a sweep: all entries with seed 0, then all with seed 1, and so on.

    So a sweep that is stopped has results of all entries. All recipes, settings and folders are checked before anything
    is trained.

    Args:
        entries: see `entries`.
        seeds: the number of seeds of entries that do not have their own.
        out: the folder for the run folders, LABEL-seedN.

    Raises:
        BadValue: a setting is not allowed, or a folder has a training with other settings.
        UnknownName: a recipe or a setting that does not exist.
    """
    from surgrad.config import derive, set_fields
    from surgrad.recipes import find_recipe

    if seeds < 1:
        raise BadValue(f"the number of seeds must be 1 or more, got {seeds}")
    found = []
    for seed in range(max(entry.seeds or seeds for entry in entries)):
        for entry in entries:
            if seed >= (entry.seeds or seeds):
                continue
            try:
                recipe = set_fields(find_recipe(entry.recipe), entry.settings)
            except SurgradError as error:
                raise type(error)(f"run '{entry.label}': {error}") from error
            job = Job(entry, seed, out.resolve() / f"{entry.label}-seed{seed}")
            _check_same(job.folder / "recipe.json", derive(recipe, seed=seed))
            found.append(job)
    return found


def _check_same(path: Path, wanted: "Recipe") -> None:
    """Refuse a folder in which something else was trained."""
    from surgrad.config import from_dict
    from surgrad.config.recipe import described_as
    from surgrad.config.text import differences

    if not path.exists():
        return
    try:
        trained = described_as(from_dict(read_json(path)), wanted)
    except (ValueError, CheckpointError) as error:
        raise BadValue(f"{path} cannot be read ({error}); delete that folder to train it again") from error
    differing = differences(trained, wanted)
    if differing:
        raise BadValue(
            f"{path.parent} has a training with other settings: {'; '.join(differing)}; give the same --set as "
            "before, another label or --out, or delete that folder"
        )
