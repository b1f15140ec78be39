"""From a recipe to the parts of a training."""

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from surgrad.adapt import CONTROLLERS, LAWS, RULES, Adapter, make
from surgrad.adapt.probe import Loss
from surgrad.coding import CODINGS
from surgrad.config.recipe import LossConfig, NeuronConfig, OptimConfig, Recipe
from surgrad.data import DATASETS, FOLDERS, FolderData, ImageData, load, load_folder
from surgrad.data.augment import Augment
from surgrad.data.batches.folders import FolderBatches
from surgrad.data.batches.memory import Batches
from surgrad.data.batches.recordings import EventBatches
from surgrad.data.batches.stored import StoredBatches
from surgrad.data.events.sets import EVENT_SETS, EventData, load_events
from surgrad.errors import BadValue, unknown
from surgrad.gradients import GRADIENTS
from surgrad.kernels.lif import BACKENDS, RESETS, Reset
from surgrad.losses import LOSSES
from surgrad.models import MODELS, SpikingNetwork
from surgrad.neurons import LIF, NEURONS, neurons
from surgrad.norm import NORMS, TDBN
from surgrad.optim import OPTIMIZERS, SCHEDULES, Schedule, build_optimizers
from surgrad.penalties import PENALTIES, penalise, penalty
from surgrad.surrogates import SURROGATES, Surrogate, dspike
from surgrad.train.average import WeightAverage
from surgrad.train.inputs import InputSpec, inputs_of

Data = ImageData | FolderData | EventData
DIRECT = "direct"
"""No coding: images are shown as they are."""
RELU = "relu"
"""The unit of an ANN, in a neuron's place, for `surgrad convert`."""
PRECISIONS = ("auto", "fp32", "bf16")
DEVICES = ("auto", "cpu", "cuda")


@dataclass
class Parts:
    """All that the loop moves. `model` holds the weights; `forward` is it, or its compiled form."""

    model: SpikingNetwork
    forward: nn.Module
    loss: Loss
    penalty: Callable[[float], Tensor | float]  # of the progress, 0 to 1; added to the loss
    gradient: Callable[..., tuple[Tensor, Tensor]]
    optimizers: list[torch.optim.Optimizer]
    schedule: Schedule
    adapter: Adapter
    batches: Batches | StoredBatches
    inputs: InputSpec
    device: torch.device
    bf16: bool
    average: WeightAverage | None = None


def build(recipe: Recipe, root: Path | None = None) -> Parts:
    """Everything that the recipe names, seeded; the data set found under `root` (see `surgrad.data.load`)."""
    _check_names(recipe)
    _check_settings(recipe)
    device = _device(recipe.run.device)
    bf16 = _bf16(recipe.run.precision, device)
    optimizer, schedule = _named_optim(recipe.optim)
    data = _load(recipe, root)
    torch.manual_seed(recipe.seed)
    model = build_model(recipe, data)
    model.to(device)
    model.pack_spikes = recipe.run.pack_spikes
    model.last_step = recipe.model.last_step
    model.duplicate_batch = recipe.loss.name == "rdrop"
    if recipe.run.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from its stubs
    loss = build_loss(recipe.loss)
    batches = build_batches(recipe, data, device)
    steps = batches.per_epoch * recipe.optim.epochs
    optimizers = build_optimizers(model, *optimizer, lr=recipe.optim.lr, neuron_lr=recipe.optim.neuron_lr)
    knobs = asdict(recipe.adapt)
    controller = make(knobs.pop("controller"), **knobs)
    adapter = Adapter(model, controller, loss=loss, steps=steps, steps_per_epoch=batches.per_epoch)
    forward: Any = torch.compile(model, fullgraph=True, dynamic=False) if recipe.run.compile else model
    penalty = build_penalty(model, recipe.loss)
    gradient = build_gradient(recipe, model)
    return Parts(
        model=model,
        forward=forward,
        loss=loss,
        penalty=penalty,
        gradient=gradient,
        optimizers=optimizers,
        schedule=SCHEDULES.build(*schedule),
        adapter=adapter,
        batches=batches,
        inputs=inputs_of(data, recipe),
        device=device,
        bf16=bf16,
    )


def _named_optim(config: OptimConfig) -> tuple[tuple[str, dict[str, Any]], tuple[str, dict[str, Any]]]:
    """The optimiser and the schedule that the fields of OptimConfig stand for: (name, options) of each."""
    if config.drops is not None and config.period is not None:
        raise BadValue("optim.drops and optim.period are both given, and a rate follows one of them; give one")
    options: dict[str, Any] = {"weight_decay": config.weight_decay}
    if config.name == "muon":
        options = {"momentum": config.momentum}
    elif config.name == "sgd":
        options |= {"momentum": config.momentum, "nesterov": config.nesterov}
    else:
        options |= {"beta1": config.momentum}
    if config.nesterov and config.momentum == 0:
        raise BadValue("optim.nesterov needs momentum; give optim.momentum above 0, or optim.nesterov=false")
    schedule: dict[str, Any] = {"warmup": config.warmup}
    if config.drops is not None:
        return (config.name, options), ("steps", {**schedule, "drops": config.drops})
    return (config.name, options), ("cosine", {**schedule, "period": config.period})


def _check_names(recipe: Recipe) -> None:
    """Refuse a name that no registry holds, before any data is loaded."""
    for kind, name, known in (
        ("data set", recipe.data.name, (*DATASETS, *FOLDERS, *EVENT_SETS)),
        ("model", recipe.model.name, MODELS),
        ("coding", recipe.model.coding, (*CODINGS, DIRECT)),
        ("norm", recipe.model.norm, NORMS),
        ("neuron", recipe.neuron.name, (*NEURONS, RELU)),
        ("surrogate function", recipe.neuron.shape, SURROGATES),
        ("reset", recipe.neuron.reset, RESETS),
        ("backend", recipe.neuron.backend, (*BACKENDS, "auto")),
        ("controller", recipe.adapt.controller, CONTROLLERS),
        ("rule", recipe.adapt.rule or "lsg", RULES),
        ("law", recipe.adapt.law or "geometric", LAWS),
        ("loss", recipe.loss.name, LOSSES),
        ("penalty", recipe.loss.penalty or "im_loss", PENALTIES),
        ("optimiser", recipe.optim.name, OPTIMIZERS),
        ("gradient", recipe.optim.gradient, GRADIENTS),
    ):
        if name not in known:
            raise unknown(kind, name, known)


def _check_settings(recipe: Recipe) -> None:
    """Refuse settings that cannot both hold."""
    if recipe.neuron.learn_width and recipe.adapt.controller != "fixed":
        raise BadValue(
            f"neuron.learn_width trains the widths and adapt.controller = {recipe.adapt.controller} writes them; "
            "set one of them, adapt.controller=fixed or neuron.learn_width=false"
        )
    if recipe.neuron.name == "asgl" and not recipe.neuron.learn_width:
        raise BadValue("neuron 'asgl' trains its width; set neuron.learn_width=true and adapt.controller=fixed")
    if recipe.start.share and recipe.start.steps > recipe.model.steps:
        raise BadValue(
            f"start.steps = {recipe.start.steps} of model.steps = {recipe.model.steps}; give no more than those"
        )
    if recipe.run.compile and recipe.model.coding != DIRECT:
        raise BadValue(
            f"run.compile is true, and model.coding = {recipe.model.coding} looks at its batch to decide, "
            "which no graph does; set run.compile=false"
        )
    if recipe.run.compile and recipe.run.pack_spikes:
        raise BadValue(
            "run.compile and run.pack_spikes are both true, and a compiled graph keeps what it chooses; set one of them"
        )
    if recipe.run.compile and recipe.optim.gradient != "bptt":
        raise BadValue(
            f"run.compile compiles all steps as one graph, and optim.gradient = {recipe.optim.gradient} "
            "takes them apart; set run.compile=false, or optim.gradient=bptt"
        )
    if recipe.loss.name == "rdrop" and getattr(CONTROLLERS[recipe.adapt.controller], "needs_probe", False):
        raise BadValue(
            f"loss.name = rdrop judges every image under two dropouts, and {recipe.adapt.controller} needs "
            "one answer; give another loss, or a controller that does not probe"
        )
    if recipe.model.coding != DIRECT and recipe.data.name in EVENT_SETS:
        raise BadValue(
            f"model.coding = {recipe.model.coding} is of images, and {recipe.data.name} has recordings; set "
            f"model.coding={DIRECT}"
        )
    if recipe.data.skip_bad and recipe.data.name not in EVENT_SETS:
        raise BadValue(f"data.skip_bad leaves out recordings, and {recipe.data.name} has images; unset it")
    if recipe.neuron.name == RELU and recipe.model.steps != 1:
        raise BadValue(f"neuron 'relu' knows no time, and model.steps = {recipe.model.steps}; set it to 1")


def _load(recipe: Recipe, root: Path | None) -> Data:
    if recipe.data.name in EVENT_SETS:
        return load_events(recipe.data.name, root, recipe.data.split)
    if recipe.data.name in FOLDERS:
        return load_folder(recipe.data.name, root, recipe.data.side)
    return load(recipe.data.name, root)


def build_batches(recipe: Recipe, data: Data, device: torch.device) -> Batches | StoredBatches:
    """Training and test batches of the data set, augmented as the recipe says."""
    config = recipe.data
    start = recipe.start
    epochs = recipe.optim.epochs
    last = recipe.run.channels_last
    if isinstance(data, EventData):
        return EventBatches(data, config, recipe.model.steps, recipe.seed, device, start, epochs)
    if isinstance(data, FolderData):
        return FolderBatches(data, config, recipe.seed, device, last, start, epochs)
    augment = Augment(
        crop=config.crop,
        flip=config.flip,
        autoaugment=config.autoaugment,
        cutout=config.cutout,
        fill=tuple(round(255 * m) for m in data.mean),
    )
    return Batches(data, config, augment, recipe.seed, device, last, start, epochs)


def build_model(recipe: Recipe, data: Data | InputSpec) -> SpikingNetwork:
    """The recipe's network for the images and classes of that data set."""
    config = recipe.model
    kind: Any = NORMS[config.norm]
    told = (
        {"threshold": recipe.neuron.threshold}
        if kind is TDBN
        else {"steps": config.steps}
        if kind.per_time_step
        else {}
    )
    norm = partial(kind, **told)
    builder = MODELS[config.name]
    takes = inspect.signature(builder).parameters
    sized = "image_size" in takes
    channels, _, side = (2, recipe.data.side, recipe.data.side) if isinstance(data, EventData) else data.shape
    coding = None if config.coding == DIRECT else CODINGS[config.coding]()
    side = side if coding is None else coding.side(side)
    options: dict[str, Any] = {"image_size": side} if sized else {}
    if config.summand_alpha != 1:
        if kind is not TDBN or "summand" not in takes:
            raise BadValue(
                f"model.summand_alpha = {config.summand_alpha} is tdBN's, of residual additions, and this "
                f"is {config.name} with {config.norm}; give 1, or resnet19 with tdbn"
            )
        options["summand"] = partial(norm, alpha=config.summand_alpha)
    if sized and recipe.start.side is not None:
        raise BadValue(f"model '{config.name}' is made for one image size; give start.side=none")
    network = builder(
        len(data.classes),
        in_channels=channels,
        steps=config.steps,
        neuron=partial(build_neuron, recipe.neuron, config.steps),
        norm=norm,
        width_multiplier=config.width_multiplier,
        **options,
    )
    network.coding = coding
    return network


def build_neuron(config: NeuronConfig, steps: int) -> LIF | nn.ReLU:
    """A new neuron with a surrogate of its own; Dspike's support is (0, 2·v_th), whatever the threshold."""
    if config.name == RELU:
        return nn.ReLU()
    kind = NEURONS[config.name]
    told: dict[str, Any] = {"decay": config.decay, "train_decay": config.train_decay} if kind.has_decay else {}
    if kind.per_time_step:
        told["steps"] = steps
    shape = dspike(1.0 if kind.threshold_units else config.threshold) if config.shape == "dspike" else config.shape
    surrogate = Surrogate(shape, config.width, learn=config.learn_width, first=config.first_width)
    return kind(
        threshold=config.threshold,
        surrogate=surrogate,
        reset=cast(Reset, config.reset),
        detach_reset=config.detach_reset,
        backend=config.backend,
        **told,
    )


def build_loss(config: LossConfig) -> Loss:
    """The recipe's loss as a function of (output, labels)."""
    options = {"weight": config.tet_weight, "target": config.tet_target} if config.name == "tet" else {}
    return partial(LOSSES[config.name], label_smoothing=config.label_smoothing, **options)


def build_gradient(recipe: Recipe, model: SpikingNetwork) -> Callable[..., tuple[Tensor, Tensor]]:
    """How the recipe's gradient is found; refuses what that model has none for."""
    found = GRADIENTS[recipe.optim.gradient]
    count = recipe.optim.gradient_steps
    try:
        found.check(model)
    except BadValue as error:
        raise BadValue(f"optim.gradient = {recipe.optim.gradient}: {error}") from error
    if count is None:
        return found.find
    least = min(recipe.start.steps, recipe.model.steps) if recipe.start.share else recipe.model.steps
    if recipe.optim.gradient != "sltt" or count > least:
        raise BadValue(
            f"optim.gradient_steps = {count} is sltt's, of {least} steps (model.steps, and start.steps "
            f"where start.share is set), and optim.gradient = {recipe.optim.gradient}; give none, or "
            "optim.gradient=sltt and no more than those"
        )
    return partial(found.find, count=count)


def build_penalty(model: nn.Module, config: LossConfig) -> Callable[[float], Tensor | float]:
    """What a training adds to its loss, as a function of its progress; asks the model's neurons for it."""
    if config.penalty is None:
        return lambda progress: 0.0
    penalise(model, config.penalty, inner=config.penalty_inner)

    def weighted(progress: float) -> Tensor | float:
        if progress >= config.penalty_until:  # nobody asks any more
            for neuron in neurons(model).values():
                neuron.penalise = neuron.penalty = None
            return 0.0
        return (
            config.penalty_weight * (progress / config.penalty_until if config.penalty_ramp else 1.0) * penalty(model)
        )

    return weighted


def _device(name: str) -> torch.device:
    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    if name == "cuda" and not torch.cuda.is_available():
        raise BadValue("run.device = cuda, but torch sees no CUDA device; give run.device=cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _bf16(precision: str, device: torch.device) -> bool:
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_amx_tile_supported()  # elsewhere bf16 convolutions are emulated, and slower than fp32
