"""Train a recipe from scratch with many seeds, by the rules of docs/records.md:

    PYTHONPATH=src:. python -m bench.record RECIPE [--data DIR] [--set ...] [--seeds 10] [--out FILE]

The time of a training begins before its first batch is made and ends when the device has finished its last step. It
has no evaluation, checkpoint or loading of data in it, and no compilation: a few steps of the same training come
before. FILE gets a JSON line for every training.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from bench.machine import machine, wait_for_gpu, words
from surgrad.config import set_fields
from surgrad.config.recipe import Recipe, derive, to_dict
from surgrad.data import ImageData, load
from surgrad.files import append_rows
from surgrad.recipes import find_recipe
from surgrad.train.building import build
from surgrad.train.evaluation import correct_in
from surgrad.train.loop import Loop, Position
from surgrad.train.parts import Parts
from surgrad.train.progress import Lines

WARM_UP = 12
"""Steps before the first training that is timed, of each number of time steps."""


def main() -> None:
    """Run the command."""
    given = _arguments()
    recipe = set_fields(find_recipe(given.recipe), given.set)
    data = load(recipe.data.name, given.data)
    about = {**machine(), "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None}
    print(f"{words(about)}; {about['gpu'] or 'no GPU'}", flush=True)
    _add(given.out, {"machine": about, "recipe": to_dict(recipe)})
    _warm_up(recipe, data)
    rows = []
    for seed in range(given.first, given.first + given.seeds):
        rows.append(trained(derive(recipe, seed=seed), data))
        _add(given.out, rows[-1])
        print(" ".join(f"{name} {value:.6g}" for name, value in rows[-1].items()), flush=True)
        if given.limit and sum(row["seconds"] for row in rows) * (len(rows) + 1) / len(rows) > given.limit:
            break
    print(summary(rows))


def _arguments() -> Any:
    parser = argparse.ArgumentParser(prog="python -m bench.record", description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path)
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="SETTING", help="settings that are changed, as optim.lr=1"
    )
    parser.add_argument("--seeds", type=int, default=10, help="trainings (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    parser.add_argument("--limit", type=float, help="seconds of training after which no other one begins")
    parser.add_argument("--out", type=Path, help="add JSON lines to this file")
    return parser.parse_args()


def trained(recipe: Recipe, data: ImageData) -> dict[str, float]:
    """Train once; the row of it."""
    parts = build(recipe, data)
    with loop_of(parts) as loop:
        wait_for_gpu()
        began = time.perf_counter()
        for loss in steps_of(parts, loop):
            last = loss
        wait_for_gpu()
        seconds = time.perf_counter() - began
    plain, flipped = accuracies(parts)
    return {
        "seed": recipe.seed,
        "accuracy": plain,
        "accuracy_with_flips": flipped,
        "seconds": seconds,
        "last_loss": last.item(),
    }


@contextmanager
def loop_of(parts: Parts) -> Iterator[Loop]:
    """The loop of a training whose run folder is not kept."""
    with tempfile.TemporaryDirectory() as folder:
        yield Loop(parts, parts.recipe.optim, Path(folder), Lines(1))


def steps_of(parts: Parts, loop: Loop) -> Iterator[torch.Tensor]:
    """The loss of every step of a training."""
    parts.model.train()
    for epoch in range(parts.recipe.optim.epochs):
        loop.at = Position(epoch)
        for batch in parts.batches.train(epoch):
            loss, _ = loop.train_step(batch)
            loop.at.batch += 1
            yield loss


def _warm_up(recipe: Recipe, data: ImageData) -> None:
    """Compile and choose all kernels: a few steps at the beginning of the training, and a few at its end."""
    for epoch in {0, recipe.optim.epochs - 1}:
        parts = build(derive(recipe, seed=2**31), data)
        with loop_of(parts) as loop:
            loop.at = Position(epoch)
            parts.model.train()
            for _, batch in zip(range(WARM_UP), parts.batches.train(epoch), strict=False):
                loop.train_step(batch)
                loop.at.batch += 1
            parts.model.steps = recipe.model.steps
            accuracies(parts)


@torch.no_grad()
def accuracies(parts: Parts) -> tuple[float, float]:
    """Test accuracy, and that of the mean output for an image and its mirror image."""
    parts.model.eval()
    found = torch.zeros(2, dtype=torch.int64)
    for images, labels in parts.batches.test():
        with torch.autocast(parts.device.type, torch.bfloat16, enabled=parts.bf16):
            outputs = [parts.forward(shown).float() for shown in (images, images.flip(-1))]
        found += torch.stack([correct_in(outputs[0], labels), correct_in(sum(outputs), labels)]).cpu()
    plain, flipped = (found / parts.batches.test_count).tolist()
    return plain, flipped


def summary(rows: list[dict[str, float]]) -> str:
    """Mean and standard deviation over the seeds."""
    texts = []
    for name, factor, unit in (("accuracy", 100, "%"), ("accuracy_with_flips", 100, "%"), ("seconds", 1, "s")):
        values = [factor * row[name] for row in rows]
        deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        texts.append(f"{name} {statistics.mean(values):.2f}{deviation} {unit}")
    return f"{len(rows)} trainings: {', '.join(texts)}"


def _add(path: Path | None, row: dict[str, Any]) -> None:
    if path is not None:
        append_rows(path, [row])


if __name__ == "__main__":
    main()
