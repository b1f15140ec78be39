"""`python -m bench.adapt [--data DIR] [--out FILE]`: what the controllers cost, on the small ResNet and CIFAR-10."""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from bench.machine import machine, words
from bench.tables import table
from bench.timing import Effort, interleave, quartiles, ratio, rows
from surgrad.config.recipe import Part, derive
from surgrad.files import replace_file
from surgrad.recipes import find_recipe
from surgrad.train.building import build
from surgrad.train.loop import Loop
from surgrad.train.parts import Parts
from surgrad.train.progress import Lines

RECIPE = "lsg_cifar10_small_t2"
REPEATS = 3
STEPPERS = {
    "fixed": Part("fixed"),
    "lsg": Part("lsg"),
    "esg": Part("esg"),
    "esg, where it decides": Part("esg", period=1, warmup=0.0),
    "share, between decisions": Part("share", period=10**6),
    "share, where it decides": Part("share", period=1),
}
"""Controllers that act in every step; ESG decides in one of a hundred, and share in one of fifty."""
PERIODS = {"esg": 100, "share": 50}
SEARCHES = {
    "dspike, 32 directions (the default)": Part("dspike"),
    "dspike, 64 coordinates": Part("dspike", estimator="coordinates", samples=64),
    "dspike, all coordinates (as published)": Part("dspike", estimator="all"),
    "dspike by layer": Part("dspike", scope="layer"),
    "dgs, 5 iterations": Part("dgs"),
}
"""Controllers that act once an epoch, and their options."""


def main() -> None:
    """The command."""
    given = _arguments()
    record = {"recipe": RECIPE, "machine": machine(), **steps(given.data), "searches": searches(given.data)}
    print(f"{words(record['machine'])}\n\n{shown(record)}")
    if given.out:
        replace_file(given.out, lambda path: path.write_text(json.dumps(record, indent=1) + "\n"))


def _arguments() -> Any:
    parser = argparse.ArgumentParser(prog="python -m bench.adapt", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, help="also write the record here, as JSON")
    return parser.parse_args()


def _parts(data: Path | None, controller: Part) -> Parts:
    """The parts of a training with all time steps and whole images from its start."""
    recipe = derive(find_recipe(RECIPE), progressive={"fraction": 0.0, "image_size": None}, adapt=controller)
    if controller.name in ("dspike", "dgs"):
        recipe = derive(recipe, surrogate={"name": "dspike"})
    parts = build(recipe, data)
    parts.model.train()
    return parts


def steps(data: Path | None) -> dict[str, Any]:
    """Seconds of a training step with each controller that acts in every step, interleaved, and seconds of an epoch."""
    with tempfile.TemporaryDirectory() as folder:
        calls: dict[str, Callable[[], object]] = {}
        for name, controller in STEPPERS.items():
            parts = _parts(data, controller)
            loop = Loop(parts, find_recipe(RECIPE).optim, Path(folder), Lines(1))
            batch = next(iter(parts.batches.train(0)))
            calls[name] = lambda loop=loop, batch=batch: loop.train_step(batch)
        found = rows(interleave(calls, Effort(rounds=31, budget=90.0)))
    return {"steps": found, "epoch": found[0]["median"] * parts.batches.per_epoch}


def searches(data: Path | None) -> dict[str, list[float]]:
    """Seconds per epoch that each controller adds to the training steps, measured a few times."""
    return {
        name: [_search(data, controller) for _ in range(1 if "all" in name else REPEATS)]
        for name, controller in SEARCHES.items()
    }


def _search(data: Path | None, controller: Part) -> float:
    parts = _parts(data, controller)
    batches = parts.batches.train(0)
    spent = 0.0
    for _ in range(6):  # steps; DGS acts in the first five of an epoch
        batch = next(batches)
        start = time.perf_counter()
        parts.adapter.step(batch)
        spent += time.perf_counter() - start
    return spent


def shown(record: dict[str, Any]) -> str:
    """Two tables: times of a step, and of an epoch."""
    times = {row["name"]: row["times"] for row in record["steps"]}
    lines = []
    for name, mine in times.items():
        extra = [100 * (one / plain - 1) for one, plain in zip(mine, times["fixed"], strict=True)]
        low, middle, high = quartiles(extra)
        lines.append([name, f"{1e3 * median(mine):.1f}", f"{middle:+.1f} %", f"{low:+.1f} to {high:+.1f} %"])
    between = {"esg": "esg", "share": "share, between decisions"}
    means = []
    for name, period in PERIODS.items():
        rows_of = (between[name], f"{name}, where it decides")
        usual, deciding = (ratio(times[row], times["fixed"]) - 1 for row in rows_of)
        means.append(f"{name}, deciding every {period} steps: {100 * (usual + (deciding - usual) / period):+.1f} %")
    slow = [
        [name, f"{median(seconds):.1f}", f"{100 * median(seconds) / record['epoch']:.1f} %", str(len(seconds))]
        for name, seconds in record["searches"].items()
    ]
    return (
        f"{table(['controller', 'ms a step', 'extra, median', 'quartiles'], lines)}\n\n"
        f"{chr(10).join(means)}\n\nAn epoch of {record['epoch']:.0f} s:\n\n"
        f"{table(['once an epoch', 'seconds', 'of an epoch', 'times'], slow)}"
    )


if __name__ == "__main__":
    main()
