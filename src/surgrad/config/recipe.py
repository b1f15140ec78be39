"""A recipe: everything that decides a training, as one frozen dataclass that survives JSON."""

import dataclasses
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from surgrad.config.fields import Checked, at_least, parsed, positive
from surgrad.errors import BadValue, unknown

T = TypeVar("T")


@dataclass(frozen=True)
class DataConfig(Checked):
    """Which images, in which batches, augmented how (`surgrad.data`). Of data sets that lie as folders of images, which
    are cut at random: side, of the squares; resize, of an evaluated image's shorter side; workers, the processes that
    read them (none: one a core). Of recordings (`surgrad.data.events`), side and workers too; split, by the name of its
    rule; slicing into as many frames as model.steps, step_us long where that goes by time steps; normalise, scaling,
    roll and nda as in `surgrad.data.events.views`; cache, the folder of their frames (none: .surgrad beside them);
    skip_bad, to leave out what cannot be read."""

    name: str = "fashion_mnist_small"
    batch: int = at_least(1, 128)
    crop: int = at_least(0, 0)
    flip: bool = False
    autoaugment: bool = False
    cutout: int = at_least(0, 0)
    limit: int | None = at_least(
        1, None
    )  # use only so many images of each split: the first, or of folders a random part
    side: int = at_least(8, 224)
    resize: int = at_least(8, 256)
    workers: int | None = at_least(0, None)
    split: str | None = None
    slicing: str = "count"
    step_us: int = at_least(1, 5000, high=10**12)
    normalise: str = "frame"
    scaling: str = "bilinear"
    roll: int = at_least(0, 0)
    nda: bool = False
    cache: str | None = None
    skip_bad: bool = False


@dataclass(frozen=True)
class ModelConfig(Checked):
    """Which network (`surgrad.models`)."""

    name: str = "small_cnn"
    steps: int = at_least(1, 4)
    width_multiplier: float = positive(1.0)
    norm: str = "tdbn"
    summand_alpha: float = positive(1.0)  # tdBN's α of the summands of a residual addition
    last_step: bool = False  # predict by the last step alone
    coding: str = "direct"  # of static images (`surgrad.coding`); direct: as they are, in every step


@dataclass(frozen=True)
class NeuronConfig(Checked):
    """Which neuron and surrogate, in every layer (`surgrad.neurons`, `surgrad.surrogates`)."""

    name: str = "lif"
    decay: float = at_least(0, 0.2, high=1)
    train_decay: bool = True
    threshold: float = positive(0.5)
    reset: str = "zero"
    detach_reset: bool = False
    shape: str = "rect"
    width: float = positive(1.0)
    learn_width: bool = False
    first_width: bool = False  # the first step has a width of its own
    backend: str = "auto"


@dataclass(frozen=True)
class AdaptConfig(Checked):
    """Who writes the widths, and its knobs (`surgrad.adapt` has a card for each), every one for the controllers that
    have it; none: the controller's own default."""

    controller: str = "follow"
    rule: str | None = None  # follow
    width: float | None = at_least(0, None, open=True)  # fixed
    law: str | None = None  # schedule
    start: float | None = at_least(0, None, open=True)  # schedule, search, compete
    end: float | None = at_least(0, None, open=True)
    target: str | None = None  # steer
    scope: str | None = None  # steer, search
    low: float | None = at_least(0, None)  # steer, search, compete
    high: float | None = at_least(0, None)
    period: int | None = at_least(1, None)  # steer
    momentum: float | None = at_least(0, None, high=1)
    least: float | None = at_least(0, None)
    most: float | None = at_least(0, None)
    warmup: float | None = at_least(0, None, high=1)
    sharpen: float | None = at_least(0, None, high=1)
    freeze: float | None = at_least(0, None, high=1)
    parameter: str | None = None  # search
    estimator: str | None = None
    count: int | None = at_least(1, None)
    eps: float | None = at_least(0, None, open=True)
    reliable: float | None = at_least(-1, None, high=1)
    seed: int | None = at_least(0, None)
    move: float | None = at_least(0, None, open=True)  # search, compete
    reach: int | None = at_least(1, None)  # compete
    iterations: int | None = at_least(1, None)
    lr: float | None = at_least(0, None, open=True)
    rate: float | None = at_least(0, None, open=True)


@dataclass(frozen=True)
class LossConfig(Checked):
    """Which loss (`surgrad.losses`), and what is added to it for the neurons' potentials (`surgrad.penalties`):
    penalty_weight times the sum over the neurons, those within residual blocks too if penalty_inner; until that share
    of the training; growing from 0 over it if penalty_ramp."""

    name: str = "cross_entropy"
    label_smoothing: float = at_least(0, 0.0, high=1)
    tet_weight: float = at_least(0, 1e-3, high=1)  # TET's λ
    tet_target: float | None = 1.0  # and φ; none: 1 for the label, 0 for the rest
    penalty: str | None = None
    penalty_weight: float = positive(0.1)
    penalty_inner: bool = True
    penalty_until: float = at_least(0, 1.0, high=1)
    penalty_ramp: bool = False


@dataclass(frozen=True)
class OptimConfig(Checked):
    """gradient: how it is found through time (`surgrad.gradients`); gradient_steps: of how many steps, drawn at random,
    sltt goes back (none: all).

    name: sgd, adam, adamw or muon. The rate: linear warm-up and cosine to 0, at the end, or `period` epochs after the
    warm-up, from where it rises again; or, with `drops`, steps: "40:0.1, 80:0.01" is a tenth of it from epoch 40 on.

    Norms and biases have no weight decay; neither have the neurons' own parameters, which train with Adam at
    `neuron_lr`. Muon trains the convolutions alone, at `lr` and `momentum`, always Nesterov's and without weight decay;
    norms, biases and linear layers then train with the neurons' parameters."""

    name: str = "sgd"
    epochs: int = at_least(1, 9)
    lr: float = positive(0.1)
    momentum: float = at_least(0, 0.9, high=0.9999)
    nesterov: bool = False
    weight_decay: float = at_least(0, 5e-4)
    warmup: float = at_least(0, 0.0)  # epochs
    period: float | None = at_least(0, None, open=True)  # epochs
    drops: str | None = None
    clip: float = at_least(0, 0.0)  # largest norm of the gradient; 0 for none
    neuron_lr: float = positive(3e-4)
    gradient: str = "bptt"
    gradient_steps: int | None = at_least(1, None)


@dataclass(frozen=True)
class StartConfig(Checked):
    """How a training starts: from the newest weights of the run folder `weights`, of the same network, or (none) as the
    network is drawn. And the first `share` of it, made cheaper: images are shown for `steps` time steps, and cut to a
    random square of `side` pixels (none: whole). What follows, and every evaluation, sees all of both."""

    share: float = at_least(0, 0.0, high=1)
    steps: int = at_least(1, 1)
    side: int | None = at_least(1, None)
    weights: str | None = None


@dataclass(frozen=True)
class RunConfig(Checked):
    """How it is computed. precision: fp32, bf16 (autocast), or auto: bf16 where the processor multiplies bf16
    matrices in hardware, fp32 elsewhere. device: auto, cpu or cuda. pack_spikes: keep spikes as bits for the backward
    pass, which takes less memory and more time."""

    precision: str = "auto"
    channels_last: bool = True
    compile: bool = False
    device: str = "auto"
    pack_spikes: bool = False


@dataclass(frozen=True)
class Recipe(Checked):
    """A training, whole: see `surgrad.recipes` for those at hand."""

    name: str
    summary: str = ""
    source: str = ""
    published: float | None = None  # the paper's test accuracy, in [0, 1]
    seed: int = at_least(0, 0, high=2**63 - 1)  # of weights, order and augmentation
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    neuron: NeuronConfig = field(default_factory=NeuronConfig)
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    start: StartConfig = field(default_factory=StartConfig)
    run: RunConfig = field(default_factory=RunConfig)


def derive(recipe: Recipe, **changes: Any) -> Recipe:
    """A recipe made from another: a part by a dict of its fields, the rest by value.

    >>> derive(Recipe("a"), name="b", model={"steps": 2}).model.steps
    2
    """
    for key, value in changes.items():
        if key not in recipe.__dataclass_fields__:
            raise unknown("field", key, recipe.__dataclass_fields__)
        part: Any = getattr(recipe, key)
        if not hasattr(part, "__dataclass_fields__"):
            continue
        for name in value:
            if name not in part.__dataclass_fields__:
                raise unknown("field", f"{key}.{name}", [f"{key}.{known}" for known in part.__dataclass_fields__])
        changes[key] = dataclasses.replace(part, **value)
    return dataclasses.replace(recipe, **changes)


def to_dict(recipe: Recipe) -> dict[str, Any]:
    return dataclasses.asdict(recipe)


def from_dict(values: dict[str, Any]) -> Recipe:
    """The recipe of a dict that `to_dict` made (of JSON); unknown fields and wrong types are errors."""
    if not isinstance(values, dict) or "name" not in values:
        raise BadValue("this is JSON but no recipe: a recipe is an object with a name")
    return _built(values, Recipe, "")


def _built(values: dict[str, Any], kind: type[T], path: str) -> T:
    hints = typing.get_type_hints(kind)
    built = {}
    for key, value in values.items():
        if key not in hints:
            raise unknown("field", path + key, [path + known for known in hints])
        nested = dataclasses.is_dataclass(hints[key]) and isinstance(value, dict)
        built[key] = _built(value, hints[key], f"{path}{key}.") if nested else value
    return kind(**built)


def set_fields(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """The recipe with fields set from texts, one after another, as `--set optim.lr=0.05`."""
    for assignment in assignments:
        recipe = _set_field(recipe, assignment)
    return recipe


def _set_field(recipe: Recipe, assignment: str) -> Recipe:
    path, equals, text = assignment.partition("=")
    if not equals:
        raise BadValue(f"'{assignment}' sets nothing; write path=value, as in optim.lr=0.05")
    if path not in _flat(to_dict(recipe)):
        raise unknown("field", path, _flat(to_dict(recipe)))
    part, _, key = path.rpartition(".")
    owner = getattr(recipe, part) if part else recipe
    value = parsed(path, text, typing.get_type_hints(type(owner))[key])
    return derive(recipe, **({part: {key: value}} if part else {key: value}))


def differences(one: Recipe, other: Recipe) -> list[str]:
    """What differs between two recipes, one `path: a -> b` each."""
    a, b = (_flat(to_dict(recipe)) for recipe in (one, other))
    return [f"{path}: {a[path]!r} -> {b[path]!r}" for path in a if a[path] != b[path]]


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    flat = {}
    for key, value in values.items():
        flat.update({f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value})
    return flat
