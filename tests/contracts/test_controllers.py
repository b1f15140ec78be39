"""The controllers of the papers: ESG, Dspike, DGS, and those that follow their layers."""

import math
from contextlib import nullcontext

import pytest
import torch
from controller_cases import batches, network
from torch import nn

from surgrad import LIF, PerStep, Surrogate
from surgrad.adapt import (
    CONTROLLERS,
    DGS,
    DSATGO,
    ESG,
    LSG,
    MPDAGL,
    Adapter,
    Dspike,
    Follow,
    Probe,
    Schedule,
    StepContext,
)
from surgrad.adapt.esg import effective_half_width, width_of_half_width
from surgrad.adapt.temperatures import width_at
from surgrad.coding import DCT
from surgrad.errors import BadValue, UnknownName
from surgrad.kernels.lif import BINS, PER_THRESHOLD, lif, mean_of, reach_of, share_within, spread_of
from surgrad.losses import cross_entropy
from surgrad.models import SpikingNetwork, resnet18, small_cnn
from surgrad.models.blocks import conv, linear, pooled_head
from surgrad.neurons import MPBN, Readout
from surgrad.norm import TDBN, NormNeuron
from surgrad.surrogates import SURROGATES


def normal(sigma, mean=0.0):
    """The histogram of potentials N(mean, σ²), in thresholds, about a threshold of 1."""
    edges = (torch.arange(BINS + 1, dtype=torch.float64) - BINS // 2) / PER_THRESHOLD + 1
    below = 0.5 * (1 + torch.erf((edges - mean) / (sigma * math.sqrt(2))))
    shares = below.diff()
    shares[0] = shares[0] + below[0]  # the ends collect what lies beyond
    shares[-1] = shares[-1] + 1 - below[-1]
    return (shares * 1e9).to(torch.int64)


@pytest.mark.parametrize(
    ("sigma", "shares", "halves"),
    [
        (0.5, (0.061, 0.157, 0.500, 0.841, 0.977, 1.0), (0.368, 0.581, 0.738, 1.00, 1.26)),
        (1.0, (0.121, 0.242, 0.477, 0.685, 0.840, 0.977), (0.207, 0.413, 0.621, 1.05, 1.54)),
        (1.5, (0.106, 0.211, 0.409, 0.583, 0.725, 0.905), (0.235, 0.474, 0.719, 1.25, 1.90)),
        (2.5, (0.074, 0.146, 0.288, 0.421, 0.540, 0.733), (0.340, 0.686, 1.04, 1.83, 2.80)),
    ],
)
def test_chi_of_normal_potentials(sigma, shares, halves):
    """χ(k) = Φ((v_th + k)/σ) - Φ((v_th - k)/σ), and its reverse."""
    counts = normal(sigma)
    assert [share_within(counts, k) for k in (0.25, 0.5, 1, 1.5, 2, 3)] == pytest.approx(shares, abs=1e-3)
    assert [reach_of(counts, share) for share in (0.1, 0.2, 0.3, 0.5, 0.7)] == pytest.approx(halves, abs=6e-3)
    drawn = sigma * torch.randn(1, 400_000, generator=torch.Generator().manual_seed(0))
    counted = lif(
        0.5 * drawn, 0.2, 1.0, surrogate="rect", threshold=0.5, return_histogram=True
    ).histogram  # one step: u is the current
    assert [share_within(counted, k) for k in (0.25, 0.5, 1, 1.5, 2, 3)] == pytest.approx(shares, abs=4e-3)


@pytest.mark.parametrize("name", SURROGATES)
def test_a_width_is_found_by_its_effective_half_width(name):
    """One for each channel; a Dspike as wide as 4 has the half-width of any wide one."""
    function = SURROGATES[name]
    widths = torch.tensor([0.05, 0.3, 1.0] if name == "dspike" else [0.05, 0.3, 1.0, 4.0], dtype=torch.float64)
    half = effective_half_width(function, widths)
    found = width_of_half_width(function, half)
    assert found.tolist() == pytest.approx(widths.tolist(), rel=1e-6)


@pytest.mark.parametrize("name", ["rect", "sigmoid", "dspike"])
def test_a_width_of_float32_is_that_of_all_sixty_bisections(name):
    function = SURROGATES[name]
    for half in torch.rand(50, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.01:
        low = half.double() / 64
        high = half.double() * 64
        for _ in range(60):
            middle = (low * high).sqrt()
            wide = effective_half_width(function, middle) > half
            low = torch.where(wide, low, middle)
            high = torch.where(wide, middle, high)
        assert torch.equal(width_of_half_width(function, half), high.float())


def test_effective_half_widths_in_closed_form():
    """Of 90 % of the mass for shapes with tails, and for Dspike, whose support is the same for every temperature."""
    w = torch.tensor(0.5, dtype=torch.float64)
    closed = {
        "rect": 0.25,
        "triangle": 0.5,
        "exponential": -0.5 * math.log(0.1),
        "sigmoid": 0.5 * math.log(1.9 / 0.1),
        "atan": 0.5 * math.tan(0.45 * math.pi),
        "dspike": 0.5 * math.atanh(0.9 * math.tanh(1.0)),
        "tanh": 0.5 * math.atanh(0.9),
        "gaussian": 0.5 * 1.6448536269514722,
        "fast_sigmoid": 0.5 * 9,
    }
    for name, half in closed.items():
        assert effective_half_width(SURROGATES[name], w).item() == pytest.approx(half), name


class Layers:
    """What ESG receives of a network: layers whose potentials have a given spread, whatever their widths."""

    def __init__(self, *sigmas, period=2, epoch=100):
        self.neurons = {f"{i}": LIF() for i in range(len(sigmas))}
        self.histograms = {f"{i}": normal(sigma) for i, sigma in enumerate(sigmas)}
        self.steps = 1000
        self.epoch = epoch

    def run(self, controller, first=0, last=1000):
        for step in range(first, last):
            widths = controller(
                StepContext(step, self.steps, self.epoch, self.neurons, self.histograms if step else {})
            )
            for name, width in widths.items():
                self.neurons[name].surrogate.width.fill_(width)
        return [neuron.surrogate.width.item() for neuron in self.neurons.values()]


def test_exact_steers_to_the_share():
    """LIF's threshold is 0.5 and its rectangle 2k wide: k(χ = 0.3) in thresholds is the width."""
    widths = Layers(0.5, 1.0, 2.5).run(ESG(0.3, target="exact", period=20))
    assert widths == pytest.approx([0.738, 0.621, 1.04], rel=0.01)


def test_a_floor_widens_and_never_narrows():
    widths = Layers(0.5, 2.5).run(ESG(0.4, target="floor", period=20, sharpen=0.0))
    assert widths[0] == 1.0  # χ = 0.5 at the start
    assert widths[1] == pytest.approx(1.43, rel=0.02)  # χ = 0.288 at the start


def test_a_band_keeps_within():
    widths = Layers(0.5, 1.0, 2.5).run(ESG(0.4, 0.45, target="band", period=20, sharpen=0.0))
    shares = [share_within(normal(s), w) for s, w in zip((0.5, 1.0, 2.5), widths, strict=True)]
    assert shares == pytest.approx([0.45, 0.45, 0.40], abs=0.01)


def test_sharpening_goes_as_narrow_as_the_floor_allows():
    widths = Layers(0.5).run(ESG(0.2, 0.9, target="band", period=10, sharpen=0.5))
    assert widths == pytest.approx([0.581], rel=0.01)


def test_nothing_moves_in_the_warm_up_nor_when_frozen():
    layers = Layers(0.5)
    controller = ESG(0.2, target="exact", period=1, warmup=0.5, sharpen=0.0, freeze=0.4)
    assert layers.run(controller, 0, 500) == [1.0]
    moved = layers.run(controller, 500, 600)
    assert moved[0] < 0.6
    assert layers.run(controller, 600) == moved


def test_potentials_of_the_warm_up_do_not_count_later():
    """Wide ones before, narrow ones after: the first move goes by the narrow."""
    layers = Layers(2.5)
    controller = ESG(0.3, target="exact", period=10, warmup=0.5, momentum=0.0)
    layers.run(controller, 0, 500)
    layers.histograms = {"0": normal(0.5)}
    assert layers.run(controller, 500, 511) == pytest.approx([0.738], rel=0.05)


def test_dspike_is_not_asked_for_a_half_width_that_it_cannot_have():
    """Its support ends at 0.5, 0.9 of which is 0.45: 0.9 thresholds."""
    layers = Layers(2.5)
    for neuron in layers.neurons.values():
        neuron.surrogate = Surrogate("dspike", 0.3)
    controller = ESG(0.6, 0.7, target="exact", period=20)
    layers.run(controller)
    assert controller.half["0"] <= 0.9 + 1e-6


def test_one_half_width_for_all_layers():
    widths = Layers(0.5, 2.5).run(ESG(0.3, target="exact", scope="global", period=20))
    assert widths[0] == widths[1]
    assert share_within(normal(0.5) + normal(2.5), widths[0]) == pytest.approx(0.3, abs=0.01)


def test_channels_keep_the_ratios_of_their_widths():
    """And resume with them; channels of one width act as a layer of one width does."""
    wide = [0.2, 0.5, 1.0, 2.0, 4.0]
    model = nn.Sequential(LIF(channels=5, surrogate=Surrogate("rect", torch.tensor(wide))), LIF(channels=5), LIF())
    controller = ESG(0.3, target="exact", period=1, warmup=0.0)
    adapt = Adapter(model, controller, steps=10)
    x = torch.randn(4, 32, 5, generator=torch.Generator().manual_seed(0))
    for _ in range(4):
        adapt.step()
        model(x)
    found = model[0].surrogate.width / torch.tensor(wide)
    assert found.tolist() == pytest.approx([found[0].item()] * 5)
    assert abs(found[0] - 1) > 0.05
    assert len(set(model[1].surrogate.width.tolist())) == 1
    again = Adapter(nn.Sequential(LIF(channels=5), LIF(channels=5), LIF()), ESG(), steps=10)
    again.load_state_dict(adapt.state_dict())
    assert torch.equal(again.controller.ratios["0"], controller.ratios["0"])
    assert list(controller.ratios) == ["0"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"low": 0.0}, "the range of χ needs 0 < low <= high < 1, got low 0.0"),
        ({"low": 0.7}, "the range of χ needs"),
        ({"min_half_width": 0.0}, "half-widths"),
        ({"max_half_width": 9.0}, "half-widths"),
        ({"period": 0}, "period 0"),
        ({"momentum": 1.0}, "momentum 1.0"),
        ({"warmup": 0.9, "sharpen": 0.2}, "at most 1 together"),
    ],
)
def test_steer_refuses(options, text):
    with pytest.raises(BadValue, match=text):
        ESG(**options)
    with pytest.raises(UnknownName, match="unknown target 'flor'; did you mean 'floor'"):
        ESG(target="flor")


# --- Dspike -----------------------------------------------------------------------------------------------------------


def image_network(neuron=LIF):
    torch.manual_seed(0)
    return small_cnn(steps=2, width_multiplier=0.125, neuron=neuron)


def image_batch(n=16):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 1, 16, 16, generator=generator), torch.randint(0, 10, (n,), generator=generator)


class Smooth(nn.Module):
    """A neuron whose forward pass is its surrogate's step, so that the surrogate gradient is the true one."""

    def __init__(self):
        super().__init__()
        self.surrogate = Surrogate("tanh", 0.7)
        self.threshold = torch.tensor(0.5)

    def forward(self, x):
        return self.surrogate.function.step(x - self.threshold, self.surrogate.width)


def settled(model, x):
    """In evaluation, with the statistics of that input: no dropout, and potentials near the threshold."""
    for module in model.modules():
        if isinstance(module, TDBN):
            module.momentum = 1.0
    model(x)
    return model.eval()


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("kind", ["images", "vectors"])
def test_stacked_slopes_are_those_of_one_change_at_a_time(kind, dense):
    model, batch = (image_network(), image_batch()) if kind == "images" else (network(), next(batches()))
    probe = Probe(settled(model, batch[0]), cross_entropy, batch).frozen()
    name = probe.first_weight()
    weight = probe.parameter(name)
    assert probe._linear(name) is not None  # the fast way
    torch.manual_seed(2)
    directions = torch.randn(7, *weight.shape) if dense else torch.eye(weight.numel())[:7].view(7, *weight.shape)
    stacked = probe.slopes(name, directions, 0.2, stack=3)
    single = torch.stack([probe._two_slopes(name, d, 0.2) for d in directions], 1)
    torch.testing.assert_close(stacked, single)
    assert stacked.shape == (2, 7)
    assert stacked.any()


def test_slopes_of_a_smooth_network_are_its_gradient():
    """The finite-difference gradient equals autograd where the spike is smooth, with frozen statistics for both."""
    model = image_network(Smooth).double()
    batch = image_batch()
    probe = Probe(model, cross_entropy, (batch[0].double(), batch[1])).frozen()
    name = probe.first_weight()
    weight = probe.parameter(name)
    directions = torch.eye(weight.numel()).view(-1, *weight.shape).double()
    slopes = probe.slopes(name, directions, 1e-5).mean(0)
    torch.testing.assert_close(slopes, probe.grad(name).flatten(), rtol=1e-5, atol=1e-9)


def test_a_frozen_probe_takes_the_statistics_of_its_batch():
    model = image_network()
    batch = image_batch()
    loss = cross_entropy(model(batch[0]).double(), batch[1])
    assert Probe(model, cross_entropy, batch).frozen().loss().item() == pytest.approx(loss.item(), rel=2e-2)
    assert all(m.training and m.momentum == 0.1 for m in model.modules() if isinstance(m, TDBN))


@pytest.mark.parametrize("kind", [MPBN, DCT])
def test_in_a_frozen_probe_parts_see_what_the_whole_does(kind):
    """Of what looks at the batch, norms aside: potentials' norm, and a code's limits."""
    if kind is MPBN:
        head = nn.Sequential(pooled_head(), linear(4, 3))
        model = SpikingNetwork(conv(3, 4), NormNeuron(TDBN(4), MPBN(surrogate="rect")), nn.Sequential(), head, 3)
    else:
        model = small_cnn(3, in_channels=3, steps=3, width_multiplier=0.25)
        model.coding = DCT()
    x = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(8) % 3
    state = {name: value.clone() for name, value in model.state_dict().items()}
    whole = Probe(model, cross_entropy, (x, labels)).frozen()
    outputs = whole._outputs({})
    for at in range(0, 8, 2):
        torch.testing.assert_close(whole.part(2, at)._outputs({}), outputs[:, at : at + 2])
    assert all(torch.equal(value, state[name]) or value.isnan().all() for name, value in model.state_dict().items())
    assert model.training
    assert all(m.training and m.momentum == 0.1 for m in model.modules() if isinstance(m, kind))


class Cosines:
    """A probe whose finite-difference gradient points most like the surrogate gradient at a known temperature."""

    def __init__(self, best, reliability=1.0):
        self.best = best
        self.reliability = reliability
        self.asked = []

    def __len__(self):
        return 2

    def whole(self):
        return nullcontext(self)

    def frozen(self):
        return self

    def first_weight(self):
        return "weight"

    def parameter(self, name):
        return torch.tensor([[1.0, 0.0], [0.0, 1.0]])

    def slopes(self, name, directions, eps):
        self.asked.append((len(directions), eps))
        angle = math.acos(self.reliability)  # of the two halves, about the first coordinate
        halves = [[math.cos(a), math.sin(a)] for a in (angle / 2, -angle / 2)]
        return torch.tensor(halves, dtype=torch.float64) @ directions.flatten(1)[:, :2].double().T

    def grad(self, name, widths):
        away = sum(abs(1 / width.item() - self.best) for width in widths.values())
        return torch.tensor([[1.0, away], [0.0, 0.0]])

    def sizes(self):
        return {"a": (8, 8), "b": (8, 8), "c": (4, 4)}


def temperatures(controller, probe, epochs, names=("a", "b", "c")):
    layers = {name: LIF() for name in names}
    widths = {}
    for step in range(2 * epochs):
        widths |= controller(StepContext(step, 2 * epochs, 2, layers, probe=probe))
    return {name: 1 / width.item() for name, width in widths.items()}


def test_search_climbs_to_the_best_temperature_once_an_epoch():
    """From 3 by 0.2 an epoch; at the summit it stays."""
    assert temperatures(Dspike(estimator="all"), Cosines(4.0), 3) == pytest.approx(dict.fromkeys("abc", 3.6))
    assert temperatures(Dspike(estimator="all"), Cosines(4.0), 9) == pytest.approx(dict.fromkeys("abc", 4.0))
    assert temperatures(Dspike(estimator="all"), Cosines(1.0), 2) == pytest.approx(dict.fromkeys("abc", 2.6))


def test_search_keeps_within_its_bounds():
    assert temperatures(Dspike(estimator="all", high=3.1), Cosines(9.0), 4) == pytest.approx(dict.fromkeys("abc", 3.1))


def test_search_stays_where_the_differences_are_noise():
    controller = Dspike(estimator="all")
    assert temperatures(controller, Cosines(9.0, reliability=0.2), 2) == pytest.approx(dict.fromkeys("abc", 3.0))
    notes = controller.notes()
    assert [note["moved"] for note in notes] == [False, False]
    assert notes[0]["reliability"] == pytest.approx(0.2)
    assert set(notes[0]["cosines"]) == {"3", "3.2", "2.8"}


def test_a_step_too_small_to_flip_a_spike_is_seen_as_zeros():
    """And moves nothing; of a step of half a standard deviation no difference is zero."""
    for eps, share in ((1e-9, 1.0), (0.5, 0.0)):
        controller = Dspike(samples=8, eps=eps)
        model = image_network()
        batch = image_batch()
        Adapter(model, controller, loss=cross_entropy, steps=2, steps_per_epoch=2).step(batch)
        note = controller.notes()[0]
        assert note["zeros"] == share
        assert not (note["moved"] and share == 1)


@pytest.mark.parametrize(("scope", "groups"), [("global", 1), ("stage", 2), ("layer", 3)])
def test_search_by_scope(scope, groups):
    controller = Dspike(estimator="all", scope=scope)
    temperatures(controller, Cosines(9.0), 1)
    assert len(controller.notes()) == groups


@pytest.mark.parametrize(("estimator", "asked"), [("all", 4), ("coordinates", 3), ("directions", 3)])
def test_search_by_estimator(estimator, asked):
    probe = Cosines(9.0)
    temperatures(Dspike(estimator=estimator, samples=3, eps=0.5), probe, 1)
    assert probe.asked == [(asked, pytest.approx(0.5 * probe.parameter("").double().std().item()))]


def test_a_batch_of_one_or_of_an_odd_number():
    model = image_network()
    (images, labels) = image_batch(5)
    probe = Probe(model, cross_entropy, (images, labels)).frozen()
    name = probe.first_weight()
    directions = torch.eye(9).view(9, 1, 1, 3, 3).expand(9, *probe.parameter(name).shape).contiguous()
    assert probe.slopes(name, directions, 0.2).shape == (2, 9)
    for controller in (Dspike(), DGS()):
        adapt = Adapter(image_network(), controller, loss=cross_entropy, steps=2, steps_per_epoch=2)
        with pytest.raises(BadValue, match="give 2 images or more"):
            adapt.step((images[:1], labels[:1]))


def test_networks_that_draw_random_numbers_are_asked_one_change_at_a_time():
    model = network()
    batch = next(batches())
    assert Probe(model, cross_entropy, batch)._linear("0.0.weight") is None
    assert Probe(model.eval(), cross_entropy, batch)._linear("0.0.weight") is not None


def test_a_network_that_ends_in_a_readout_is_probed_alike():
    """[N, classes] instead of [T, N, classes]."""
    model = image_network()
    batch = image_batch()
    probe = Probe(nn.Sequential(model, Readout()), nn.functional.cross_entropy, batch).frozen()
    plain = Probe(model, cross_entropy, batch).frozen()
    directions = torch.randn(3, *plain.parameter(plain.first_weight()).shape)
    one, other = (p.slopes(p.first_weight(), directions, 0.2) for p in (probe, plain))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"start": 0.1}, "temperatures need 0 < low <= start"),
        ({"delta": 0.0}, "delta 0.0"),
        ({"eps": 0.0}, "eps 0.0"),
        ({"samples": 0}, "samples 0"),
    ],
)
def test_search_refuses(options, text):
    with pytest.raises(BadValue, match=text):
        Dspike(**options)
    with pytest.raises(UnknownName, match="unknown estimator 'al'; did you mean 'all'"):
        Dspike(estimator="al")


# --- DGS ----------------------------------------------------------------------------------------------------------


def test_gradient_of_the_mixture_is_the_finite_difference():
    """Of the other half's loss by the mixture's logits, on a smooth network, in float64."""
    model = image_network(Smooth).double()
    batch = image_batch()
    probe = Probe(settled(model, batch[0].double()), cross_entropy, (batch[0].double(), batch[1]))
    ours = probe.part(8)
    others = probe.part(8, 8)
    name = "body.2.neuron"
    controller = DGS(weight_lr=5.0, delta=1.0, per_side=1)
    context = StepContext(0, 10, 10, {n: m for n, m in model.named_modules() if isinstance(m, Smooth)}, probe=probe)
    controller.temperature = dict.fromkeys(context.neurons, 3.0)
    weight = probe.weights_before()[name][0]
    a = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)

    def loss(a):
        steps = [ours.grad(weight, {name: width_at(context.neurons[name], b)}) for b in (2.0, 3.0, 4.0)]
        mixed = sum(s * (ours.parameter(weight) - 5.0 * step) for s, step in zip(a.softmax(0), steps, strict=True))
        return others.loss({weight: mixed}).item()

    found = controller._gradient(context, name, weight, ours, others, a)
    eps = 1e-5 * torch.eye(3, dtype=torch.float64)
    slow = [(loss(a + e) - loss(a - e)) / 2e-5 for e in eps]
    assert found.tolist() == pytest.approx(slow, rel=1e-3, abs=1e-9)
    assert max(map(abs, slow)) > 1e-6


def test_compete_starts_anew_each_epoch_and_notes_what_it_chose():
    model = network()
    controller = DGS(iterations=2, delta=0.5, per_side=1)
    adapt = Adapter(model, controller, loss=cross_entropy, steps=6, steps_per_epoch=3)
    for number, batch in enumerate(batches()):
        adapt.step(batch)
        assert bool(controller.mixture) is (number % 3 == 0)
    notes = adapt.notes()
    assert [note["step"] for note in notes] == [1, 1, 4, 4]
    assert all(abs(note["temperature"] - 3.0) <= 1.0 for note in notes)
    assert all(sum(note["mixture"]) == pytest.approx(1) for note in notes)
    with pytest.raises(BadValue, match="per_side 0"):
        DGS(per_side=0)


# --- the others -------------------------------------------------------------------------------------------------------


def test_a_rule_reads_what_it_names():
    model = network()
    with torch.no_grad():
        model[1].weight.fill_(2.0)
    pair = nn.Sequential(PerStep(nn.Linear(6, 16)), NormNeuron(model[1], model[2]))
    adapt = Adapter(pair, MPDAGL(), loss=cross_entropy, steps=1, steps_per_epoch=1)
    assert pair[1].neuron.surrogate.width.item() == pytest.approx(2 * 1.0198, abs=1e-4)
    adapt.detach()
    with pytest.raises(BadValue, match="the rule reads 'charge'; it can read decay, threshold, gain, spread"):
        Follow(lambda charge: charge)
    with pytest.raises(BadValue, match="the gain of the norm before neuron '0', which has none"):
        Adapter(nn.Sequential(LIF()), MPDAGL(), loss=cross_entropy, steps=1, steps_per_epoch=1)


@pytest.mark.parametrize("controller", [LSG, MPDAGL, DSATGO])
def test_which_rules_leave_the_modified_resnet18_a_gradient(controller):
    """Its branches start as nothing, so its potentials are exactly 0 and 1, which only windows wider than 1 reach."""
    model = resnet18(steps=2, width_multiplier=0.125)
    batch = torch.rand(4, 3, 16, 16), torch.randint(0, 10, (4,))
    adapt = Adapter(model, controller(), loss=cross_entropy, steps=2, steps_per_epoch=2)
    model(batch[0])
    adapt.step(batch)
    cross_entropy(model(batch[0]), batch[1]).backward()
    assert model.stem[0].weight.grad.any().item() is (controller is LSG)


def test_the_first_step_is_written_apart():
    """MPD-AGL: 2·v_th·γ̄ in the first step, times √(1 + β²) later."""
    neurons = {"a": LIF(surrogate=Surrogate(steps=3)), "b": LIF()}
    gains = {name: torch.tensor(1.5) for name in neurons}
    for controller, first in ((MPDAGL, 1.5), (LSG, 1.0198)):
        widths = controller()(StepContext(0, 1, 1, neurons, gains=gains))
        assert set(widths) == {"a", "b"}
        later = widths["b"].item()
        assert widths["a"].flatten().tolist() == pytest.approx([first, later, later], abs=1e-4)
    model = nn.Sequential(TDBN(4), LIF(surrogate=Surrogate("rect", torch.ones(4), steps=2)))
    Adapter(model, MPDAGL(), loss=cross_entropy, steps=1, steps_per_epoch=1)
    assert model[1].surrogate.width[0].tolist() == [1.0] * 4
    assert model[1].surrogate.width[1].tolist() == pytest.approx([1.0198] * 4, abs=1e-4)


def test_ds_atgo_follows_the_spread():
    """σ in units of potential: of a threshold 0.5, σ/v_th = 2 is 1."""
    widths = Layers(2.0, 1.0).run(DSATGO(), last=3)
    assert widths == pytest.approx([1.0, 1 + math.tanh(-0.5)], abs=2e-3)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_moments_of_a_histogram(sigma):
    counts = normal(sigma, mean=-0.2)
    assert mean_of(counts).item() == pytest.approx(-0.2, abs=1e-3)
    assert spread_of(counts).item() == pytest.approx(sigma, abs=1e-3)


def test_laws_of_a_schedule():
    neurons = {"a": LIF()}
    for law, middle in (("geometric", 0.1**0.5), ("linear", 0.55)):
        assert Schedule(law)(StepContext(5, 10, 10, neurons))["a"].item() == pytest.approx(middle)
    with pytest.raises(UnknownName, match="unknown law 'linea'"):
        Schedule("linea")


def test_options_of_another_controller_are_refused():
    with pytest.raises(BadValue, match=r"controller 'lsg' has no option 'low'; it has none"):
        CONTROLLERS.build("lsg", {"low": 0.3})
    assert CONTROLLERS.build("esg", {"low": 0.3}).low == 0.3
