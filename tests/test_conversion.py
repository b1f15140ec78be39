"""A converted network computes what its ReLUs did, the better the longer it runs."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.testing import assert_close

from surgrad import cli
from surgrad.config.recipe import Part, derive
from surgrad.conversion import accuracy_over_time, convert
from surgrad.errors import BadValue, CheckpointError
from surgrad.models import MODELS, SpikingNetwork
from surgrad.neurons import IF, LTMD, ConvertedIF, DietLIF, keep_positive, neurons
from surgrad.norm import TDBN, TEBN, BatchNorm
from surgrad.recipes import RECIPES
from surgrad.train import convert_run, diagnose_recipe, evaluate_run, progress, train
from surgrad.train.building import build
from surgrad.train.run_folder import recipe_of

CLASSES = 5


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def ann(name: str) -> SpikingNetwork:
    """With statistics of its norms that fit its weights, and biases that keep most units at work."""
    torch.manual_seed(0)
    network = MODELS[name](CLASSES, steps=1, width_multiplier=0.125, neuron=nn.ReLU, norm=BatchNorm)
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.uniform_(module.bias, 0.0, 0.5)
    network(images(64))
    return network.eval()


@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("steps", [1, 4, 16])
def test_a_neurons_average_is_the_relu_rounded_and_clipped(steps: int, shift: float):
    """λ/T·clip(⌊x·T/λ + shift⌋, 0, T), for a constant input x."""
    level = 0.8
    x = torch.linspace(-1, 2, 301) + 1e-4  # next to no multiple of λ/T
    neuron = ConvertedIF(threshold=level, shift=shift).eval()
    found = neuron(x.expand(steps, 1, -1)).mean(0)[0]
    wanted = level / steps * torch.floor(x * steps / level + shift).clamp(0, steps)
    torch.testing.assert_close(found, wanted)
    assert (found - x.clamp(0, level)).abs().max() <= level / steps


@pytest.mark.parametrize("name", ["resnet20", "vgg11", "resnet18", "ds_resnet20", "ms_resnet18"])
def test_outputs_approach_the_anns(name: str):
    """By maximum, where hardly anything is clipped; plain and residual networks. The error falls as 1/T."""
    network = ann(name)
    x = images(8)
    found = convert(network, [(images(64), torch.zeros(64))], percentile=100, steps=256)
    with torch.no_grad():
        wanted = network(x)[0]
        outputs = found(x)
    errors = [((outputs[:t].mean(0) - wanted).norm() / wanted.norm()).item() for t in (4, 128, 256)]
    assert errors[2] < 0.6 * errors[1] < 0.3 * errors[0]
    assert errors[2] < (0.25 if name == "resnet18" else 0.05)
    assert len(neurons(found)) == len([m for m in network.modules() if isinstance(m, nn.ReLU)])
    assert not neurons(network), "what is converted is a copy"


def test_a_percentile_leaves_out_the_largest():
    network = ann("vgg11")
    batches = [(images(32, seed), torch.zeros(32)) for seed in (1, 2)]
    levels = {}
    for percentile in (90.0, 99.9, 100.0):
        found = neurons(convert(network, batches, percentile=percentile))
        levels[percentile] = [neuron.level.item() for neuron in found.values()]
    assert all(a < b < c for a, b, c in zip(*levels.values(), strict=True))
    seen: list[Tensor] = []
    unit = network.fire.neuron
    unit.register_forward_hook(lambda _m, _i, out: seen.append(out.flatten()))
    for x, _ in batches:
        network(x)
    assert levels[100.0][0] == pytest.approx(torch.cat(seen).max().item())
    assert levels[90.0][0] == pytest.approx(sum(s.quantile(0.9).item() for s in seen) / 2, rel=1e-3)


def test_accuracy_over_time_is_that_of_the_averages_so_far():
    network = convert(ann("vgg11"), [(images(32), torch.zeros(32))], steps=7)
    batches = [(images(6, seed), torch.arange(6) % CLASSES) for seed in (3, 4)]
    wanted = torch.zeros(7)
    with torch.no_grad():
        for x, labels in batches:
            outputs = network(x)
            wanted += torch.stack([(outputs[: t + 1].mean(0).argmax(1) == labels).sum() for t in range(7)])
    for chunk in (1, 3, 7, 50):
        assert accuracy_over_time(network, batches, 7, chunk=chunk) == pytest.approx((wanted / 12).tolist())
    assert network.steps == 7
    assert not any(neuron.carry or neuron.potential is not None for neuron in neurons(network).values())


def test_a_converted_network_trains():
    """Kundu et al. 2021: fine-tuning by surrogate gradients, thresholds included."""
    network = convert(ann("resnet20"), [(images(32), torch.zeros(32))], steps=4).train()
    out = network(images(4))
    out.square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
    assert all(neuron.level.grad.ne(0) for neuron in neurons(network).values())


def test_what_does_another_thing_in_every_step_is_refused():
    network = convert(ann("vgg11"), [(images(32), torch.zeros(32))])
    network.last_step = True
    assert len(accuracy_over_time(network, [(images(4), torch.zeros(4))], 3)) == 3
    assert network.last_step
    for wrong in ({"steps": 0}, {"steps": 3, "chunk": 0}):
        with pytest.raises(BadValue, match=r"steps and chunk must be at least 1, got"):
            accuracy_over_time(network, [], **wrong)
    stepped = MODELS["vgg11"](CLASSES, steps=1, width_multiplier=0.125, neuron=nn.ReLU, norm=partial(TEBN, steps=1))
    with pytest.raises(BadValue, match=r"'fire.norm', a TEBN, is made for a fixed number of time steps, and"):
        convert(stepped, [(images(4), torch.zeros(4))])


def test_thresholds_stay_above_zero():
    for neuron in (ConvertedIF(threshold=0.5), DietLIF(), LTMD()):
        with torch.no_grad():
            for name in neuron.positive_parameters:
                neuron.get_parameter(name).fill_(-1.0)
        keep_positive(neuron)
        assert all(neuron.get_parameter(name).item() == pytest.approx(1e-3) for name in neuron.positive_parameters)
        assert neuron(torch.randn(3, 4, 5)).isfinite().all()


def test_what_cannot_be_converted():
    batches = [(images(4), torch.zeros(4))]
    with pytest.raises(BadValue, match=r"this network has no nn.ReLU to convert; build it with neuron=nn.ReLU"):
        convert(MODELS["vgg11"](CLASSES, width_multiplier=0.125), batches)
    with pytest.raises(BadValue, match=r"takes maxima of several neurons, which spikes do not average to"):
        convert(ann("plif_cifar"), batches)
    with pytest.raises(BadValue, match=r"there is no batch to compute thresholds from; give one or more"):
        convert(ann("vgg11"), [])
    for percentile in (0.0, 101.0, float("nan")):
        with pytest.raises(BadValue, match=r"percentile must be above 0 and at most 100, got"):
            convert(ann("vgg11"), batches, percentile=percentile)
    with pytest.raises(BadValue, match=r"the 1th percentile of '.*' is 0, so its threshold would be zero"):
        convert(ann("vgg11"), batches, percentile=1.0)
    with pytest.raises(BadValue, match=r"threshold must be positive, got 0"):
        ConvertedIF(threshold=0)


def test_spikes_of_one_leave_their_size_to_the_weights_behind():
    """Diet-SNN's start. Without a leak, the network does what the one of large spikes does."""
    network = ann("vgg11")
    x = images(8, 3)
    batches = [(images(32), torch.zeros(32))]
    units = convert(network, batches, steps=16, shift=0.0)
    told: dict[str, Any] = {"reset": "subtract", "surrogate": "rect"}
    ones = convert(network, batches, steps=16, neuron=lambda level: IF(threshold=level, **told))
    with torch.no_grad():
        assert_close(ones(x), units(x), rtol=1e-3, atol=1e-3)
    diet = convert(network, batches, percentile=99.7, steps=5, neuron=lambda level: DietLIF(0.9, threshold=level))
    levels = [n.level for n in neurons(convert(network, batches, percentile=99.7)).values()]
    assert [n.trained_threshold.item() for n in neurons(diet).values()] == pytest.approx([v.item() for v in levels])


def test_a_scale_lowers_thresholds_and_not_the_size_of_spikes():
    network = ann("vgg11")
    batches = [(images(32), torch.zeros(32))]
    whole, lower = (
        convert(network, batches, scale=scale, neuron=lambda level: IF(threshold=level)) for scale in (1.0, 0.25)
    )
    for one, other in zip(neurons(whole).values(), neurons(lower).values(), strict=True):
        assert other.threshold.item() == pytest.approx(one.threshold.item() / 4)
    weights = {name: p for name, p in lower.named_parameters() if p.ndim > 1}
    assert all(torch.equal(p, dict(whole.named_parameters())[name]) for name, p in weights.items())
    with pytest.raises(BadValue, match=r"scale must be positive, got 0.0"):
        convert(network, batches, scale=0.0)


@pytest.mark.parametrize("name", ["resnet20", "vgg11_ws"])
def test_weights_that_cannot_take_the_spikes_size(name: str):
    with pytest.raises(BadValue, match=r"that is not possible .*; convert a chain of layers such as vgg16"):
        convert(ann(name), [(images(8), torch.zeros(8))], neuron=lambda level: IF(threshold=level))


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory) -> Path:
    """The run of a small ANN."""
    words = (
        "neuron.name=relu",
        "model.steps=1",
        "adapt.name=fixed",
        "model.name=resnet20",
        "norm.name=batchnorm",
    )
    return train(tiny(*words), tmp_path_factory.mktemp("ann") / "run")


def test_a_run_becomes_a_run_of_spikes(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "spiking"
    assert cli.main(["convert", str(trained), "--steps", "12", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    record = json.loads((out / "conversion.json").read_text())
    assert len(record["accuracy"]) == 12
    assert f"the ANN: {100 * evaluate_run(trained)['test_accuracy']:.2f} %, on {record['images']}" in said
    assert f"T =   12: {100 * record['accuracy'][-1]:6.2f} %" in said
    assert (out / "conversion.png").read_bytes().startswith(b"\x89PNG")
    assert evaluate_run(out)["test_accuracy"] == pytest.approx(record["accuracy"][-1])
    assert set(record["thresholds"]) == {name for name in record["thresholds"] if record["thresholds"][name] > 0}


def test_tdbn_scales_as_before(tiny, tmp_path: Path):
    words = (
        "neuron.name=relu",
        "model.steps=1",
        "adapt.name=fixed",
        "model.name=resnet20",
        "norm.name=tdbn",
        "neuron.threshold=0.3",
    )
    run = train(tiny(*words), tmp_path / "ann")
    convert_run(run, tmp_path / "out", steps=2)
    scales = [
        {m.scale for m in build(recipe_of(folder)).model.modules() if isinstance(m, TDBN)}
        for folder in (run, tmp_path / "out")
    ]
    assert scales[0] == scales[1] == {0.3}
    with pytest.raises(BadValue, match=r"the ANN has neuron.threshold = 0.3, and '.*' needs 0.5; train the ANN"):
        convert_run(run, tmp_path / "other", steps=2, into=tiny(*words[2:5]))


def test_a_training_starts_from_what_was_converted(trained: Path, tiny, tmp_path: Path):
    """Kundu et al. 2021."""
    convert_run(trained, tmp_path / "spiking", steps=4)
    words = (
        "neuron.name=converted",
        "neuron.reset=subtract",
        "model.steps=4",
        "adapt.name=fixed",
        "model.name=resnet20",
        "norm.name=batchnorm",
        f"init_from={tmp_path / 'spiking'}",
    )
    saved = load_file(tmp_path / "spiking" / "last.safetensors")
    begun = train(tiny(*words, "optim.lr=1e-30", "optim.neuron_lr=1e-30", "optim.weight_decay=0"), tmp_path / "begun")
    learned = load_file(begun / "last.safetensors")
    assert all(torch.equal(learned[key], saved[key]) for key in saved if "running" not in key and "num_" not in key)
    run = train(tiny(*words), tmp_path / "tuned")
    levels = [key for key in saved if key.endswith(".level")]
    assert levels
    assert all(not torch.equal(saved[key], load_file(run / "last.safetensors")[key]) for key in levels)
    with pytest.raises(BadValue, match=r"init_from = .* holds another network: 'stem.0.weight' is"):
        train(tiny(*words, "model.width_multiplier=0.25"), tmp_path / "wide")
    (tmp_path / "spiking").rename(tmp_path / "elsewhere")
    evaluate_run(run)  # what it began with is needed no more
    train(tiny(*words), run, resume=True)


def test_a_recipe_starts_from_an_ann(tiny, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch):
    """Rathi and Roy 2021: thresholds from the ANN's activations, and then the training of Diet-SNN's neurons."""
    chain = ("model.name=vgg11_dct", "norm.name=batchnorm", "adapt.name=fixed")
    ann_run = train(tiny(*chain, "neuron.name=relu", "model.steps=1"), tmp_path / "ann")
    diet = tiny(
        *chain,
        "neuron.name=diet",
        "neuron.reset=subtract",
        "neuron.detach_reset=true",
        "neuron.decay=0.9",
        "surrogate.name=triangle",
        "neuron.threshold=1",
        "neuron.train_decay=true",
    )
    monkeypatch.setitem(RECIPES, "diet_tiny", lambda: diet)
    words = ["convert", str(ann_run), "--percentile", "99.7", "--out", str(tmp_path / "start"), "--into"]
    assert cli.main([*words, "diet_tiny"]) == 0
    assert f"T = {diet.model.steps:4}:" in capsys.readouterr().out
    record = json.loads((tmp_path / "start" / "conversion.json").read_text())
    held = load_file(tmp_path / "start" / "last.safetensors")
    assert [*record["thresholds"].values()] == pytest.approx(
        [held[f"{name}.trained_threshold"].item() for name in record["thresholds"]]
    )
    assert evaluate_run(tmp_path / "start")["test_accuracy"] == pytest.approx(record["accuracy"][-1])
    train(derive(diet, init_from=str(tmp_path / "start")), tmp_path / "run")
    monkeypatch.setitem(RECIPES, "diet_tiny", lambda: derive(diet, norm=Part("tebn")))
    assert cli.main([*words, "diet_tiny"]) == 2
    assert (
        "the ANN has norm.name = batchnorm, and 'lsg_fashion_small_t4' needs tebn; train the ANN"
        in capsys.readouterr().err
    )
    assert cli.main([*words, "diet_tiny", "--set", "norm.name=batchnorm", "--set", "model.steps=1"]) == 2
    assert "already holds a run; choose another --out" in capsys.readouterr().err, "the recipe's fields are set"
    assert cli.main([*words[:-1], "--set", "model.steps=3"]) == 2
    assert (
        "--set model.steps=3 changes the recipe of --into, but --into is not given; give both or none"
        in capsys.readouterr().err
    )
    assert cli.main([*words, "conversion_cifar10_resnet44_t350"]) == 2
    assert "is a recipe of ReLUs, and a converted network has spiking neurons" in capsys.readouterr().err


def test_measuring_says_how_far_it_is(trained: Path, tmp_path: Path, monkeypatch, capsys):
    seen: list[tuple[int, int]] = []
    record = convert_run(trained, tmp_path / "spiking", steps=2, show=lambda *counts: seen.append(counts))
    assert seen[-1] == (record["images"], record["images"])
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    show = progress.counting("test images")
    show(1_500, 2_000)
    assert re.fullmatch(r"1,500/2,000 test images  00:00 left\n", capsys.readouterr().out)
    monkeypatch.setattr(progress, "QUIET_SECONDS", 30.0)
    progress.counting("test images")(1_600, 2_000)
    assert not capsys.readouterr().out


def test_errors_of_converting_runs(trained: Path, finished: Path, tiny, tmp_path: Path, capsys):
    with pytest.raises(BadValue, match=r"is a run of neuron 'lif', and only an ANN can be converted; train one, with"):
        convert_run(finished, tmp_path / "out", steps=4)
    with pytest.raises(BadValue, match=r"0 steps of None images cannot be measured; give 1 or more"):
        convert_run(trained, tmp_path / "out", steps=0)
    for words, error in (
        (["--images", "0"], "4 steps of 0 images cannot be measured"),
        (["--beside", str(tmp_path)], "is not a run folder"),
    ):
        assert cli.main(["convert", str(trained), "--steps", "4", "--out", str(tmp_path / "out"), *words]) == 2
        assert error in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    with pytest.raises(BadValue, match=r"is an ANN, without spiking neurons; convert it first"):
        diagnose_recipe(recipe_of(trained), trained)
    with pytest.raises(CheckpointError, match=r"already holds a run; choose another --out"):
        convert_run(trained, finished, steps=4)
    with pytest.raises(BadValue, match=r"neuron 'relu' has no time, and model.steps = 2; set model.steps=1"):
        build(tiny("neuron.name=relu", "adapt.name=fixed"))
    out = tmp_path / "spiking"
    convert_run(trained, out, steps=2)
    with pytest.raises(CheckpointError, match=r"holds a converted network and no training to continue; begin one"):
        train(recipe_of(out), out, resume=True)
