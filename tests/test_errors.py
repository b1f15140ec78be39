"""Errors as users see them: a text that says what is wrong, status 2, no traceback; and no data is lost."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import load_file

from surgrad import cli
from surgrad.config import (
    DataConfig,
    NeuronConfig,
    OptimConfig,
    Part,
    Recipe,
    SurrogateConfig,
    from_dict,
    parts,
    to_dict,
)
from surgrad.data import load
from surgrad.errors import BadValue, CheckpointError, DataError, Interrupted, SurgradError, TrainingStopped, UnknownName
from surgrad.files import read_rows, write_json
from surgrad.recipes import find_recipe
from surgrad.report import read_run
from surgrad.train import build, building, checkpoint, derive, evaluate_run, train
from surgrad.train.loop import Loop
from surgrad.train.progress import Lines
from surgrad.train.run_folder import recipe_of


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def run(finished, tmp_path):
    """A finished run that a test may damage."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def refused(capsys):
    """refused(words) -> the error text of a command that ends with status 2 and without a traceback."""

    def command(*words):
        assert cli.main([str(word) for word in words]) == 2
        said = capsys.readouterr().err
        assert said.startswith("surgrad: ")
        return said.removeprefix("surgrad: ").rstrip("\n")

    return command


# names and values


@pytest.mark.parametrize(
    ("assignment", "text"),
    [
        ("surrogate.name=triangel", "unknown surrogate function 'triangel'; did you mean 'triangle'?"),
        ("model.name=resnet91", "unknown model 'resnet91'; did you mean 'resnet19'"),
        ("norm.name=tdbm", "unknown norm 'tdbm'; did you mean 'tdbn'?"),
        ("neuron.name=plfi", "unknown neuron 'plfi'; did you mean 'plif'?"),
        ("data.name=fashion", "unknown data set 'fashion'; did you mean 'fashion_mnist'"),
        ("adapt.name=fixd", "unknown controller 'fixd'; did you mean 'fixed'?"),
        ("adapt.name=lgs", "unknown controller 'lgs'; did you mean 'lsg'"),
        ("loss.name=crossentropy", "unknown loss 'crossentropy'; did you mean 'cross_entropy'?"),
        ("optim.name=adamW2", "unknown optimiser 'adamW2'; did you mean 'adam'"),
        ("run.precision=bf61", "unknown precision 'bf61'; did you mean 'bf16'?"),
        ("run.device=cdua", "unknown device 'cdua'; did you mean 'cuda'?"),
        ("optim.epoch=3", "unknown setting 'optim.epoch'; did you mean 'optim.epochs'"),
        ("optimiser.lr=1", "unknown setting 'optimiser.lr'; did you mean 'optim.lr'"),
        ("learning_rate=1", "unknown setting 'learning_rate'; "),
        (
            "loss.weight=1",
            "loss.weight: loss 'cross_entropy' has no option 'weight', but 'tet' has it; set loss.name too",
        ),
        ("data.side=32", "data.side: data set 'fashion_mnist_small' has no option 'side', but 'imagenet', "),
        ("optim.lr", "'optim.lr' does not set anything; write path=value, as in optim.lr=0.05"),
        ("optim.lr=fast", "optim.lr = 'fast' cannot be read; give a number"),
        ("optim.lr=-1", "optim.lr = -1.0 is out of range; give a number above 0"),
        ("optim.epochs=0", "optim.epochs = 0 is out of range; give a number from 1"),
        ("data.batch=129", "data.batch = 129 of 128 training samples; give at most 128"),
        ("data.crop=-1", "data.crop = -1 is out of range; give a number from 0"),
        ("surrogate.width=0", "surrogate.width = 0.0 is out of range; give a number above 0"),
        ("neuron.decay=1", "a trained decay is a sigmoid, so it must start between 0 and 1, not at 1"),
        ("neuron.threshold=-1", "neuron.threshold = -1.0 is out of range; give a number above 0"),
        ("model.steps=0", "model.steps = 0 is out of range; give a number from 1"),
        ("neuron.reset=hard", "unknown reset 'hard'; choose from none, subtract, zero"),
    ],
)
def test_a_wrong_name_or_value(refused, tiny_words, tmp_path, assignment, text):
    out = tmp_path / "run"
    said = refused("train", *tiny_words, "--set", assignment, "--out", out)
    assert text in said
    assert len(said) < 200, "similar names are offered, not all"
    assert not (out / "last.pt").exists()


def test_a_schedule_to_no_width(refused, tiny_words, tmp_path):
    settings = ["--set", "adapt.name=schedule", "--set", "adapt.end=0"]
    said = refused("train", *tiny_words, *settings, "--out", tmp_path / "run")
    assert said == "adapt.end = 0.0 is out of range; give a number above 0"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("assignment", "text"),
    [
        ("data.batch=0", "data.batch = 0 is out of range; give a number from 1"),
        ("data.limit=0", "data.limit = 0 is out of range; give a number from 1"),
        ("data.cutout=-1", "data.cutout = -1 is out of range; give a number from 0"),
        ("model.width_multiplier=0", "model.width_multiplier = 0.0 is out of range; give a number above 0 to 1000"),
        ("neuron.decay=1.5", "neuron.decay = 1.5 is out of range; give a number from 0 to 1"),
        ("neuron.decay=-0.1", "neuron.decay = -0.1 is out of range; give a number from 0 to 1"),
        ("adapt.name=schedule adapt.start=-1", "adapt.start = -1.0 is out of range; give a number above 0"),
        ("loss.label_smoothing=2", "loss.label_smoothing = 2.0 is out of range; give a number from 0 to 1"),
        ("loss.name=tet loss.weight=-1", "loss.weight = -1.0 is out of range; give a number from 0 to 1"),
        ("optim.lr=0", "optim.lr = 0.0 is out of range; give a number above 0"),
        ("optim.lr=nan", "optim.lr = nan is out of range; give a number above 0"),
        ("optim.momentum=-1", "optim.momentum = -1.0 is out of range; give a number from 0 to 0.9999"),
        ("optim.momentum=1", "optim.momentum = 1.0 is out of range; give a number from 0 to 0.9999"),
        ("optim.neuron_lr=-1", "optim.neuron_lr = -1.0 is out of range; give a number above 0"),
        ("optim.weight_decay=-1", "optim.weight_decay = -1.0 is out of range; give a number from 0"),
        ("schedule.warmup=-1", "schedule.warmup = -1.0 is out of range; give a number from 0"),
        ("optim.clip=-1", "optim.clip = -1.0 is out of range; give a number from 0"),
        ("seed=-1", f"seed = -1 is out of range; give a number from 0 to {2**63 - 1}"),
    ],
)
def test_a_value_out_of_range_is_named_by_its_path(refused, tiny, tiny_words, tmp_path, assignment, text):
    settings = assignment.split()
    words = [word for setting in settings for word in ("--set", setting)]
    assert refused("train", *tiny_words, *words, "--out", tmp_path / "run") == text
    assert not (tmp_path / "run").exists()
    with pytest.raises(BadValue) as caught:
        tiny(*settings)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (DataConfig, {"batch": 0}),
        (SurrogateConfig, {"width": -1.0}),
        (OptimConfig, {"epochs": 0}),
        (Recipe, {"name": "a", "seed": -1}),
    ],
)
def test_no_way_of_making_a_recipe_takes_values_out_of_range(kind, values):
    with pytest.raises(BadValue, match="is out of range"):
        kind(**values)
    part = kind.__name__.removesuffix("Config").lower()
    with pytest.raises(BadValue, match="is out of range"):
        from_dict(values if kind is Recipe else {"name": "a", part: values})
    with pytest.raises(BadValue, match="is out of range"):
        derive(Recipe("a"), **(values if kind is Recipe else {part: values}))


@pytest.mark.parametrize(
    ("part", "values", "text"),
    [
        ("data", {"crop": -1}, "data.crop = -1 is out of range; give a number from 0"),
        ("neuron", {"decay": 1.5}, "neuron.decay = 1.5 is out of range; give a number from 0 to 1"),
        ("optim", {"momentum": "high"}, "optim.momentum = 'high' is of type str; give a number"),
        ("loss", {"label_smoothing": 2.0}, "loss.label_smoothing = 2.0 is out of range; give a number from 0 to 1"),
        ("neuron", {"decy": 0.5}, "unknown setting 'neuron.decy'; did you mean 'neuron.decay'"),
    ],
)
def test_options_are_checked_before_the_data_is_loaded(tiny, monkeypatch, part, values, text):
    """However the recipe was made."""
    monkeypatch.setattr(building, "find_source", pytest.fail)
    recipe = derive(tiny(), **{part: values})
    for one in (recipe, from_dict(to_dict(recipe))):
        with pytest.raises((BadValue, UnknownName)) as caught:
            build(one)
        assert text in str(caught.value)


def test_options_of_data_that_is_given_are_named_alike(tiny):
    images = load("fashion_mnist_small")
    recipe = derive(tiny(), data=DataConfig("n_mnist", side=34))
    with pytest.raises(
        BadValue, match=r"^data\.side: data set 'fashion_mnist_small' has no option 'side'; it has crop"
    ):
        build(recipe, images)


def test_the_ends_of_a_range_are_taken():
    least = {
        "data": DataConfig(batch=1, crop=0, limit=None),
        "neuron": NeuronConfig(decay=0.0),
        "loss": Part("cross_entropy", label_smoothing=0.0),
        "optim": OptimConfig(momentum=0.0, clip=0.0, epochs=1),
    }
    most = {
        "data": DataConfig(limit=1),
        "neuron": NeuronConfig(decay=1.0),
        "loss": Part("cross_entropy", label_smoothing=1.0),
    }
    for recipe in (Recipe("a", seed=0, **least), Recipe("a", seed=2**63 - 1, **most)):
        parts.check(recipe)
        assert from_dict(to_dict(recipe)) == recipe


def test_a_negative_seed(refused, tiny_words, tmp_path):
    said = refused("train", *tiny_words, "--seed", -1, "--out", tmp_path / "run")
    assert said == f"seed = -1 is out of range; give a number from 0 to {2**63 - 1}"


def test_nesterov_without_momentum(refused, tiny_words, tmp_path):
    settings = ["--set", "optim.nesterov=true", "--set", "optim.momentum=0"]
    said = refused("train", *tiny_words, *settings, "--out", tmp_path / "run")
    assert said == "optim.nesterov needs momentum; give optim.momentum above 0, or optim.nesterov=false"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("controller", ["lsg", "schedule"])
def test_widths_that_are_both_trained_and_controlled(refused, tiny, tiny_words, tmp_path, controller):
    settings = ["surrogate.learn=true", f"adapt.name={controller}"]
    words = [word for setting in settings for word in ("--set", setting)]
    said = refused("train", *tiny_words, *words, "--out", tmp_path / "run")
    assert said == (
        f"surrogate.learn is true, and the controller '{controller}' writes the width; "
        "set adapt.name=fixed or surrogate.learn=false"
    )
    assert not (tmp_path / "run").exists()
    with pytest.raises(BadValue, match=r"surrogate\.learn is true"):
        build(tiny(*settings))


def test_an_unknown_recipe(refused):
    said = refused("train", "lsg_cifar10_resnet19_t3")
    assert "unknown recipe 'lsg_cifar10_resnet19_t3'; did you mean 'lsg_cifar10_resnet19_t" in said
    assert said.count("'lsg_cifar10_resnet19_t") == 4, "the name and three that are similar"
    assert "`surgrad list` shows all" in said
    with pytest.raises(UnknownName, match="did you mean 'lsg_fashion_small_t4'"):
        find_recipe("lsg_fashion_smal_t4")


def test_cuda_where_there_is_none(refused, tiny_words, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said = refused("train", *tiny_words, "--set", "run.device=cuda", "--out", tmp_path / "run")
    assert said == "run.device = cuda, but torch finds no CUDA device; set run.device=cpu"


def test_a_folder_that_cannot_be_made(refused, tiny, tiny_words, tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")
    for out, why in ((file / "run", "Not a directory"), (file, "File exists")):
        said = refused("train", *tiny_words, "--out", out)
        assert said == f"{out} cannot be a run folder ({why}); choose another --out"
        with pytest.raises(CheckpointError, match="cannot be a run folder"):
            train(tiny(), out)
    assert file.read_text() == "kept"


def test_missing_data(refused, tmp_path, monkeypatch):
    def offline(*_args, **_options):
        raise URLError("no network in tests")

    monkeypatch.setattr("surgrad.data.fetch.urlopen", offline)
    said = refused("train", "lsg_cifar10_small_t2", "--data", tmp_path / "data", "--out", tmp_path / "run")
    for part in (
        "cifar10: the data was not found",
        "needed: data_batch_1",
        "test_batch",
        "no network in tests",
        f"looked in: {tmp_path / 'data' / 'cifar-10-batches-py'}",
        "to download it by hand:",
        "(md5 ",
        "`--data DIR`",
    ):
        assert part in said
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match="the data was not found"):
        train(find_recipe("lsg_cifar10_small_t2"), tmp_path / "run", data=tmp_path / "data")


# run folders


@pytest.mark.parametrize("command", ["eval", "report"])
def test_not_a_run_folder(refused, tmp_path, command):
    for folder in (tmp_path, tmp_path / "nowhere"):
        said = refused(command, folder)
        assert str(folder) in said
        assert "not a run folder" in said or "does not exist" in said or "holds no last.safetensors" in said
    assert contents(tmp_path) == {}


def test_not_a_run_folder_by_the_interface(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no last\.safetensors; train first"):
        evaluate_run(tmp_path)
    with pytest.raises(CheckpointError, match=r"is not a run folder: it holds no recipe\.json"):
        recipe_of(tmp_path)
    with pytest.raises(CheckpointError, match=r"recipe\.json is missing"):
        read_run(tmp_path)


def test_an_existing_run_is_not_overwritten(refused, tiny, tiny_words, run):
    before = contents(run)
    said = refused("train", *tiny_words, "--out", run)
    assert said == f"{run} already holds a run; add --resume to continue it, or choose another --out"
    with pytest.raises(CheckpointError, match="already holds a run"):
        train(tiny(), run)
    assert contents(run) == before


def test_resuming_by_another_recipe_says_what_differs(refused, tiny, tiny_words, run):
    before = contents(run)
    words = ["--set", "optim.lr=0.2", "--set", "surrogate.name=atan", "--seed", 4]
    said = refused("train", *tiny_words, *words, "--resume", "--out", run)
    assert f"{run} was trained by another recipe; these settings differ: " in said
    for part in ("surrogate.name: 'rect' -> 'atan'", "optim.lr: 0.15 -> 0.2", "seed: 0 -> 4"):
        assert part in said
    assert "data." not in said
    with pytest.raises(CheckpointError, match=r"optim\.epochs: 2 -> 3"):
        train(tiny("optim.epochs=3"), run, resume=True)
    assert contents(run) == before


def test_resume_keeps_the_recipe_of_a_run_without_a_checkpoint(tiny_words, run, capsys):
    """A training is killed in its first epoch, and resumed with --out only."""
    recipe = derive(recipe_of(run), name="mine", optim={"epochs": 1})
    for path in run.iterdir():
        path.unlink()
    write_json(run / "recipe.json", to_dict(recipe))
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("surgrad.train.train", lambda recipe, *_args, **_options: seen.append(recipe))
        with pytest.raises(IndexError):  # the stand-in writes no metrics
            cli.main(["train", "--resume", "--out", str(run)])
    assert seen == [recipe]


@pytest.mark.parametrize("text", ["", '{"name": "lsg_fash', "\0" * 64], ids=["empty", "cut", "zeros"])
@pytest.mark.parametrize("command", ["eval", "resume", "resume by name"])
def test_a_corrupt_recipe(refused, tiny_words, run, text, command):
    (run / "recipe.json").write_text(text)
    before = contents(run)
    words = {
        "eval": ["eval", run],
        "resume": ["train", "--resume", "--out", run],
        "resume by name": ["train", "lsg_fashion_small_t4", *tiny_words, "--resume", "--out", run],
    }
    assert f"{run / 'recipe.json'} is cut short or altered" in refused(*words[command])
    assert contents(run) == before


def test_corrupt_surroundings(tiny, run):
    """A damaged env.json, and a recipe.json with bytes that are not text, give the same error."""
    (run / "env.json").write_text('{"torch": ')
    with pytest.raises(CheckpointError, match=r"env\.json is cut short or altered"):
        train(tiny(), run, resume=True)
    (run / "recipe.json").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(CheckpointError, match=r"recipe\.json is cut short or altered"):
        recipe_of(run)


# damaged checkpoints


def cut(path, share):
    os.truncate(path, int(share * path.stat().st_size))


def flip(path, share):
    """Flip one bit, at a share of the file's length."""
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 4
    path.write_bytes(data)


def garbage(path, _share):
    path.write_bytes(b"\x80garbage" * 100)


def zeros(path, _share):
    path.write_bytes(bytes(path.stat().st_size))


def resumed(folder, recipe):
    """Resume a run, and return what was printed."""
    said = []
    show = Lines(recipe.optim.epochs)
    show.say = said.append
    train(recipe, folder, resume=True, show=show)
    return "\n".join(said)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # in the garbage
@pytest.mark.parametrize(
    ("name", "damage", "share"),
    [
        ("last.safetensors", cut, 0),
        ("last.safetensors", cut, 0.5),
        ("last.safetensors", cut, 0.999),
        ("last.safetensors", flip, 0.01),
        ("last.safetensors", flip, 0.7),
        ("last.safetensors", garbage, 0),
        ("last.pt", cut, 0),
        ("last.pt", cut, 0.1),
        ("last.pt", cut, 0.5),
        ("last.pt", cut, 0.999),
        ("last.pt", flip, 0.5),
        ("last.pt", flip, 0.999),
        ("last.pt", garbage, 0),
        ("last.pt", zeros, 0),
    ],
)
def test_a_damaged_checkpoint_is_replaced_by_the_previous_one(finished, tiny, run, name, damage, share):
    damage(run / name, share)
    said = resumed(run, tiny())
    what = "last.pt" if name == "last.pt" else "the weights that belong to last.pt"
    assert f"{what}: cut short, altered or missing. Continuing from previous.pt, of epoch 1" in said
    assert "epoch   2/2" in said  # the epoch of the damaged one is done again
    ours, theirs = (load_file(folder / "last.safetensors") for folder in (run, finished))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_two_damaged_checkpoints_are_an_error(refused, tiny, tiny_words, run):
    zeros(run / "last.pt", 0)
    cut(run / "previous.safetensors", 0.5)
    before = contents(run)
    said = refused("train", *tiny_words, "--resume", "--out", run)
    assert said.endswith(
        f"no complete checkpoint in {run} (last.pt: cut short, altered or missing; "
        "the weights that belong to previous.pt: cut short, altered or missing); train again into another --out"
    )
    assert contents(run) == before


def plain(value):
    """A state as plain values, which == compares."""
    if isinstance(value, torch.Tensor):
        return value.dtype, value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def test_a_flipped_bit_is_reported_or_harmless(finished, tmp_path):
    """Wherever it is in the file of the state: the state is loaded as it was saved, or an earlier checkpoint is loaded
    and that is reported."""
    folders = [shutil.copytree(finished, tmp_path / str(number)) for number in range(33)]
    whole = {}
    for _ in range(2):
        state = checkpoint.load(folders[0], pytest.fail)[1]
        whole[state["progress"]["epoch"]] = plain(state)
        (folders[0] / "last.pt").unlink()
    assert whole.keys() == {1, 2}
    reports = 0
    for number, folder in enumerate(folders[1:]):
        flip(folder / "last.pt", number / 32)
        said = []
        state = checkpoint.load(folder, said.append)[1]
        assert plain(state) == whole[1 if said else 2]
        reports += len(said)
    assert reports > 20


def test_eval_of_damaged_weights(refused, run):
    cut(run / "best.safetensors", 0.5)
    assert f"{run / 'best.safetensors'} is cut short or altered" in refused("eval", run, "--best")
    (run / "best.safetensors").unlink()
    assert "holds no best.safetensors" in refused("eval", run, "--best")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    cut(run / "last.safetensors", 0.5)
    said = []
    result = evaluate_run(run, say=said.append)
    assert said == [
        f"the weights that belong to last.pt: cut short, altered or missing. Continuing from previous.pt, of "
        f"epoch {len(rows) - 1}"
    ]
    assert result["test_accuracy"] == rows[-2]["test_accuracy"]
    cut(run / "previous.safetensors", 0.5)
    assert f"no complete checkpoint in {run}" in refused("eval", run)


# numbers gone bad


def poison(monkeypatch, step, name):
    """Set a parameter to NaN before the forward pass of a step."""
    real = building.build

    def poisoned(recipe, root=None):
        parts = real(recipe, root)
        done = [0]

        def hook(model, _inputs):
            if model.training:
                if done[0] == step:
                    torch.nn.init.constant_(dict(model.named_parameters())[name], torch.nan)
                done[0] += 1

        parts.model.register_forward_pre_hook(hook)
        return parts

    monkeypatch.setattr("surgrad.train.run.build", poisoned)


def test_a_nan_stops_the_training_and_keeps_the_checkpoint(tiny, tmp_path, monkeypatch):
    out = tmp_path / "run"
    poison(monkeypatch, 6, "body.0.0.weight")
    with pytest.raises(TrainingStopped) as caught:
        train(tiny("optim.epochs=3"), out)
    said = str(caught.value)
    assert "is nan at step 6 (epoch 2, batch 3): parameter 'body.0.0.weight' is not finite" in said
    assert f"the last good checkpoint is kept in {out}. Try a lower optim.lr" in said
    kept = checkpoint.load(out, lambda text: pytest.fail(text))
    assert kept[1]["progress"]["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in kept[0].values())
    assert evaluate_run(out)["test_accuracy"] >= 0


class LateLoop(Loop):
    """A loop that reads the results of a step during the next one, as on a GPU."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._reads_late = True


@pytest.mark.parametrize("step", [0, 6, 7, 11])  # the first of all, within an epoch, the last of one, and of all
@pytest.mark.parametrize("whole", [False, True])
def test_a_nan_that_is_read_a_step_later_stops_at_its_step_too(tiny, tmp_path, monkeypatch, step, whole):
    """It leaves the weights as they are, and so does the step after it, of which a graph has the update too."""
    after = []

    class Watching(LateLoop):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self._in_one = whole
            self._run = self._compute if whole else self._find

        def _update(self, values):
            super()._update(values)
            after.append({name: p.detach().clone() for name, p in self.parts.model.named_parameters()})

    monkeypatch.setattr("surgrad.train.run.Loop", Watching)
    poison(monkeypatch, step, "body.0.0.weight")
    where = rf"is nan at step {step} \(epoch {step // 4 + 1}, batch {step % 4 + 1}\): parameter 'body.0.0.weight'"
    with pytest.raises(TrainingStopped, match=where):
        train(tiny("optim.epochs=3"), tmp_path / "run")
    assert len(after) == min(step + 1 + whole, (step // 4 + 1) * 4)  # at the end of an epoch all is read
    good = dict(after[max(step - 1, 0)])
    good.pop("body.0.0.weight")
    if step:
        assert all(torch.equal(value, after[-1][name]) for name, value in good.items())


def test_a_training_that_reads_late_is_the_same(tiny, tmp_path, monkeypatch):
    plain = train(tiny(), tmp_path / "plain")
    monkeypatch.setattr("surgrad.train.run.Loop", LateLoop)
    late = train(tiny(), tmp_path / "late")
    times = {"epoch_seconds", "train_seconds", "cpu_seconds", "images_per_second"}
    rows = zip(*(read_rows(run / "metrics.jsonl") for run in (plain, late)), strict=True)
    assert all(one[key] == other[key] for one, other in rows for key in one.keys() - times)
    assert (plain / "last.safetensors").read_bytes() == (late / "last.safetensors").read_bytes()


def test_a_learning_rate_that_explodes_is_reported(tiny_words, tmp_path, capsys):
    words = ["train", *tiny_words, "--set", "optim.lr=1e30", "--out", str(tmp_path / "run")]
    assert cli.main(words) == 2  # an error: 130, an interruption, would have a script resume it forever
    said = capsys.readouterr().err
    assert said.startswith("surgrad: the ")
    for part in (
        " at step ",
        "(epoch 1, batch ",
        f"; the last good checkpoint is kept in {tmp_path / 'run'}. ",
        "Try a lower optim.lr",
    ):
        assert part in said


def test_the_first_bad_layer_is_named(tiny, tmp_path, monkeypatch):
    """Where parameters are finite and an activation is not, the error names the layer, not the loss."""
    real = building.build

    def broken(recipe, root=None):
        parts = real(recipe, root)
        parts.model.body[2].norm.register_forward_hook(lambda *args: args[2] * torch.inf)
        return parts

    monkeypatch.setattr("surgrad.train.run.build", broken)
    with pytest.raises(TrainingStopped, match=r"step 0 .* are the output of layer 'body\.2\.norm'"):
        train(tiny(), tmp_path / "run")


def test_a_gradient_too_large_for_its_norm_is_named(tiny, tmp_path, monkeypatch):
    """As a surrogate that is much too narrow gives at many time steps: no number in it is infinite."""
    real = building.build

    def steep(recipe, root=None):
        parts = real(recipe, root)
        dict(parts.model.named_parameters())["body.0.0.weight"].register_hook(lambda gradient: gradient * 1e25)
        return parts

    monkeypatch.setattr("surgrad.train.run.build", steep)
    with pytest.raises(TrainingStopped) as caught:
        train(tiny(), tmp_path / "run")
    said = str(caught.value)
    assert "the gradient is inf at step 0 (epoch 1, batch 1): the gradient of 'body.0.0.weight' reaches " in said
    assert "Try a lower optim.lr, optim.clip=1, or wider surrogates (adapt.name=share finds the widths)" in said


# a full disk


@pytest.mark.parametrize(
    ("where", "number"),
    [
        ("weights", errno.ENOSPC),
        ("state", errno.ENOSPC),
        ("flush", errno.ENOSPC),
        ("weights", errno.EFBIG),
        ("state", errno.EDQUOT),
    ],
)
def test_a_full_disk_leaves_the_old_checkpoint(tiny, tmp_path, monkeypatch, where, number):
    out = tmp_path / "run"
    fill_up(monkeypatch, out, where, number)
    with pytest.raises(CheckpointError) as caught:
        train(tiny("optim.epochs=3"), out)
    monkeypatch.undo()
    said = str(caught.value)
    assert said.startswith(f"no space left to write in {out}; ")
    assert "all files that were complete before still are" in said
    assert said.endswith(f"`surgrad train --resume --out {out}`")
    assert not list(out.glob("*.tmp*"))
    assert checkpoint.load(out, lambda text: pytest.fail(text))[1]["progress"]["epoch"] == 1
    train(tiny("optim.epochs=3"), out, resume=True)  # with space again
    assert checkpoint.load(out, lambda text: pytest.fail(text))[1]["progress"]["epoch"] == 3


def fill_up(monkeypatch, out, where, number):
    """From the checkpoint of epoch 2 on, no space is left for the weights or the state, or when flushing."""
    write = Path.write_bytes
    flush = os.fsync

    def write_bytes(path, data):
        if (out / "previous.pt").exists() and path.name == temporary:
            write(path, data[: len(data) // 2])
            raise OSError(number, os.strerror(number))
        return write(path, data)

    def fsync(file):
        if (out / "previous.pt").exists() and (out / "last.tmp.safetensors").exists():
            raise OSError(number, os.strerror(number))
        flush(file)

    if where == "flush":
        monkeypatch.setattr(os, "fsync", fsync)
    else:
        temporary = {"weights": "last.tmp.safetensors", "state": "last.tmp.pt"}[where]
        monkeypatch.setattr(Path, "write_bytes", write_bytes)


def test_a_full_disk_at_the_metrics(tiny, tmp_path, monkeypatch):
    real = os.fsync

    def fsync(number):
        if (tmp_path / "run" / "metrics.jsonl").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(CheckpointError, match=f"no space left to write in {tmp_path / 'run'}; "):
        train(tiny(), tmp_path / "run")
    monkeypatch.undo()
    train(tiny(), tmp_path / "run", resume=True)
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [1, 2]


def test_another_fault_of_the_disk_is_not_called_full(tiny, tmp_path, monkeypatch):
    def fsync(_number):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(CheckpointError, match=r"Input/output error: cannot write in .*/run; all files"):
        train(tiny(), tmp_path / "run")
    assert not list((tmp_path / "run").glob("*.tmp*"))


TMPFS = """
import json, os, sys
from pathlib import Path
from surgrad.errors import SurgradError
from surgrad.train import checkpoint, train
from surgrad.train.progress import Lines
from surgrad.config.reading import from_dict

disk = Path(sys.argv[1])
recipe = from_dict(json.loads(sys.argv[2]))

class Filling(Lines):
    def __init__(self, out, share):
        super().__init__(2)
        self.out = out
        self.share = share

    def finish(self, row):
        if row["epoch"] == 1:  # from now on nothing grows but the new checkpoint
            weights, state = (
                -(-(self.out / f"last.{name}").stat().st_size // 4096) * 4096 for name in ("safetensors", "pt")
            )
            half = {"weights": weights // 2, "state": weights + state // 2}[self.share]
            free = os.statvfs(disk).f_bavail * 4096
            (disk / "ballast").write_bytes(bytes(free - half // 4096 * 4096))

def fill(share):
    out = disk / share
    try:
        train(recipe, out, show=Filling(out, share))
        said = "finished"
    except SurgradError as error:
        said = str(error)
    left = sorted(path.name for path in out.iterdir())
    epoch = checkpoint.load(out, print)[1]["progress"]["epoch"]
    (disk / "ballast").unlink()
    train(recipe, out, resume=True, show=Lines(2))
    return {"said": said, "left": left, "epoch": epoch, "end": checkpoint.load(out, print)[1]["progress"]["epoch"]}

print(json.dumps({share: fill(share) for share in ("weights", "state")}))
"""


def mounts():
    """Whether this system lets a test mount a temporary file system."""
    words = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"]
    try:
        return subprocess.run(words, capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@pytest.mark.skipif(not mounts(), reason="no mount namespace here: unshare -rm and a tmpfs are not permitted")
def test_a_disk_that_is_really_full(tiny, tmp_path):
    """In the middle of the weights, and of the state; both in one process, which need not load torch twice."""
    recipe = json.dumps(to_dict(tiny()))
    mounted = 'mount -t tmpfs -o size=4m none "$1" && shift && exec "$@"'
    words = ["unshare", "-rm", "sh", "-c", mounted, "sh", tmp_path, sys.executable, "-c", TMPFS, tmp_path, recipe]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for share, found in json.loads(done.stdout.splitlines()[-1]).items():
        assert found["said"].startswith(f"no space left to write in {tmp_path}/{share}; ")
        assert found["epoch"] == 1
        assert not [name for name in found["left"] if ".tmp" in name]
        assert found["end"] == 2


def test_every_error_is_a_surgrad_error():
    """One class catches them all; those of names and values are also what Python would raise."""
    for kind in (UnknownName, BadValue, DataError, CheckpointError, TrainingStopped, Interrupted):
        assert issubclass(kind, SurgradError)
    assert issubclass(UnknownName, KeyError)
    assert issubclass(BadValue, ValueError)
