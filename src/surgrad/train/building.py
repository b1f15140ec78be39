"""From a recipe to the objects of a training."""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from surgrad import ranks
from surgrad.adapt import CONTROLLERS, Adapter
from surgrad.adapt.probe import Loss
from surgrad.coding import CODINGS, Coding
from surgrad.config import parts
from surgrad.config.flat import differing
from surgrad.config.parts import GIVEN, NONE, resolved
from surgrad.config.plugins import load_plugins
from surgrad.config.recipe import PenaltyConfig, ProgressiveConfig, Recipe, SurrogateConfig, derive, to_dict
from surgrad.conversion import UNITS
from surgrad.data import DATASETS, EventData, FolderData, ImageData, as_source
from surgrad.data.source import Batches, BatchSettings, DataSource, Progressive
from surgrad.errors import BadValue
from surgrad.gradients import GRADIENTS, Gradient
from surgrad.losses import LOSSES
from surgrad.models import MODELS, SpikingNetwork, Whitening, init_kaiming
from surgrad.neurons import NEURONS, neurons
from surgrad.norm import NORMS
from surgrad.optim import SCHEDULES, build_optimizers
from surgrad.penalties import penalise, penalty
from surgrad.surrogates import SURROGATE_BUILDERS, Surrogate
from surgrad.train.average import AVERAGES
from surgrad.train.inputs import InputSpec
from surgrad.train.parts import Parts

DIRECT = "direct"
"""The coding that shows images as they are."""
RELU = "relu"
"""The unit of an ANN in place of a neuron, for `surgrad convert`."""


Data = Path | str | DataSource | ImageData | FolderData | EventData
"""Where the data sets are, or the data itself."""


class Samples(Protocol):
    """What a network is built for."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def is_sequence(self) -> bool: ...


def build(recipe: Recipe, data: Data | None = None) -> Parts:
    """Everything that the recipe names, seeded.

    Args:
        recipe: the training.
        data: where the data sets are (`surgrad.data.data_root`); or the data itself, which is used instead of the data
            set that the recipe names: any `DataSource`, or what `surgrad.data.load`, `load_folder` or `load_events`
            returns, to which the recipe's data options then apply.

    Returns:
        The objects that a training uses; `model` holds the network.

    Raises:
        UnknownName: a name that no registry holds.
        BadValue: options that a part does not have, values out of range, or settings that exclude each other.

    Example:
        >>> from surgrad import Recipe, derive
        >>> from surgrad.data import ArraySource
        >>> images, labels = torch.rand(16, 1, 8, 8), torch.arange(16) % 2
        >>> recipe = derive(Recipe("tiny"), data={"batch": 8}, model={"steps": 2})
        >>> parts = build(recipe, ArraySource((images, labels), (images, labels)))
        >>> parts.model(images).shape  # [T, N, classes]
        torch.Size([2, 16, 2])
    """
    load_plugins()
    recipe = naming_data(recipe, data)
    parts.check(recipe)
    _check(recipe)
    source = find_source(recipe, data)
    _check_coding(recipe, source)
    device = find_device(recipe.run.device)
    torch.manual_seed(recipe.seed)
    loss = build_loss(recipe)
    model = build_model(recipe, source)
    model.to(device)
    model.pack_spikes = recipe.run.pack_spikes
    model.checkpoint = recipe.run.checkpoint
    model.duplicate_batch = duplicates_batch(recipe)
    if recipe.run.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from its stubs
    batches = source.batches(_batch_settings(recipe, device))
    _fit_whitening(model, batches)
    optim = recipe.optim
    optimizers = build_optimizers(model, optim.name, optim.options, lr=optim.lr, neuron_lr=optim.neuron_lr)
    return Parts(
        recipe=recipe,
        model=model,
        forward=_compiled(model) if recipe.run.compile else model,
        loss=loss,
        optimizers=optimizers,
        schedule=SCHEDULES.build(recipe.schedule.name, recipe.schedule.options),
        adapter=_build_adapter(recipe, model, loss, batches),
        penalty=build_penalty(model, recipe.penalty),
        gradient=build_gradient(recipe, model),
        batches=batches,
        inputs=InputSpec(source.classes, source.input_shape, source.is_sequence),
        average=AVERAGES.build(recipe.average.name, recipe.average.options),
        device=device,
        bf16=uses_bf16(recipe.run.precision, device),
        graph=uses_graph(recipe, device),
    )


def find_source(recipe: Recipe, data: Data | None) -> DataSource:
    """The data set that the recipe names, found under the folder `data`; or the data given."""
    if not (data is None or isinstance(data, Path | str)):
        return as_source(data, recipe.data.options)
    if recipe.data.name == GIVEN:
        raise BadValue("this training is on data given in Python; give the data again: data=...")
    source: DataSource = DATASETS.build(recipe.data.name, recipe.data.options, root=data)
    return source


def naming_data(recipe: Recipe, data: Data | None) -> Recipe:
    """The recipe as it is trained on this data.

    Data given in Python replaces the data set that the recipe names. A data source also replaces its options: it has
    those with which it was made.
    """
    if data is None or isinstance(data, Path | str):
        return recipe
    named = recipe.data.replaced({"name": GIVEN})
    return derive(recipe, data=parts.only(named, {}) if isinstance(data, DataSource) else named)


def build_model(recipe: Recipe, samples: Samples) -> SpikingNetwork:
    """The recipe's network for samples and classes as those of `samples`.

    Args:
        recipe: its model, norm, coding, neuron and surrogate are used.
        samples: what the network is built for.

    Raises:
        BadValue: the network takes samples of another number of dimensions.
    """
    coding = CODINGS.build(recipe.coding.name, recipe.coding.options)
    channels, *sides = shape = _step_shape(recipe, samples, coding)
    sized = MODELS.takes(recipe.model.name, "image_size")
    if sized and not MODELS.takes(recipe.model.name, "features") and len(set(sides)) > 1:
        raise BadValue(
            f"model '{recipe.model.name}' is built for square images, and these have {' × '.join(map(str, sides))} "
            "pixels; cut them to squares, or choose a network of any size, such as resnet18"
        )
    if sized and recipe.progressive.image_size is not None:
        raise BadValue(
            f"model '{recipe.model.name}' is built for one image size, and progressive.image_size = "
            f"{recipe.progressive.image_size}; set progressive.image_size=none"
        )
    network = MODELS.build(
        recipe.model.name,
        recipe.model.options,
        classes=len(samples.classes),
        in_channels=channels,
        image_size=sides[-1] if sides else 1,
        features=math.prod(shape),
        sample_dims=len(shape),
        steps=recipe.model.steps,
        neuron=lambda channels: build_neuron(recipe, channels),
        norm=norm_factory(recipe),
    )
    _check_sample_dims(recipe, network, samples)
    if recipe.model.init == "kaiming_fan_out":
        init_kaiming(network, "fan_out")
    network.coding = coding
    network.last_step = recipe.model.last_step
    return network


def _step_shape(recipe: Recipe, samples: Samples, coding: Coding | None) -> tuple[int, ...]:
    """The shape of a sample at one time step, as the network sees it."""
    if coding is None:
        return samples.input_shape
    shape = coding.shape(samples.input_shape, recipe.model.steps)
    if recipe.progressive.fraction and coding.shape(samples.input_shape, recipe.progressive_steps) != shape:
        raise BadValue(
            f"coding.name = {recipe.coding.name} shows other shapes with another number of time steps, and "
            f"progressive.steps = {recipe.progressive_steps}; set progressive.fraction=0"
        )
    return shape


def _check_sample_dims(recipe: Recipe, network: SpikingNetwork, samples: Samples) -> None:
    """Refuse a network for samples of another number of dimensions, such as one for images where the data has sound."""
    dims = len(samples.input_shape)
    if network.sample_dims != dims:
        fitting = ", ".join(f"'{name}'" for name in MODELS if MODELS.takes(name, "sample_dims"))
        raise BadValue(
            f"model.name = {recipe.model.name} takes samples of {network.sample_dims} dimensions, and the samples of "
            f"data set '{recipe.data.name}' have {dims}, {list(samples.input_shape)}; choose a network that fits: "
            f"{fitting}"
        )


def build_neuron(recipe: Recipe, channels: int | None = None) -> nn.Module:
    """A new neuron with a separate surrogate.

    Args:
        recipe: its neuron and surrogate are used.
        channels: the number of channels of its input. The neuron gets it as `layer_channels`; with `neuron.per_channel`
            also as `channels`, and then decay, threshold and width are one number per channel.
    """
    config = recipe.neuron
    if config.name in UNITS:
        return UNITS.build(config.name, config.options)
    own = channels if config.per_channel else None
    of_width = channels if config.per_channel or recipe.surrogate.per_channel else None
    return NEURONS.build(
        config.name,
        config.options,
        surrogate=build_surrogate(recipe, of_width),
        channels=own,
        layer_channels=channels,
        steps=recipe.model.steps,
    )


def build_surrogate(recipe: Recipe, channels: int | None = None) -> Surrogate:
    """The recipe's surrogate function with the slot of its width: 0-d, or [channels]."""
    config = recipe.surrogate
    in_units = getattr(NEURONS[recipe.neuron.name], "threshold_units", False)
    threshold = 1.0 if in_units else _threshold(recipe)
    function = SURROGATE_BUILDERS.build(config.name, config.options, threshold=threshold)
    width = config.width if channels is None else torch.full((channels,), config.width)
    return Surrogate(function, width, steps=config.steps, learn=config.learn)


def norm_factory(recipe: Recipe) -> Callable[..., nn.Module]:
    """The constructor of the recipe's norm with its options; call it with the number of channels."""
    name = recipe.norm.name
    context: dict[str, Any] = {"threshold": _threshold(recipe), "steps": recipe.model.steps}
    taken = {key: value for key, value in context.items() if NORMS.takes(name, key)}
    kind: Any = NORMS[name]
    return partial(kind, **NORMS.check(name, recipe.norm.options), **taken)


def _threshold(recipe: Recipe) -> float:
    """The threshold of the recipe's neurons at the start, in units of potential."""
    return float(parts.value(recipe, "neuron", "threshold"))


def build_loss(recipe: Recipe) -> Loss:
    """The recipe's loss as a function of (output, labels)."""
    return partial(LOSSES[recipe.loss.name], **LOSSES.check(recipe.loss.name, recipe.loss.options))


def duplicates_batch(recipe: Recipe) -> bool:
    """Whether the recipe's loss compares two outputs for every sample (`SpikingNetwork.duplicate_batch`)."""
    return bool(getattr(LOSSES[recipe.loss.name], "duplicates_batch", False))


def build_gradient(recipe: Recipe, model: SpikingNetwork) -> Gradient:
    """How the recipe's gradient is found; refuses a network that it is not made for."""
    config = recipe.gradient
    gradient = GRADIENTS.build(config.name, config.options)
    fewer = recipe.progressive.fraction and recipe.progressive.steps is not None
    fewest = "progressive.steps" if fewer else "model.steps"
    limit = recipe.progressive_steps if fewer else recipe.model.steps
    chosen = config.options.get("steps")
    if chosen is not None and chosen > limit:
        raise BadValue(f"gradient.steps = {chosen} is more than {fewest} = {limit}; give at most that")
    try:
        gradient.check(model)
    except BadValue as error:
        raise BadValue(f"gradient.name = {config.name}: {error}") from error
    return gradient


def build_penalty(model: nn.Module, config: PenaltyConfig) -> Callable[[float], Tensor | float]:
    """What a training adds to its loss, as a function of its progress in [0, 1].

    Makes the model's neurons compute it.
    """
    if config.name == NONE:
        return lambda progress: 0.0
    penalise(model, config.name, inner=config.inner, **config.options)

    def weighted(progress: float) -> Tensor | float:
        if progress >= config.until:  # the penalty phase is over
            for neuron in neurons(model).values():
                neuron.penalty_fn = None
                neuron.penalty = None
            return 0.0
        factor = progress / config.until if config.ramp else 1.0
        return config.weight * factor * penalty(model)

    return weighted


def _build_adapter(recipe: Recipe, model: nn.Module, loss: Loss, batches: Batches) -> Adapter:
    controller = CONTROLLERS.build(recipe.adapt.name, recipe.adapt.options)
    if recipe.surrogate.learn and not controller.writes_nothing:  # some write only after a while
        raise BadValue(
            f"surrogate.learn is true, and the controller '{recipe.adapt.name}' writes the width; set adapt.name=fixed "
            "or surrogate.learn=false"
        )
    steps = batches.per_epoch * recipe.optim.epochs
    return Adapter(
        model,
        controller,
        loss=loss,
        steps=steps,
        steps_per_epoch=batches.per_epoch,
        forwards=recipe.optim.accumulate,
        parts=recipe.optim.accumulate,
    )


def _fit_whitening(model: SpikingNetwork, batches: Batches) -> None:
    """Fit the layers that whiten images to the training's first batch."""
    layers = [module for module in model.modules() if isinstance(module, Whitening)]
    if layers:
        with ranks.alone():
            images, _ = next(batches.train(0))
        for layer in layers:
            layer.fit(images)


def _batch_settings(recipe: Recipe, device: torch.device) -> BatchSettings:
    start = recipe.progressive
    return BatchSettings(
        batch=recipe.data.batch,
        seed=recipe.seed,
        device=device,
        epochs=recipe.optim.epochs,
        steps=recipe.model.steps,
        limit=recipe.data.limit,
        holdout=recipe.data.holdout,
        channels_last=recipe.run.channels_last,
        progressive=Progressive(start.fraction, recipe.progressive_steps, start.image_size),
        parts=recipe.optim.accumulate,
    )


def _compiled(model: SpikingNetwork) -> Any:
    return torch.compile(model, fullgraph=True, dynamic=False)


def _check(recipe: Recipe) -> None:
    """Refuse settings that exclude each other, before the data is loaded."""
    ranks.check_shares(recipe.data.batch, recipe.optim.accumulate)
    steps = recipe.progressive_steps
    if recipe.progressive.fraction and steps > recipe.model.steps:
        raise BadValue(
            f"progressive.steps = {steps} is more than model.steps = {recipe.model.steps}; give at most that"
        )
    if recipe.neuron.name == RELU and recipe.model.steps != 1:
        raise BadValue(f"neuron 'relu' has no time, and model.steps = {recipe.model.steps}; set model.steps=1")
    if duplicates_batch(recipe) and getattr(CONTROLLERS[recipe.adapt.name], "needs_probe", False):
        raise BadValue(
            f"loss.name = {recipe.loss.name} compares two outputs for every image, and {recipe.adapt.name} probes for "
            "one; give another loss, or a controller that does not probe"
        )
    if recipe.run.checkpoint and not GRADIENTS[recipe.gradient.name].allows_checkpoint:
        raise BadValue(
            f"run.checkpoint computes blocks again in the backward pass, and gradient.name = {recipe.gradient.name} "
            "changes what they compute; set run.checkpoint=false or gradient.name=bptt"
        )
    if recipe.run.compile:
        _check_compiled(recipe)


def _check_coding(recipe: Recipe, source: DataSource) -> None:
    """Refuse a coding of images where the data has recordings."""
    if recipe.coding.name != DIRECT and source.is_sequence:
        raise BadValue(
            f"coding.name = {recipe.coding.name} encodes images, and {recipe.data.name} has recordings; "
            f"set coding.name={DIRECT}"
        )


def _reads_values(recipe: Recipe) -> bool:
    """Whether the recipe's coding computes what no graph can hold."""
    return bool(getattr(CODINGS[recipe.coding.name], "reads_values", False))


def _check_compiled(recipe: Recipe) -> None:
    """Refuse what cannot be one graph."""
    if _reads_values(recipe):
        raise BadValue(
            f"run.compile is true, and coding.name = {recipe.coding.name} decides by the values of its batch, "
            "which a graph cannot; set run.compile=false"
        )
    for name in ("pack_spikes", "checkpoint"):
        if getattr(recipe.run, name):
            raise BadValue(
                f"run.compile and run.{name} are both true, and a compiled graph decides itself what it keeps; "
                "set one of them"
            )
    if recipe.gradient.name != "bptt":
        raise BadValue(
            f"run.compile compiles all time steps as one graph, and gradient.name = {recipe.gradient.name} runs them "
            "one by one; set run.compile=false or gradient.name=bptt"
        )


def find_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where torch finds it, else the CPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise BadValue("run.device = cuda, but torch finds no CUDA device; set run.device=cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Whether a training computes under bfloat16 autocast."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_amx_tile_supported()  # elsewhere bf16 convolutions are emulated, and slower than fp32


def unread_settings(recipe: Recipe) -> list[str]:
    """Sentences about settings that were changed and have no effect, or not the one that one might expect."""
    found = []
    controller = CONTROLLERS.build(recipe.adapt.name, recipe.adapt.options)
    if recipe.surrogate.width != SurrogateConfig().width and not controller.writes_nothing:
        found.append(
            f"the controller '{recipe.adapt.name}' sets the widths; surrogate.width = {recipe.surrogate.width:g} is "
            "only their start"
        )
    if recipe.penalty.name == NONE:
        found += _changed("penalty", recipe.penalty, PenaltyConfig(), "penalty.name = none")
    if recipe.progressive.fraction == 0:
        found += _changed("progressive", recipe.progressive, ProgressiveConfig(), "progressive.fraction = 0")
    elif recipe.progressive_steps == recipe.model.steps and recipe.progressive.image_size is None:
        found.append(
            "progressive.fraction has no effect: all time steps of whole images are shown; set progressive.steps or "
            "progressive.image_size"
        )
    if parts.value(recipe, "data", "slicing", "step") != "step" and "step_us" in recipe.data.options:
        found.append("data.step_us has no effect with data.slicing other than step")
    return found


def _changed(group: str, settings: Any, default: Any, why: str) -> list[str]:
    """The settings of a group that differ from their defaults."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    plain = {name: value for name, value in values.items() if name not in ("name", "options")}
    return [f"{group}.{name} has no effect with {why}" for name, v in plain.items() if v != getattr(default, name)]


def check_for_ranks(parts: Parts) -> None:
    """Refuse what several processes would not compute as one does.

    Raises:
        BadValue: samples of a batch depend on each other, or draw random numbers, or run.compile is true, or the ranks
            have different data, and there are several.
    """
    if not ranks.several():
        return
    batches = parts.batches
    _check_agreement(
        {
            "training samples": batches.train_count,
            "held-out samples": batches.holdout_count,
            "test samples": batches.test_count,
            "shape of a sample": repr(parts.inputs),
        }
    )
    if parts.recipe.run.compile:
        raise BadValue(
            "run.compile makes one graph of the network, and several processes exchange statistics within it; set "
            "run.compile=false"
        )
    modules = parts.model.modules()
    coupling = sorted({type(module).__name__ for module in modules if not ranks.shares_batches(module)})
    if coupling:
        raise BadValue(
            f"with {', '.join(coupling)} the result for a sample depends on the others of its batch, or on random "
            "numbers drawn for all of them, and each of several processes has some of them; train this recipe by one "
            "process, or use surgrad's norms in place of torch's batch norms"
        )


def check_recipe_for_ranks(recipe: Recipe) -> None:
    """Refuse several processes with different recipes.

    Raises:
        BadValue: one has another recipe or release of torch than the first.
    """
    if ranks.several():
        _check_agreement({**to_dict(resolved(recipe)), "torch": torch.__version__})


def _check_agreement(own: Mapping[str, Any]) -> None:
    """Refuse several processes of which one has something else than the first, by name."""
    found = ranks.gathered_objects(own)
    for rank, other in enumerate(found):
        for name, (first, value) in differing([found[0], other]).items():
            raise BadValue(
                f"rank {rank} has {name} = {value}, and rank 0 has {first}; give all processes the same command, data "
                "and software"
            )


def uses_graph(recipe: Recipe, device: torch.device) -> bool:
    """Whether a training finds its gradient by a CUDA graph.

    Raises:
        BadValue: run.graph is "on", and the device or another setting does not allow it.
    """
    if recipe.run.graph == "off":
        return False
    obstacle = _obstacle_to_graph(recipe, device)
    if obstacle and recipe.run.graph == "on":
        raise BadValue(f"run.graph = on, and a CUDA graph cannot hold the step: {obstacle}; set run.graph=auto")
    return obstacle is None


def _obstacle_to_graph(recipe: Recipe, device: torch.device) -> str | None:
    """Why a step of a training cannot be a CUDA graph, or None."""
    if device.type != "cuda":
        return f"the device is {device.type}"
    if ranks.several():
        return "several processes exchange statistics and gradients in it"
    if recipe.run.compile:
        return "run.compile is true, and torch.compile decides itself what is a graph"
    if not GRADIENTS[recipe.gradient.name].allows_compile:
        return f"gradient.name = {recipe.gradient.name} decides in Python what every time step computes"
    if _reads_values(recipe):
        return f"coding.name = {recipe.coding.name} decides by the values of its batch"
    if recipe.penalty.name != NONE:
        return f"the weight of penalty.name = {recipe.penalty.name} changes from step to step"
    return None
