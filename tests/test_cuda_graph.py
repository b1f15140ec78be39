"""The gradient as a recorded step, here with a recorder that works on the CPU; tests/test_gpu.py has the real one."""

import gc
import re
import weakref

import pytest
import torch
from torch import nn

from surgrad import LIF, TDBN, NormNeuron
from surgrad.config import set_fields
from surgrad.errors import BadValue
from surgrad.losses import cross_entropy
from surgrad.models import SpikingNetwork
from surgrad.recipes import find_recipe
from surgrad.state import stateful_modules
from surgrad.train.building import uses_graph
from surgrad.train.cuda_graph import MOST, WARM_UP, GraphedStep


def network():
    torch.manual_seed(0)
    return SpikingNetwork(
        stem=nn.Linear(6, 8),
        fire=NormNeuron(TDBN(8), LIF(train_decay=True)),
        body=nn.Identity(),
        head=nn.Linear(8, 3),
        steps=2,
        sample_dims=1,
    )


class Recorder:
    """Records like a CUDA graph: it computes nothing at first, and a replay writes to the memory of the record."""

    def __init__(self, model):
        self.model = model
        self.records = 0
        self.replays = 0

    def __call__(self, function):
        self.records += 1
        kept = {name: value.clone() for name, value in self.model.state_dict().items()}
        result = function()
        self.model.load_state_dict(kept)
        memory = self.written(result)

        def replay():
            self.replays += 1
            for parameter in self.model.parameters():
                parameter.grad = None
            for held, new in zip(memory, self.written(function()), strict=True):
                held.copy_(new)

        return result, replay

    def written(self, result):
        state = [value for module in stateful_modules(self.model).values() for value in module.state().values()]
        gradients = [parameter.grad for parameter in self.model.parameters()]
        return [value for value in (*result, *gradients, *state) if value is not None]


def gradient_of(model):
    def find(x, labels):
        output = model(x)
        loss = cross_entropy(output, labels)
        loss.backward()
        return loss.detach(), output.detach()

    return find


def batches(count, size=5):
    draws = torch.Generator().manual_seed(1)
    return [(torch.randn(size, 6, generator=draws), torch.randint(3, (size,), generator=draws)) for _ in range(count)]


def trained(model, find, given, between=lambda model, step: None):
    """Losses, histograms and final weights of a training by SGD."""
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    found = []
    for step, batch in enumerate(given):
        between(model, step)
        sgd.zero_grad()
        loss, output = find(*batch)
        sgd.step()
        found += [loss.clone(), output.clone()]
        if model.fire.neuron.histogram is not None:
            found.append(model.fire.neuron.histogram.clone())
    return found + [value.clone() for value in model.state_dict().values()]


def compared(given, between=lambda model, step: None):
    """Check that a training by recorded steps is the same to the bit, and return its recorder."""
    plain = network()
    expected = trained(plain, gradient_of(plain), given, between)
    model = network()
    recorder = Recorder(model)
    found = trained(model, GraphedStep(gradient_of(model), model, pytest.fail, recorder), given, between)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    return recorder


def test_recorded_steps_follow_weights_widths_and_statistics():
    def between(model, step):
        model.fire.neuron.surrogate.width.fill_(1 + 0.1 * step)

    recorder = compared(batches(10), between)
    assert (recorder.records, recorder.replays) == (1, 10 - WARM_UP)


def test_every_kind_of_step_has_a_record():
    """Another batch size, number of time steps, mode of a module, or switch of a neuron is another kind."""

    def between(model, step):
        kind = step // 6
        model.steps = 3 if kind == 1 else 2
        model.fire.neuron.record_histogram = kind >= 2
        model.fire.norm.train(kind < 3)
        model.head.requires_grad_(kind < 4)

    recorder = compared([*batches(30), *batches(6, size=4)], between)
    assert recorder.records == 6


def test_a_kind_that_returns_uses_its_record_again():
    def between(model, step):
        model.steps = 2 + step % 2

    recorder = compared(batches(20), between)
    assert (recorder.records, recorder.replays) == (2, 20 - 2 * WARM_UP)


def test_a_state_that_was_replaced_in_between_comes_back():
    """An evaluation, or a probe, leaves its histogram in the place of the recorded one."""

    def between(model, step):
        model.fire.neuron.record_histogram = True
        model.fire.neuron.histogram = torch.zeros(1)

    assert compared(batches(6), between).replays == 3


def test_forgotten_records_are_freed_at_once():
    """Their memory is most of a GPU's; they do not wait for Python's garbage collection."""
    model = network()
    step = GraphedStep(gradient_of(model), model, pytest.fail, Recorder(model))
    for batch in batches(WARM_UP + 1):
        step(*batch)
    (record,) = map(weakref.ref, step._recorded.values())
    gc.disable()
    try:
        step.forget()
        assert record() is None
    finally:
        gc.enable()
    assert len(step(*batches(1)[0])) == 2  # and it steps on


def test_no_more_records_than_fit():
    given = [batch for size in range(2, MOST + 5) for batch in batches(5, size)]
    assert compared(given).records == MOST


def test_hooks_are_run():
    """While a user's hook is on the network, every step runs in Python, where hooks run."""
    calls = []

    def between(model, step):
        if step == 6:
            model.head.register_forward_hook(lambda *_: calls.append(step))

    recorder = compared(batches(10), between)
    assert recorder.replays == 3
    assert len(calls) == 2 * 4  # of both trainings


def test_what_cannot_be_recorded_runs_without_and_says_why_once():
    model = network()
    said = []

    def record(function):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    find = GraphedStep(gradient_of(model), model, said.append, record)
    plain = network()
    given = batches(8)
    expected = trained(plain, gradient_of(plain), given)
    assert all(torch.equal(a, b) for a, b in zip(expected, trained(model, find, given), strict=True))
    assert len(said) == 1
    assert said[0].endswith("cannot hold this step: operation not permitted when stream is capturing")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (("run.compile=true",), "run.compile is true, and torch.compile decides itself what is a graph"),
        (
            ("gradient.name=ottt", "norm.name=none", "neuron.train_decay=false", "adapt.name=fixed"),
            "gradient.name = ottt decides in Python what every time step computes",
        ),
        (("coding.name=dct",), "coding.name = dct decides by the values of its batch"),
        (("penalty.name=im_loss",), "the weight of penalty.name = im_loss changes from step to step"),
    ],
)
def test_a_step_that_no_graph_can_hold_is_refused_by_name(settings, reason):
    """With run.graph=on; with auto, the training runs without one."""
    gpu = torch.device("cuda")
    recipe = set_fields(find_recipe("lsg_cifar10_small_t2"), settings)
    assert not uses_graph(recipe, gpu)
    asked = set_fields(recipe, ("run.graph=on",))
    with pytest.raises(BadValue, match=rf"run.graph = on, .* the step: {re.escape(reason)}; set run.graph=auto"):
        uses_graph(asked, gpu)


def test_neither_a_cpu_nor_several_processes_have_a_graph(monkeypatch):
    recipe = set_fields(find_recipe("lsg_cifar10_small_t2"), ("run.graph=on",))
    with pytest.raises(BadValue, match="the device is cpu"):
        uses_graph(recipe, torch.device("cpu"))
    assert uses_graph(recipe, torch.device("cuda"))
    monkeypatch.setattr("surgrad.ranks.several", lambda: True)
    with pytest.raises(BadValue, match="several processes exchange statistics and gradients in it"):
        uses_graph(recipe, torch.device("cuda"))
