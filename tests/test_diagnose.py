"""Diagnoses: the problems of networks that were damaged on purpose are found, and none in a healthy network."""

import inspect
import math
from functools import partial

import pytest
import torch
from torch import nn

from surgrad import LIF, PerStep, Surrogate
from surgrad.adapt import Probe
from surgrad.criteria import GOOD_SHARE, HISTOGRAM_REACH, RENAMED_KINDS
from surgrad.kernels.lif import BINS, PER_THRESHOLD
from surgrad.losses import cross_entropy
from surgrad.measure import diagnose, evidence
from surgrad.measure.diagnosis import CHECKS
from surgrad.models import MODELS, resnet19, small_cnn
from surgrad.models.blocks import lsg_neuron
from surgrad.neurons import ConvertedIF, TernaryLIF, neurons
from surgrad.norm import TDBN, NormNeuron
from surgrad.surrogates import SURROGATES

LAYERS = 6


def network(neuron=lsg_neuron):
    torch.manual_seed(0)
    body = []
    for _ in range(LAYERS):
        body += [PerStep(nn.Linear(32, 32)), NormNeuron(TDBN(32), neuron())]
    return nn.Sequential(*body, PerStep(nn.Linear(32, 5)))


def batch(n=64):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, n, 32, generator=generator), torch.randint(0, 5, (n,), generator=generator)


def damage(model, layers, **changes):
    """Set the norm's weight or bias, or the width, of some layers (from 1)."""
    with torch.no_grad():
        for place in layers:
            pair = model[2 * place - 1]
            for name, value in changes.items():
                slot = pair.neuron.surrogate.width if name == "width" else pair.norm.get_parameter(name)
                slot.fill_(value)
    return model


def test_a_healthy_network_has_no_finding():
    for model, data in (
        (network(), batch()),
        (small_cnn(steps=2, width_multiplier=0.25), (torch.randn(16, 1, 16, 16), torch.randint(0, 10, (16,)))),
    ):
        found = diagnose(model, data, cross_entropy)
        assert found.findings == []
        assert -1 <= found.first_weights["cosine"] <= 1


USUAL = {  # widths; 0.5 for any other surrogate function
    "rect": 1.0,
    "triangle": 1.0,
    "exponential": 0.5,
    "sigmoid": 0.25,
    "fast_sigmoid": 0.2,
    "atan": 1 / math.pi,
    "tanh": 0.5,
    "gaussian": 0.35,
    "multi_gaussian": 0.5,
    "leaky_box": 0.5,
    "q_pseudospike": 0.5,
    "dspike": 1 / 3,
    "tilted": 1.0,
}


@pytest.mark.parametrize("shape", SURROGATES)
def test_no_surrogate_of_a_usual_width_has_a_finding(shape):
    """Not one with tails either, which give every neuron some gradient."""
    model = network(lambda: LIF(0.2, surrogate=Surrogate(shape, USUAL.get(shape, 0.5))))
    assert diagnose(model, batch(), cross_entropy).findings == []


@pytest.mark.parametrize("name", MODELS)
def test_no_fresh_network_has_layers_without_gradient(name):
    """Not the modified ResNet-18 either: its branches start at zero, and so do their gradients, by design."""
    sized = inspect.signature(MODELS[name]).parameters.get("image_size")
    side = sized.default if sized else 16
    model = MODELS[name](in_channels=3, steps=2, width_multiplier=0.125)
    found = diagnose(model, (torch.rand(8, 3, side, side), torch.randint(0, 10, (8,))), cross_entropy).findings
    assert {finding.kind for finding in found} <= {"dead"}  # hidden layers without a norm


def test_a_small_batch_is_no_evidence_of_dead_neurons():
    """At a rate of a few per cent most neurons are silent in eight presentations."""
    rows = evidence(damage(network(), range(1, 7), bias=-0.35), batch(), cross_entropy)
    assert 0.01 < rows[0].firing_rate < 0.12
    few = (batch()[0][:1, :8], batch()[1][:8])
    found = diagnose(damage(network(), range(1, 7), bias=-0.35), few, cross_entropy).findings
    assert not any(finding.kind == "dead" and "1.neuron" in finding.layers for finding in found)


def test_gradients_that_vanish_or_explode_are_named():
    class Times(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def forward(self, x):
            return x * self.factor + (x - x * self.factor).detach()

    for factor, kind in ((1e-6, "vanishing_gradient"), (1e6, "exploding_gradient")):
        model = network()
        model[4] = nn.Sequential(Times(factor), model[4])  # the gradient of what lies before
        found = {finding.kind: finding for finding in diagnose(model, batch(), cross_entropy).findings}
        assert found[kind].layers == ("1.neuron", "3.neuron")


@pytest.mark.parametrize(
    ("kind", "layers", "changes", "words"),
    [
        ("narrow", range(1, 7), {"width": 0.01}, ["Every layer: over 99 % of the neurons get no gradient: width 0.01"]),
        ("narrow", (3, 4, 5), {"width": 0.02}, ["Layers 3–5: 99 %", "width 0.02 is too narrow; try 0."]),
        ("wide", range(1, 7), {"width": 10.0}, ["Every layer: 100 % of the neurons get a", "width 10 is too wide"]),
        ("dead", (4,), {"bias": -5.0}, ["Layer 4 (7.neuron): 100 %", "never fire", "mean -", "optim.lr"]),
        (
            "saturated",
            (2,),
            {"bias": 9.0},
            ["Layer 2 (3.neuron): ", "fire at every time step", "norm before the neurons"],
        ),
        ("exploding_potential", (5,), {"weight": 50.0}, ["Layer 5 (9.neuron): ", "potentials explode", "optim.lr"]),
    ],
)
def test_what_is_wrong_is_named(kind, layers, changes, words):
    found = diagnose(damage(network(), layers, **changes), batch(), cross_entropy).findings
    assert found[0].kind == kind
    assert found[0].layers == tuple(f"{2 * place - 1}.neuron" for place in layers)
    for piece in words:
        assert piece in found[0].sentence


@pytest.mark.parametrize("bias", [-5.0, 9.0])
def test_layers_after_a_constant_one_are_blocked(bias):
    found = diagnose(damage(network(), (4,), bias=bias), batch(), cross_entropy).findings
    assert found[0].layers == ("7.neuron",)
    assert found[-1].layers == ("9.neuron", "11.neuron")
    assert found[-1].kind == "blocked_upstream"
    assert "the same for every image, because the output of layer 4 (7.neuron) is constant" in found[-1].sentence


def test_layers_after_a_constant_one_are_blocked_in_a_trained_network_too():
    """Its norms have different biases by channel."""
    model = damage(network(), (4,), bias=-5.0)
    with torch.no_grad():
        for place in (5, 6):
            model[2 * place - 1].norm.bias.uniform_(-0.6, 0.6, generator=torch.Generator().manual_seed(place))
    found = diagnose(model, batch(), cross_entropy).findings
    assert found[0].layers == ("7.neuron",)
    assert found[-1].layers == ("9.neuron", "11.neuron")


def test_a_network_without_norms_is_advised_to_use_them():
    torch.manual_seed(0)
    model = nn.Sequential(PerStep(nn.Linear(32, 32)), LIF(0.2, threshold=50.0), PerStep(nn.Linear(32, 5)))
    sentence = diagnose(model, batch(), cross_entropy).findings[0].sentence
    assert "put a norm before the neurons (surgrad.NormNeuron with TDBN), or lower the threshold" in sentence


def test_no_width_is_proposed_that_a_surrogate_cannot_have():
    """Dspike's effective half-width is at most 0.45, whatever its width."""
    model = network(lambda: LIF(0.2, threshold=2.0, surrogate=Surrogate("dspike", 0.01)))
    found = diagnose(model, batch(), cross_entropy).findings
    assert all("try a controller" in finding.sentence for finding in found if finding.kind == "narrow")


def test_the_proposed_width_repairs():
    model = damage(network(), range(1, 7), width=0.01)
    proposed = diagnose(model, batch(), cross_entropy).findings[0].sentence.split("try ")[1].split(",")[0]
    width = float(proposed.split(" to ")[0])
    found = diagnose(damage(model, range(1, 7), width=width), batch(), cross_entropy)
    assert found.findings == []
    assert all(abs(layer.chi - GOOD_SHARE) < 0.1 for layer in found.layers)


def test_weights_without_any_gradient_are_named():
    class Cut(nn.Module):
        def forward(self, x):
            return x.detach()

    model = network()
    model[4] = nn.Sequential(Cut(), model[4])
    found = {finding.kind: finding for finding in diagnose(model, batch(), cross_entropy).findings}
    assert found["vanishing_gradient"].layers == ("1.neuron", "3.neuron")
    assert found["vanishing_gradient"].sentence.startswith(
        "Layers 1–2 (1.neuron, 3.neuron): no gradient reaches the weights"
    )


def test_evidence_is_what_a_slow_count_finds():
    model = network()
    data = batch()
    rows = evidence(model, data, cross_entropy)
    currents = data[0]
    for place, row in enumerate(rows):
        pair = model[2 * place + 1]
        currents = pair.norm(model[2 * place](currents)).detach()
        potential = torch.zeros(64, 32)
        spikes = []
        seen = []
        for current in currents:
            potential = pair.neuron.decay.detach() * potential + current
            seen.append(potential)
            fired = (potential >= 0.5).float()
            potential = potential * (1 - fired)
            spikes.append(fired)
        u = torch.stack(seen)
        currents = torch.stack(spikes)
        half = pair.neuron.surrogate.width / 2
        assert row.firing_rate == pytest.approx(currents.mean().item(), abs=1e-6)
        assert row.share == pytest.approx(((u - 0.5).abs() < half).float().mean().item(), abs=0.01)
        assert row.chi == pytest.approx(row.share)
        assert row.mean == pytest.approx((u / 0.5).mean().item(), abs=1e-2)
        assert row.spread == pytest.approx((u / 0.5).std().item(), abs=1e-2)
        rate = currents.mean((0, 1))
        assert row.dead == pytest.approx((rate == 0).float().mean().item())
        assert row.saturated == pytest.approx((rate == 1).float().mean().item())
        assert sum(row.histogram) == u.numel()
        assert len(row.histogram) == BINS
        assert row.predicted == pytest.approx(math.sqrt(1.04))


def test_gradients_are_those_of_training():
    model = network()
    data = batch()
    rows = evidence(model, data, cross_entropy)
    cross_entropy(model(data[0]).double(), data[1]).backward()
    for place, row in enumerate(rows):
        grads = torch.cat([model[2 * place][0].weight.grad.flatten()])
        assert row.gradient == pytest.approx(grads.square().mean().sqrt().item(), rel=1e-3)


def test_share_of_weights_with_a_gradient_from_one_image():
    model = network()
    data = batch()
    row = evidence(model, data, cross_entropy)[0]
    probe = Probe(model, cross_entropy, data).frozen().part(1)
    grad = probe.grad("0.0.weight")
    assert row.chi_weights == pytest.approx(grad.count_nonzero().item() / grad.numel())
    assert 0 < row.chi_weights < 1


def test_finite_differences_of_a_layer_by_hand():
    """Along random signs, half of the weights' norm to both sides."""
    model = network()
    data = batch()
    probe = Probe(model, cross_entropy, data).frozen()
    layer, (name, *_) = [*probe.weights_before().items()][2]
    weight = probe.parameter(name)
    gradient = probe.grad(name).flatten().double()
    signs = torch.randint(0, 2, (4, weight.numel()), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    step = 0.5 * weight.double().std().item()
    moves = [step * s.view_as(weight) for s in signs]
    slopes = [probe.loss({name: weight + move}) - probe.loss({name: weight - move}) for move in moves]
    found = diagnose(model, data, cross_entropy, directions=4).by_layer[layer]
    expected = torch.cosine_similarity(torch.stack(slopes), signs.double() @ gradient, dim=0).item()
    assert found["cosine"] == pytest.approx(expected, abs=1e-5)


def test_diagnosis_leaves_the_model_as_it_was():
    model = network()
    data = batch()
    state = {n: v.clone() for n, v in model.state_dict().items()}
    random = torch.get_rng_state()
    diagnose(model, data, cross_entropy)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())
    assert all(not n.record_histogram and n.histogram is None for n in neurons(model).values())


def test_residual_layers_know_the_weights_before_them():
    """A shortcut's convolution counts for the neuron after the addition."""
    model = resnet19(width_multiplier=0.0625, steps=1)
    probe = Probe(model, cross_entropy, (torch.randn(2, 3, 16, 16), torch.tensor([0, 1])))
    before = probe.weights_before()
    assert before["fire.neuron"] == ["stem.0.weight"]
    assert before["body.3.fire2.neuron"] == ["body.3.conv2.0.weight", "body.3.shortcut.0.weight"]


def test_reports_know_the_axis_of_the_kernels_histograms():
    """Reports do not import torch, so they have the range from `surgrad.criteria`."""
    assert BINS == 2 * HISTOGRAM_REACH * PER_THRESHOLD


def test_every_check_has_a_kind_that_is_not_an_old_name():
    kinds = [check.kind for check in CHECKS]
    assert len(set(kinds)) == len(kinds)
    assert not set(kinds) & set(RENAMED_KINDS)
    assert set(RENAMED_KINDS.values()) <= set(kinds)


def test_record_is_json():
    import json

    found = diagnose(network(lambda: LIF(surrogate=Surrogate("atan", 0.002))), batch(), cross_entropy)
    record = json.loads(json.dumps(found.record()))
    assert record["findings"][0]["kind"] == "narrow"
    assert {"chi", "chi_weights", "gradient", "histogram", "spread"} <= set(record["layers"][0])


@pytest.mark.parametrize("neuron", [partial(ConvertedIF, threshold=0.3), partial(TernaryLIF, threshold=0.3)])
def test_small_spikes_are_spikes(neuron):
    """Also of neurons whose spikes have a trained size."""
    layer = neuron()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(0.2)
    model = nn.Sequential(PerStep(nn.Linear(8, 64)), layer, PerStep(nn.Linear(64, 3)))
    rows = evidence(model, (3 * torch.randn(4, 256, 8), torch.randint(0, 3, (256,))), cross_entropy)
    assert rows[0].dead < 0.05
    assert rows[0].saturated < 0.5


@pytest.mark.parametrize("name", ["plif_cifar", "densenet"])
def test_directions_that_change_nothing_have_no_slope(name):
    """Although dropout draws random numbers in every pass: all directions are followed with the same ones."""
    torch.manual_seed(0)
    model = MODELS[name](in_channels=3, steps=2, width_multiplier=0.0625)
    side = 32
    probe = Probe(model, cross_entropy, (torch.rand(8, 3, side, side), torch.randint(0, 10, (8,))))
    weight = probe.first_weight()
    slopes = probe.frozen().slopes(weight, 1e-20 * torch.ones(3, *probe.parameter(weight).shape), 1.0)
    assert not slopes.any()
