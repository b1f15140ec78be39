"""`python -m bench.ideas --data DIR [--out FILE]`: ideas of ANNs' speed records, each in small trainings on a CPU.

The training is that of docs/records.md at a small budget. Each row has one idea more or one fewer; seed by seed it has
the same order of images. FILE gets a JSON line for every training; those that it has already are not repeated.
`python -m bench.ideas --table FILE` prints what they say.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.nn import functional

from bench.machine import machine, words
from bench.record import accuracies, loop_of, steps_of
from bench.tables import table
from surgrad.config import set_fields
from surgrad.config.recipe import Recipe, derive, to_dict
from surgrad.data import ImageData, load
from surgrad.files import append_rows, read_rows
from surgrad.models.fast import Whitening
from surgrad.recipes import find_recipe
from surgrad.sweep.table import Sample, paired
from surgrad.train.average import EMA, loaded
from surgrad.train.building import build
from surgrad.train.parts import Parts

RECIPE = "fixed_cifar10_fast_t2"
BUDGET = ("model.width_multiplier=0.25", "optim.epochs=6", "data.batch=256", "run.precision=bf16")
IMAGES = 20_000
"""Of the training, the first ones."""
SEEDS = 3
BASE = "as it is"
AVERAGED = 100
"""Optimiser steps that the weight average covers, about."""
HARD = 0.7
"""The share of images that are kept where easy ones are dropped."""
PROXY = ("model.width_multiplier=0.125", "optim.epochs=2", "progressive.fraction=1")
"""The smaller and shorter training that says which images are easy."""


@dataclass(frozen=True)
class Idea:
    """A row.

    Attributes:
        settings: what differs from the base.
        whitens: whether the whitening layer is fitted.
        keeps: the share of training images that is used, the hardest for a proxy.
        adds: whether it is an idea that the recipe does not have; otherwise one of the recipe's is left out.
    """

    settings: tuple[str, ...] = ()
    whitens: bool = True
    keeps: float = 1.0
    adds: bool = False


IDEAS = {
    BASE: Idea(),
    "without whitening: the first layer gives patches as they are": Idea(whitens=False),
    "mirrored at random, not in alternate epochs": Idea(("data.flip_order=random",)),
    "whole images and T=2 throughout, 4 epochs": Idea(
        ("progressive.fraction=0", "progressive.image_size=none", "optim.epochs=4")
    ),
    "T=2 throughout, images still small at first, 5 epochs": Idea(("progressive.steps=2", "optim.epochs=5")),
    "whole images throughout, T=1 at first, 5 epochs": Idea(("progressive.image_size=none", "optim.epochs=5")),
    "without label smoothing": Idea(("loss.label_smoothing=0",)),
    "without the easiest 30 % of images, 9 epochs of the others": Idea(("optim.epochs=9",), keeps=HARD, adds=True),
    "Nesterov's momentum in place of Muon": Idea(
        ("optim.name=sgd", "optim.lr=0.1", "optim.momentum=0.9", "optim.nesterov=true")
    ),
}
"""The rows. Those that change the length of the training have about the base's cost."""


def main() -> None:
    """Run the command."""
    given = _arguments()
    if given.table:
        print(shown(read_rows(given.table)))
        return
    base = set_fields(find_recipe(RECIPE), [*BUDGET, *given.set])
    data = load(base.data.name, given.data)
    data = replace(data, train=data.train.first(given.images))
    rows = read_rows(given.out) if given.out and given.out.exists() else []
    done = {(row["idea"], row["seed"]) for row in rows if "idea" in row}
    print(words(machine()), flush=True)
    if given.out and not rows:
        append_rows(given.out, [{"machine": machine(), "images": given.images, "recipe": to_dict(base)}])
    for seed in given.seeds:
        for name in given.only or IDEAS:
            if (name, seed) not in done:
                row = {"idea": name, **trained(IDEAS[name], derive(base, seed=seed), data)}
                print(json.dumps(row), flush=True)
                if given.out:
                    append_rows(given.out, [row])


def _arguments() -> Any:
    parser = argparse.ArgumentParser(prog="python -m bench.ideas", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--set", nargs="+", default=[], metavar="SETTING", help="settings that are changed in all rows")
    parser.add_argument("--images", type=int, default=IMAGES, help="of the training (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=IDEAS, metavar="IDEA", help="some rows")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(SEEDS), help="default: 0 1 2")
    parser.add_argument("--out", type=Path, help="add JSON lines to this file")
    parser.add_argument("--table", type=Path, metavar="FILE", help="only print the table of this file")
    return parser.parse_args()


def trained(idea: Idea, base: Recipe, data: ImageData) -> dict[str, float]:
    """Train once; the row of it, with the processor's seconds of the training, a proxy's included."""
    recipe = set_fields(base, idea.settings)
    began = time.process_time()
    if idea.keeps < 1:
        data = hardest(data, idea.keeps, set_fields(base, PROXY))
    parts, average = _run(recipe, data, idea.whitens)
    seconds = time.process_time() - began
    plain, flipped = accuracies(parts)
    with loaded(parts.model, average.weights):
        averaged, _ = accuracies(parts)
    return {
        "seed": recipe.seed,
        "accuracy": plain,
        "accuracy_with_flips": flipped,
        "accuracy_of_average": averaged,
        "cpu_seconds": seconds,
    }


def _run(recipe: Recipe, data: ImageData, whitens: bool = True) -> tuple[Parts, EMA]:
    """Train a recipe; its parts, and the average of its weights."""
    fit: Callable[..., None] = Whitening.fit if whitens else lambda *_: None
    with patch.object(Whitening, "fit", fit):
        parts = build(recipe, data)
    average = EMA(decay=1 - 1 / AVERAGED, evaluate=False)
    with loop_of(parts) as loop:
        average.run_begins(loop)
        for loss in steps_of(parts, loop):
            average.step_ends(loop, loss)
    return parts, average


def hardest(data: ImageData, share: float, recipe: Recipe) -> ImageData:
    """The data with this share of its training images: those of the largest loss for a network that a recipe trains."""
    parts, _ = _run(recipe, data)
    losses = losses_of(parts, data)
    kept = losses.argsort(descending=True)[: round(share * len(losses))].sort().values
    return replace(data, train=data.train.only(kept.tolist()))


@torch.no_grad()
def losses_of(parts: Parts, data: ImageData) -> torch.Tensor:
    """The loss of each training image, [N], without augmentation."""
    parts.model.eval()
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.mean, data.std))
    found = []
    for images, labels in zip(data.train.images.split(500), data.train.labels.split(500), strict=True):
        outputs = parts.forward((images / 255 - mean) / std).float().mean(0)
        found.append(functional.cross_entropy(outputs, labels, reduction="none"))
    return torch.cat(found)


def shown(rows: list[dict[str, Any]]) -> str:
    """The table of the trainings: means over seeds, and differences to the base, seed by seed."""
    of = {name: [row for row in rows if row.get("idea") == name] for name in IDEAS}
    base = of[BASE]
    lines = [
        _line(BASE, base, base),
        _line("weight average", base, base, "accuracy_of_average", adds=True),
        _line("mirrored images in the test too", base, base, "accuracy_with_flips", adds=True),
        *[_line(name, found, base, adds=IDEAS[name].adds) for name, found in of.items() if found and name != BASE],
    ]
    head = ["idea", "accuracy, %", "points more than as it is", "95 % interval", "seeds", "CPU seconds", "verdict"]
    return table(head, lines)


def _line(
    name: str,
    rows: list[dict[str, Any]],
    base: list[dict[str, Any]],
    field: str = "accuracy",
    *,
    adds: bool = False,
) -> list[str]:
    scores = {row["seed"]: row[field] for row in rows}
    own = f"{100 * statistics.mean(scores.values()):.2f}"
    difference = paired(scores, {row["seed"]: row["accuracy"] for row in base})
    seconds = f"{statistics.mean(row['cpu_seconds'] for row in rows):.0f}"
    compared = ("", "") if name == BASE else difference.words("+")
    return [name, own, *compared, str(len(rows)), seconds, "" if name == BASE else verdict(difference, adds)]


def verdict(difference: Sample, adds: bool) -> str:
    """What the difference to the base says of an idea that is added, or of one that is left out."""
    low, high = difference.mean - difference.interval, difference.mean + difference.interval
    gains, loses = low > 0, high < 0
    if adds:
        return "worth adding" if gains else "harmful" if loses else "not shown to help"
    return "kept" if loses else "better left out" if gains else "kept, not shown to help"


if __name__ == "__main__":
    main()
