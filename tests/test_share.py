"""KeepShare: widths from any start, by the potentials of the first batch."""

import copy
import math
import warnings

import pytest
import torch
from torch import nn

from surgrad import LIF, TDBN, Adapter, NormNeuron, PerStep, Surrogate
from surgrad.adapt import ESG, KeepShare
from surgrad.kernels.lif import BINS, PER_THRESHOLD, reach_of, reaches_of, share_within
from surgrad.losses import cross_entropy
from surgrad.neurons import neurons
from surgrad.surrogates import SURROGATES, equivalent_half_width, find_surrogates, width_of_equivalent

SHAPES = [name for name in SURROGATES if name != "q_pseudospike"]
STARTS = (0.01, 1.0, 50.0)


def network(surrogate="rect", width=1.0, norm=TDBN, threshold=0.5, **options):
    torch.manual_seed(0)
    layers = []
    for inputs in (6, 40):
        neuron = LIF(0.5, threshold=threshold, surrogate=Surrogate(surrogate, width, **options))
        layers += [PerStep(nn.Linear(inputs, 40)), neuron if norm is None else NormNeuron(norm(40), neuron)]
    return nn.Sequential(*layers, PerStep(nn.Linear(40, 3)))


def batch(seed=0):
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(4, 50, 6, generator=draws), torch.randint(3, (50,), generator=draws)


def widths(model):
    return {name: slot.width.clone() for name, slot in find_surrogates(model).items()}


def shares(model, inputs):
    """The share of the potentials within reach of each layer's surrogate, in a training forward pass."""
    for neuron in neurons(model).values():
        neuron.record_histogram = True
    model(inputs)
    found = []
    for neuron in neurons(model).values():
        half = equivalent_half_width(neuron.surrogate.function, neuron.surrogate.width.double()) / neuron.threshold
        found.append(share_within(neuron.histogram, half.item()))
    return found


@pytest.mark.parametrize("name", SHAPES)
def test_the_first_widths_reach_the_share_whatever_the_start(name):
    """Within half a bin of the histogram, for every surrogate function; dspike's window cannot be wider than it is."""
    found = []
    for start in STARTS:
        model = network(name, start)
        before = copy.deepcopy(model.state_dict())
        Adapter(model, KeepShare(0.3)).step(batch())
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items() if "width" not in key)
        found.append(widths(model))
    for other in found[1:]:
        assert all(torch.equal(width, found[0][key]) for key, width in other.items())
    assert shares(model, batch()[0]) == pytest.approx([0.3, 0.3], abs=0.02)


def test_without_a_first_batch_the_first_step_has_the_widths_that_were_set():
    model = network(width=7.0)
    adapter = Adapter(model)
    adapter.step()
    assert all(width == 7.0 for width in widths(model).values())
    model(batch()[0])
    adapter.step()  # after one step it knows the potentials
    assert all(0.1 < width < 3 for width in widths(model).values())


def test_attached_it_sees_the_first_batch_too():
    ours, expected = network(width=9.0), network(width=0.01)
    Adapter(ours).attach()
    ours(batch()[0])
    Adapter(expected).step(batch())
    assert widths(ours) == widths(expected)


def test_it_acts_after_powers_of_two_and_then_once_a_period():
    controller = KeepShare(period=10)
    assert [step for step in range(36) if controller.wants_histograms(step)] == [1, 2, 4, 8, 10, 20, 30]
    model = network()
    adapter = Adapter(model, controller)
    recorded = []
    for step in range(25):
        adapter.step(batch(step))
        recorded.append({neuron.record_histogram for neuron in neurons(model).values()})
        model(batch(step)[0])
    assert [step + 1 for step, on in enumerate(recorded) if on == {True}] == [1, 2, 4, 8, 10, 20]


def test_it_follows_potentials_that_move():
    model = network(norm=None)
    adapter = Adapter(model, KeepShare(0.5, period=5))
    for step in range(40):
        adapter.step(batch(step))
        model(batch(step)[0])
        with torch.no_grad():
            model[0][0].weight *= 1.01
    assert shares(model, batch(40)[0]) == pytest.approx([0.5, 0.5], abs=0.1)


def test_silent_layers_are_said_and_get_a_width_that_reaches_them():
    model = network(norm=None, width=0.01, threshold=50.0)
    with pytest.warns(UserWarning, match=r"no neuron of 1, 3 fires; their widths reach to where the potentials are"):
        Adapter(model, KeepShare()).step(batch())
    inputs, labels = batch()
    cross_entropy(model(inputs), labels).backward()
    assert model[0][0].weight.grad.any()


SIZES = {"channel": (40,), "step": (4, 1), "step and channel": (4, 40), "two steps": (2, 1)}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("start", [0.02, 20.0])
def test_every_width_reaches_the_share_of_the_potentials_that_it_meets(size, start):
    """One per channel, one for each time step, or both; counted here from the potentials themselves."""
    many = size[-1] > 1
    model = network(width=torch.full((40,), start) if many else start, steps=size[0] if len(size) > 1 else 1)
    Adapter(model, KeepShare(0.3)).step(batch())
    seen = {}
    for name, neuron in neurons(model).items():
        neuron.watcher = lambda u, spikes, neuron, name=name: seen.update({name: u - neuron.threshold})
    model(batch()[0])
    for name, neuron in neurons(model).items():
        width = neuron.surrogate.width
        assert width.shape == size
        assert width.unique().numel() > 1
        above = seen[name]  # [T, N, C]
        steps = [above] if len(size) == 1 else [*above[: size[0] - 1].split(1), above[size[0] - 1 :]]
        for x, half in zip(steps, width.view(len(steps), -1) / 2, strict=True):
            inside = (x.abs() < half).float()
            shares = inside.mean((0, 1)) if many else inside.mean()
            bin_and_sample = 1 / 32 + 1 / x[..., 0].numel() if many else 0.03
            assert (shares - 0.3).abs().max() < 0.05 + bin_and_sample


def test_steps_whose_potentials_spread_differently_have_different_windows():
    """MPD-AGL's observation (Jiang et al. 2025): in the first step no potential has added up yet."""
    model = network(steps=4)
    spreads = []
    for neuron in neurons(model).values():
        neuron.reset_mode = "none"
        neuron.watcher = lambda u, spikes, neuron: spreads.append(u.std((1, 2)))
    Adapter(model).step(batch())
    for neuron, spread in zip(neurons(model).values(), spreads, strict=False):
        assert all(spread[0] < later for later in spread[1:])
        assert neuron.surrogate.width.unique().numel() == 4


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_training_with_several_widths_goes_on_as_if_never_stopped(size):
    options = {"width": torch.ones(40) if size[-1] > 1 else 1.0, "steps": size[0] if len(size) > 1 else 1}
    whole, first, second = (network(**options) for _ in range(3))

    def train(model, adapter, steps):
        for step in steps:
            adapter.step(batch(step))
            loss = cross_entropy(model(batch(step)[0]), batch(step)[1])
            for parameter, grad in zip(
                model.parameters(), torch.autograd.grad(loss, [*model.parameters()]), strict=True
            ):
                parameter.data -= 0.1 * grad

    train(whole, Adapter(whole), range(10))
    adapter = Adapter(first)
    train(first, adapter, range(4))
    state = copy.deepcopy((first.state_dict(), adapter.state_dict()))
    resumed = Adapter(second)
    second.load_state_dict(state[0])
    resumed.load_state_dict(state[1])
    train(second, resumed, range(4, 10))
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in second.state_dict().items())


def test_another_controller_after_it_reads_one_histogram_for_each_layer():
    model = network(width=torch.ones(40))
    Adapter(model).step(batch())
    model(batch()[0])
    adapter = Adapter(model, ESG(period=1), steps=10)
    adapter.step(batch())
    model(batch()[0])
    assert {neuron.histogram.shape for neuron in neurons(model).values()} == {(BINS,)}


def test_a_layer_that_fires_is_not_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Adapter(network()).step(batch())


def test_many_reaches_are_each_the_one():
    draws = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 50, (5, BINS), generator=draws)
    counts[1, : BINS // 2] = 0
    counts[2] = 0
    counts[2, BINS // 2 + 3] = 10
    counts[4] = 0
    for share in (0.1, 0.4, 0.99):
        found = reaches_of(counts, share)
        for of_layer, reach in zip(counts[:4], found, strict=False):
            assert reach.item() == pytest.approx(reach_of(of_layer, share), abs=1e-6)
        assert found[4] == 0
    assert 3 / PER_THRESHOLD < reaches_of(counts, 0.5)[2] < 4 / PER_THRESHOLD


def test_half_widths_in_closed_form():
    w = torch.tensor(0.37, dtype=torch.float64)
    closed = {
        "rect": w / 2, "triangle": 0.75 * w, "exponential": 2 * w, "sigmoid": 3 * w, "fast_sigmoid": 3 * w,
        "atan": math.pi * w, "tanh": 1.5 * w, "gaussian": math.sqrt(math.pi) * w, "leaky_box": w,
    }  # fmt: skip
    edge = torch.tanh(0.5 / w)
    closed["dspike"] = w * edge / (1 - edge.square() / 3)
    for name, half in closed.items():
        assert equivalent_half_width(SURROGATES[name], w).item() == pytest.approx(half.item(), rel=3e-4), name


@pytest.mark.parametrize("name", SURROGATES)
def test_surrogates_of_one_half_width_have_one_power(name):
    """∫ g² dx, by summing over a fine grid, is (∫ g dx)² / 2h."""
    function = SURROGATES[name]
    half = torch.tensor(0.3, dtype=torch.float64)
    width = width_of_equivalent(function, half)
    torch.testing.assert_close(equivalent_half_width(function, width), half, rtol=1e-9, atol=0)
    reach = function.reach(width, 0.999).item()
    x = torch.linspace(-reach, reach, 400_001, dtype=torch.float64)
    power = function.slope(x, width).square().sum() * (x[1] - x[0])
    mass = function.mass if math.isfinite(function.mass) else 1.0
    assert power.item() == pytest.approx(mass**2 / (2 * half.item()), rel=5e-3)


def test_a_half_width_beyond_the_support_gets_a_wide_surrogate():
    half = torch.tensor([0.4, 0.6], dtype=torch.float64)
    found = width_of_equivalent(SURROGATES["dspike"], half)
    assert found[0] < 2
    assert found[1] == 64 * half[1]


@pytest.mark.parametrize("start", [0.005, 30.0])
def test_a_training_from_a_bad_start_is_that_from_a_good_one(start):
    """Fixed, the first learns nothing; here the start leaves no trace at all."""
    losses = []
    for width in (1.0, start):
        model = network(width=width)
        adapter = Adapter(model)
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(12):
            adapter.step(batch(step))
            loss = cross_entropy(model(batch(step)[0]), batch(step)[1])
            sgd.zero_grad()
            loss.backward()
            sgd.step()
        losses.append(loss.item())
    assert losses[0] == losses[1]
