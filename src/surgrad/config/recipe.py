"""Recipes: everything that decides a training, as frozen dataclasses that survive JSON.

A recipe is made of settings and of parts. A part is a name in a registry (`surgrad.config.parts` lists them) with
options of the constructor found there, so nothing here knows which options there are:

    Recipe("mine", neuron=NeuronConfig("plif", tau=2.0), adapt=Part("esg", low=0.3))

In JSON and on the command line the options of a part stand next to its other settings: `{"name": "plif", "tau": 2.0}`,
`--set neuron.tau=2`.
"""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self

from surgrad.config.values import Count, Fraction, NonNegative, Positive, Range, checked
from surgrad.errors import BadValue, unknown

FORMAT = 2
"""Layout of a recipe in JSON; `surgrad.config.compat` reads the earlier one."""

Seed = Annotated[int, Range(0, 2**63 - 1)]


class Settings:
    """A frozen dataclass that refuses values of another type and numbers out of range."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self), include_extras=True)
        for entry in dataclasses.fields(self):  # type: ignore[arg-type]  # each subclass is a dataclass
            value = getattr(self, entry.name)
            if not isinstance(value, Settings | Mapping):
                object.__setattr__(self, entry.name, checked(self._path(entry.name), value, hints[entry.name]))

    @classmethod
    def _path(cls, name: str) -> str:
        """How errors name a field, as in "optim.lr"."""
        part = cls.__name__.removesuffix("Config").lower()
        return name if part == "recipe" else f"{part}.{name}"

    @classmethod
    def hints(cls) -> dict[str, Any]:
        """The annotations of the fields that can be set from text, by name."""
        return {
            name: hint
            for name, hint in typing.get_type_hints(cls, include_extras=True).items()
            if name != "options" and typing.get_origin(hint) is not ClassVar and not _is_settings(hint)
        }

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON has them."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}  # type: ignore[arg-type]
        options = values.pop("options", {})
        plain = {key: value.to_dict() if isinstance(value, Settings) else value for key, value in values.items()}
        return plain | {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}

    def replaced(self, changes: Mapping[str, Any]) -> Self:
        """A copy with some settings changed."""
        known = self.hints()
        for name in changes:
            if name not in known:
                raise unknown("setting", self._path(name), [self._path(other) for other in known])
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


def _is_settings(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Settings)


@dataclass(frozen=True, init=False)
class Part(Settings):
    """A part by its name in a registry, with options of the constructor found there.

    Options that are not given have the constructor's defaults. They are checked against it when the recipe is built
    (`surgrad.config.parts.check`).

    Args:
        name: the part's name in its registry; some groups of a recipe have a default.
        **settings: settings of the group, and options of the part's constructor.

    Raises:
        BadValue: where there is no name, or a setting of the group has a wrong type or is out of range.

    Example:
        >>> Part("plif", tau=2.0).options["tau"]
        2.0
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    NAME: ClassVar[str] = ""
    """The name where none is given."""

    def __init__(self, name: str | None = None, /, **settings: Any):
        values = {"name": name or settings.pop("name", self.NAME)}
        if not values["name"]:
            raise BadValue(f"{type(self).__name__} without a name; give the name of a part as its first argument")
        for entry in dataclasses.fields(self):
            if entry.name not in ("name", "options"):
                values[entry.name] = settings.pop(entry.name, entry.default)
        settings = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
        for key, value in (values | {"options": settings}).items():
            object.__setattr__(self, key, value)
        self.__post_init__()

    def replaced(self, changes: Mapping[str, Any]) -> Self:
        """A copy with some settings and options changed; the other options stay."""
        held = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self) if entry.name != "options"}
        return type(self)(**{**held, **self.options, **changes})


@dataclass(frozen=True, init=False)
class DataConfig(Part):
    """The data set (`surgrad.data.DATASETS`), and how its samples become batches.

    The parameters are those of `Part`; the settings of this group are:

    Attributes:
        batch: samples per training step.
        limit: use only this number of samples of each part (the first ones, or a fixed random part where samples lie in
            folders).
        holdout: share of the training samples that is set apart for choices, in [0, 0.9].
    """

    NAME = "fashion_mnist_small"
    batch: Count = 128
    limit: Count | None = None
    holdout: Annotated[float, Range(0, 0.9)] = 0.0


@dataclass(frozen=True, init=False)
class ModelConfig(Part):
    """The network (`surgrad.models.MODELS`).

    The parameters are those of `Part`; the settings of this group are:

    Attributes:
        steps: time steps T for which a static image is shown, and the number of frames of a recording.
        last_step: predict by the last time step instead of the mean over all.
        init: how convolutions begin: "own", as the network's builder draws them, or "kaiming_fan_out", Kaiming's normal
            rule with standard deviation √(2/(out channels · kernel size)).
    """

    NAME = "small_cnn"
    steps: Count = 4
    last_step: bool = False
    init: Literal["own", "kaiming_fan_out"] = "own"


@dataclass(frozen=True, init=False)
class NeuronConfig(Part):
    """The neuron of every layer (`surgrad.neurons.NEURONS`).

    The parameters are those of `Part`; the setting of this group is:

    Attributes:
        per_channel: whether decay, threshold and width are one number per channel instead of one per layer.
    """

    NAME = "lif"
    per_channel: bool = False


@dataclass(frozen=True, init=False)
class SurrogateConfig(Part):
    """The surrogate function of every neuron (`surgrad.surrogates.SURROGATE_BUILDERS`).

    The parameters are those of `Part`; the settings of this group are:

    Attributes:
        width: at the start, in units of potential.
        learn: train the width by its gradient.
        steps: the number of time steps that have separate widths; the last of them also holds at all later steps.
        per_channel: a separate width for each channel.
    """

    NAME = "rect"
    width: Positive = 1.0
    learn: bool = False
    steps: Count = 1
    per_channel: bool = False


@dataclass(frozen=True, init=False)
class PenaltyConfig(Part):
    """What is added to the loss for the neurons' potentials (`surgrad.penalties.PENALTIES`); "none" adds nothing.

    The parameters are those of `Part`; the settings of this group are:

    Attributes:
        weight: factor of the sum over the neurons.
        inner: whether the neurons inside residual blocks count too.
        until: share of the training after which the penalty ends, in [0, 1].
        ramp: whether it grows from 0 over that time.
    """

    NAME = "none"
    weight: Positive = 0.1
    inner: bool = True
    until: Fraction = 1.0
    ramp: bool = False


@dataclass(frozen=True, init=False)
class OptimConfig(Part):
    """The optimiser (`surgrad.optim.OPTIMIZERS`).

    The parameters are those of `Part`; the settings of this group are:

    Attributes:
        epochs: passes over the training samples.
        lr: the peak learning rate.
        neuron_lr: that of Adam, which trains the neurons' parameters.
        clip: largest norm of the gradient; 0 for no limit.
        accumulate: the parts of a batch, computed one after the other, whose gradients are added up: less memory for
            the same step. Norms use the statistics of each part; controllers see the whole batch.
    """

    NAME = "sgd"
    epochs: Count = 9
    lr: Positive = 0.1
    neuron_lr: Positive = 3e-4
    clip: NonNegative = 0.0
    accumulate: Count = 1


@dataclass(frozen=True)
class ProgressiveConfig(Settings):
    """A cheaper first part of the training on static images.

    Evaluations always see full images and all time steps.

    Args:
        fraction: the length of that part, as a fraction of the training in [0, 1].
        steps: time steps for which images are shown in it; None: all.
        image_size: the side of the square to which images are cropped at random in it, in pixels; None: not cropped.
    """

    fraction: Fraction = 0.0
    steps: Count | None = 1
    image_size: Count | None = None


@dataclass(frozen=True)
class RunConfig(Settings):
    """How the training is computed.

    Args:
        precision: "fp32", "bf16" (autocast), or "auto", which is bf16 where the processor multiplies bf16 matrices in
            hardware and fp32 elsewhere.
        channels_last: the memory format of images and of the network.
        compile: run the network by torch.compile.
        device: "cpu", "cuda", or "auto", which is CUDA where there is a GPU.
        pack_spikes: keep spikes as bits for the backward pass, which takes less memory and more time.
        checkpoint: compute the activations of each block of the network again in the backward pass, and keep those
            between the blocks alone, which takes much less memory and more time.
        graph: run the forward and backward pass of a step as a CUDA graph, which takes the host out of the step: "on",
            "off", or "auto", which is on where the device is CUDA and the recipe allows it.
        sync_norms: of several processes, whether norms use the statistics of the whole batch, so that the result is
            that of one process, or those of each process's share.
        timeout: of several processes, the seconds without a finished step after which each prints where it is, and
            ends; at most two hours.
    """

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    channels_last: bool = True
    compile: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    pack_spikes: bool = False
    checkpoint: bool = False
    graph: Literal["auto", "on", "off"] = "auto"
    sync_norms: bool = True
    timeout: Annotated[float, Range(1, 7200)] = 1200.0


@dataclass(frozen=True)
class Recipe(Settings):
    """A complete training; `surgrad.recipes` has many.

    Args:
        name: the recipe's name.
        summary: one sentence for lists of recipes.
        source: where the settings come from.
        published: the paper's test accuracy, in [0, 1].
        deviations: what differs from the source, and why; "" where nothing does. None where there is no source.
        seed: of weights, order and augmentation.
        init_from: a run folder of the same network, from whose newest weights the training starts.
        data: the data set and its batches.
        model: the network, and its time steps.
        norm: the norm before every neuron (`surgrad.norm.NORMS`).
        coding: how a static image becomes a sequence (`surgrad.coding.CODINGS`).
        neuron: the neuron of every layer.
        surrogate: the surrogate function of every neuron, and its width.
        adapt: the controller of the widths (`surgrad.adapt.CONTROLLERS`).
        loss: the loss (`surgrad.losses.LOSSES`).
        penalty: what is added to the loss for the neurons' potentials.
        optim: the optimiser, the epochs and the learning rates.
        schedule: the learning rate over the training (`surgrad.optim.SCHEDULES`).
        gradient: how the gradient is found (`surgrad.gradients.GRADIENTS`).
        progressive: a cheaper first part of the training.
        average: an average of the weights (`surgrad.train.average.AVERAGES`).
        run: precision, device and memory.

    Raises:
        BadValue: for a setting of a wrong type or out of range.

    Example:
        >>> recipe = Recipe("mine", neuron=NeuronConfig("plif", tau=2.0), optim=OptimConfig("adamw", lr=1e-3))
        >>> recipe.neuron.name, recipe.optim.lr, recipe.loss.name
        ('plif', 0.001, 'cross_entropy')
    """

    name: str
    summary: str = ""
    source: str = ""
    published: float | None = None
    deviations: str | None = None
    seed: Seed = 0
    init_from: str | None = None
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    norm: Part = field(default_factory=lambda: Part("tdbn"))
    coding: Part = field(default_factory=lambda: Part("direct"))
    neuron: NeuronConfig = field(default_factory=lambda: NeuronConfig("lif", decay=0.2, train_decay=True))
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)
    adapt: Part = field(default_factory=lambda: Part("lsg"))
    loss: Part = field(default_factory=lambda: Part("cross_entropy"))
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: Part = field(default_factory=lambda: Part("cosine"))
    gradient: Part = field(default_factory=lambda: Part("bptt"))
    progressive: ProgressiveConfig = field(default_factory=ProgressiveConfig)
    average: Part = field(default_factory=lambda: Part("none"))
    run: RunConfig = field(default_factory=RunConfig)

    @property
    def progressive_steps(self) -> int:
        """The time steps for which images are shown in the cheaper first part."""
        return self.model.steps if self.progressive.steps is None else self.progressive.steps


WORDS = ("summary", "source", "published", "deviations")
"""The fields that describe a recipe and change no training."""


def described_as(recipe: Recipe, other: Recipe) -> Recipe:
    """The recipe with the words of another one, for a comparison of what is trained."""
    return derive(recipe, **{name: getattr(other, name) for name in WORDS})


def groups() -> dict[str, type[Settings]]:
    """The groups of settings of a recipe, by name."""
    return {name: hint for name, hint in typing.get_type_hints(Recipe).items() if _is_settings(hint)}


def derive(recipe: Recipe, **changes: Any) -> Recipe:
    """A recipe made from another one: a group of settings is changed by a dict of some of them, or replaced as a whole.

    Options of a part that are not mentioned stay, also where its name changes; give a new `Part` to start from
    its defaults.

    Args:
        recipe: the recipe to start from; it is not changed.
        **changes: by the names of a recipe's parameters: a value; for a group, a dict of some of its settings, or a new
            group.

    Raises:
        UnknownName: for a setting that recipes do not have.
        BadValue: for a value of a wrong type or out of range.

    Example:
        >>> derive(Recipe("a"), name="b", model={"steps": 2}).model.steps
        2
    """
    for key, value in changes.items():
        if key not in recipe.__dataclass_fields__:
            raise unknown("setting", key, recipe.__dataclass_fields__)
        held = getattr(recipe, key)
        if isinstance(held, Settings) and isinstance(value, Mapping):
            changes[key] = held.replaced(value)
    return dataclasses.replace(recipe, **changes)


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe in its JSON form; `from_dict` reads it again."""
    return {"format": FORMAT, **recipe.to_dict()}


__all__ = [
    "FORMAT",
    "DataConfig",
    "ModelConfig",
    "NeuronConfig",
    "OptimConfig",
    "Part",
    "PenaltyConfig",
    "ProgressiveConfig",
    "Recipe",
    "RunConfig",
    "Settings",
    "SurrogateConfig",
    "derive",
    "groups",
    "to_dict",
]
