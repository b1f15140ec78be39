"""The recorder of potentials and spikes."""

import pytest
import torch

from surgrad import LIF, models
from surgrad.errors import BadValue, UnknownName
from surgrad.losses import cross_entropy
from surgrad.measure import record
from surgrad.neurons import NEURONS, neurons, streaming

X = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def network(**options):
    torch.manual_seed(0)
    return models.small_cnn(10, in_channels=1, steps=4, neuron=lambda channels: LIF(**options))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("reset", ["zero", "subtract", "none"])
def test_what_is_recorded_is_the_recurrence(training, reset):
    """u_t = β·v_{t-1} + I_t, with the currents of a constant image; v after the reset; spikes where u >= v_th."""
    model = network(reset=reset, decay=0.5).train(training)
    with record(model) as found:
        output = model(X)
    assert list(found) == list(neurons(model))
    first = found["fire.neuron"]
    u = first.potentials
    v = first.potentials_after_reset()
    assert torch.equal(first.spikes, (u >= 0.5).to(u))
    for t in range(1, 4):
        torch.testing.assert_close(u[t] - 0.5 * v[t - 1], u[0])
    expected = {"zero": u * (u < 0.5), "subtract": u - 0.5 * (u >= 0.5), "none": u}[reset]
    torch.testing.assert_close(v, expected)
    with record(model, []):
        assert output.shape == model(X).shape


def test_recording_changes_nothing():
    losses = []
    gradients = []
    for recorded in (False, True):
        model = network()
        with record(model, None if recorded else []):
            loss = cross_entropy(model(X), torch.tensor([1, 2, 3]))
        loss.backward()
        losses.append(loss)
        gradients.append([p.grad for p in model.parameters()])
        assert all(neuron.watcher is None for neuron in neurons(model).values())
    torch.testing.assert_close(*losses, rtol=1e-6, atol=1e-6)
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_calls_follow_one_another_along_samples_or_time():
    model = network().eval()
    with record(model, ["fire.neuron"]) as whole:
        model(X)
    with record(model, ["fire.neuron"]) as halves:
        model(X[:1])
        model(X[1:])
    torch.testing.assert_close(halves["fire.neuron"].potentials, whole["fire.neuron"].potentials)
    with record(model, ["fire.neuron"]) as parts, streaming(model):
        for steps in (1, 3):
            model.steps = steps
            model(X)
    torch.testing.assert_close(parts["fire.neuron"].potentials, whole["fire.neuron"].potentials)


def test_memory_is_bounded():
    model = network().eval()
    with record(model, ["fire.neuron"], samples=2) as found:
        model(X)
    assert found["fire.neuron"].potentials.shape[1] == 2
    with pytest.raises(BadValue, match="record fewer layers or samples"), record(model, most_bytes=1000):
        model(X)
    assert all(neuron.watcher is None for neuron in neurons(model).values())


@pytest.mark.parametrize("name", sorted(NEURONS))
def test_every_neuron_is_recorded_in_evaluation(name):
    context = {key: 4 for key in ("steps", "layer_channels") if NEURONS.takes(name, key)}
    neuron = NEURONS.build(name, {}, **context).eval()
    model = torch.nn.Sequential(neuron)
    currents = torch.randn(4, 3, 4, generator=torch.Generator().manual_seed(1))
    with record(model) as found:
        spikes = model(currents)
    (recording,) = found.values()
    assert recording.potentials.shape[:2] == (4, 3)
    assert torch.equal(recording.spikes != 0, spikes != 0)


def test_errors():
    model = network().eval()
    with (
        pytest.raises(UnknownName, match=r"unknown neuron 'fire.neuro'; did you mean 'fire.neuron'"),
        record(model, ["fire.neuro"]),
    ):
        pass
    with record(model) as found, pytest.raises(BadValue, match="run the network within"):
        _ = found["fire.neuron"].spikes
