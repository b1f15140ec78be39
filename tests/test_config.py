"""Values, registries and recipes: what can be set, what is refused, and that old runs are still read."""

import copy
import json
import pickle
from pathlib import Path
from typing import Annotated, Literal

import pytest
import torch
from torch import Tensor

from surgrad.config import Part, Recipe, compat, derive, from_dict, parts, set_fields, to_dict
from surgrad.config.recipe import NeuronConfig, OptimConfig, groups
from surgrad.config.registry import Option, Registry
from surgrad.config.text import differences, paths
from surgrad.config.values import Count, Fraction, Positive, Range, checked, is_plain, parsed, wanted
from surgrad.errors import BadValue, UnknownName, nearest, unknown
from surgrad.models import MODELS
from surgrad.neurons import NEURONS, Neuron, neurons
from surgrad.penalties import PENALTIES
from surgrad.recipes import RECIPES, find_recipe
from surgrad.train.building import build_model, build_neuron
from surgrad.train.inputs import InputSpec, known_inputs

RECORDS = sorted(Path(__file__).parents[1].glob("records/**/recipe.json"))


class Box:
    """A part with an option of each kind."""

    def __init__(
        self,
        decay: Fraction = 0.2,
        *,
        order: Count | None = None,
        reset: Literal["zero", "subtract"] = "zero",
        pair: tuple[float, float] = (1.0, 2.0),
        trained: bool = False,
        level: Annotated[float, Range(1, 8)] = 1.0,
        channels: int | None = None,
        factory: object = None,
    ):
        self.given = (decay, order, reset, pair, trained, level, channels)


BOXES = Registry("box", {"box": Box}, context=("channels",))


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("3", Count, 3),
        ("3", Positive, 3.0),
        ("none", Count | None, None),
        ("null", Positive | None, None),
        ("2.5", Positive | None, 2.5),
        ("TRUE", bool, True),
        ("subtract", Literal["zero", "subtract"], "subtract"),
        ("6.5, 93.5", tuple[float, float], (6.5, 93.5)),
        ("1,2,3", tuple[int, ...], (1, 2, 3)),
        ("word", str, "word"),
    ],
)
def test_texts_are_read_by_the_annotation(text, hint, value):
    found = parsed("part.option", text, hint)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "hint", "error"),
    [
        ("fast", Positive, "part.option = 'fast' cannot be read; give a number"),
        ("1.5", Count, "part.option = '1.5' cannot be read; give a whole number"),
        ("0", Count, "part.option = 0 is out of range; give a number from 1"),
        ("0", Positive, "part.option = 0.0 is out of range; give a number above 0"),
        ("nan", Fraction, "part.option = nan is out of range; give a number from 0 to 1"),
        ("inf", Positive, "part.option = inf is out of range; give a number above 0"),
        ("yes", bool, "part.option = 'yes' cannot be read; give true or false"),
        ("x", Count | None, "part.option = 'x' cannot be read; give a whole number or none"),
        ("hard", Literal["zero", "subtract"], "unknown option 'hard'; choose from subtract, zero"),
        ("1,2", tuple[float, float, float], "part.option = '1,2' cannot be read; give several, separated by commas"),
    ],
)
def test_bad_texts_are_refused(text, hint, error):
    with pytest.raises((BadValue, UnknownName)) as caught:
        parsed("part.option", text, hint)
    assert str(caught.value) == error


def test_values_have_the_type_of_the_annotation():
    assert type(checked("x", 1, Positive)) is float
    assert checked("x", [1, 2], tuple[float, float]) == (1.0, 2.0)
    for value, hint in ((True, Count), (1.0, Count), ("1", Positive), (None, Positive), ([1.0], tuple[float, float])):
        with pytest.raises(BadValue, match=r"^x = .* is of type \w+; give "):
            checked("x", value, hint)
    assert wanted(Positive | None) == "a number or none"
    assert is_plain(Count | None)
    assert not is_plain(object)


# --- registries ------------------------------------------------------------------------------------------------------


def test_options_are_the_plain_parameters_of_the_constructor():
    found = BOXES.options("box")
    assert list(found) == ["decay", "order", "reset", "pair", "trained", "level"]
    assert found["decay"] == Option(Fraction, 0.2)


def test_a_part_is_built_with_its_options_and_the_context_it_takes():
    made = BOXES.build("box", {"decay": 1, "pair": [3, 4]}, channels=5, other=6)
    assert made.given == (1.0, None, "zero", (3.0, 4.0), False, 1.0, 5)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"dekay": 1}, "box.dekay: box 'box' has no option 'dekay'; did you mean 'decay'?"),
        (
            {"channels": 1},
            "box.channels: 'channels' of box 'box' is given by the network or the training, so it cannot be set from",
        ),
        ({"size": 1}, "box.size: box 'box' has no option 'size'; it has decay, order, reset, pair, trained"),
        ({"decay": 2}, "box.decay = 2 is out of range; give a number from 0 to 1"),
        ({"level": 0.5}, "box.level = 0.5 is out of range; give a number from 1 to 8"),
        ({"order": "many"}, "box.order = 'many' is of type str; give a whole number or none"),
        ({"reset": "zer"}, "unknown reset 'zer'; did you mean 'zero'?"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, error):
    with pytest.raises((BadValue, UnknownName)) as caught:
        BOXES.build("box", options)
    assert str(caught.value).startswith(error)


def test_a_name_is_registered_once():
    boxes = Registry("box", {"box": Box})
    boxes.add("other", Box)
    assert list(boxes) == ["box", "other"]
    boxes.add("other", Box)  # the same again changes nothing
    with pytest.raises(BadValue, match="there already is a box 'box'; choose another name"):
        boxes.add("box", NeuronConfig)
    boxes.remove("other")
    assert list(boxes) == ["box"]


def test_options_are_those_of_the_part_that_has_the_name_now():
    boxes = Registry("box", {"box": Box})
    boxes.options("box").clear()
    assert "decay" in boxes.options("box")
    boxes.remove("box")
    boxes.add("box", lambda *, side: side)
    assert not boxes.options("box")


def test_errors_offer_at_most_three_similar_names():
    many = [f"lsg_cifar10_resnet{n}_t2" for n in range(40)]
    assert nearest("lsg", many) == many[:3]
    error = str(unknown("recipe", "lsg", many))
    assert error.count("'lsg_") == 3
    assert len(error) < 150
    assert str(unknown("reset", "hard", ["zero", "none"])) == "unknown reset 'hard'; choose from none, zero"
    assert (
        str(unknown("recipe", "?", many, "`surgrad list` shows all")) == "unknown recipe '?'; `surgrad list` shows all"
    )


# --- recipes ---------------------------------------------------------------------------------------------------------


def test_every_part_of_every_registry_has_readable_options():
    """Every option has a default that its own annotation accepts, so it can be written down and read again."""
    for group in parts.HOMES:
        for held in parts.registries(group):
            for name in held:
                for key, option in held.options(name).items():
                    if option.default is Option.REQUIRED:
                        continue
                    value = checked(f"{group}.{key}", option.default, option.hint)
                    assert checked(f"{group}.{key}", json.loads(json.dumps(value)), option.hint) == value


def test_every_option_of_every_part_can_be_set_from_text():
    for group in parts.HOMES:
        for held in parts.registries(group):
            for name in held:
                for key, option in held.options(name).items():
                    if option.default is Option.REQUIRED:
                        continue
                    whole = isinstance(option.default, tuple)
                    text = ",".join(map(str, option.default)) if whole else str(option.default)
                    recipe = set_fields(Recipe("mine"), (f"{group}.name={name}", f"{group}.{key}={text}"))
                    assert parts.part_of(recipe, group).options[key] == option.default, f"{group} {name}.{key}"


def test_texts_set_options_of_the_named_part_in_any_order():
    recipe = set_fields(Recipe("mine"), ("neuron.levels=2", "neuron.name=mlf", "adapt.low=0.3", "adapt.name=esg"))
    assert (recipe.neuron.name, recipe.neuron.options["levels"]) == ("mlf", 2)
    assert (recipe.adapt.name, recipe.adapt.options["low"]) == ("esg", 0.3)
    assert recipe.neuron.options["decay"] == 0.2, "an option that the other neuron has too stays"
    assert "decay" not in set_fields(recipe, ("neuron.name=if",)).neuron.options


@pytest.mark.parametrize(
    ("assignment", "error"),
    [
        (
            "neuron.levels=2",
            "neuron.levels: neuron 'lif' has no option 'levels', but 'mlf' has it; set neuron.name too",
        ),
        ("neuron.dekay=2", r"unknown setting 'neuron.dekay'; did you mean 'neuron.decay'.*\?"),
        ("optim.epoch=3", r"unknown setting 'optim.epoch'; did you mean 'optim.epochs'.*\?"),
        ("optin.lr=3", r"unknown setting 'optin.lr'; did you mean 'optim.lr'.*\?"),
        ("seeds=3", r"unknown setting 'seeds'; did you mean 'seed'.*\?"),
        ("optim.lr", "'optim.lr' does not set anything; write path=value, as in optim.lr=0.05"),
    ],
)
def test_texts_that_set_nothing_are_refused(assignment, error):
    with pytest.raises((BadValue, UnknownName), match=f"^{error}$"):
        set_fields(Recipe("mine"), (assignment,))


def test_parts_are_values():
    part = Part("esg", low=0.3)
    assert part == Part("esg", low=0.3) != Part("esg", low=0.4)
    assert copy.deepcopy(part) == pickle.loads(pickle.dumps(part)) == part
    assert OptimConfig("adam", lr=1e-3).replaced({"beta1": 0.8}).options == {"beta1": 0.8}
    with pytest.raises(BadValue, match="Part without a name"):
        Part(low=0.3)


def test_derive_changes_some_settings_and_keeps_the_others():
    recipe = derive(Recipe("a"), neuron={"decay": 0.5}, adapt=Part("fixed"), seed=3)
    assert recipe.neuron.options == {"decay": 0.5, "train_decay": True}
    assert (recipe.adapt, recipe.seed) == (Part("fixed"), 3)
    with pytest.raises(UnknownName, match="unknown setting 'nueron'; did you mean 'neuron'"):
        derive(recipe, nueron={})
    with pytest.raises(UnknownName, match=r"unknown setting 'run\.compil'; did you mean 'run\.compile'"):
        derive(recipe, run={"compil": True})


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_json_whole(name):
    recipe = find_recipe(name)
    for one in (recipe, parts.resolved(recipe)):
        assert from_dict(json.loads(json.dumps(to_dict(one)))) == one
        parts.check(one)
    assert differences(recipe, parts.resolved(recipe)) == []


def test_an_option_named_like_a_setting_of_its_group_is_refused():
    def soft(potentials: Tensor, spikes: Tensor, neuron: Neuron, *, weight: Positive = 1.0) -> Tensor:
        return weight * potentials.sum()

    PENALTIES.add("soft", soft)
    try:
        text = "penalty 'soft' has an option 'weight', and that is a setting of every penalty; give it another name"
        with pytest.raises(BadValue, match=text):
            set_fields(Recipe("mine"), ("penalty.name=soft", "penalty.weight=2.0"))
        with pytest.raises(BadValue, match=text):
            parts.check(derive(Recipe("mine"), penalty={"name": "soft"}))
    finally:
        PENALTIES.remove("soft")


def test_no_option_is_named_like_a_setting_of_its_group():
    for group in parts.HOMES:
        for held in parts.registries(group):
            for name in held:
                assert not {*held.options(name)} & {*groups()[group].hints()}, name


def test_parameters_that_are_not_options_are_explained():
    def soft(potentials: Tensor, spikes: Tensor, neuron: Neuron, *, target=0.5) -> Tensor:
        return (potentials - target).sum()

    PENALTIES.add("soft", soft)
    try:
        text = (
            r"penalty\.target: 'target' of penalty 'soft' has no annotation of a plain type, so it cannot be set from a"
        )
        with pytest.raises(BadValue, match=text):
            set_fields(Recipe("mine"), ("penalty.name=soft", "penalty.target=0.2"))
        with pytest.raises(BadValue, match=text):
            parts.check(derive(Recipe("mine"), penalty={"name": "soft", "target": 0.2}))
    finally:
        PENALTIES.remove("soft")
    text = (
        r"'layer_channels' of neuron 'mpbn' is given by the network or the training, so it cannot be set from a recipe"
    )
    with pytest.raises(BadValue, match=text):
        set_fields(Recipe("mine"), ("neuron.name=mpbn", "neuron.layer_channels=3"))


def test_a_neuron_is_given_the_size_of_its_layer_also_without_parameters_per_channel():
    recipe = derive(Recipe("mine"), neuron={"name": "mpbn"})
    neuron = build_neuron(recipe, 3)
    assert (neuron.norm_weight.shape, neuron.decay.shape) == ((3,), ())
    neuron = build_neuron(derive(recipe, neuron={"per_channel": True}), 3)
    assert (neuron.norm_weight.shape, neuron.decay.shape) == ((3,), (3,))


CHANNELWISE = [name for name in NEURONS if "psn" not in name]
"""A parallel neuron has one matrix for its whole layer."""


@pytest.mark.parametrize("model", MODELS)
def test_one_decay_threshold_and_width_per_channel_in_every_network(model):
    recipe = set_fields(Recipe("mine"), ("neuron.per_channel=true", f"model.name={model}", "model.steps=2"))
    recipe = derive(recipe, model={"width_multiplier": 0.0625})
    network = build_model(recipe, InputSpec(("a", "b"), (3, 64, 64)))
    for path, neuron in neurons(network).items():
        sizes = {neuron.decay.shape, neuron.threshold.shape, neuron.surrogate.width.shape}
        assert len(sizes) == 1, path
        assert sizes.pop().numel() >= 1, path
        assert neuron.decay.ndim == 1, path
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 2, 2)


@pytest.mark.parametrize("name", CHANNELWISE)
def test_one_width_per_channel_of_every_neuron(name):
    learns = str(name == "asgl").lower()
    settings = (f"neuron.name={name}", "neuron.per_channel=true", f"surrogate.learn={learns}")
    recipe = set_fields(Recipe("mine"), settings)
    network = build_model(recipe, InputSpec(("a", "b"), (1, 28, 28)))
    assert all(neuron.surrogate.width.ndim == 1 for neuron in neurons(network).values())
    assert network(torch.rand(2, 1, 28, 28)).shape == (4, 2, 2)


def test_every_path_can_be_set():
    recipe = Recipe("mine")
    assert {"neuron.decay", "surrogate.width", "data.crop", "run.compile", "seed"} <= set(paths(recipe))


# --- earlier releases ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: str(path.parent.relative_to(path.parents[3])))
def test_every_run_of_the_records_is_read_and_builds_its_parts(path):
    values = json.loads(path.read_text())
    recipe = from_dict(values)
    parts.check(recipe)
    assert from_dict(to_dict(recipe)) == recipe
    narrow = derive(recipe, model={"width_multiplier": 0.0625})
    assert build_model(narrow, known_inputs(narrow)).steps == values["model"]["steps"]
    assert recipe.model.name == values["model"]["name"]
    if compat.is_old(values):
        assert recipe.surrogate.width == values["neuron"]["width"]
        assert recipe.neuron.options.get("threshold", values["neuron"]["threshold"]) == values["neuron"]["threshold"]


@pytest.mark.parametrize(
    ("old", "path", "value"),
    [
        ("neuron.width=2", "surrogate.width", 2.0),
        ("neuron.shape=atan", "surrogate.name", "atan"),
        ("neuron.learn_width=true", "surrogate.learn", True),
        ("neuron.first_width=true", "surrogate.steps", 2),
        ("surrogate.first=false", "surrogate.steps", 1),
        ("adapt.controller=steer", "adapt.name", "esg"),
        ("adapt.controller=follow", "adapt.name", "lsg"),
        ("adapt.rule=mpd_agl", "adapt.name", "mpd_agl"),
        ("model.norm=batchnorm", "norm.name", "batchnorm"),
        ("model.coding=dct", "coding.name", "dct"),
        ("optim.gradient=sltt", "gradient.name", "sltt"),
        ("optim.warmup=1", "schedule.warmup", 1.0),
        ("loss.penalty=im_loss", "penalty.name", "im_loss"),
        ("loss.penalty=none", "penalty.name", "none"),
        ("start.share=0.5", "progressive.fraction", 0.5),
        ("start.side=none", "progressive.image_size", None),
        ("start.weights=run", "init_from", "run"),
    ],
)
def test_old_paths_still_work_and_say_where_they_are_now(capsys, old, path, value):
    recipe = set_fields(Recipe("mine"), (old,))
    group, _, key = path.rpartition(".")
    held = getattr(recipe, group) if group else recipe
    found = held.options[key] if key in getattr(held, "options", {}) else getattr(held, key)
    assert found == value
    assert f"{old.partition('=')[0]} is now {path}" in capsys.readouterr().err


def test_options_that_an_old_recipe_stated_for_other_parts_are_dropped():
    old = {"name": "old", "neuron": {"name": "if", "decay": 0.2, "train_decay": True, "threshold": 0.7, "width": 2.0}}
    recipe = from_dict(old)
    assert recipe.neuron == NeuronConfig("if", threshold=0.7)
    assert recipe.surrogate.width == 2.0
