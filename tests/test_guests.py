"""surgrad inside snnTorch and SpikingJelly: its `Surrogate` as their slope, its `Adapter` on their neurons."""

import copy
import math
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import surgrad
from surgrad import Adapter, Surrogate, adapt
from surgrad.adapt import Probe
from surgrad.adapt.foreign import ALPHAS, Alpha
from surgrad.criteria import GOOD_SHARE
from surgrad.errors import BadValue
from surgrad.kernels.lif import BINS, histogram, share_within
from surgrad.neurons import Neuron
from surgrad.surrogates import SURROGATES

snntorch = pytest.importorskip("snntorch", reason="snntorch is not installed (make test installs it)")
sj = pytest.importorskip(
    "spikingjelly.activation_based", reason="spikingjelly is not installed (make test installs it)"
)
from spikingjelly.activation_based import functional, layer, neuron, surrogate  # noqa: E402

STEPS = 4


class Torchlike(nn.Module):
    """Two layers of snnTorch's neurons over time."""

    def __init__(self, slope):
        super().__init__()
        torch.manual_seed(0)
        self.one = nn.Linear(6, 12)
        self.two = nn.Linear(12, 3)
        self.fire1, self.fire2 = (snntorch.Leaky(beta=0.4, threshold=0.5, spike_grad=slope()) for _ in range(2))

    def forward(self, x):
        first = self.fire1.init_leaky()
        second = self.fire2.init_leaky()
        out = []
        for step in x:
            spikes, first = self.fire1(self.one(step), first)
            spikes, second = self.fire2(self.two(spikes), second)
            out.append(second)
        return torch.stack(out)


def jelly(slope, kind=neuron.LIFNode, **options):
    """Two layers of SpikingJelly's neurons, all steps at once."""
    torch.manual_seed(0)
    nodes = [kind(surrogate_function=slope(), v_threshold=0.5, v_reset=0.0, step_mode="m", **options) for _ in range(2)]
    return nn.Sequential(layer.Linear(6, 12, step_mode="m"), nodes[0], layer.Linear(12, 3, step_mode="m"), nodes[1])


def batches(n=6):
    generator = torch.Generator().manual_seed(1)
    for _ in range(n):
        yield torch.randn(STEPS, 32, 6, generator=generator) * 2, torch.randint(0, 3, (32,), generator=generator)


def loss(output, labels):
    return nn.functional.cross_entropy(output.mean(0), labels)


def train(model, adapter):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in batches():
        functional.reset_net(model)
        adapter.step(batch)
        optimizer.zero_grad()
        loss(model(batch[0]), batch[1]).backward()
        optimizer.step()


def adapter(model, controller):
    return Adapter(model, controller, loss=loss, steps=6, steps_per_epoch=3)


def widths(made):
    return [neuron.surrogate.width.item() for neuron in made.neurons.values()]


MODELS = {"snntorch": Torchlike, "spikingjelly": jelly}
CONTROLLERS = {
    "follow": lambda: adapt.Follow(lambda decay, threshold: 2 * threshold * (1 + decay.square()).sqrt()),
    "steer": lambda: adapt.ESG(0.3, target="exact", period=1, warmup=0.0),
    "search": lambda: adapt.Dspike(samples=4, min_reliability=-1.0),
    "schedule": lambda: adapt.Schedule("geometric", start=1.0, end=0.1),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_surrogate_is_their_slope(name):
    """The gradient of the input, by a loop of our own."""
    model = MODELS[name](lambda: Surrogate("atan", 0.4))
    x = next(batches())[0].requires_grad_()
    model(x).sum().backward()
    wide = MODELS[name](lambda: Surrogate("atan", 4.0))
    y = x.detach().clone().requires_grad_()
    out = wide(y)
    out.sum().backward()
    functional.reset_net(model)
    assert torch.equal(out, model(x)), "the width changes nothing forward"
    assert not torch.equal(x.grad, y.grad)
    if name == "spikingjelly":  # its own surrogate of the same slope
        own = jelly(lambda: surrogate.ATan(2 / (math.pi * 0.4)))
        z = x.detach().clone().requires_grad_()
        own(z).sum().backward()
        torch.testing.assert_close(x.grad, z.grad)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_the_adapter_drives_them(name, controller):
    model = MODELS[name](lambda: Surrogate("dspike" if controller == "search" else "rect"))
    made = adapter(model, CONTROLLERS[controller]())
    train(model, made)
    assert len(made.neurons) == 2
    assert all(width != 1.0 for width in widths(made))
    if controller == "follow":
        decay = 0.4 if name == "snntorch" else 0.5  # SpikingJelly's tau is 2
        assert widths(made) == pytest.approx([math.sqrt(1 + decay**2)] * 2)


def test_the_potentials_of_a_layer_are_counted_and_forgotten():
    model = jelly(lambda: Surrogate("rect"))
    made = adapter(model, adapt.ESG(0.3, target="exact", period=1, warmup=0.0))
    batch = next(batches())
    model(batch[0])
    guest = made.neurons["1"]
    assert guest.histogram.sum() == STEPS * 32 * 12
    made.step(batch)
    assert guest.histogram is None
    model.eval()
    functional.reset_net(model)
    model(batch[0])
    assert guest.histogram is None, "evaluation is not counted"


@pytest.mark.parametrize("steps", [1, 2, 10])
@pytest.mark.parametrize("kind", [snntorch.Leaky, snntorch.Lapicque, snntorch.Synaptic])
def test_of_a_neuron_of_snntorch_each_potential_is_counted_once(kind, steps):
    """It calls its surrogate twice a time step: for its reset, with the potential before, and for its spikes."""
    options = {"alpha": 0.3} if kind is snntorch.Synaptic else {}
    fire = kind(beta=0.4, threshold=0.5, spike_grad=Surrogate("rect"), init_hidden=True, **options)
    adapter = Adapter(nn.Sequential(fire), "esg", steps=6)
    met = []
    for x in torch.randn(steps, 64, 5, generator=torch.Generator().manual_seed(1)):
        fire(x)
        met.append(fire.mem.detach() - 0.5)
    assert torch.equal(adapter.neurons["0"].histogram, histogram(torch.stack(met), torch.tensor(0.5)))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("start", [1e-3, 1.0, 10.0])
def test_the_start_does_not_matter_here_either(name, start):
    """`share` looks at the first batch before the first step."""
    model = MODELS[name](lambda: Surrogate("rect", start))
    made = Adapter(model, "share")
    batch = next(batches())
    made.step(batch)
    twin = MODELS[name](lambda: Surrogate("rect"))
    other = Adapter(twin, "share")
    other.step(batch)
    assert widths(made) == widths(other) != [start] * 2
    counts = Probe(model, loss, batch).histograms()
    for path, width in zip(made.neurons, widths(made), strict=True):
        assert share_within(counts[path], width / 2 / 0.5) == pytest.approx(GOOD_SHARE, abs=0.01)
    assert all(neuron.histogram is None for neuron in made.neurons.values()), "the probe counts apart"


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("name", MODELS)
def test_a_copy_counts_nothing_for_the_adapter(name, again):
    model = MODELS[name](lambda: Surrogate("rect"))
    made = Adapter(model, "esg", steps=6)
    again(model)(next(batches())[0])
    assert all(neuron.histogram is None for neuron in made.neurons.values())
    model(next(batches())[0])
    assert all(neuron.histogram.sum() > 0 for neuron in made.neurons.values())


def test_neurons_that_stay_as_they_are_are_named():
    model = Torchlike(lambda: Surrogate("rect"))
    model.other = snntorch.Leaky(beta=0.5)
    model.node = neuron.LIFNode(surrogate_function=surrogate.LeakyKReLU())
    with pytest.warns(UserWarning, match=r"not adapted.*: 'other' \(Leaky\), 'node' \(LIFNode\); give each a sep"):
        Adapter(model, "share")


def test_what_a_fused_pass_hides_is_refused():
    model = jelly(surrogate.ATan)
    made = adapter(model, adapt.ESG())
    batch = next(batches())
    made.step(batch)
    model(batch[0])
    with pytest.raises(BadValue, match=r"neuron '1' \(LIFNode\) did not call its surrogate in the last forward pass"):
        made.step(batch)


def test_a_network_called_once_a_time_step_is_no_forgotten_step(recwarn):
    model = nn.Sequential(nn.Linear(6, 12), neuron.LIFNode(surrogate_function=Surrogate("rect"), step_mode="s"))
    made = adapter(model, adapt.ESG(0.3, target="exact", period=1, warmup=0.0))
    for batch in batches(3):
        made.step(batch)
        functional.reset_net(model)
        for x in batch[0]:
            model(x)
        assert made.neurons["1"].histogram.sum() == STEPS * 32 * 12
    assert not [warning for warning in recwarn if "without adapter.step()" in str(warning.message)]
    assert widths(made) != [1.0]


def test_an_alpha_that_stays_is_not_written():
    """torch.compile makes the network anew for every one."""
    module = surrogate.ATan(alpha=2.0)
    slope = Alpha(module)
    written = []
    module.__class__ = type("ATan", (type(module),), {"__setattr__": lambda self, key, value: written.append(key)})
    slope.write(slope.width)
    assert written == []
    slope.write(2 * slope.width)
    assert written == ["alpha"]


@pytest.mark.parametrize("name", ALPHAS)
def test_spikingjellys_own_alpha_is_a_width(name):
    """Its surrogate's slope is ours at that width, before and after it is written."""
    kind = getattr(surrogate, name)
    shape = SURROGATES[ALPHAS[name][0]]
    module = kind()
    slot = Alpha(module)
    for width in (slot.width, torch.tensor(0.37)):
        slot.write(width)
        assert isinstance(module.alpha, float)
        x = torch.linspace(-1.03, 1.05, 41, requires_grad=True)
        module(x).sum().backward()
        torch.testing.assert_close(x.grad, shape.slope(x.detach(), width), rtol=1e-4, atol=1e-5)
        x.grad = None


def test_alphas_are_driven_and_resumed():
    model = jelly(surrogate.ATan)
    made = adapter(model, adapt.Schedule("geometric", start=1.0, end=0.1))
    train(model, made)
    alpha = model[1].surrogate_function.alpha
    assert alpha == pytest.approx(2 / (math.pi * 0.1 ** (5 / 6)))
    other = jelly(surrogate.ATan)
    resumed = adapter(other, adapt.Fixed())
    resumed.load_state_dict(made.state_dict())
    assert other[1].surrogate_function.alpha == pytest.approx(alpha)
    with pytest.raises(BadValue, match="LIFNode uses its library's surrogate"):
        adapter(model, adapt.Dspike(samples=2)).step(next(batches()))


@pytest.mark.parametrize(
    ("kind", "options", "decay"),
    [
        (neuron.IFNode, {}, 1.0),
        (neuron.LIFNode, {"tau": 4.0}, 0.75),
        (neuron.ParametricLIFNode, {"init_tau": 4.0}, 0.75),
    ],
)
def test_decay_and_threshold_of_spikingjelly(kind, options, decay):
    guest = adapter(jelly(lambda: Surrogate("rect"), kind, **options), adapt.Fixed()).neurons["1"]
    assert guest.decay.item() == pytest.approx(decay)
    assert guest.threshold.item() == 0.5


def test_probing_leaves_their_state_alone():
    """Their potentials, and what an adapter has counted of them."""
    model = jelly(lambda: Surrogate("rect"))
    guest = adapter(model, adapt.ESG()).neurons["1"]
    batch = next(batches())
    model(batch[0])
    before = model[1].v.clone()
    counts = guest.histogram
    asked = [Probe(model, loss, batch).loss().item() for _ in range(2)]
    assert asked[0] == asked[1]
    assert torch.equal(model[1].v, before)
    assert guest.histogram is counts


def test_probing_leaves_a_hidden_state_of_snntorch_alone():
    fire = snntorch.Leaky(beta=0.4, threshold=0.5, spike_grad=Surrogate("rect"), init_hidden=True)
    model = nn.Sequential(nn.Linear(6, 12), fire)
    x = next(batches())[0][0]
    model(x)
    before = fire.mem
    values = before.clone()
    Probe(model, lambda output, labels: output.mean(), (x, torch.zeros(32))).gradients()
    assert fire.mem is before
    assert torch.equal(fire.mem, values)


def test_a_shared_surrogate_is_refused():
    slope = surrogate.ATan()
    with pytest.raises(BadValue, match="neurons '1' and '3' share one Surrogate"):
        adapter(jelly(lambda: slope), adapt.Fixed())


def test_histograms_have_our_bins():
    model = Torchlike(lambda: Surrogate("rect"))
    made = adapter(model, adapt.ESG())
    model(next(batches())[0])
    assert made.neurons["fire1"].histogram.shape == (BINS,)


def same_neurons():
    """The rows of the table of the docs: our neuron, and the same one of another library, as they are written there."""
    text = (Path(__file__).parent.parent / "docs/other_libraries.md").read_text()
    rows = re.findall(r"^\| `(.*?)` \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    return [(ours, cell.strip("`")) for ours, *others in rows for cell in others if cell != "–"]


def outputs(made, x):
    """The spikes of a neuron with one and the same surrogate, [T, N, C]."""
    if isinstance(made, snntorch.Leaky):
        made.spike_grad, made.init_hidden = Surrogate("atan", 0.4), True
        return torch.stack([made(step) for step in x])
    if isinstance(made, Neuron):
        made.surrogate = Surrogate("atan", 0.4)
        return made(x)
    made.surrogate_function, made.step_mode = Surrogate("atan", 0.4), "m"
    return made(x)


@pytest.mark.parametrize(("ours", "other"), same_neurons())
def test_the_same_neuron_has_the_same_spikes_and_gradients(ours, other):
    names = {**vars(neuron), **vars(surgrad.neurons), "Leaky": snntorch.Leaky}
    given = torch.randn(8, 64, 5, generator=torch.Generator().manual_seed(0)) * 1.5 + 0.5
    weights = torch.randn(8, 64, 5, generator=torch.Generator().manual_seed(1))
    spikes, gradients = [], []
    for text in (ours, other):
        x = given.clone().requires_grad_()
        spikes.append(outputs(eval(text, names), x))
        (spikes[-1] * weights).sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*spikes)
    assert 0.1 < spikes[0].mean() < 0.6
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_the_table_of_neurons_has_all_libraries():
    kinds = {other.partition("(")[0] for _, other in same_neurons()}
    assert kinds == {"Leaky", "LIFNode", "ParametricLIFNode", "IFNode"}
    assert len(same_neurons()) == 10


def test_the_examples_of_the_docs_run():
    """Block by block, those of one library in one namespace."""
    text = (Path(__file__).parent.parent / "docs/other_libraries.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    for group in (blocks[:1], blocks[1:]):
        names: dict = {}
        for block in group:
            exec(block, names)
        assert names["adapter"].neurons
