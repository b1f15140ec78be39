"""Events of a training, averages of its weights, loggers, and the choice of the best epoch."""

import builtins
import contextlib
import json
import sys
import types

import pytest
import torch
from safetensors.torch import load_file

from surgrad.errors import BadValue, CheckpointError, Interrupted, SurgradError, UnknownName
from surgrad.files import append_rows, read_rows
from surgrad.train import Observer, build, checkpoint, evaluate_run, loggers_by_name, train
from surgrad.train.average import AVERAGES, EMA, loaded
from surgrad.train.building import find_source
from surgrad.train.evaluation import evaluate, first_test_batches
from surgrad.train.events import Observers
from surgrad.train.loggers import LOGGERS, TensorBoardLogger, WandbLogger
from surgrad.train.loop import Loop
from surgrad.train.progress import Lines


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def last(run):
    return load_file(run / "last.safetensors")


class Stopper(Observer):
    """Stops a training within its step of that number."""

    def __init__(self, number):
        self.number = number

    def step_begins(self, loop, batch):
        if loop.step_number == self.number:
            loop.stop()


# events


class Recorder(Observer):
    """Notes every event, with the position."""

    def __init__(self):
        self.seen = []

    def note(self, event, loop):
        self.seen.append((event, loop.at.epoch, loop.step_number))

    def run_begins(self, loop):
        self.note("run begins", loop)

    def step_begins(self, loop, batch):
        assert all(p.grad is None for p in loop.parts.model.parameters()) or loop.step_number
        self.note("step begins", loop)
        self.weights = [p.detach().clone() for p in loop.parts.model.parameters()]

    def after_backward(self, loop, loss):
        self.note("after backward", loop)
        assert loss.ndim == 0
        assert all(torch.equal(p, w) for p, w in zip(loop.parts.model.parameters(), self.weights, strict=True))
        assert any(p.grad.any() for p in loop.parts.model.parameters() if p.grad is not None)

    def step_ends(self, loop, loss):
        self.note("step ends", loop)
        assert loss.ndim == 0
        assert not loss.requires_grad
        assert not all(torch.equal(p, w) for p, w in zip(loop.parts.model.parameters(), self.weights, strict=True))

    def epoch_ends(self, loop, row):
        self.note("epoch ends", loop)
        assert row["epoch"] == loop.at.epoch
        row["noted"] = len(self.seen)

    def run_ends(self, loop):
        self.note("run ends", loop)


def test_the_events_of_a_training_in_their_order(tiny, tmp_path, finished):
    recorder = Recorder()
    run = train(tiny(), tmp_path / "run", observers=[recorder])
    steps = ("step begins", "after backward", "step ends")
    expected = [("run begins", 0, 0)]
    for epoch in (0, 1):
        expected += [(event, epoch, 4 * epoch + batch) for batch in range(4) for event in steps]
        expected += [("epoch ends", epoch + 1, 4 * (epoch + 1))]
    assert recorder.seen == [*expected, ("run ends", 2, 8)]
    assert [row["noted"] for row in read_rows(run / "metrics.jsonl")] == [14, 27]
    assert same(last(run), last(finished)), "who only looks changes nothing"


class Counter(Observer):
    """Counts the steps of the whole training, over its resumptions."""

    def __init__(self):
        self.count = 0
        self.runs = 0

    def run_begins(self, loop):
        self.runs += 1

    def step_ends(self, loop, loss):
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        assert not self.runs, "the state comes before the run begins"
        self.count = state["count"]


def test_the_checkpoint_holds_an_observers_state(tiny, tmp_path):
    with pytest.raises(Interrupted, match="stopped at epoch 2, batch 2; saved"):
        train(tiny(), tmp_path / "run", observers=[Counter(), Stopper(5)])
    assert checkpoint.load(tmp_path / "run", pytest.fail)[1]["observers"] == {"Counter": {"count": 6}}
    counter = Counter()
    train(tiny(), tmp_path / "run", resume=True, observers=[counter])
    assert counter.count == 8


def test_a_run_is_ended_for_observers_also_by_an_error(tiny, tmp_path):
    class Failing(Recorder):
        def after_backward(self, loop, loss):
            raise ValueError("failed")

    failing = Failing()
    with pytest.raises(ValueError, match="failed"):
        train(tiny(), tmp_path / "run", observers=[failing])
    assert [event for event, _, _ in failing.seen] == ["run begins", "step begins", "run ends"]


def test_observers_need_different_names():
    with pytest.raises(BadValue, match="2 observers are called 'Counter'; give each another name"):
        Observers([Counter(), Counter()])


def test_checkpoints_of_older_versions_can_be_resumed(tiny, tmp_path, finished):
    """Without observers' state, model.json and best_by: they begin as new."""
    with pytest.raises(Interrupted):
        train(tiny(), tmp_path / "run", observers=[Stopper(5)])
    weights, state = checkpoint.load(tmp_path / "run", pytest.fail)
    del state["observers"]
    model = build(tiny()).model
    model.load_state_dict(weights)
    checkpoint.save(tmp_path / "run", model, state)
    (tmp_path / "run" / "model.json").unlink()
    env = json.loads((tmp_path / "run" / "env.json").read_text())
    del env["best_by"]
    (tmp_path / "run" / "env.json").write_text(json.dumps(env))
    said = []

    class Listener(Lines):
        def say(self, text):
            said.append(text)

    train(tiny(), tmp_path / "run", resume=True, observers=[EMA()], show=Listener(2))
    assert not [text for text in said if "environment" in text]
    assert same(last(tmp_path / "run"), last(finished))
    assert json.loads((tmp_path / "run" / "env.json").read_text())["best_by"] == "test"
    assert (tmp_path / "run" / "model.json").exists()


# averages


def test_ema_is_the_formula(tiny, tmp_path):
    """Parameters and running statistics; the count of the ramp and the start included."""
    seen = []

    class Watcher(Observer):
        def step_ends(self, loop, loss):
            seen.append({key: value.clone() for key, value in loop.parts.model.state_dict().items()})

    for decay, start, ramp in ((0.5, 0.0, False), (0.999, 0.0, True), (0.25, 0.5, False)):
        seen.clear()
        average = EMA(decay, start, ramp, evaluate=False)
        parts = build(tiny())
        expected = {key: value.clone() for key, value in parts.model.state_dict().items()}
        folder = tmp_path / str(decay)
        folder.mkdir()
        Loop(parts, tiny().optim, folder, Lines(2), [Watcher(), average]).run()
        updates = 0
        for number, state in enumerate(seen):
            begun = number + 1 >= 8 * start
            updates += begun
            kept = min(decay, (1 + updates) / (10 + updates)) if ramp else decay
            for key, value in state.items():
                averaged = begun and value.is_floating_point()
                expected[key] = kept * expected[key] + (1 - kept) * value if averaged else value
        assert len(seen) == 8
        for key, value in expected.items():
            torch.testing.assert_close(average.weights[key], value)


@pytest.mark.parametrize("name", AVERAGES)
def test_every_average_leaves_the_training_alone_and_resumes_exactly(tiny, tmp_path, finished, name):
    def average():
        made = AVERAGES.build(name)
        return [] if made is None else [made]

    whole = train(tiny(), tmp_path / "whole", observers=average())
    assert same(last(whole), last(finished))
    with pytest.raises(Interrupted):
        train(tiny(), tmp_path / "run", observers=[*average(), Stopper(5)])
    resumed = train(tiny(), tmp_path / "run", resume=True, observers=average())
    assert same(last(resumed), last(whole))
    if name != "none":
        ours, theirs = (checkpoint.load_weights(run, "average", pytest.fail) for run in (resumed, whole))
        assert same(ours, theirs)
        assert not same(ours, last(whole))
        row = read_rows(whole / "metrics.jsonl")[-1]
        found = evaluate_run(whole, which="average")
        assert (found["test_loss"], found["test_accuracy"]) == (row["test_loss_average"], row["test_accuracy_average"])


def test_a_run_without_an_average_says_so(finished):
    with pytest.raises(CheckpointError, match='holds no average of the weights; train with one, or give "last"'):
        evaluate_run(finished, which="average")


def test_options_of_an_average_are_checked():
    with pytest.raises(UnknownName, match="unknown average 'emma'; did you mean 'ema'"):
        AVERAGES.build("emma")
    for options in ({"decay": 1.0}, {"start": 2.0}):
        with pytest.raises(BadValue, match="is out of range"):
            AVERAGES.build("ema", options)


def test_weights_are_loaded_for_a_while():
    model = torch.nn.Linear(2, 2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    parameter = model.weight
    with loaded(model, {key: value + 1 for key, value in before.items()}):
        assert torch.equal(model.weight, before["weight"] + 1)
    with contextlib.suppress(ValueError), loaded(model, {key: value + 1 for key, value in before.items()}):
        raise ValueError
    assert same(dict(model.state_dict()), before)
    assert model.weight is parameter


# loggers


class FakeWriter:
    made: list["FakeWriter"] = []  # noqa: RUF012

    def __init__(self, folder, purge_step=None):
        self.folder = folder
        self.purge_step = purge_step
        self.values = []
        self.closed = False
        self.made.append(self)

    def add_scalar(self, name, value, step):
        self.values.append((name, step, value))

    def close(self):
        self.closed = True


def test_tensorboard(tiny, tmp_path, monkeypatch):
    FakeWriter.made.clear()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=FakeWriter))
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(tiny(), run, observers=[TensorBoardLogger(every=2), Stopper(5)])
    train(tiny(), run, resume=True, observers=loggers_by_name(["tensorboard"]))
    first, second = FakeWriter.made
    assert first.folder == str(run / "tensorboard")
    assert (first.purge_step, second.purge_step) == (None, 6)
    assert first.closed
    assert second.closed
    assert [step for name, step, _ in first.values if name == "step/train_loss"] == [0, 2, 4]
    rows = read_rows(run / "metrics.jsonl")
    logged = {step: value for name, step, value in first.values + second.values if name == "epoch/test_accuracy"}
    assert logged == {row["step"]: row["test_accuracy"] for row in rows}


def fake_wandb(runs):
    class Run:
        def __init__(self, **options):
            self.options = options
            self.id = options["id"] or "new"
            self.values = []
            self.finished = False
            runs.append(self)

        def log(self, values, step):
            self.values.append((step, values))

        def finish(self):
            self.finished = True

    return types.SimpleNamespace(init=Run, Error=RuntimeError)


def test_an_error_of_wandb_says_how_to_go_without_an_account(tiny, tmp_path, monkeypatch):
    def refuse(**options):
        raise RuntimeError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=refuse, Error=RuntimeError))
    with pytest.raises(BadValue, match=r"cannot be used: No API key .* Or log to files in the run folder: WANDB_MODE="):
        train(tiny(), tmp_path / "run", observers=[WandbLogger()])


def test_wandb(tiny, tmp_path, monkeypatch):
    runs = []
    monkeypatch.setitem(sys.modules, "wandb", fake_wandb(runs))
    with pytest.raises(Interrupted):
        train(tiny(), tmp_path / "run", observers=[WandbLogger("mine", mode="offline"), Stopper(5)])
    train(tiny(), tmp_path / "run", resume=True, observers=[WandbLogger("mine", mode="offline")])
    assert [run.options["id"] for run in runs] == [None, "new"], "a resumed training continues its run"
    options = {key: runs[0].options[key] for key in ("project", "mode", "name", "dir")}
    assert options == {"project": "mine", "mode": "offline", "name": "run", "dir": str(tmp_path / "run")}
    assert all(run.finished for run in runs)
    logged = [values["epoch/test_loss"] for run in runs for _, values in run.values if "epoch/test_loss" in values]
    assert logged == [row["test_loss"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")]


@pytest.mark.parametrize("name", LOGGERS)
def test_a_missing_package_names_its_extra(tiny, tmp_path, monkeypatch, name):
    real = builtins.__import__

    def without(module, *args, **options):
        if module.startswith(("wandb", "tensorboard", "torch.utils.tensorboard")):
            raise ModuleNotFoundError(f"No module named '{module}'")
        return real(module, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SurgradError, match=rf"{name} is not installed .*; pip install 'surgrad\[{name}\]'"):
        train(tiny(), tmp_path / "run", observers=loggers_by_name([name]))


def test_an_unknown_logger_is_named():
    with pytest.raises(UnknownName, match="unknown logger 'tensorbord'; did you mean 'tensorboard'"):
        loggers_by_name(["tensorbord"])


# held-out examples


class OtherLabels:
    """A data source whose held-out samples are the first test batch with other labels, so that the best epochs by the
    two differ."""

    def __init__(self, source):
        self.source = source
        self.classes = source.classes
        self.input_shape = source.input_shape
        self.is_sequence = source.is_sequence

    def batches(self, settings):
        batches = self.source.batches(settings)
        images, labels = next(iter(batches.test()))
        batches.holdout_count = len(labels)
        batches.holdout = lambda: iter([(images, (labels + 1) % 10)])
        return batches


def test_the_best_epoch_is_chosen_on_held_out_examples(tiny, tmp_path):
    source = OtherLabels(find_source(tiny(), None))  # with the crop and flip of tiny()
    recipe = tiny("optim.epochs=4", "optim.lr=0.5", "data.batch=16")
    run = train(recipe, tmp_path / "run", data=source, observers=[EMA(0.5)])
    rows = read_rows(run / "metrics.jsonl")
    best = max(rows, key=lambda row: row["holdout_accuracy"])
    assert json.loads((run / "env.json").read_text())["best_by"] == "holdout"
    assert best["test_accuracy"] < max(row["test_accuracy"] for row in rows)
    found = evaluate_run(run, data=source, which="best")
    assert found["best_by"] == "holdout"
    for key in ("test_loss", "test_accuracy", "holdout_loss", "holdout_accuracy"):
        assert found[key] == best[key]
        assert f"{key}_average" in best
    parts = build(recipe, source)
    parts.model.load_state_dict(load_file(run / "best.safetensors"))
    assert evaluate(parts, "holdout") == (best["holdout_loss"], best["holdout_accuracy"])
    with pytest.raises(CheckpointError, match="began with best_by = holdout, and now it is test"):
        train(recipe, run, data=source.source, resume=True)


# examples and rows


@pytest.mark.parametrize(("count", "sizes"), [(None, [64, 64]), (100, [64, 36]), (64, [64]), (3, [3]), (500, [64, 64])])
def test_the_first_test_examples(tiny, count, sizes):
    parts = build(tiny())
    seen = []
    batches = list(first_test_batches(parts, count, lambda done, total: seen.append((done, total))))
    assert [len(labels) for _, labels in batches] == sizes
    assert [len(images) for images, _ in batches] == sizes
    assert seen == [(sum(sizes[: n + 1]), sum(sizes)) for n in range(len(sizes))]


def test_rows_that_cannot_be_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == []
    append_rows(path, [{"a": 1}, {"a": 2}])
    with path.open("ab") as file:
        file.write(b'{"a": 3, "text": "')
    assert read_rows(path) == [{"a": 1}, {"a": 2}], "an incomplete last line is left out"
    with path.open("ab") as file:
        file.write(b'\xff"}\n[1]\n\n{"a": 4}\n{"a"')
    bad = []
    found = read_rows(path, lambda *line: bad.append(line))
    assert [row["a"] for row in found] == [1, 2, 3, 4], "a byte that is not text does not stop the reading"
    with pytest.raises(CheckpointError, match=r"rows.jsonl, line 4 is not a JSON object; correct or delete that line"):
        read_rows(path)
    assert bad == [(4, False), (7, True)]
