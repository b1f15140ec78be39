"""Exact resume: real kills at any moment, and a finished training that is the unbroken one's, bit for bit."""

import json
import multiprocessing
import os
import pickle
import random
import re
import shutil
import signal
import sys
import time
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import surgrad.train.loop
from surgrad import cli
from surgrad.adapt import Controller
from surgrad.config.recipe import derive
from surgrad.data import DATASETS, ImageData, ImageSource, Split, load
from surgrad.train import Observer, checkpoint, train
from surgrad.train.average import EMA

EPOCHS = 3
SETTINGS = (f"optim.epochs={EPOCHS}", "optim.neuron_lr=0.01", "progressive.fraction=0.5", "progressive.image_size=20")
TIMINGS = ("epoch_seconds", "train_seconds", "cpu_seconds", "images_per_second")

# A server that has loaded torch forks a process for every training: a kill costs milliseconds, not an import.
FORKS = multiprocessing.get_context("forkserver")
# pytest: what this module itself needs; dynamo: what torch.optim loads when first used.
FORKS.set_forkserver_preload(["surgrad.train.run", "surgrad.cli", "pytest", "torch._dynamo"])


class Drifting(Controller):
    """A controller with a memory and an eye: its widths depend on all the steps and the potentials so far."""

    needs_histograms = True

    def __init__(self):
        self.level = 1.0

    def __call__(self, context):
        for counts in context.histograms.values():
            self.level = 0.9 * self.level + 0.1 * (0.5 + (counts[256:].sum() / counts.sum()).item())
        return dict.fromkeys(context.neurons, torch.tensor(self.level))

    def state_dict(self):
        return {"level": self.level}

    def load_state_dict(self, state):
        self.level = state["level"]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_rename(name, number, real=os.replace):
    """Kill this process before its rename onto a file of that name, its `number`th, from 0."""
    left = [number]

    def replace(source, target):
        if Path(target).name == name:
            if left[0] == 0:
                die()
            left[0] -= 1
        real(source, target)

    os.replace = replace


def die_in_write(suffix, number, real=Path.write_bytes):
    """Kill this process in the middle of a file of that suffix, the `number`th that it writes, from 0."""
    left = [number]

    def write_bytes(path, data):
        if path.suffix == suffix:
            if left[0] == 0:
                real(path, data[: len(data) // 2])
                die()
            left[0] -= 1
        return real(path, data)

    Path.write_bytes = write_bytes


def die_in_reading(number, real=torch.load):
    """Kill this process when torch reads a file, its `number`th, from 0; it reads only checkpoints."""
    left = [number]

    def load(*args, **options):
        if left[0] == 0:
            die()
        left[0] -= 1
        return real(*args, **options)

    torch.load = load


class StepTeller(Observer):
    """Writes a line when a step begins; steps from `since` on take `seconds` more, and step `stall` never ends."""

    def __init__(self, path, seconds=0.0, since=0, stall=None):
        self.path = path
        self.seconds = seconds
        self.since = since
        self.stall = stall
        self.begun = 0

    def step_begins(self, loop, batch):
        with self.path.open("a") as file:
            file.write("step\n")
        self.begun += 1
        if self.begun > self.since:
            time.sleep(self.seconds)
        while self.begun - 1 == self.stall:
            time.sleep(0.01)


DOOMS = {
    "in weights": partial(die_in_write, ".safetensors"),
    "in state": partial(die_in_write, ".pt"),
    "in reading": die_in_reading,
}


def prepared(data, folder, options):
    """In a forked process: set its data, threads, signals, output and options; returns the observers of its training.

    data: pickled `ImageData`, which the data set's name stands for in this process."""

    def small(root=None, *, crop: int = 0, flip: bool = False, autoaugment: bool = False, cutout: int = 0):
        return ImageSource(pickle.loads(data), crop=crop, flip=flip, autoaugment=autoaugment, cutout=cutout)

    DATASETS.remove("fashion_mnist_small")
    DATASETS.add("fashion_mnist_small", small)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background ignores, and we inherit
    said = os.open(folder / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    if "often" in options:  # a checkpoint after every step
        surgrad.train.loop.SAVE_SECONDS = 0
    if "drifting" in options:
        surgrad.adapt.CONTROLLERS.add("drifting", Drifting)
    average = [EMA(decay=0.9)] if "average" in options else []
    return average + [StepTeller(folder / "steps.txt", **option) for option in options if isinstance(option, dict)]


def work(data, recipe, out, doom, options):
    """What a forked process does: train or continue, until it is finished or dies. doom: (what to die at, number)."""
    observers = prepared(data, out.parent, options)
    if "drifting" in options:
        recipe = derive(recipe, adapt={"name": "drifting"})
    if doom:
        name, number = doom
        DOOMS.get(name, partial(die_at_rename, name))(number)
    train(recipe, out, resume=True, observers=observers)


def command(data, words, folder, options):
    """What a forked process does: one command line."""
    observers = prepared(data, folder, options)

    def train_observed(recipe, out, **given):
        return train(recipe, out, **given, observers=observers)

    surgrad.train.train = train_observed
    sys.exit(cli.main(words))


@cache
def first_images():
    """The images that the recipe's limit leaves: unpacking all of them takes longer than a training here."""
    data = load("fashion_mnist_small")
    train, test = (Split(split.images[:128].clone(), split.labels[:128].clone()) for split in (data.train, data.test))
    return pickle.dumps(ImageData(data.name, train, test, data.classes, data.mean, data.std))


def start(target, *args):
    process = FORKS.Process(target=target, args=(first_images(), *args))
    process.start()
    return process


def attempt(recipe, out, doom=None, options=()) -> bool:
    """Train in a separate process; returns whether it finished. It may die, but not fail."""
    process = start(work, recipe, out, doom, options)
    process.join(60)
    said = (out.parent / "said.txt").read_text()
    assert process.exitcode in (0, -signal.SIGKILL), said
    assert "altered" not in said
    return process.exitcode == 0


def lines_in(path):
    return path.read_text().count("\n") if path.exists() else 0


def wait_for(path, lines):
    """Until a file that a process writes has that many lines."""
    end = time.monotonic() + 60
    while lines_in(path) < lines:
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.002)


def rows(folder, name):
    found = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMINGS} for row in found]


def assert_same_run(one, other):
    for name in ("last", "best"):
        a, b = (load_file(folder / f"{name}.safetensors") for folder in (one, other))
        assert a.keys() == b.keys()
        assert [key for key in a if not torch.equal(a[key], b[key])] == []
    for name in ("metrics", "widths"):
        assert rows(one, name) == rows(other, name)
    states = [checkpoint.load(folder, pytest.fail)[1]["observers"] for folder in (one, other)]
    assert_equal_averages(*states)
    for folder in (one, other):
        assert not list(folder.glob("*.tmp*"))


def assert_equal_averages(one, other):
    """The observers' states of two checkpoints: with the same average, or both without."""
    assert one.keys() == other.keys()
    if "average" in one:
        a = one["average"]
        b = other["average"]
        assert a["updates"] == b["updates"]
        assert [key for key in a["weights"] if not torch.equal(a["weights"][key], b["weights"][key])] == []


@pytest.fixture(scope="module")
def recipe(tiny):
    """Crop, flip, warm-up, momentum, a trained decay, a following width, and a number of time steps and
    an image size that change within the second epoch: all that a resume must not lose."""
    made = tiny(*SETTINGS)
    assert made.data.options == {"crop": 2, "flip": True}
    return made


@pytest.fixture(scope="module")
def unbroken(recipe, tmp_path_factory):
    """The same training, never stopped, in a process like those that are killed; by options."""
    made = {}

    def get(*options):
        if options not in made:
            made[options] = tmp_path_factory.mktemp("unbroken") / "run"
            assert attempt(recipe, made[options], options=options)
        return made[options]

    return get


@pytest.fixture(scope="module")
def killed(recipe, tmp_path_factory):
    """The folder of a training that was killed at a point, with a checkpoint after every step; made once a point."""

    @cache
    def get(doom):
        out = tmp_path_factory.mktemp("killed") / "run"
        assert not attempt(recipe, out, doom, ("often",))
        return out

    return get


def test_checkpoints_within_an_epoch_change_nothing(unbroken):
    assert_same_run(unbroken("often"), unbroken())


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("recipe.json", 0),
        ("env.json", 0),
        ("model.json", 0),
        ("best.safetensors", 0),
        ("in weights", 0),  # best's, at epoch 1
        ("in state", 0),
        ("last.safetensors", 0),
        ("last.pt", 0),
        ("in weights", 2),
        ("in state", 1),
        ("previous.safetensors", 0),
        ("previous.pt", 0),
        ("last.safetensors", 1),
        ("last.pt", 1),
        ("in state", 2),
        ("previous.safetensors", 1),
        ("previous.pt", 1),
        ("last.safetensors", 2),
        ("last.pt", 2),
    ],
)
def test_a_kill_at_any_point_of_a_save(recipe, unbroken, tmp_path, name, number):
    out = tmp_path / "run"
    assert not attempt(recipe, out, (name, number))
    assert attempt(recipe, out)
    assert_same_run(out, unbroken())


@pytest.mark.parametrize(
    ("name", "number"), [("previous.safetensors", 3), ("previous.pt", 3), ("last.safetensors", 3), ("last.pt", 3)]
)
def test_a_kill_in_a_checkpoint_within_an_epoch(recipe, unbroken, tmp_path, name, number):
    out = tmp_path / "run"
    assert not attempt(recipe, out, (name, number), ("often",))
    assert attempt(recipe, out)
    assert_same_run(out, unbroken())


# in the second process: in its first save; or before, when it reads the checkpoint and settles the names
SAVING = [("in state", 0), ("previous.safetensors", 0), ("previous.pt", 0), ("last.safetensors", 1), ("last.pt", 1)]
SETTLING = [("in reading", 0), ("last.safetensors", 0), ("last.pt", 0)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *((first, second) for first in ("previous.pt", "last.safetensors", "last.pt") for second in SAVING),
        *((first, second) for first in ("last.safetensors", "last.pt") for second in SETTLING),
    ],
    ids=lambda point: point if isinstance(point, str) else f"{point[0]} {point[1]}",
)
def test_two_kills_in_two_saves(recipe, unbroken, killed, tmp_path, first, second):
    """The second strikes when the resume reads the checkpoint, settles its names, or saves for the first time."""
    out = shutil.copytree(killed((first, 2)), tmp_path / "run")
    assert not attempt(recipe, out, second, ("often",))
    assert attempt(recipe, out)
    assert_same_run(out, unbroken())


def test_many_kills_at_the_same_point(recipe, unbroken, tmp_path):
    """A save that never gets to its end loses nothing, however often it is tried."""
    out = tmp_path / "run"
    assert not attempt(recipe, out, ("last.pt", 2), ("often",))
    for point in (("last.pt", 1), ("previous.pt", 0), ("last.safetensors", 1), ("last.pt", 1), ("last.pt", 0)):
        assert not attempt(recipe, out, point, ("often",))
    assert attempt(recipe, out)
    assert_same_run(out, unbroken())


# Steps that a process begins before it is killed: never enough, all together, to finish.
QUOTAS = {"an epoch": (1, 2, 3, 4, 6), "a step": (1, 1, 2, 2, 3)}


@pytest.mark.parametrize(
    "options", [(), ("often",), ("drifting", "average"), ("drifting", "average", "often")], ids=str
)
def test_kills_at_random_moments(recipe, unbroken, tmp_path, options):
    """From outside, whatever the process is doing; again and again."""
    draw = random.Random(str(options))
    out = tmp_path / "run"
    steps = tmp_path / "steps.txt"
    expected = unbroken(*[option for option in options if option != "often"])
    quotas = QUOTAS["a step" if "often" in options else "an epoch"]
    for quota in draw.sample(quotas, len(quotas)):
        before = lines_in(steps)
        process = start(work, recipe, out, None, (*options, {"stall": quota}))
        wait_for(steps, before + quota)
        time.sleep(draw.uniform(0, 0.06))  # in that step, its save, the evaluation, or where it waits to be killed
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, (tmp_path / "said.txt").read_text()
    assert attempt(recipe, out, None, options)
    assert_same_run(out, expected)
    json.loads((out / "env.json").read_text())


def test_the_drifting_controller_and_the_average_do_drift(unbroken):
    """Else their tests would pass with any state lost."""
    run = unbroken("drifting", "average")
    widths = [row["width"] for row in rows(run, "widths") if row["layer"] == "fire.neuron"]
    assert len(set(widths)) == EPOCHS + 1
    average = checkpoint.load_weights(run, "average", pytest.fail)
    last = load_file(run / "last.safetensors")
    assert not any(torch.equal(average[key], last[key]) for key in last if key.endswith("weight"))
    assert len({row["test_loss_average"] for row in rows(run, "metrics")}) == EPOCHS


def test_observers_change_nothing(unbroken):
    """A training with an average has the weights, and the other numbers, of one without."""
    plain = unbroken("drifting")
    averaged = unbroken("drifting", "average")
    a, b = (load_file(folder / "last.safetensors") for folder in (plain, averaged))
    assert [key for key in a if not torch.equal(a[key], b[key])] == []
    added = ("test_loss_average", "test_accuracy_average")
    kept = [{key: value for key, value in row.items() if key not in added} for row in rows(averaged, "metrics")]
    assert kept == rows(plain, "metrics")


def interrupted(recipe_words, out, number, options, words=()):
    """A command line that got a signal after its first epoch: (exit status, all that it said)."""
    process = start(command, ["train", *recipe_words, "--out", str(out), *words], out.parent, options)
    wait_for(out / "metrics.jsonl", 1)
    os.kill(process.pid, number)
    process.join(60)
    return process.exitcode, (out.parent / "said.txt").read_text()


@pytest.fixture(scope="module")
def words(tiny_words):
    return [*tiny_words, *(word for setting in SETTINGS for word in ("--set", setting))]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_and_says_how_to_go_on(words, unbroken, tmp_path, capsys, number):
    out = tmp_path / "run"
    status, said = interrupted(words, out, number, ({"seconds": 0.3, "since": 4},))
    assert status == 130
    assert "Traceback" not in said
    at = re.search(r"surgrad: stopped at epoch 2, batch (\d); saved\. Continue with `surgrad (.*)`", said)
    assert at, said
    assert 1 <= int(at[1]) <= 4
    assert len(rows(out, "metrics")) == 1
    assert cli.main(at[2].split()) == 0
    assert "test accuracy" in capsys.readouterr().out
    (out / "report.html").unlink()
    assert_same_run(out, unbroken())
    assert len(json.loads((out / "env.json").read_text())["resumed"]) == 1


def test_a_second_ctrl_c_stops_at_once(words, unbroken, tmp_path, recipe):
    out = tmp_path / "run"
    process = start(command, ["train", *words, "--out", str(out)], tmp_path, ({"stall": 1}, "often"))
    wait_for(tmp_path / "steps.txt", 2)  # within the second step, after a first checkpoint
    os.kill(process.pid, signal.SIGINT)
    for _ in range(12):  # on a busy machine two signals may arrive as one
        process.join(0.3)
        os.kill(process.pid, signal.SIGINT)
        process.join(5)
        if process.exitcode is not None:
            break
    ended = process.exitcode
    process.kill()  # no process may stay, as it would keep the tests from ending
    said = (tmp_path / "said.txt").read_text()
    assert ended == 130
    assert "surgrad: aborted; the last checkpoint is intact" in said
    assert "Traceback" not in said
    assert attempt(recipe, out)
    assert_same_run(out, unbroken())


def test_a_finished_run_resumed_stays_as_it_is(finished, tiny, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    train(tiny(), run, resume=True)
    before, after = ({p.name: p.read_bytes() for p in f.iterdir() if p.name != "env.json"} for f in (finished, run))
    assert after == before
