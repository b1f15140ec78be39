"""The instruments of `surgrad.measure`, pointed at a recipe's network or at a run's."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from surgrad.config.recipe import Recipe, derive
from surgrad.errors import BadValue
from surgrad.measure import Accounting, Energy, diagnose, energy
from surgrad.train import checkpoint
from surgrad.train.build import RELU, Parts, build
from surgrad.train.log import read_rows
from surgrad.train.run import recipe_of


def diagnose_recipe(
    recipe: Recipe, folder: Path | None = None, *, data: Path | None = None, images: int = 128, directions: int = 0
) -> dict[str, Any]:
    """The record (`surgrad.measure.Diagnosis.record`) on the first batch of the recipe's training images, augmented as
    in training, shown whole and for all steps; with "name" and "about". folder: a run of the recipe, whose newest
    weights are looked at; None for the network before its training. directions: see `surgrad.measure.diagnose`."""
    if recipe.neuron.name == RELU:
        raise BadValue(f"{recipe.name} is an ANN, without a neuron to look at; convert it first, by surgrad convert")
    if images < 2:
        raise BadValue(f"{images} images tell nothing of a network; give 2 or more, and rather 128")
    parts = build(
        derive(recipe, data={"batch": images}, start={"share": 0.0, "side": None}, run={"compile": False}), data
    )
    parts.model.duplicate_batch = False  # one answer to each question
    when = "before training" if folder is None else _loaded(parts, folder, recipe)
    found = diagnose(parts.model.train(), next(iter(parts.batches.train(0))), parts.loss, directions=directions)
    return {"name": recipe.name, "about": f"{recipe.summary}; {when}, on {images} training images", **found.record()}


def energy_of_run(
    folder: Path, accounting: Accounting | None = None, *, data: Path | None = None, images: int | None = None
) -> Energy:
    """Operations and energy of a run's network on its test images, or on the first so many of them."""
    recipe = recipe_of(folder)
    parts = build(derive(recipe, run={"compile": False}), data)
    _loaded(parts, folder, recipe)
    return energy(parts.model, _some(parts, images), accounting)


def _some(parts: Parts, images: int | None) -> Iterator[Tensor]:
    left = parts.batches.test_count if images is None else images
    for batch, _ in parts.batches.test():
        if left > 0:
            yield batch[:, :left] if parts.batches.is_sequence else batch[:left]
        left -= batch.shape[1 if parts.batches.is_sequence else 0]


def _loaded(parts: Parts, folder: Path, recipe: Recipe) -> str:
    """Load a run's newest weights; returns how far it had come, in words."""
    parts.model.load_state_dict(checkpoint.load_weights(folder, "last", partial(print, file=sys.stderr)))
    return f"after {len(read_rows(folder / 'metrics.jsonl'))} of {recipe.optim.epochs} epochs"
