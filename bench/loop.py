"""`python -m bench.loop [--out FILE]`: the training loop of recipes, as it is, on images of noise.

A row has the milliseconds of a step when steps follow each other, those that the host needs for one while the device is
busy with other work, and the images a second. FILE gets a JSON line after every recipe. Needs only torch, numpy and, on
CUDA, triton. `--device cpu --tiny` checks that it runs.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.machine import machine, wait_for_gpu
from surgrad.config import set_fields
from surgrad.config.recipe import Recipe
from surgrad.data import ImageData, Split
from surgrad.files import append_rows
from surgrad.recipes import find_recipe
from surgrad.train.building import build
from surgrad.train.loop import Loop
from surgrad.train.progress import Lines

RESNET19 = "lsg_cifar10_resnet19_t2"
CASES: tuple[tuple[str, ...], ...] = (
    (RESNET19,),
    (RESNET19, "run.graph=off"),
    (RESNET19, "data.autoaugment=false"),
    (RESNET19, "data.autoaugment=false", "adapt.name=esg"),
    (RESNET19, "data.autoaugment=false", "adapt.name=share"),
    ("lsg_cifar10_resnet19_t4", "data.autoaugment=false"),
    ("fixed_cifar10_fast_t2",),
)
TINY = ("model.width_multiplier=0.0625", "data.batch=8")
WARM_UP = 70
"""Steps before the measured ones, in which controllers decide, and graphs of all kinds of steps are recorded."""
BUSY_CYCLES = 10**8
"""For which the device is kept busy while the host's time is measured; some 50 ms."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.loop", description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="a small network and few steps, to check that it runs")
    given = parser.parse_args()
    gpu = torch.cuda.get_device_name() if given.device == "cuda" else None
    _add(given.out, {"machine": {**machine(), "gpu": gpu}})
    for name, *sets in CASES:
        recipe = set_fields(find_recipe(name), (f"run.device={given.device}", *sets, *(TINY if given.tiny else ())))
        warm_up, steps = (2, 3) if given.tiny else (WARM_UP, 40)
        row = {"recipe": name, "sets": sets, **measured(recipe, warm_up, steps)}
        _add(given.out, row)
        print(
            " ".join(
                f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in row.items()
            )
        )


def measured(recipe: Recipe, warm_up: int, steps: int) -> dict[str, float]:
    """The row of one recipe."""
    parts = build(recipe, noise(recipe.data.batch * (warm_up + 2 * steps)))
    parts.model.train()
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(parts, recipe.optim, Path(folder), Lines(1))
        batches = iter(parts.batches.train(0))

        def step() -> None:
            loop.train_step(next(batches))
            loop.at.batch += 1

        first = _seconds(step)
        for _ in range(warm_up - 1):
            step()
        together = _seconds(lambda: [step() for _ in range(steps)]) / steps
        host = statistics.median(_host_seconds(step) for _ in range(steps // 4 or 1))
    return {
        "first_s": first,
        "step_ms": 1e3 * together,
        "host_ms": 1e3 * host,
        "images_s": recipe.data.batch / together,
    }


def noise(count: int) -> ImageData:
    """As many images as CIFAR-10 has, of noise."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=draws)
    part = Split(images, torch.randint(0, 10, (count,), generator=draws))
    return ImageData("cifar10", part, part, tuple("0123456789"), (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))


def _seconds(call: Callable[[], Any]) -> float:
    wait_for_gpu()
    began = time.perf_counter()
    call()
    wait_for_gpu()
    return time.perf_counter() - began


def _host_seconds(step: Callable[[], None]) -> float:
    """The time until the host has queued a step."""
    wait_for_gpu()
    if torch.cuda.is_available():
        torch.cuda._sleep(BUSY_CYCLES)
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def _add(path: Path | None, row: dict[str, Any]) -> None:
    if path is not None:
        append_rows(path, [row])


if __name__ == "__main__":
    main()
