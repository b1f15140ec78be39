"""Tensors on their way between host and device, and what a GPU's arithmetic is set to."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from surgrad import LIF, TDBN, NormNeuron, transfer
from surgrad.adapt import Probe
from surgrad.arithmetic import exact_arithmetic
from surgrad.losses import cross_entropy
from surgrad.train import build
from surgrad.train.evaluation import evaluate
from surgrad.train.loop import Loop
from surgrad.train.progress import Silent
from surgrad.transfer import Reading, from_side_stream, to_device

CPU = torch.device("cpu")


def settings():
    cudnn = torch.backends.cudnn
    return cudnn.allow_tf32, cudnn.deterministic, torch.backends.cuda.matmul.allow_tf32


def test_on_the_same_device_nothing_is_copied():
    x = torch.ones(3)
    assert to_device(x, CPU) is x


def test_a_reading_keeps_the_values_of_its_moment():
    x = torch.ones(2, requires_grad=True)
    reading = Reading(x)
    with torch.no_grad():
        x.zero_()
    assert reading.wait().tolist() == [1, 1]
    assert not reading.wait().requires_grad


def test_exact_arithmetic_ends_as_it_began():
    before = settings()
    assert before[0], "torch's own setting is TF32"
    with exact_arithmetic():
        assert settings() == (False, True, False)
    assert settings() == before
    with pytest.raises(KeyError), exact_arithmetic():
        raise KeyError
    assert settings() == before


class Stream:
    """A stream of a GPU that notes what it is asked."""

    def __init__(self, name, notes):
        self.name = name
        self.notes = notes

    def wait_stream(self, other):
        self.notes.append(f"{self.name} waits for {other.name}")


class OnGPU:
    """A tensor of a GPU that notes where it is copied."""

    def __init__(self, name, notes, used):
        self.name = name
        self.notes = notes
        self.used = used

    def clone(self):
        self.notes.append(f"{self.used[-1].name} copies {self.name}")
        return OnGPU(f"copy of {self.name}", self.notes, self.used)


def test_a_gpu_makes_a_batch_during_the_step_before(monkeypatch):
    """A step waits for its batch. The next batch waits until this one is copied, which is after the step before."""
    notes = []
    main = Stream("main", notes)
    used = [main]

    @contextmanager
    def using(stream):
        used.append(stream)
        yield
        used.pop()

    def batches():
        for number in range(2):
            notes.append(f"{used[-1].name} makes {number}")
            yield OnGPU(f"image {number}", notes, used), OnGPU(f"label {number}", notes, used)

    transfer._side_stream.cache_clear()
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("side", notes))
    monkeypatch.setattr(torch.cuda, "stream", using)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: used[-1])
    for image, _ in from_side_stream(batches(), torch.device("cuda")):
        notes.append(f"{used[-1].name} computes {image.name}")
    transfer._side_stream.cache_clear()

    def of_one(number):
        copies = [f"main copies {kind} {number}" for kind in ("image", "label")]
        waits = ["main waits for side", *copies, "side waits for main"]
        return [f"side makes {number}", *waits, f"main computes copy of image {number}"]

    assert notes == ["side waits for main", *of_one(0), *of_one(1)]


def test_on_the_cpu_batches_are_as_they_are():
    made = [(torch.ones(1), torch.ones(2)), (torch.zeros(1), torch.zeros(2))]
    for found, batch in zip(from_side_stream(iter(made), CPU), made, strict=True):
        assert found is batch


@pytest.mark.parametrize("part", ["train", "holdout", "test"])
def test_batches_of_a_run_come_from_a_side_stream(part, tiny, monkeypatch):
    batches = build(tiny("data.holdout=0.5")).batches
    asked = []
    monkeypatch.setattr("surgrad.data.source.from_side_stream", lambda made, device: asked.append(device) or made)
    next(batches.train(0) if part == "train" else getattr(batches, part)())
    assert asked == [CPU]


class Watch(nn.Module):
    """Notes the settings in the forward and the backward pass."""

    def __init__(self):
        super().__init__()
        self.found = []

    def forward(self, x):
        self.found.append(settings())
        if x.requires_grad:
            x.register_hook(lambda _: self.found.append(settings()))
        return x


def test_trainings_and_evaluations_compute_in_float32(tiny, tmp_path):
    """Also where a backward pass runs in a thread of torch's."""
    parts = build(tiny("optim.epochs=1"))
    watch = Watch()
    parts.model.head.insert(0, watch)
    Loop(parts, parts.recipe.optim, tmp_path, Silent()).train_step(next(parts.batches.train(0)))
    assert watch.found == [(False, True, False)] * 2
    evaluate(parts, "test")
    assert set(watch.found) == {(False, True, False)}
    assert len(watch.found) > 2


def test_probes_compute_in_float32_forward_and_backward():
    watch = Watch()
    model = nn.Sequential(nn.Linear(3, 4), watch, NormNeuron(TDBN(4), LIF()))
    batch = (torch.rand(2, 5, 3), torch.arange(5) % 4)
    probe = Probe(model, cross_entropy, batch)
    probe.loss()
    probe.gradients()
    probe.grad("0.weight")
    assert len(watch.found) == 5
    assert set(watch.found) == {(False, True, False)}
