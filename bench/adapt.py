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
from surgrad.config.recipe import derive
from surgrad.files import replace_file
from surgrad.recipes import find_recipe
from surgrad.train.build import Parts, build
from surgrad.train.loop import Loop
from surgrad.train.progress import Lines

RECIPE = "lsg_cifar10_small_t2"
REPEATS = 3
STEPPERS: dict[str, dict[str, Any]] = {
    "fixed": {"controller": "fixed"},
    "follow": {"controller": "follow"},
    "steer": {"controller": "steer"},
    "steer, where it decides": {"controller": "steer", "period": 1, "warmup": 0.0},
}
"""Controllers that act in every step; steer decides in one of a hundred."""
PERIOD = 100
SEARCHES: dict[str, dict[str, Any]] = {
    "search, 32 directions (the default)": {"controller": "search"},
    "search, 64 coordinates": {"controller": "search", "estimator": "coordinates", "count": 64},
    "search, all coordinates (as published)": {"controller": "search", "estimator": "all"},
    "search by layer": {"controller": "search", "scope": "layer"},
    "compete, 5 iterations": {"controller": "compete"},
}
"""Controllers that act once an epoch, and how they are asked for."""


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


def _parts(data: Path | None, **adapt: Any) -> Parts:
    """Ready to train, all steps and whole images from the start."""
    recipe = derive(find_recipe(RECIPE), start={"share": 0.0, "side": None}, adapt=adapt)
    if adapt["controller"] in ("search", "compete"):
        recipe = derive(recipe, neuron={"shape": "dspike"})
    parts = build(recipe, data)
    parts.model.train()
    return parts


def steps(data: Path | None) -> dict[str, Any]:
    """Seconds of a training step with each controller that acts in it, interleaved; and of an epoch of those steps."""
    with tempfile.TemporaryDirectory() as folder:
        calls: dict[str, Callable[[], object]] = {}
        for name, options in STEPPERS.items():
            parts = _parts(data, **options)
            loop = Loop(parts, find_recipe(RECIPE).optim, Path(folder), Lines(1))
            batch = next(iter(parts.batches.train(0)))
            calls[name] = lambda loop=loop, batch=batch: loop.train_step(batch)
        found = rows(interleave(calls, Effort(rounds=31, budget=90.0)))
    return {"steps": found, "epoch": found[0]["median"] * parts.batches.per_epoch}


def searches(data: Path | None) -> dict[str, list[float]]:
    """Seconds that each controller takes of an epoch, beyond its training steps, a few times."""
    return {
        name: [_search(data, options) for _ in range(1 if options.get("estimator") == "all" else REPEATS)]
        for name, options in SEARCHES.items()
    }


def _search(data: Path | None, options: dict[str, Any]) -> float:
    parts = _parts(data, **options)
    batches = parts.batches.train(0)
    spent = 0.0
    for _ in range(6):  # steps of the epoch, in which the longest of them acts in five
        batch = next(batches)
        start = time.perf_counter()
        parts.adapter.step(batch)
        spent += time.perf_counter() - start
    return spent


def shown(record: dict[str, Any]) -> str:
    """Two tables: of a step, and of an epoch."""
    times = {row["name"]: row["times"] for row in record["steps"]}
    lines = []
    for name, mine in times.items():
        extra = [100 * (one / plain - 1) for one, plain in zip(mine, times["fixed"], strict=True)]
        low, middle, high = quartiles(extra)
        lines.append([name, f"{1e3 * median(mine):.1f}", f"{middle:+.1f} %", f"{low:+.1f} to {high:+.1f} %"])
    counting, deciding = (ratio(times[name], times["fixed"]) - 1 for name in ("steer", "steer, where it decides"))
    whole = 100 * (counting + (deciding - counting) / PERIOD)
    slow = [
        [name, f"{median(seconds):.1f}", f"{100 * median(seconds) / record['epoch']:.1f} %", str(len(seconds))]
        for name, seconds in record["searches"].items()
    ]
    return (
        f"{table(['controller', 'ms a step', 'extra, median', 'quartiles'], lines)}\n\n"
        f"steer, deciding every {PERIOD} steps: {whole:+.1f} %\n\nAn epoch of {record['epoch']:.0f} s:\n\n"
        f"{table(['once an epoch', 'seconds', 'of an epoch', 'times'], slow)}"
    )


if __name__ == "__main__":
    main()
