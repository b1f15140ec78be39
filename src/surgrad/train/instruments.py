"""The measurements of `surgrad.measure` on the network of a recipe or of a run."""

from pathlib import Path
from typing import Any

from surgrad.config.recipe import Recipe, derive
from surgrad.errors import BadValue
from surgrad.files import read_rows
from surgrad.measure import Accounting, Energy, diagnose, energy
from surgrad.train import checkpoint
from surgrad.train.building import RELU, Data, build
from surgrad.train.evaluation import first_test_batches
from surgrad.train.parts import Parts
from surgrad.train.progress import say_on_stderr
from surgrad.train.run_folder import recipe_of


def diagnose_recipe(
    recipe: Recipe, folder: Path | None = None, *, data: Data | None = None, images: int = 128, directions: int = 0
) -> dict[str, Any]:
    """Diagnose a network on the first batch of its training images.

    They are augmented as in training, at full size and for all time steps.

    Args:
        recipe: of the network.
        folder: a run of the recipe, whose newest weights are used; None: the network before its training.
        data: where the data sets are, or the data itself; see `surgrad.train.build`.
        images: the number of images in the batch.
        directions: see `surgrad.measure.diagnose`.

    Returns:
        The record (`surgrad.measure.Diagnosis.record`), with "name" and "about".

    Raises:
        BadValue: for an ANN, or fewer than 2 images.
    """
    if recipe.neuron.name == RELU:
        raise BadValue(f"{recipe.name} is an ANN, without spiking neurons; convert it first, by surgrad convert")
    if directions < 0:
        raise BadValue(f"{directions} directions cannot be tried; give 0 or more")
    if images < 2:
        raise BadValue(f"{images} images are too few for a diagnosis; give 2 or more, best about 128")
    parts = build(
        derive(
            recipe, data={"batch": images}, progressive={"fraction": 0.0, "image_size": None}, run={"compile": False}
        ),
        data,
    )
    parts.model.duplicate_batch = False  # one output for each image
    when = "before training" if folder is None else _loaded(parts, folder, recipe)
    found = diagnose(parts.model.train(), next(iter(parts.batches.train(0))), parts.loss, directions=directions)
    return {"name": recipe.name, "about": f"{recipe.summary}; {when}, on {images} training images", **found.record()}


def energy_of_run(
    folder: Path, accounting: Accounting | None = None, *, data: Data | None = None, images: int | None = None
) -> Energy:
    """Operations and energy of a run's network on its test images.

    Args:
        folder: the run folder.
        accounting: which operations count, and how much energy each needs; None: the default.
        data: where the data sets are, or the data itself; see `surgrad.train.build`.
        images: the first `images` test images; None: all.
    """
    recipe = recipe_of(folder)
    parts = build(derive(recipe, run={"compile": False}), data)
    _loaded(parts, folder, recipe)
    return energy(parts.model, (inputs for inputs, _ in first_test_batches(parts, images)), accounting)


def _loaded(parts: Parts, folder: Path, recipe: Recipe) -> str:
    """Load a run's newest weights; returns the number of its epochs, in words."""
    checkpoint.fit(parts.model, checkpoint.load_weights(folder, "last", say_on_stderr), folder)
    return f"after {len(read_rows(folder / 'metrics.jsonl'))} of {recipe.optim.epochs} epochs"
