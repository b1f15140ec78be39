"""Conversion of an ANN's run folder into the run folder of a spiking network."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, cast

from surgrad.config import parts
from surgrad.config.recipe import NeuronConfig, Recipe, SurrogateConfig, derive, to_dict
from surgrad.conversion import accuracy_over_time, convert
from surgrad.errors import BadValue
from surgrad.files import write_json
from surgrad.models import SpikingNetwork
from surgrad.neurons import Neuron, neurons
from surgrad.train import checkpoint
from surgrad.train.building import RELU, Data, build, build_neuron
from surgrad.train.environment import environment
from surgrad.train.evaluation import first_test_batches
from surgrad.train.inputs import write_inputs
from surgrad.train.progress import say_on_stderr
from surgrad.train.run_folder import claimed, recipe_of

CALIBRATION = 1_024
"""Training images by which the thresholds are balanced."""


def convert_run(
    folder: Path,
    out: Path,
    *,
    steps: int,
    percentile: float = 99.9,
    scale: float = 1.0,
    images: int | None = None,
    data: Data | None = None,
    into: Recipe | None = None,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Convert a run's ReLU network (`surgrad.conversion`), and measure the accuracy after every number of time steps.

    Args:
        folder: the run folder of a ReLU network.
        out: the new run folder, for `surgrad eval`, `surgrad.load_run`, and as `init_from` of a training.
        steps: the largest number of time steps.
        percentile: see `surgrad.conversion.convert`, as for scale.
        scale: a factor of the thresholds.
        images: measure on the first `images` test images; None: on all.
        data: where the data sets are, or the data itself; see `surgrad.train.build`.
        into: a recipe of the same network, whose neurons it gets; None: `ConvertedIF`.
        show: called with the number of measured images, and of all.

    Returns:
        The content of conversion.json in `out`.

    Raises:
        BadValue: for a run without ReLUs, nothing to measure, or a recipe of another network.
    """
    recipe = recipe_of(folder)
    if recipe.neuron.name != RELU:
        raise BadValue(
            f"{folder} is a run of neuron '{recipe.neuron.name}', and only an ANN can be converted; train one, "
            "with --set neuron.name=relu --set model.steps=1 --set adapt.name=fixed"
        )
    if steps < 1 or (images is not None and images < 1):
        raise BadValue(f"{steps} steps of {images} images cannot be measured; give 1 or more of both")
    _check_into(recipe, into)
    built = build(derive(recipe, run={"compile": False}), data)
    checkpoint.fit(built.model, checkpoint.load_weights(folder, "last", say_on_stderr), folder)
    network = convert(
        built.model,
        islice(built.batches.train(0), -(-CALIBRATION // built.batches.size)),
        percentile=percentile,
        scale=scale,
        steps=steps,
        neuron=_maker(into, steps),
    )
    with claimed(out, None, say_on_stderr):
        record = {
            "ann": str(folder),
            "name": recipe.name,
            "seed": recipe.seed,
            "percentile": percentile,
            "scale": scale,
            "ann_accuracy": accuracy_over_time(built.model, first_test_batches(built, images), 1)[0],
            "images": min(built.batches.test_count, images or built.batches.test_count),
            "thresholds": levels_of(network),
            "accuracy": accuracy_over_time(network, first_test_batches(built, images, show), steps),
        }
        write_json(out / "recipe.json", to_dict(_converted(recipe, steps, percentile, into)))
        write_json(out / "env.json", environment(built.device, built.bf16))
        write_inputs(out, built.inputs)
        checkpoint.save(out, network, {"converted": True})
        write_json(out / "conversion.json", record)
    return record


def levels_of(network: SpikingNetwork) -> dict[str, float]:
    """By neuron, its threshold in units of its input current."""
    return {
        name: (neuron.threshold / (1 if neuron.gain is None else neuron.gain)).item()
        for name, neuron in neurons(network).items()
    }


def _maker(into: Recipe | None, steps: int) -> Callable[[float], Neuron] | None:
    """A function that builds a recipe's neuron with another threshold."""
    if into is None:
        return None
    into = derive(into, model={"steps": steps})
    return lambda level: cast(Neuron, build_neuron(derive(into, neuron={"threshold": level})))


def _check_into(recipe: Recipe, into: Recipe | None) -> None:
    """Refuse a recipe whose network cannot load this one's weights, or that has no spiking neuron."""
    if into is None:
        return
    if into.neuron.name == RELU:
        raise BadValue(f"'{into.name}' is a recipe of ReLUs, and a converted network has spiking neurons; name another")
    for group in ("model", "norm", "coding"):
        _check_alike(f"{group}.name", getattr(recipe, group).name, getattr(into, group).name, into.name)
    own, wanted = (parts.value(one, "model", "width_multiplier") for one in (recipe, into))
    _check_alike("model.width_multiplier", own, wanted, into.name)
    if recipe.norm.name == "tdbn":  # tdBN scales by the threshold
        own, wanted = (parts.value(one, "neuron", "threshold") for one in (recipe, into))
        _check_alike("neuron.threshold", own, wanted, into.name)


def _check_alike(path: str, own: Any, wanted: Any, name: str) -> None:
    if own != wanted:
        raise BadValue(
            f"the ANN has {path} = {own}, and '{name}' needs {wanted}; train the ANN with --set "
            f"{path}={wanted}, or set that recipe's"
        )


def _converted(recipe: Recipe, steps: int, percentile: float, into: Recipe | None) -> Recipe:
    # the threshold stays, since tdBN scales by it; those of the neurons are loaded with the weights
    threshold = parts.value(recipe, "neuron", "threshold")
    converted = NeuronConfig("converted", threshold=threshold, reset="subtract")
    return derive(
        recipe,
        name=f"{recipe.name}_converted",
        summary=f"{recipe.summary}, converted by the {percentile:g}th percentile to T={steps}",
        model={"steps": steps},
        neuron=converted if into is None else into.neuron,
        surrogate=SurrogateConfig("rect") if into is None else into.surrogate,
    )
