"""What every recipe keeps: its name, its JSON, its building and stepping; and the papers' numbers, digit for digit."""

import json
import math
from contextlib import suppress
from functools import cache
from itertools import islice

import pytest
import torch
from event_files import published

from surgrad import norm as norms
from surgrad.config import from_dict, parts, to_dict
from surgrad.config.text import differences
from surgrad.data import EVENT_SETS, FOLDER_SETS, IMAGE_SETS, ImageData, ImageSource, Split, load, load_events
from surgrad.errors import BadValue, DataError
from surgrad.recipes import DEFAULT, RECIPES, find_recipe
from surgrad.train import build, derive
from surgrad.train.building import build_model
from surgrad.train.loop import Loop, Position
from surgrad.train.progress import Lines

IMAGE = {"fashion_mnist_small": (1, 28, 28), "cifar10": (3, 32, 32), "cifar100": (3, 32, 32), "imagenet": (3, 32, 32)}
BASE = "lsg_cifar10_resnet19_t2"
BASE_100 = "lsg_cifar100_resnet19_t2"

# Lian et al. 2023, in percent: Table 3, Table 1, Table 2
PUBLISHED = {
    "lsg_cifar10_resnet19_t2": 94.41,
    "lsg_cifar10_resnet19_t4": 95.17,
    "lsg_cifar10_resnet19_t6": 95.52,
    "lsg_cifar100_resnet19_t2": 76.32,
    "lsg_cifar100_resnet19_t4": 76.85,
    "lsg_cifar100_resnet19_t6": 77.13,
    f"{BASE}_none": 92.68,
    f"{BASE}_decay": 93.16,
    f"{BASE_100}_none": 73.87,
    f"{BASE_100}_decay": 74.12,
    f"{BASE}_width_0_5": 92.12,
    f"{BASE}_width_1": 92.68,
    f"{BASE}_width_2_5": 90.68,
    f"{BASE}_width_5": 61.54,
    f"{BASE}_width_10": 30.82,
}

# twin: (its base, train_decay, width)
VARIANTS = {
    f"{BASE}_none": (BASE, False, 1.0),
    f"{BASE}_decay": (BASE, True, 1.0),
    f"{BASE_100}_none": (BASE_100, False, 1.0),
    f"{BASE_100}_decay": (BASE_100, True, 1.0),
    f"{BASE}_width_0_5": (BASE, False, 0.5),
    f"{BASE}_width_1": (BASE, False, 1.0),
    f"{BASE}_width_2_5": (BASE, False, 2.5),
    f"{BASE}_width_5": (BASE, False, 5.0),
    f"{BASE}_width_10": (BASE, False, 10.0),
    "fixed_cifar10_small_t2": ("lsg_cifar10_small_t2", False, 1.0),
}
# Zheng et al. 2021, in percent
TDBN = {
    "tdbn_cifar10_resnet19_t2": 92.34,
    "tdbn_cifar10_resnet19_t4": 92.92,
    "tdbn_cifar10_resnet19_t6": 93.16,
    "tdbn_cifar100_resnet19_t4": 70.86,
    "tdbn_cifar100_resnet19_t6": 71.12,
}
# As their papers give them, in percent; Dspike at T=2 as recalled in later tables
OTHERS = {
    "plif_cifar10_plifnet_t8": 93.50,
    "mlf_cifar10_dsresnet20_t4": 94.25,
    "sew_imagenet_sewresnet18_t4": 63.18,
    "sew_imagenet_sewresnet34_t4": 67.04,
    "sew_imagenet_sewresnet50_t4": 67.78,
    "chi_imagenet_sewresnet34_t4": 69.09,
    "dspike_imagenet_resnet34_t6": 68.19,
    "tdbn_imagenet_resnet34_t6": 63.72,
    "tet_imagenet_resnet34_t6": 64.79,
    "kundu_cifar100_vgg11_t100": 64.98,
    "ltmd_cifar10_densenet_t2": 93.75,
    "ltmd_cifar10_densenet_t4": 94.19,
    "diet_cifar10_vgg16_t5": 92.70,
    "diet_cifar100_vgg16_t5": 69.67,
    "glif_cifar10_resnet19_t2": 94.56,
    "glif_cifar10_resnet19_t4": 94.95,
    "glif_cifar10_resnet19_t6": 95.14,
    "glif_cifar100_resnet19_t2": 75.60,
    "glif_cifar100_resnet19_t4": 77.22,
    "glif_cifar100_resnet19_t6": 77.42,
    "clif_cifar10_resnet18_t4": 94.89,
    "clif_cifar10_resnet18_t6": 95.41,
    "clif_cifar100_resnet18_t4": 77.00,
    "clif_cifar100_resnet18_t6": 78.36,
    "trsg_cifar10_resnet19_t2": 95.05,
    "trsg_cifar10_resnet19_t4": 95.34,
    "trsg_cifar10_resnet19_t6": 95.50,
    "trsg_cifar100_resnet19_t2": 76.87,
    "trsg_cifar100_resnet19_t4": 77.66,
    "trsg_cifar100_resnet19_t6": 77.91,
    "mpdagl_cifar10_resnet19_t2": 96.18,
    "mpdagl_cifar10_resnet19_t4": 96.35,
    "mpdagl_cifar100_resnet19_t2": 78.84,
    "mpdagl_cifar100_resnet19_t4": 79.72,
    "dsatgo_cifar10_resnet19_t2": 96.91,
    "dsatgo_cifar100_resnet19_t2": 80.59,
    "asgl_cifar100_resnet18_t2": 76.76,
    "rmp_cifar10_resnet19_t2": 95.31,
    "rmp_cifar10_resnet19_t4": 95.51,
    "rmp_cifar10_resnet19_t6": 96.10,
    "mpbn_cifar10_resnet19_t2": 96.47,
    "mpbn_cifar100_resnet19_t2": 79.51,
    "sltt_cifar10_resnet18_t6": 94.44,
    "sltt_cifar100_resnet18_t6": 74.38,
    "ottt_cifar10_vgg11ws_t6": 93.5,
    "ottt_cifar100_vgg11ws_t6": 71.1,
    "rate_cifar10_resnet19_t4": 96.26,
    "rate_cifar100_resnet19_t4": 80.87,
    "dct_cifar100_vgg11_t48": 68.30,
    "lsg_cifar10dvs_vggsnn_t10": 83.70,
    "lsg_cifar10dvs_vggsnn_t10_plain": 77.90,
    "lsg_cifar10dvs_vggsnn_t10_decay": 75.40,
    "lsg_cifar10dvs_vggsnn_t10_none": 73.80,
    "tet_cifar10dvs_vggsnn_t10": 83.17,
    "dspike_cifar10dvs_resnet18_t10": 75.40,
    "plif_cifar10dvs_plifnet_t20": 74.80,
    "plif_dvsgesture_plifnet_t20": 97.57,
    "tet_cifar10_resnet19_t2": 94.16,
    "tet_cifar10_resnet19_t4": 94.44,
    "tet_cifar10_resnet19_t6": 94.50,
    "tet_cifar100_resnet19_t2": 72.87,
    "tet_cifar100_resnet19_t4": 74.47,
    "tet_cifar100_resnet19_t6": 74.72,
    "tebn_cifar10_resnet19_t2": 94.57,
    "tebn_cifar10_resnet19_t4": 94.70,
    "tebn_cifar10_resnet19_t6": 94.71,
    "tebn_cifar100_resnet19_t2": 75.86,
    "tebn_cifar100_resnet19_t4": 76.13,
    "tebn_cifar100_resnet19_t6": 76.41,
    "imloss_cifar10_resnet19_t2": 93.85,
    "imloss_cifar10_resnet19_t4": 95.40,
    "imloss_cifar10_resnet19_t6": 95.49,
    "recdis_cifar10_resnet19_t2": 93.64,
    "recdis_cifar10_resnet19_t6": 95.55,
    "recdis_cifar100_resnet19_t4": 74.10,
    "dspike_cifar10_resnet18_t2": 93.13,
    "dspike_cifar10_resnet18_t4": 93.66,
    "dspike_cifar10_resnet18_t6": 94.25,
    "dspike_cifar100_resnet18_t2": 71.68,
    "dspike_cifar100_resnet18_t4": 73.35,
    "dspike_cifar100_resnet18_t6": 74.24,
}
MAY_DIFFER = {
    "name",
    "summary",
    "source",
    "published",
    "neuron.train_decay",
    "surrogate.width",
    "adapt.name",
    "adapt.width",
}


@pytest.fixture(params=sorted(RECIPES))
def recipe(request):
    return RECIPES[request.param]()


@cache
def pictures(name, count=8):
    """The first images of CIFAR-10 or CIFAR-100, where their files are on the disk; else, and instead of ImageNet's,
    bundled ones in that data set's shape, classes and statistics."""
    if name in FOLDER_SETS:
        spec = FOLDER_SETS[name]
        classes = tuple(f"n{number:08}" for number in range(spec.classes))
    else:
        spec = IMAGE_SETS[name]
        classes = spec.classes
    split = _first(name, count)
    return ImageData(name, split, split, classes, spec.mean, spec.std)


def _first(name, count):
    if name in IMAGE_SETS:
        with suppress(DataError):
            data = load(name, download=False).train
            return Split(data.images[:count], data.labels[:count])
    data = load("fashion_mnist_small").train
    channels, *side = IMAGE[name]
    padded = torch.zeros(count, 1, *side, dtype=torch.uint8)
    padded[:, :, 2:30, 2:30] = data.images[:count]
    return Split(padded.expand(count, channels, *side), data.labels[:count])


def test_the_name_is_the_key(request, recipe):
    assert recipe.name == request.node.callspec.params["recipe"]
    assert recipe.summary
    assert recipe.source


def test_a_recipe_with_a_source_says_what_differs_from_it(recipe):
    """In a sentence, or "" for nothing; whatever could not be compared is said too."""
    if recipe.source.startswith("ours"):
        return
    assert recipe.deviations is not None
    assert recipe.deviations == "" or recipe.deviations.endswith(".")
    assert "  " not in recipe.deviations
    assert "- " not in recipe.deviations.replace(" - ", "")


def test_published_is_a_share(recipe):
    assert recipe.published is None or 0 < recipe.published <= 1


def test_json_keeps_everything(recipe):
    assert from_dict(json.loads(json.dumps(to_dict(recipe)))) == recipe


def test_trains_an_epoch_and_resumes_in_the_next(recipe, tmp_path):
    """The whole recipe, its augmentation, norm, neuron and controller included, on fewer channels and images: an epoch
    of two steps and a step of the next; and this step again from the checkpoint between them, to the same weights."""
    options = {}
    if recipe.data.name in EVENT_SETS:
        options = {"workers": 0}
        split = parts.value(recipe, "data", "split")
        data = load_events(recipe.data.name, published(tmp_path, recipe.data.name), split)
    else:
        data = pictures(recipe.data.name)
    small = derive(
        recipe,
        data={"batch": 4, **options},
        model={"width_multiplier": 0.0625, "steps": min(recipe.model.steps, 20)},
        optim={"epochs": 2},
        progressive={"fraction": min(recipe.progressive.fraction, 0.5)},  # the second epoch has all time steps
        run={"device": "cpu"},
    )
    made = build(small, data)
    before = {name: p.detach().clone() for name, p in made.model.named_parameters()}
    loop = Loop(made, small.optim, tmp_path, Lines(1))
    assert made.batches.per_epoch == 2
    train_steps(loop, 2)
    loop.at = Position(1)
    loop.save()
    train_steps(loop, 1)
    moved = [name for name, p in made.model.named_parameters() if not torch.equal(p, before[name])]
    assert any("weight" in name for name in moved)
    trained = [name for name in moved if name.endswith("logit_decay")]
    assert bool(trained) == parts.value(recipe, "neuron", "train_decay", False)

    again = Loop(build(small, data), small.optim, tmp_path, Lines(1))
    again.resume()
    assert again.at == Position(1)
    train_steps(again, 1)
    ours = again.parts.model.state_dict()
    theirs = made.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def train_steps(loop, count):
    """The first steps of the loop's epoch."""
    loop.parts.model.train()
    for batch in islice(loop.parts.batches.train(loop.at.epoch), count):
        loss, right = loop.train_step(batch)
        loop.at.batch += 1
        assert math.isfinite(loss)
        assert 0 <= right <= 4
    assert loop.at.batch == count


def test_the_default_is_there():
    assert find_recipe().name == DEFAULT


def test_every_published_number_is_the_papers():
    given = {name: build().published for name, build in RECIPES.items() if build().published is not None}
    assert {name: round(100 * share, 6) for name, share in given.items()} == PUBLISHED | TDBN | OTHERS


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_a_twin_differs_only_where_it_says(name):
    base, train_decay, width = VARIANTS[name]
    variant = find_recipe(name)
    changed = {line.partition(":")[0] for line in differences(find_recipe(base), variant)}
    assert changed <= MAY_DIFFER
    assert {"name", "adapt.name"} <= changed
    assert (variant.adapt.name, parts.value(variant, "neuron", "train_decay")) == ("fixed", train_decay)
    assert parts.value(variant, "adapt", "width") is None
    assert variant.surrogate.width == width
    assert parts.value(variant, "neuron", "decay") == 0.2


@pytest.mark.parametrize("name", sorted(TDBN))
def test_tdbn_gives_the_summands_of_an_addition_their_share(name):
    """1/√2 for the last norm of a block and its shortcut's (Zheng et al. 2021), 1 for all others."""
    recipe = derive(find_recipe(name), model={"width_multiplier": 0.0625})
    network = build_model(recipe, ImageSource(pictures(recipe.data.name)))
    for path, norm in network.named_modules():
        if isinstance(norm, norms.TDBN):
            summand = path.endswith(("fire2.norm", "plus_norm"))
            assert norm.scale == pytest.approx(0.5 * (math.sqrt(0.5) if summand else 1.0)), path
    assert recipe.model.steps == int(name[-1])
    assert recipe.data.name in name
    assert (recipe.adapt.name, recipe.surrogate.width, parts.value(recipe, "neuron", "decay")) == ("fixed", 1.0, 0.2)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"norm": {"name": "batchnorm"}},
            r"summand_alpha = .* this norm has no 'alpha'; give .* = 1, or the norm tdbn",
        ),
        ({"model": {"name": "vggsnn"}}, r"model\.summand_alpha: model 'vggsnn' has no option 'summand_alpha', but "),
    ],
)
def test_an_alpha_of_summands_that_nothing_has_is_refused(changes, text):
    small = derive(find_recipe("tdbn_cifar10_resnet19_t2"), model={"width_multiplier": 0.0625}, data={"batch": 4})
    with pytest.raises(BadValue, match=text):
        build(derive(small, **changes), pictures("cifar10"))


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_papers_setting(name):
    """Section 4 of the paper: ResNet-19, threshold 0.5, decay from 0.2, hard reset, rectangle, T in the name."""
    recipe = find_recipe(name)
    assert recipe.model.name == "resnet19"
    assert f"_t{recipe.model.steps}" in name
    assert recipe.data.name in name
    values = parts.defaults("neuron", recipe.neuron)
    assert (values["threshold"], values["decay"], values["reset"], recipe.surrogate.name) == (0.5, 0.2, "zero", "rect")
    assert not values["detach_reset"]
