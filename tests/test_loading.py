"""A network from its run folder, without the data set."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import surgrad
from surgrad.config.recipe import derive, to_dict
from surgrad.errors import CheckpointError
from surgrad.models import SpikingNetwork
from surgrad.train import build, evaluate_run, load_run, train
from surgrad.train.average import EMA
from surgrad.train.inputs import CLASS_COUNTS, IMAGE_SHAPES, InputSpec, known_inputs, read_inputs


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_the_network_of_a_run(finished, monkeypatch):
    monkeypatch.setattr("surgrad.train.building.load", pytest.fail)  # no data set is read
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
        ("cifar10", 10, (3, 32, 32), False),
        ("cifar100", 100, (3, 32, 32), False),
        ("imagenet", 1000, (3, 224, 224), False),
        ("dvs_gesture", 11, (2, 224, 224), True),
    ],
)
def test_known_data_sets(tiny, name, classes, shape, is_sequence):
    found = known_inputs(derive(tiny(), data={"name": name}))
    assert (len(found.classes), found.input_shape, found.is_sequence) == (classes, shape, is_sequence)


def test_every_image_data_set_is_known(tiny):
    from surgrad.data import DATASETS
    from surgrad.data.events.sets import EVENT_SETS, GESTURES

    assert set(IMAGE_SHAPES) == set(DATASETS)
    assert all(shape[0] == len(DATASETS[name].mean) for name, shape in IMAGE_SHAPES.items())
    assert IMAGE_SHAPES["fashion_mnist_small"] == build(tiny()).inputs.input_shape
    assert CLASS_COUNTS.keys() - EVENT_SETS.keys() == {"imagenet"}
    assert CLASS_COUNTS["dvs_gesture"] == len(GESTURES)


def test_unknown_inputs_are_an_error(run, tiny):
    (run / "model.json").unlink()
    (run / "recipe.json").write_text(json.dumps(to_dict(derive(tiny(), data={"name": "image_folder"}))))
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
