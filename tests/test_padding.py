"""Sequences of different lengths: a padded batch gives what each sequence gives by itself."""

import math

import pytest
import torch
from torch import nn

from surgrad import LIF, PerStep, Probe, Surrogate, padded
from surgrad.errors import BadValue
from surgrad.layers import ModerateDropout
from surgrad.losses import LOSSES
from surgrad.measure import Accounting, energy
from surgrad.models import SpikingNetwork, mlp
from surgrad.neurons import NEURONS, Readout
from surgrad.norm import NORMS, TDBN, NormNeuron
from surgrad.padding import Padded
from surgrad.penalties import PENALTIES, penalise, penalty
from surgrad.train.evaluation import correct_in

LENGTHS = (3, 1, 5)
STEPS = max(LENGTHS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def sequences(*shape):
    return [torch.randn(length, 1, *shape) for length in LENGTHS]


def together(members, rubbish=7.0):
    """The sequences as one batch [T, N, ...], with something in the padding."""
    batch = torch.full((STEPS, len(members), *members[0].shape[2:]), rubbish)
    for number, member in enumerate(members):
        batch[: len(member), number] = member[:, 0]
    return batch


def kept(x):
    """The steps that are not padding."""
    return torch.cat([x[:length, number] for number, length in enumerate(LENGTHS)])


def lengths():
    return padded(torch.tensor(LENGTHS))


def new_norm(name):
    return NORMS[name](2, **({"steps": STEPS} if NORMS.takes(name, "steps") else {}))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_leave_padding_out(name):
    members = sequences(4)
    labels = torch.tensor([1, 0, 3])
    with lengths():
        found = LOSSES[name](together(members), labels)
    if name == "tet":  # a mean over all steps
        parts = [LOSSES[name](step[None], labels[n : n + 1]) for n, member in enumerate(members) for step in member]
    else:
        parts = [LOSSES[name](member, labels[n : n + 1]) for n, member in enumerate(members)]
    torch.testing.assert_close(found, torch.stack(parts).mean())


def test_two_outputs_for_a_sample_have_its_length():
    one, other = sequences(4), sequences(4)
    labels = torch.tensor([1, 0, 3])
    with lengths():
        found = LOSSES["rdrop"](torch.cat([together(one), together(other)], 1), labels)
    pairs = [torch.cat([a, b], 1) for a, b in zip(one, other, strict=True)]
    expected = torch.stack([LOSSES["rdrop"](pair, labels[n : n + 1]) for n, pair in enumerate(pairs)]).mean()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("rubbish", [7.0, math.nan])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NORMS)
def test_norms_leave_padding_out(name, training, rubbish):
    """Outputs, running estimates and gradients do not depend on what stands in the padding."""
    norm = new_norm(name).train(training)
    members = [member.requires_grad_() for member in sequences(2, 4)]
    results = []
    for noise in (rubbish, 3.0):
        before = {key: value.clone() for key, value in norm.state_dict().items()}
        with lengths():
            out = norm(together(members, noise))
        gradients = torch.autograd.grad((kept(out) * torch.arange(8.0).view(2, 4)).sum(), members)
        after = [value.clone() for value in norm.state_dict().values()]
        results.append([kept(out), *gradients, *after])
        norm.load_state_dict(before)
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
        assert one.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_norm_is_that_of_the_steps_without_padding(training):
    norm, expected = TDBN(2, threshold=1.0).train(training), nn.BatchNorm1d(2).train(training)
    members = sequences(2, 4)
    with lengths():
        found = norm(together(members))
    torch.testing.assert_close(kept(found), expected(kept(together(members))))
    torch.testing.assert_close(norm.running_var, expected.running_var)


@pytest.mark.parametrize("name", ["step_batchnorm", "bntt"])
def test_norms_of_a_step_see_the_samples_that_reach_it(name):
    norm = new_norm(name)
    members = sequences(2, 4)
    with lengths():
        found = norm(together(members))
    for step in range(STEPS):
        reached = torch.cat([member[step] for member in members if len(member) > step])
        here = torch.stack([found[step, n] for n, member in enumerate(members) if len(member) > step])
        expected = nn.functional.batch_norm(reached, None, None, training=True, eps=norm.eps)
        torch.testing.assert_close(here, expected)


def test_accumulated_statistics_count_what_reached_each_step():
    norm = new_norm("tab")
    members = sequences(2, 4)
    with lengths():
        found = norm(together(members))
    for step in range(STEPS):
        so_far = torch.cat([member[: step + 1].flatten(0, 1) for member in members])
        variance, mean = torch.var_mean(so_far, (0, 2), correction=0, keepdim=True)
        expected = (members[2][step] - mean) * torch.rsqrt(variance + norm.eps)
        torch.testing.assert_close(found[step, 2:], expected)


@pytest.mark.parametrize("name", NEURONS)
def test_neurons_fire_and_count_without_padding(name):
    """Spikes, gradients and histogram do not depend on what stands in the padding."""
    surrogate = Surrogate("rect", 2.0, learn=name == "asgl")
    options = {"mp_init": False} if name == "trsg" else {}  # which is refused
    neuron = NEURONS.build(name, options, surrogate=surrogate, channels=None, layer_channels=2, steps=STEPS)
    neuron.record_histogram = True
    members = [member.requires_grad_() for member in sequences(2, 4)]
    results = []
    for noise in (7.0, -3.0):
        before = {key: value.clone() for key, value in neuron.state_dict().items()}
        torch.manual_seed(1)
        with lengths():
            out = neuron(together(members, noise))
        gradients = torch.autograd.grad((kept(out) * torch.arange(8.0).view(2, 4)).sum(), members, allow_unused=True)
        learned = [value.clone() for value in neuron.state_dict().values()]
        results.append([kept(out).detach(), *(g for g in gradients if g is not None), *learned, neuron.histogram])
        neuron.load_state_dict(before)
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    counts = results[0][-1].sum().item() / (sum(LENGTHS) * 8)
    assert counts == (3 if name == "mlf" else 1)  # one for each level of MLF


@pytest.mark.parametrize("first", [False, True])
def test_the_histogram_is_the_sum_of_those_of_the_sequences(first):
    neuron = LIF(0.5, surrogate=Surrogate("rect", 1.0, first=first))
    neuron.record_histogram = True
    members = sequences(6)
    with lengths():
        neuron(together(members))
    found = neuron.histogram
    expected = torch.zeros_like(found)
    for member in members:
        neuron(member)
        expected += neuron.histogram
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_leave_padding_out(name):
    neuron = LIF()
    penalise(neuron, name)
    members = sequences(2, 4)
    found = []
    for noise in (7.0, -3.0):
        with lengths():
            neuron(together(members, noise))
        found.append(penalty(neuron))
    assert torch.equal(*found)


def test_predictions_and_readouts_are_means_of_the_sequence():
    members = sequences(4)
    output = together(members, 100.0)
    labels = torch.stack([member.mean(0)[0].argmax() for member in members])
    with lengths():
        assert correct_in(output, labels) == 3
        torch.testing.assert_close(Readout()(output), torch.cat([member.mean(0) for member in members]))


def test_the_last_step_is_that_of_the_sequence():
    network = SpikingNetwork(nn.Linear(3, 4), NormNeuron(TDBN(4), LIF()), nn.Identity(), nn.Linear(4, 2), 1, 1).eval()
    network.last_step = True
    members = sequences(3)
    with lengths():
        found = network(together(members))
    torch.testing.assert_close(found, torch.cat([network(member) for member in members], 1))


def small():
    return mlp(3, features=2, sample_dims=1, steps=1, width_multiplier=0.1)


def test_energy_is_that_of_the_sequences():
    network = small().eval()
    members = sequences(2)
    accounting = Accounting(updates=True, stem_every_step=True)
    found = energy(network, [Padded(together(members), torch.tensor(LENGTHS))], accounting)
    alone = [energy(network, [member], accounting) for member in members]
    assert found.images == 3
    for number, layer in enumerate(found.layers):
        assert layer.passes == pytest.approx(sum(one.layers[number].passes for one in alone) / 3)
        assert layer.energy == pytest.approx(sum(one.layers[number].energy for one in alone) / 3, rel=1e-5)
    for name, rate in found.firing_rates.items():
        spikes = sum(one.firing_rates[name] * length for one, length in zip(alone, LENGTHS, strict=True))
        assert rate == pytest.approx(spikes / sum(LENGTHS))


def test_the_energy_of_convolutions_too():
    network = nn.Sequential(PerStep(nn.Conv1d(2, 3, 3, padding=1)), LIF(), PerStep(nn.Flatten(), nn.Linear(12, 2)))
    members = sequences(2, 4)
    found = energy(network, [Padded(together(members), torch.tensor(LENGTHS))])
    alone = [energy(network, [member]) for member in members]
    assert found.total == pytest.approx(sum(one.total for one in alone) / 3, rel=1e-5)


def test_a_probe_evaluates_the_loss_without_padding():
    network = small()
    members = sequences(2)
    labels = torch.tensor([0, 2, 1])
    losses = set()
    for noise in (7.0, -3.0):
        with lengths():
            losses.add(Probe(network, LOSSES["cross_entropy"], (together(members, noise), labels)).loss().item())
    assert len(losses) == 1


def test_moderate_dropout_sees_the_rates_of_the_sequences():
    members = [(torch.rand(length, 1, 50) < 0.3).float() for length in LENGTHS]
    found = []
    for noise in (0.0, 1.0):
        torch.manual_seed(2)
        with lengths():
            found.append(kept(ModerateDropout(0.5)(together(members, noise))))
    assert torch.equal(*found)


@pytest.mark.parametrize("split", [lambda probe: probe.part(1), lambda probe: probe.slopes("0.weight", None, 0.1)])
def test_what_splits_a_padded_batch_is_refused(split):
    probe = Probe(small(), LOSSES["cross_entropy"], (together(sequences(2)), torch.tensor([0, 2, 1])))
    with pytest.raises(BadValue, match="cannot leave padded steps out; call it outside of"), lengths():
        split(probe)


@pytest.mark.parametrize("name", ["step_batchnorm", "bntt"])
def test_a_norm_of_each_step_needs_more_than_one_value(name):
    with pytest.raises(BadValue, match="is one value per channel, which has no variance"), lengths():
        new_norm(name)(torch.zeros(STEPS, 3, 2))


def test_labels_are_no_lengths():
    with pytest.raises(BadValue, match=r"a batch is a tuple; give tensors, or Padded\(sequences, lengths\)"):
        energy(small(), [(together(sequences(2)), torch.tensor([1, 2, 3]))])


@pytest.mark.parametrize(
    ("given", "call", "text"),
    [
        (torch.ones(3), None, r"the lengths are torch.float32 \[3\]; give a tensor of whole numbers \[N\]"),
        ([1, 2], None, "the lengths are list; give a tensor"),
        (torch.ones(0, dtype=torch.int64), None, r"the lengths are torch.int64 \[0\]"),
        (torch.tensor([1, 0]), None, "each at least 1"),
        (torch.tensor([1, 2]), lambda x: LOSSES["mse"](x, torch.tensor([0, 1, 2])), "fit the lengths of 2 sequences"),
        (torch.tensor(LENGTHS), lambda x: TDBN(4)(x), "of which the longest has 5 steps; give"),
        (torch.tensor([1, 2, 2]), lambda x: LIF(carry=True)(x), "carries its potential over calls"),
        (torch.tensor([1, 2, 2]), lambda x: NEURONS["trsg"]()(x), "TrLIF's initial potential"),
    ],
)
def test_what_cannot_be_padded_is_refused(given, call, text):
    with pytest.raises(BadValue, match=text), padded(given):
        call(torch.zeros(2, 3, 4))
