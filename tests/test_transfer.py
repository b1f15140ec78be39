"""Tensors on their way between host and device, and what a GPU's arithmetic is set to."""

import pytest
import torch
from torch import nn

from surgrad import LIF, TDBN, NormNeuron
from surgrad.adapt import Probe
from surgrad.arithmetic import exact_arithmetic
from surgrad.losses import cross_entropy
from surgrad.train import build
from surgrad.train.evaluation import evaluate
from surgrad.train.loop import Loop
from surgrad.train.progress import Silent
from surgrad.transfer import Reading, to_device

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
