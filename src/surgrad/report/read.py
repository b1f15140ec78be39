"""Reading run folders: finished ones, ones still in training, and ones whose last line is cut off."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from surgrad.config.compat import upgraded
from surgrad.criteria import current_kind
from surgrad.errors import CheckpointError

Row = dict[str, Any]
Curve = tuple[list[int], list[float]]
"""Epochs, and a value for each."""
HOLDOUT = "holdout"
"""The `best_by` of runs that chose their best epoch by images held out from training."""


def number(value: object) -> float:
    """The value as a float; nan where it is not a number, so that one damaged field does not prevent a page."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value)


@dataclass(frozen=True)
class Run:
    """The contents of a run folder, with at most one row per epoch (and layer).

    Attributes:
        folder: the run folder.
        recipe: the settings, in the present layout.
        env: where the training was computed.
        metrics: one row per finished epoch, by epoch.
        widths: one row per epoch and layer, by epoch.
        alarms: problems that were found during training.
        decisions: the measurements on which the controller based its widths.
        remarks: sentences on missing or unreadable files.
    """

    folder: Path
    recipe: dict[str, Any]
    """In the present layout, whatever the layout of the file; read settings by `setting`."""
    env: dict[str, Any]
    metrics: tuple[Row, ...]
    """One row per finished epoch, by epoch."""
    widths: tuple[Row, ...]
    """One row per epoch and layer, by epoch; epoch 0 is before training."""
    alarms: tuple[Row, ...] = ()
    """Problems that were found during training: the layers, a sentence, and the epoch of the first occurrence."""
    decisions: tuple[Row, ...] = ()
    """The measurements on which the controller based its widths, in order."""
    remarks: tuple[str, ...] = ()
    """Sentences on missing or unreadable files."""

    def setting(self, path: str, default: Any = None) -> Any:
        """A setting of the recipe by its dotted path in the present layout, such as "surrogate.width"."""
        value: Any = self.recipe
        for key in path.split("."):
            if not isinstance(value, dict) or key not in value:
                return default
            value = value[key]
        return default if value is None else value

    @property
    def name(self) -> str:
        """The name of the recipe, or of the folder where the recipe has none."""
        return str(self.setting("name") or self.folder.resolve().name)

    @property
    def seed(self) -> object:
        return self.setting("seed")

    @property
    def published(self) -> float:
        """The published accuracy as a fraction, nan where there is none."""
        return number(self.setting("published"))

    @property
    def planned(self) -> int | None:
        """The number of epochs in the recipe."""
        epochs = number(self.setting("optim.epochs"))
        return int(epochs) if math.isfinite(epochs) else None

    @property
    def done(self) -> int:
        """The last finished epoch, 0 where none is."""
        return self.metrics[-1]["epoch"] if self.metrics else 0

    @property
    def finished(self) -> bool:
        return bool(self.metrics) and (self.planned is None or self.done >= self.planned)

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Layer names in the order the run wrote them, which is from input to output."""
        return tuple(dict.fromkeys(row["layer"] for row in self.widths))

    @cached_property
    def _by_layer(self) -> dict[str, list[Row]]:
        rows: dict[str, list[Row]] = {layer: [] for layer in self.layers}
        for row in self.widths:
            rows[row["layer"]].append(row)
        return rows

    def curve(self, key: str) -> Curve:
        """Epochs and the values of a metric; nan where an epoch lacks it."""
        return [row["epoch"] for row in self.metrics], [number(row.get(key)) for row in self.metrics]

    def layer_curve(self, layer: str, key: str) -> Curve:
        """Epochs and the values of one layer's measure; nan where an epoch lacks it."""
        rows = self._by_layer[layer]
        return [row["epoch"] for row in rows], [number(row.get(key)) for row in rows]

    def layer_rows(self, layer: str) -> tuple[Row, Row]:
        """One layer's first and last rows."""
        rows = self._by_layer[layer]
        return rows[0], rows[-1]

    def scored(self) -> list[tuple[int, float]]:
        """(epoch, test accuracy) of every epoch that was tested."""
        epochs, values = self.curve("test_accuracy")
        return [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if math.isfinite(value)]

    @property
    def final(self) -> tuple[int, float] | None:
        """(epoch, test accuracy) of the last tested epoch."""
        scored = self.scored()
        return scored[-1] if scored else None

    @property
    def held_out(self) -> bool:
        """Whether the best epoch was chosen by images held out from training, and not by the test images."""
        return self.env.get("best_by") == HOLDOUT

    @property
    def best(self) -> tuple[int, float] | None:
        """(epoch, test accuracy) of the best epoch, by `held_out` images or by the test images; the earliest of
        equals."""
        scores = dict(zip(*self.curve("holdout_accuracy"), strict=True)) if self.held_out else dict(self.scored())
        tested = [(epoch, accuracy) for epoch, accuracy in self.scored() if math.isfinite(scores[epoch])]
        return max(tested, key=lambda pair: (scores[pair[0]], -pair[0]), default=None)

    def last(self, key: str) -> float:
        """The last value of a metric; nan where no epoch has it."""
        return next((value for value in reversed(self.curve(key)[1]) if math.isfinite(value)), math.nan)

    @property
    def train_seconds(self) -> float:
        return number(self.metrics[-1].get("train_seconds")) if self.metrics else math.nan


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Only recipe.json is required. Other files that are missing or half written become remarks of the run, so that
    a training that was stopped can be looked at.

    Raises:
        CheckpointError: `folder` is not a run folder.
    """
    folder = Path(folder)
    remarks: list[str] = []
    recipe = _recipe(folder)
    env = _env(folder / "env.json", remarks)
    metrics = {row["epoch"]: row for row in _rows(folder / "metrics.jsonl", ("epoch",), remarks)}
    widths = {(row["epoch"], row["layer"]): row for row in _rows(folder / "widths.jsonl", ("epoch", "layer"), remarks)}
    return Run(
        folder=folder,
        recipe=recipe,
        env=env,
        metrics=tuple(metrics[epoch] for epoch in sorted(metrics)),
        widths=tuple(sorted(widths.values(), key=lambda row: row["epoch"])),
        alarms=tuple(
            {**row, "kind": current_kind(str(row.get("kind")))}
            for row in _optional_rows(folder / "alarms.jsonl", ("epoch", "sentence"), remarks)
        ),
        decisions=_optional_rows(folder / "adapt.jsonl", ("epoch", "step"), remarks),
        remarks=tuple(remarks),
    )


def _recipe(folder: Path) -> dict[str, Any]:
    path = folder / "recipe.json"
    if not path.is_file():
        raise CheckpointError(_not_a_run(folder))
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not readable as JSON ({error}); copy the run folder again") from error
    if not isinstance(recipe, dict):
        raise CheckpointError(f"{path} holds {type(recipe).__name__}, not a recipe; copy the run folder again")
    return upgraded(recipe)


def _not_a_run(folder: Path) -> str:
    if not folder.exists():
        return f"{folder} does not exist; give a folder that a training run wrote"
    if not folder.is_dir():
        return f"{folder} is a file; give the run folder, the one that holds recipe.json and metrics.jsonl"
    inside = sorted(path.parent.name for path in folder.glob("*/recipe.json"))
    more = ", …" if len(inside) > 5 else ""
    hint = f"; it holds the runs {', '.join(inside[:5])}{more}: give those" if inside else ""
    advice = "give a folder that a training run wrote (recipe.json, env.json, metrics.jsonl, widths.jsonl)"
    return f"{folder} is not a run folder: recipe.json is missing{hint or '; ' + advice}"


def _env(path: Path, remarks: list[str]) -> dict[str, Any]:
    try:
        env = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        remarks.append("env.json is missing, so the machine and the versions are unknown.")
        return {}
    except ValueError:
        remarks.append("env.json is not readable as JSON, so the machine and the versions are unknown.")
        return {}
    return env if isinstance(env, dict) else {}


def _optional_rows(path: Path, keys: tuple[str, ...], remarks: list[str]) -> tuple[Row, ...]:
    """The rows of a file that exists only where there was something to write."""
    return tuple(_rows(path, keys, remarks)) if path.exists() else ()


def _rows(path: Path, keys: tuple[str, ...], remarks: list[str]) -> Iterator[Row]:
    """The readable rows of a .jsonl file that have all `keys`. Unlike `surgrad.files.read_rows`, it skips damaged
    lines, and adds a remark that says which."""
    if not path.is_file():
        remarks.append(f"{path.name} is missing.")
        return
    # A kill can cut a line inside a character, so undecodable bytes must not stop the reading.
    lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")
    lost = []
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _row(line, keys)
        if row is None:
            lost.append(place)
        else:
            yield row
    if lost and lost[-1] == len(lines):
        lost.pop()
        remarks.append(f"The last line of {path.name} is half written (the run was stopped there) and is left out.")
    if lost:
        remarks.append(f"{path.name}: unreadable and left out: line {', '.join(map(str, lost))}.")


def _row(line: str, keys: tuple[str, ...]) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or any(key not in row for key in keys):
        return None
    epoch = row["epoch"]
    if isinstance(epoch, bool) or not isinstance(epoch, int):
        return None
    return {**row, "layer": str(row["layer"])} if "layer" in row else row
