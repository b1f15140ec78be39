"""`python -m bench.recipe RECIPE [--data DIR] [--out FILE]`: time of a recipe's training step by kind of operation."""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

from bench.machine import machine, words
from bench.split import profiled
from bench.tables import table
from surgrad.config.recipe import Recipe
from surgrad.data.batches.memory import Batch
from surgrad.files import replace_file
from surgrad.recipes import find_recipe
from surgrad.train.building import build
from surgrad.train.loop import Loop, Position
from surgrad.train.parts import Parts
from surgrad.train.progress import Lines

STEPS = 15  # training steps measured in each phase; the median counts


def main() -> None:
    """Run the command."""
    given = _arguments()
    recipe = find_recipe(given.recipe)
    record = {"recipe": recipe.name, "machine": machine(), "rows": measured(recipe, given.data)}
    print(f"{words(record['machine'])}\n\n{shown(record)}")
    if given.out:
        replace_file(given.out, lambda path: path.write_text(json.dumps(record, indent=1) + "\n"))


def _arguments() -> Any:
    parser = argparse.ArgumentParser(prog="python -m bench.recipe", description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, help="also write the record here, as JSON")
    return parser.parse_args()


def measured(recipe: Recipe, data: Path | None) -> list[dict[str, Any]]:
    """Measure the progressive phase of the training, if it has one, and the rest, one row each.

    A row has the median seconds of a training step and of making its batch, and the seconds of a step by kind under the
    profiler, which slows small operations.
    """
    parts = build(recipe, data)
    parts.model.train()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(parts, recipe.optim, Path(folder), Lines(1))
        for share, epoch in _phases(recipe):
            loop.at = Position(epoch)
            found.append({"share": share, **_times(loop, parts, epoch)})
    return found


def _phases(recipe: Recipe) -> Iterator[tuple[float, int]]:
    """Yield (share of the training, an epoch inside it) for the progressive phase and for the rest."""
    share = recipe.progressive.fraction
    if share > 0:
        yield share, 0
    if share < 1:
        yield 1 - share, recipe.optim.epochs


def _times(loop: Loop, parts: Parts, epoch: int) -> dict[str, Any]:
    batches = chain.from_iterable(parts.batches.train(epoch) for _ in count())
    making: list[float] = []

    def made() -> Batch:
        start = time.perf_counter()
        batch = next(batches)
        making.append(time.perf_counter() - start)
        return batch

    stepping = []
    for _ in range(STEPS + 2):
        batch = made()
        start = time.perf_counter()
        loop.train_step(batch)
        stepping.append(time.perf_counter() - start)
    return {
        "T": parts.model.steps,
        "side": batch[0].shape[-1],
        "batch": parts.batches.size,
        "step": statistics.median(stepping[2:]),
        "data": statistics.median(making[2:]),
        "profiled": profiled(lambda: loop.train_step(batch)),
    }


def shown(record: dict[str, Any]) -> str:
    """Format the rows as a table in milliseconds; the profiled kinds are scaled to the measured step."""
    kinds = list(record["rows"][0]["profiled"])
    lines = []
    for row in record["rows"]:
        whole = sum(row["profiled"].values())
        split = [row["profiled"][kind] / whole * row["step"] for kind in kinds]
        total = row["step"] + row["data"]
        cells = (f"{s * 1e3:.1f} ({s / total:.0%})" for s in (*split, row["data"]))
        lines.append(
            [
                f"{row['T']}",
                f"{row['side']}",
                f"{row['share']:.0%}",
                f"{total * 1e3:.1f}",
                *cells,
                f"{row['batch'] / total:.0f}",
            ]
        )
    return table(["T", "side", "of the training", "ms per step", *kinds, "data", "images/s"], lines)


if __name__ == "__main__":
    main()
