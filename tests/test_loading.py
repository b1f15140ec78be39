"""A network from its run folder, without the data set."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import surgrad
from surgrad.config.reading import from_dict
from surgrad.config.recipe import DataConfig, derive, to_dict
from surgrad.data import EVENT_SETS, IMAGE_SETS
from surgrad.data.events.sets import GESTURES
from surgrad.errors import CheckpointError
from surgrad.models import SpikingNetwork
from surgrad.train import build, evaluate_run, load_run, train
from surgrad.train.average import EMA
from surgrad.train.inputs import InputSpec, known_inputs, read_inputs


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_the_network_of_a_run(finished, monkeypatch):
    monkeypatch.setattr("surgrad.train.building.find_source", pytest.fail)  # no data set is read
    network = surgrad.load_run(finished)
    assert isinstance(network, SpikingNetwork)
    assert not network.training
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
    state = network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in load_file(finished / "last.safetensors").items())
    assert network(torch.randn(3, 1, 28, 28)).shape == (2, 3, 10)


@pytest.mark.parametrize("which", ["last", "best", "average"])
def test_its_predictions_are_those_of_the_evaluation(tiny, tmp_path, which):
    folder = train(tiny("optim.lr=0.3"), tmp_path / "run", observers=[EMA(0.8)])
    network = load_run(folder, which)
    batches = build(tiny()).batches
    with torch.no_grad():
        right = sum((network(x).mean(0).argmax(1) == labels).sum().item() for x, labels in batches.test())
    assert right / batches.test_count == evaluate_run(folder, which=which)["test_accuracy"]


def test_model_json_says_what_the_network_is_built_for(finished, tiny):
    held = json.loads((finished / "model.json").read_text())
    assert held.keys() == {"classes", "input_shape", "is_sequence"}
    assert len(held["classes"]) == 10
    assert held["classes"][9] == "Ankle boot"
    assert (held["input_shape"], held["is_sequence"]) == ([1, 28, 28], False)
    assert read_inputs(finished, tiny()) == InputSpec(tuple(held["classes"]), (1, 28, 28), False)


def test_a_folder_without_model_json_goes_by_its_data_set(run):
    (run / "model.json").unlink()
    network = load_run(run)
    assert network(torch.randn(3, 1, 28, 28)).shape == (2, 3, 10)


@pytest.mark.parametrize(
    ("name", "classes", "shape", "is_sequence"),
    [
        ("fashion_mnist_small", 10, (1, 28, 28), False),
        ("fashion_mnist", 10, (1, 28, 28), False),
        ("mnist", 10, (1, 28, 28), False),
        ("cifar10", 10, (3, 32, 32), False),
        ("cifar100", 100, (3, 32, 32), False),
        ("imagenet", 1000, (3, 224, 224), False),
        ("cifar10_dvs", 10, (2, 224, 224), True),
        ("dvs_gesture", 11, (2, 224, 224), True),
        ("n_mnist", 10, (2, 224, 224), True),
        ("n_caltech101", 101, (2, 224, 224), True),
        ("n_cars", 2, (2, 224, 224), True),
        ("shd", 20, (1, 140), True),
        ("ssc", 35, (1, 140), True),
    ],
)
def test_known_data_sets(tiny, name, classes, shape, is_sequence):
    found = known_inputs(derive(tiny(), data=DataConfig(name)))
    assert (len(found.classes), found.input_shape, found.is_sequence) == (classes, shape, is_sequence)


def test_options_of_the_data_set_decide_its_shape(tiny):
    assert known_inputs(derive(tiny(), data=DataConfig("imagenet", side=96))).input_shape == (3, 96, 96)
    assert known_inputs(derive(tiny(), data=DataConfig("n_mnist", side=34))).input_shape == (2, 34, 34)
    assert known_inputs(derive(tiny(), data=DataConfig("shd", bins=70))).input_shape == (1, 70)


@pytest.mark.parametrize(("name", "channels"), [("imagenet", 3), ("dvs_gesture", 2)])
def test_inputs_of_recipes_of_an_earlier_release(name, channels):
    """They have the options of all data sets."""
    data = {"name": name, "crop": 0, "cutout": 0, "side": 48, "resize": 64, "slicing": "count", "split": None}
    assert known_inputs(from_dict({"name": "old", "data": data})).input_shape == (channels, 48, 48)


@pytest.mark.parametrize("name", ["image_folder", "event_folder"])
def test_the_classes_of_folders_are_not_known_by_name(tiny, name):
    with pytest.raises(CheckpointError, match=f"of data set '{name}' are not known without the data"):
        known_inputs(derive(tiny(), data=DataConfig(name)))


def test_descriptions_of_data_sets_agree_with_their_data(tiny):
    assert all(spec.shape[0] == len(spec.mean) for spec in IMAGE_SETS.values())
    assert IMAGE_SETS["fashion_mnist_small"].shape == build(tiny()).inputs.input_shape
    assert EVENT_SETS["dvs_gesture"].classes == len(GESTURES)


def test_a_recipe_of_an_earlier_release_without_model_json(run):
    """It has the options of all data sets, and no format."""
    (run / "model.json").unlink()
    recipe = json.loads((run / "recipe.json").read_text())
    del recipe["format"]
    recipe["data"] |= {"side": 224, "resize": 256, "slicing": "count"}
    recipe["neuron"] |= {"shape": recipe["surrogate"]["name"], "width": recipe["surrogate"]["width"]}
    recipe["model"] |= {"norm": recipe["norm"]["name"], "coding": recipe["coding"]["name"]}
    for part in ("surrogate", "norm", "coding"):
        del recipe[part]
    (run / "recipe.json").write_text(json.dumps(recipe))
    assert load_run(run)(torch.randn(3, 1, 28, 28)).shape == (2, 3, 10)


def test_unknown_inputs_are_an_error(run, tiny):
    (run / "model.json").unlink()
    (run / "recipe.json").write_text(json.dumps(to_dict(derive(tiny(), data=DataConfig("image_folder")))))
    with pytest.raises(CheckpointError, match="of data set 'image_folder' are not known without the data"):
        load_run(run)


def test_weights_of_another_network_are_an_error(run, tiny):
    (run / "recipe.json").write_text(json.dumps(to_dict(tiny("model.width_multiplier=0.25"))))
    with pytest.raises(CheckpointError, match=r"the weights in .* do not fit the network of its recipe\.json"):
        load_run(run)


def test_a_folder_that_holds_no_run(tmp_path):
    with pytest.raises(CheckpointError, match=r"is not a run folder: it holds no recipe\.json"):
        load_run(tmp_path)


def test_a_damaged_checkpoint_is_reported(run, capsys):
    (run / "last.pt").write_bytes(b"")
    load_run(run)
    assert "last.pt: cut short, altered or missing. Continuing from previous.pt, of epoch 1" in capsys.readouterr().err
