"""A batch in several parts, whose gradients are added up (`optim.accumulate`)."""

import copy
import warnings
from pathlib import Path

import pytest
import torch
from event_files import published
from safetensors.torch import load_file
from torch import nn

from surgrad import LIF, Adapter
from surgrad.config import set_fields
from surgrad.errors import BadValue, Interrupted
from surgrad.gradients import GRADIENTS
from surgrad.losses import LOSSES
from surgrad.neurons import neurons
from surgrad.ranks import Place
from surgrad.recipes import find_recipe
from surgrad.train import Observer, train
from surgrad.train.building import build
from surgrad.train.loop import Loop
from surgrad.train.progress import Silent

SMALL = (
    "data.limit=44", "data.batch=11", "model.name=mlp", "model.width_multiplier=0.125", "model.steps=2",
    "run.precision=fp32", "optim.epochs=2",
)  # fmt: skip
WITHOUT_NORMS = ("norm.name=none", "neuron.train_decay=false", "adapt.name=fixed")
RECORDINGS = (
    "data.name=n_mnist", "model.name=vggsnn", "model.width_multiplier=0.03125", "data.side=34",
    "data.workers=0", "data.limit=none",
)  # fmt: skip


def loop_of(*settings, data=None):
    recipe = set_fields(find_recipe("lsg_fashion_small_t4"), (*SMALL, *settings))
    parts = build(recipe, data)
    parts.model.double().train()
    return Loop(parts, recipe.optim, Path("unused"), Silent())


def steps(loop, count=2):
    """Train a few steps; losses, correct predictions, weights."""
    for _, (x, labels) in zip(range(count), loop.parts.batches.train(0), strict=False):
        loop.train_step((x.double(), labels))
        loop.at.batch += 1
    return [torch.tensor([loop.at.loss_sum, loop.at.correct]), *loop.parts.model.state_dict().values()]


@pytest.mark.parametrize("parts", [2, 3, 11])
@pytest.mark.parametrize(
    "settings",
    [
        *((f"gradient.name={name}",) for name in GRADIENTS),
        *((f"loss.name={name}",) for name in LOSSES),
        ("penalty.name=rmp_loss",),
        ("run.checkpoint=true", "run.pack_spikes=true"),
        RECORDINGS,
    ],
    ids=lambda settings: settings[0],
)
def test_without_norms_the_step_is_that_of_the_whole_batch(settings, parts, tmp_path):
    """11 samples are 6 + 5, 4 + 4 + 3, and eleven parts of one; recordings too."""
    data = published(tmp_path / "n_mnist", "n_mnist", 24).parent if settings is RECORDINGS else None
    whole, divided = (
        steps(loop_of(*WITHOUT_NORMS, *settings, *more, data=data)) for more in ((), (f"optim.accumulate={parts}",))
    )
    for a, b in zip(whole, divided, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_norms_use_and_follow_the_statistics_of_each_part():
    """What a loop by hand computes of two parts: gradients, and running statistics that move twice."""
    loop = loop_of("optim.accumulate=2")
    parts = loop.parts
    twin = copy.deepcopy(parts.model)
    x, labels = next(parts.batches.train(0))
    x = x.double()
    loop.train_step((x, labels))
    for piece, targets in zip(x.split([6, 5]), labels.split([6, 5]), strict=True):
        (parts.loss(twin(piece), targets) * len(targets) / 11).backward()
    for own, other in zip(parts.model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)
    for own, other in zip(parts.model.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(own, other)


def test_a_controller_sees_the_potentials_of_all_parts():
    """Without norms they are those of the whole batch."""
    counts = []
    for accumulate in (1, 3):
        loop = loop_of(*WITHOUT_NORMS, "adapt.name=esg", f"optim.accumulate={accumulate}")
        loop.train_step(next((x.double(), labels) for x, labels in loop.parts.batches.train(0)))
        counts.append([neuron.histogram for neuron in neurons(loop.parts.model).values()])
    assert all(torch.equal(a, b) for a, b in zip(*counts, strict=True))
    assert counts[0][0].sum() > 0


def test_a_training_stops_and_resumes_exactly(tmp_path):
    """Also where it is stopped between two steps, each of three parts."""

    class StopAt(Observer):
        def __init__(self, step):
            self.step = step

        def step_ends(self, loop, loss):
            if loop.step_number == self.step:
                loop.stop()

    recipe = set_fields(find_recipe("lsg_fashion_small_t4"), (*SMALL, "optim.accumulate=3"))
    whole = train(recipe, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "halves", observers=[StopAt(5)])
    halves = train(recipe, tmp_path / "halves", resume=True)
    a, b = (load_file(folder / "last.safetensors") for folder in (whole, halves))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_batch_of_fewer_samples_than_parts_is_refused():
    with pytest.raises(BadValue, match=r"data.batch = 11 is too small; give at least 12 for its 12 parts"):
        loop_of("optim.accumulate=12")


def test_parts_of_a_batch_are_shared_by_ranks():
    """Each of two ranks has some of every part, and both together have all."""
    shares = [Place(rank, 2).shares(11, 2) for rank in range(2)]
    assert shares == [[range(3), range(6, 9)], [range(3, 6), range(9, 11)]]


def test_an_adapter_in_a_loop_by_hand():
    """With `forwards`, it acts before the first of them, and does not warn of the others."""
    model = nn.Sequential(nn.Linear(3, 4), LIF())
    adapter = Adapter(model, "esg", forwards=2, steps=2)
    adapter.attach()
    x = torch.rand(2, 5, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for forward in range(4):
            model(x)
            assert adapter.state_dict()["step"] == 1 + forward // 2
    with pytest.raises(BadValue, match="forwards must be 1 or more, got 0"):
        Adapter(nn.Sequential(nn.Linear(3, 4), LIF()), forwards=0)
