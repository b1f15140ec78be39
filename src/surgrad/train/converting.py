"""From the run of an ANN to the folder of the spiking network that it becomes."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from surgrad.config.recipe import Recipe, derive, to_dict
from surgrad.conversion import accuracy_over_time, convert
from surgrad.errors import BadValue
from surgrad.models import SpikingNetwork
from surgrad.neurons import Neuron, neurons
from surgrad.train import checkpoint
from surgrad.train.build import RELU, Parts, build, build_neuron
from surgrad.train.environment import environment
from surgrad.train.log import write_json
from surgrad.train.run import new_folder, recipe_of

CALIBRATION = 1_024
"""Training images that thresholds are balanced on."""


def convert_run(
    folder: Path,
    out: Path,
    *,
    steps: int,
    percentile: float = 99.9,
    scale: float = 1.0,
    images: int | None = None,
    data: Path | None = None,
    into: Recipe | None = None,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Convert a run's ReLU network (`surgrad.conversion`), measure it on the test images, or on the first so many of
    them, after every number of steps up to `steps`, and write a folder that `surgrad eval` and, as `start.weights`,
    a training can use. into: a recipe of the same network, whose neurons it gets. show: called with the images
    measured and all of them. Returns what conversion.json there holds."""
    recipe = recipe_of(folder)
    if recipe.neuron.name != RELU:
        raise BadValue(
            f"{folder} is a run of neuron '{recipe.neuron.name}', and only an ANN is converted; train one, "
            "with --set neuron.name=relu --set model.steps=1 --set adapt.controller=fixed"
        )
    if steps < 1 or (images is not None and images < 1):
        raise BadValue(f"{steps} steps of {images} images are nothing to measure; give 1 or more of both")
    _check_into(recipe, into)
    parts = build(derive(recipe, run={"compile": False}), data)
    parts.model.load_state_dict(checkpoint.load_weights(folder, "last", partial(print, file=sys.stderr)))
    network = convert(
        parts.model,
        islice(parts.batches.train(0), -(-CALIBRATION // parts.batches.size)),
        percentile=percentile,
        scale=scale,
        steps=steps,
        neuron=_maker(into, steps),
    )
    new_folder(out)
    record = {
        "ann": str(folder),
        "name": recipe.name,
        "seed": recipe.seed,
        "percentile": percentile,
        "scale": scale,
        "ann_accuracy": accuracy_over_time(parts.model, _first(parts, images), 1)[0],
        "images": min(parts.batches.test_count, images or parts.batches.test_count),
        "thresholds": levels_of(network),
        "accuracy": accuracy_over_time(network, _first(parts, images, show), steps),
    }
    write_json(out / "recipe.json", to_dict(_converted(recipe, steps, percentile, into)))
    write_json(out / "env.json", environment(parts.device, parts.bf16))
    checkpoint.save(out, network, {"converted": True})
    write_json(out / "conversion.json", record)
    return record


def _first(
    parts: Parts, images: int | None, show: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[tuple[Tensor, Tensor]]:
    """The first so many test images, or all; says how many after each batch."""
    total = min(parts.batches.test_count, images or parts.batches.test_count)
    done = 0
    for batch, labels in parts.batches.test():
        yield batch[: total - done], labels[: total - done]
        done = min(total, done + len(labels))
        show(done, total)
        if done == total:
            return


def levels_of(network: SpikingNetwork) -> dict[str, float]:
    """By neuron, its threshold in units of its input."""
    return {
        name: (neuron.threshold / (1 if neuron.gain is None else neuron.gain)).item()
        for name, neuron in neurons(network).items()
    }


def _maker(into: Recipe | None, steps: int) -> Callable[[float], Neuron] | None:
    """Makes a recipe's neuron, with another threshold."""
    if into is None:
        return None
    return lambda level: cast(Neuron, build_neuron(replace(into.neuron, threshold=level), steps))


def _check_into(recipe: Recipe, into: Recipe | None) -> None:
    """Refuse a recipe whose network does not take this one's weights, or whose neuron is none."""
    if into is None:
        return
    if into.neuron.name == RELU:
        raise BadValue(f"'{into.name}' is a recipe of ReLUs, and what is converted gets spiking neurons; name another")
    for field in ("name", "width_multiplier", "norm", "coding"):
        _check_alike(f"model.{field}", getattr(recipe.model, field), getattr(into.model, field), into.name)
    if recipe.model.norm == "tdbn":  # which scales by it
        _check_alike("neuron.threshold", recipe.neuron.threshold, into.neuron.threshold, into.name)


def _check_alike(path: str, own: Any, wanted: Any, name: str) -> None:
    if own != wanted:
        raise BadValue(
            f"the ANN has {path} = {own}, and '{name}' asks for {wanted}; train the ANN with --set "
            f"{path}={wanted}, or set that recipe's"
        )


def _converted(recipe: Recipe, steps: int, percentile: float, into: Recipe | None) -> Recipe:
    # the threshold stays, since tdBN scales by it; the neurons' own are loaded
    neuron = {"name": "converted", "reset": "subtract", "shape": "rect", "width": 1.0, "train_decay": False}
    return derive(
        recipe,
        name=f"{recipe.name}_converted",
        summary=f"{recipe.summary}, converted by the {percentile:g}th percentile to T={steps}",
        model={"steps": steps},
        neuron=neuron if into is None else asdict(into.neuron),
    )
