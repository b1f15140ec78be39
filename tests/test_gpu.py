"""Trainings on a GPU: as a CUDA graph and without one, without waits, stopped and resumed.

They are skipped where there is no GPU. They need torch, triton, numpy and pytest alone.
"""

import pytest
import torch

from surgrad.config import Recipe, set_fields
from surgrad.data.base import ImageData, Split
from surgrad.errors import Interrupted, TrainingStopped
from surgrad.recipes import find_recipe
from surgrad.train import train
from surgrad.train.building import build
from surgrad.train.events import Observer
from surgrad.train.loop import Loop

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SMALL = ("data.batch=16", "optim.epochs=2", "model.width_multiplier=0.125", "run.device=cuda")
KINDS = {
    "lsg": (),
    "fixed": ("adapt.name=fixed",),
    "histograms": ("adapt.name=esg", "adapt.period=2"),
    "share": ("adapt.name=share", "adapt.period=3"),
    "probe": ("adapt.name=dspike",),
    "autoaugment": ("data.autoaugment=true", "data.cutout=4"),
    "progressive": ("progressive.fraction=0.5", "progressive.steps=1", "progressive.image_size=24"),
    "clipped": ("optim.clip=0.5", "optim.name=adamw"),
    "muon": ("optim.name=muon",),
    "tet": ("loss.name=tet",),
    "average": ("average.name=ema",),
    "tebn": ("norm.name=tebn",),
    "plif": ("neuron.name=plif",),
    "fp32": ("run.precision=fp32",),
    "packed": ("run.pack_spikes=true",),
    "accumulated": ("optim.accumulate=3",),
    "checkpointed": ("run.checkpoint=true", "run.pack_spikes=true"),
}


def small(*settings: str) -> Recipe:
    return set_fields(find_recipe("lsg_cifar10_resnet19_t2"), (*SMALL, *settings))


def pictures(count: int = 128) -> ImageData:
    """As many pictures of noise for training, and for the test."""
    draws = torch.Generator().manual_seed(0)

    def some() -> Split:
        images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=draws)
        return Split(images, torch.randint(10, (count,), generator=draws))

    return ImageData("cifar10", some(), some(), tuple("0123456789"), (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))


class Silent:
    """Keeps what is said."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)

    def start(self, *_):
        pass

    advance = finish = close = start


class Losses(Observer):
    def __init__(self):
        self.values = []

    def step_ends(self, loop, loss):
        self.values.append(loss.clone())


def trained(recipe, folder, **options):
    """Losses of all steps and final weights of a training, and what it said."""
    losses = Losses()
    show = Silent()
    train(recipe, folder, data=pictures(), show=show, observers=[losses], **options)
    from safetensors.torch import load_file

    return torch.stack(losses.values), load_file(folder / "last.safetensors"), show.said


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_changes_nothing(kind, tmp_path):
    losses, weights, _ = trained(small(*KINDS[kind], "run.graph=off"), tmp_path / "off")
    again, others, said = trained(small(*KINDS[kind], "run.graph=on"), tmp_path / "on")
    assert not [text for text in said if "graph" in text]
    assert torch.equal(losses, again)
    assert [name for name in weights if not torch.equal(weights[name], others[name])] == []


@pytest.mark.parametrize("kind", ["lsg", "fixed", "share", "autoaugment"])
def test_no_step_waits(kind, tmp_path):
    recipe = small(*KINDS[kind])
    parts = build(recipe, pictures(512))
    loop = Loop(parts, recipe.optim, tmp_path, Silent())
    parts.model.train()
    steps = iter(parts.batches.train(0))
    for _ in range(6):
        loop.train_step(next(steps))
        loop.at.batch += 1
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(12):
            loop.train_step(next(steps))
            loop.at.batch += 1
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Breaker(Observer):
    """Makes a weight of a step NaN."""

    def __init__(self, step):
        self.step = step

    def step_begins(self, loop, batch):
        if loop.step_number == self.step:
            with torch.no_grad():
                next(loop.parts.model.parameters()).fill_(torch.nan)


def test_batches_from_a_side_stream_are_the_same(monkeypatch):
    """While the GPU computes something else, and read after it."""
    batches = build(small("data.autoaugment=true", "data.cutout=4"), pictures()).batches

    def found():
        torch.cuda._sleep(100_000_000)
        return [(images.clone(), labels.clone()) for images, labels in batches.train(1)]

    side = found()
    monkeypatch.setattr("surgrad.data.source.from_side_stream", lambda made, device: made)
    for ours, others in zip(side, found(), strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours, others, strict=True))


@pytest.mark.parametrize("graph", ["on", "off"])
@pytest.mark.parametrize("step", [1, 6, 7])
def test_a_nan_stops_at_its_step(graph, step, tmp_path):
    with pytest.raises(TrainingStopped, match=rf"at step {step} \(epoch 1, batch {step + 1}\): parameter '"):
        train(small(f"run.graph={graph}"), tmp_path, data=pictures(), show=Silent(), observers=[Breaker(step)])


def test_weights_stay_as_they_were_before_a_step_that_is_not_finite(tmp_path):
    class Poisoned(Observer):
        def after_backward(self, loop, loss):
            if loop.step_number == 5:
                self.before = [p.clone() for p in loop.parts.model.parameters()]
                next(loop.parts.model.parameters()).grad.fill_(torch.nan)

        def run_ends(self, loop):
            self.after = [p.clone() for p in loop.parts.model.parameters()]

    observer = Poisoned()
    with pytest.raises(TrainingStopped, match="the gradient is nan at step 5"):
        train(small(), tmp_path, data=pictures(), show=Silent(), observers=[observer])
    assert all(torch.equal(a, b) for a, b in zip(observer.before, observer.after, strict=True))


class Stopper(Observer):
    def step_begins(self, loop, batch):
        if loop.step_number == 11:
            loop.stop()


@pytest.mark.parametrize("kind", ["lsg", "histograms", "progressive"])
def test_a_resumed_training_is_the_same(kind, tmp_path):
    _, weights, _ = trained(small(*KINDS[kind]), tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(small(*KINDS[kind]), tmp_path / "cut", data=pictures(), show=Silent(), observers=[Stopper()])
    _, others, _ = trained(small(*KINDS[kind]), tmp_path / "cut", resume=True)
    assert [name for name in weights if not torch.equal(weights[name], others[name])] == []


def test_what_no_graph_can_hold_runs_without(tmp_path):
    _, _, said = trained(small("norm.momentum=none"), tmp_path)
    assert len([text for text in said if "without a CUDA graph" in text]) == 1
