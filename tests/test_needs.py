"""What people bring to a library of spiking networks: copies, pickles, their own containers and layers, any size."""

import copy
import pickle
import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import surgrad
from surgrad import LIF, TDBN, Adapter, LeakyReadout, NormNeuron, PerStep, Probe, Surrogate
from surgrad.data.events.views import View
from surgrad.errors import BadValue
from surgrad.losses import cross_entropy
from surgrad.measure import diagnose, energy
from surgrad.models import MODELS, in_chunks, small_cnn
from surgrad.neurons import NEURONS, needs_whole_sequence, streaming
from surgrad.norm import NORMS, BatchNorm, fold
from surgrad.optim import parameter_groups
from surgrad.surrogates import SURROGATES, equivalent_half_width, width_of_equivalent


def adapted(attach=True):
    model = nn.Sequential(nn.Linear(3, 4), NormNeuron(TDBN(4), LIF()), nn.Linear(4, 2))
    adapter = Adapter(model, "lsg", loss=lambda output, labels: cross_entropy(output, labels))
    if attach:
        adapter.attach()
    return model, adapter


@pytest.mark.parametrize("attach", [False, True])
@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_of_an_adapted_network_is_independent(attach, again):
    model, adapter = adapted(attach)
    model(torch.rand(2, 5, 3))
    before = adapter.state_dict()["step"]
    width = model[1].neuron.surrogate.width.clone()
    copied = again(model)
    for _ in range(3):
        copied(torch.rand(2, 5, 3)).sum().backward()
    assert adapter.state_dict()["step"] == before
    assert torch.equal(model[1].neuron.surrogate.width, width)
    model(torch.rand(2, 5, 3))
    assert adapter.state_dict()["step"] == before + attach


def test_a_neuron_in_a_container_without_time_is_refused():
    for layers in ((nn.Linear(3, 4), LIF()), (nn.Sequential(nn.Linear(3, 4), NormNeuron(TDBN(4), LIF())),)):
        with pytest.raises(BadValue, match=r"of PerStep is a neuron \(LIF\), which needs the time axis"):
            PerStep(*layers)


@pytest.mark.parametrize("name", sorted(NEURONS))
def test_sequences_in_several_calls_are_right_or_refused(name):
    torch.manual_seed(0)
    context = {key: 4 for key in ("steps", "layer_channels") if NEURONS.takes(name, key)}
    neuron = NEURONS.build(name, {}, **context).eval()
    network = nn.Sequential(neuron)
    currents = torch.randn(4, 3, 4, generator=torch.Generator().manual_seed(1)).abs()
    if needs_whole_sequence(network):
        with pytest.raises(BadValue, match="needs all time steps of a sequence in one call"), streaming(network):
            pass
        return
    whole = network(currents)
    with streaming(network):
        parts = torch.cat([network(currents[:1]), network(currents[1:])])
    assert torch.equal(whole, parts)


@pytest.mark.parametrize("norm", ["bntt", "tab", "tebn"])
def test_norms_of_each_step_are_refused_in_chunks(norm):
    network = MODELS["small_cnn"](10, in_channels=1, steps=4, norm=lambda c, **_: NORMS[norm](c, steps=4))
    with pytest.raises(BadValue, match="needs all time steps"):
        in_chunks(network.eval(), torch.rand(2, 1, 8, 8), 4, 2)


@pytest.mark.parametrize("sides", [(28, 28), (30, 30), (33, 47), (16, 16), (7, 9)])
def test_the_modified_resnet_takes_any_size(sides):
    network = MODELS["resnet18"](10, in_channels=1, steps=2, width_multiplier=0.0625)
    assert network(torch.rand(2, 1, *sides)).shape == (2, 2, 10)


def folded_exactly(conv, x):
    norm = BatchNorm(5).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    torch.testing.assert_close(fold(conv, norm)(x), norm(conv(x)[None])[0], rtol=1e-5, atol=1e-5)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


@pytest.mark.parametrize("how", ["plain", "parametrised", "weight_norm", "old weight_norm", "spectral_norm"])
@pytest.mark.parametrize("kind", ["conv", "linear", "grouped"])
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
def test_a_norm_is_folded_into_the_weight_that_is_used(how, kind):
    torch.manual_seed(0)
    if kind == "linear":
        layer, x = nn.Linear(3, 5), torch.randn(7, 3)
    elif kind == "grouped":
        layer, x = nn.Conv2d(10, 5, 3, 2, 1, groups=5, padding_mode="circular"), torch.randn(2, 10, 8, 8)
    else:
        layer, x = nn.Conv2d(3, 5, 3, padding="same", dilation=2, bias=False), torch.randn(2, 3, 8, 8)
    if how == "parametrised":
        nn.utils.parametrize.register_parametrization(layer, "weight", Doubled())
    elif how == "weight_norm":
        nn.utils.parametrizations.weight_norm(layer)
    elif how == "old weight_norm":
        nn.utils.weight_norm(layer)
    elif how == "spectral_norm":
        nn.utils.parametrizations.spectral_norm(layer)
    folded_exactly(layer.eval(), x)


def test_a_norm_is_folded_into_no_other_layer():
    with pytest.raises(BadValue, match="into a Conv2d or a Linear, not into a ConvTranspose2d"):
        fold(nn.ConvTranspose2d(3, 5, 3), BatchNorm(5))


@pytest.mark.parametrize("name", sorted(NEURONS))
def test_every_neuron_compiles_as_one_graph(name):
    torch.compiler.reset()
    context = {key: 2 if key == "steps" else 4 for key in ("steps", "layer_channels") if NEURONS.takes(name, key)}
    neuron = NEURONS.build(name, {}, **context).eval()  # in training, some draw random numbers
    x = torch.rand(2, 3, 4)
    assert torch.equal(torch.compile(neuron, fullgraph=True, backend="eager")(x), neuron(x))


def test_every_public_module_is_there():
    assert surgrad.process.tune
    assert surgrad.state.reset


def test_with_the_reference_backend_an_export_has_no_operator_of_surgrads():
    """What docs/run_folders.md says of exports."""
    network = MODELS["small_cnn"](10, in_channels=1, steps=2, neuron=lambda c: LIF(backend="reference"))
    x = torch.rand(2, 1, 8, 8)
    exported = torch.export.export(network.eval(), (x,))
    assert "surgrad." not in exported.graph_module.code
    assert torch.equal(exported.module()(x), network(x))


class Own(nn.Module):
    """A neuron of a user's own: it holds a `Surrogate`, calls it with u - threshold, and says decay and threshold."""

    def __init__(self):
        super().__init__()
        self.threshold = 0.5
        self.decay = torch.tensor(0.9)
        self.fires = Surrogate("rect", 0.05)

    def forward(self, x):
        v = torch.zeros_like(x[0])
        out = []
        for current in x:
            u = self.decay * v + current
            out.append(self.fires(u - self.threshold))
            v = u * (1 - out[-1])
        return torch.stack(out)


@pytest.mark.parametrize(
    ("controller", "options"),
    [
        ("fixed", {"width": 0.3}),
        ("lsg", {}),
        ("esg", {"period": 1}),
        ("ds_atgo", {}),
        ("schedule", {"start": 1, "end": 2}),
    ],
)
def test_a_neuron_of_your_own_is_adapted(controller, options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 16), Own(), nn.Linear(16, 2))
    adapter = Adapter(model, controller, options=options, steps=12)
    for _ in range(6):
        adapter.step()
        model(torch.rand(4, 5, 3)).sum().backward()
    assert model[1].fires.width != 0.05


def test_what_a_neuron_of_your_own_does_not_say_is_asked_for():
    own = Own()
    del own.threshold
    with pytest.raises(BadValue, match="Own has no threshold attribute"):
        Adapter(nn.Sequential(own), "lsg")


@pytest.mark.parametrize("function", ["atan", "triangle", "rect"])
@pytest.mark.parametrize("layer", [lambda s: s, lambda s: LIF(0.5, surrogate=s, threshold=1e-6)], ids=["alone", "lif"])
def test_a_learned_width_stays_positive_in_a_loop_of_ones_own(function, layer):
    """Whatever an optimiser writes into it; and it can grow again."""
    surrogate = Surrogate(function, 0.02, learn=True)
    module = layer(surrogate)
    optimizer = torch.optim.SGD([surrogate.width], lr=1.0)
    x = torch.full((1, 1, 1), 1e-4, requires_grad=True)
    for direction in (1.0, -1.0):
        for _ in range(3):
            surrogate.width.grad = torch.tensor(0.1 * direction)
            optimizer.step()
        if direction > 0:
            assert surrogate.width < 0
        (slope,) = torch.autograd.grad(module(x).sum(), x)
        assert slope > 0
    assert surrogate.width.item() == pytest.approx(0.02)
    with torch.no_grad():
        surrogate.width.fill_(-1.0)
    surrogate.positive_width.backward()
    assert surrogate.width.grad.item() == pytest.approx(-0.1 + 1)
    assert surrogate.positive_width.item() == pytest.approx(1e-3)


def test_weight_decay_leaves_decays_alone():
    network = MODELS["small_cnn"](10, in_channels=1, neuron=lambda c: LIF(0.9, train_decay=True))
    groups = parameter_groups(network, 0.1)
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    before = network.fire.neuron.decay.item()
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    weight = network.head[-1][0].weight.norm().item()
    for _ in range(50):
        optimizer.step()
    assert network.fire.neuron.decay.item() == before
    assert network.head[-1][0].weight.norm().item() < weight
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in network.parameters()}


@pytest.mark.parametrize("steps", [None, 4])
def test_energy_of_any_network(steps):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), LIF(), nn.Linear(8, 2))
    if steps is None:
        found = energy(model, [torch.rand(4, 5, 3)])
    else:
        found = energy(nn.Sequential(Repeat(steps), model), [torch.rand(5, 3)], steps=steps)
    assert (found.images, found.steps) == (5, 4)
    assert found.layers[1].acs == pytest.approx(4 * 16 * next(iter(found.firing_rates.values())))
    with pytest.raises(BadValue, match="steps must be at least 1"):
        energy(model, [torch.rand(4, 5, 3)], steps=0)


class Repeat(nn.Module):
    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def forward(self, x):
        return x.expand(self.steps, *x.shape)


@pytest.mark.parametrize("channels", [None, 3])
def test_a_leaky_readout_is_a_leaky_sum(channels):
    readout = LeakyReadout(0.8, channels=channels)
    x = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    out = readout(x.bfloat16())
    assert out.dtype == torch.float32
    x = x.bfloat16().float()
    expected = torch.stack([sum(0.8 ** (t - s) * x[s] for s in range(t + 1)) for t in range(4)])
    torch.testing.assert_close(out, expected)
    out.square().sum().backward()  # a target at every step
    assert readout.logit_decay.grad.abs().sum() > 0
    with pytest.raises(BadValue, match="between 0 and 1"):
        LeakyReadout(1.0)


def test_frames_need_not_be_square():
    frames = torch.arange(2 * 2 * 26 * 34).reshape(2, 2, 26, 34).numpy()
    assert View(17, height=13, normalise="none").plain(frames).shape == (2, 2, 13, 17)
    assert View(34, height=26, normalise="none").plain(frames).tolist() == frames.tolist()
    assert set(View(normalise="binary").plain(frames).unique().tolist()) == {0, 1}


class Sound(nn.Module):
    """A network on [T, N, C, L], with one output for every time step or none."""

    def __init__(self, outputs):
        super().__init__()
        self.layer = PerStep(nn.Conv1d(2, 6, 3))
        self.fire = NormNeuron(TDBN(6), LIF(decay=0.5))
        self.head = PerStep(nn.Flatten(), nn.LazyLinear(outputs))

    def forward(self, x):
        return self.head(self.fire(self.layer(x)))


def per_step(output, targets):
    return (output - targets).square().mean()


def labels_of_steps(output, labels):
    return nn.functional.cross_entropy(output.flatten(0, 1), labels.flatten())


def batches_of_sound():
    torch.manual_seed(0)
    x = torch.rand(7, 6, 2, 10)
    return {
        "a label for each sample": ((x, torch.arange(6) % 3), cross_entropy, None),
        "a label for each step": ((x, torch.randint(3, (7, 6))), labels_of_steps, None),
        "numbers for each step": ((x, torch.rand(7, 6, 3)), per_step, None),
        "as many steps as samples, told": ((x[:6], torch.arange(6) % 3), cross_entropy, (1, 0, 1)),
    }


@pytest.mark.parametrize("kind", batches_of_sound())
@pytest.mark.parametrize("controller", ["dspike", "dgs"])
def test_any_loss_and_any_targets_are_probed(kind, controller):
    batch, loss, axes = batches_of_sound()[kind]
    model = Sound(3)
    model(batch[0])
    adapter = Adapter(model, controller, loss=loss, steps=4, steps_per_epoch=2, sample_axes=axes)
    for _ in range(4):
        adapter.step(batch)
        loss(model(batch[0]), batch[1]).backward()
    found = diagnose(model, batch, loss, sample_axes=axes)
    assert len(found.layers) == 1


def test_parts_of_a_batch_are_whole_samples():
    for batch, loss, axes in batches_of_sound().values():
        probe = Probe(Sound(3), loss, batch, axes=axes)
        assert len(probe) == 6
        part = probe.part(2, 1)
        assert len(part) == 2
        assert torch.equal(part._batch[0], batch[0][:, 1:3])
    with pytest.raises(BadValue, match=r"have no common number of samples; say which axes"):
        len(Probe(Sound(3), per_step, (torch.rand(7, 6, 2, 10), torch.rand(5))))


@pytest.mark.parametrize("saved", [False, True])
def test_weights_loaded_into_another_network_warn(saved: bool, tmp_path: Path):
    """A state dict of tensors cannot hold reset, surrogate and T: it notes them in its metadata."""
    made = small_cnn(steps=2, neuron=lambda: LIF(reset="subtract", surrogate="atan"))
    state = made.state_dict()
    if saved:
        torch.save(state, tmp_path / "weights.pt")
        state = torch.load(tmp_path / "weights.pt", weights_only=True)
    other = small_cnn(steps=4, neuron=lambda: LIF())
    with pytest.warns(UserWarning, match="outputs or gradients may differ") as said:
        assert not other.load_state_dict(state).missing_keys
    texts = {str(warning.message).split(":")[0] for warning in said}
    assert texts == {
        "the weights were those of a module with steps 2, and are loaded into one with steps 4",
        "the weights were those of a module with reset subtract, surrogate atan, and are loaded into one with reset "
        "zero, surrogate rect",
    }


def test_weights_loaded_into_the_same_network_say_nothing(recwarn: pytest.WarningsRecorder):
    state = small_cnn(steps=2).state_dict()
    small_cnn(steps=2).load_state_dict(state)
    small_cnn(steps=4).load_state_dict(dict(state))  # plain tensors, as from a safetensors file, have no notes
    assert not recwarn.list


def two_surrogates():
    module = nn.Sequential(nn.Linear(3, 4))
    module.one, module.two = Surrogate("rect"), Surrogate("rect")
    return module


def network():
    return nn.Sequential(nn.Linear(3, 4), LIF(), nn.Linear(4, 2))


def pair(n=4):
    return torch.rand(2, n, 3), torch.arange(n) % 2


class Bare(nn.Module):
    """A neuron that says nothing of its threshold."""

    def __init__(self):
        super().__init__()
        self.spike = Surrogate("rect")

    def forward(self, x):
        return self.spike(x - 0.5)


def stepped(module, *batch, controller="share"):
    adapter = Adapter(module, controller, loss=cross_entropy, steps_per_epoch=1)
    module(batch[0][0] if batch and isinstance(batch[0], tuple) else pair()[0])
    adapter.step(*batch)


MISTAKES = {
    "an optimiser": (lambda: Adapter(torch.optim.SGD(network().parameters(), 0.1)), "got an object of type SGD; give"),
    "two surrogates": (
        lambda: Adapter(two_surrogates()),
        r"Sequential holds 2 Surrogates \(one, two\), and a neuron has",
    ),
    "no threshold": (lambda: stepped(nn.Sequential(Bare()), pair()), r"Bare has no threshold attribute.* set its self"),
    "no decay": (lambda: Adapter(nn.Sequential(Bare()), "lsg"), r"Bare has no decay attribute.* set its self\.decay"),
    "inputs alone": (lambda: stepped(network(), pair()[0]), r"takes \(inputs, targets\), got a tensor \[2, 4, 3\]"),
    "a dict": (lambda: stepped(network(), {"x": 1}), r"takes \(inputs, targets\), got an object of type dict"),
    "no weights": (
        lambda: stepped(nn.Sequential(LIF()), pair(3), controller="dspike"),
        "no trained weight of two dimensions or more",
    ),
    "no time axis": (
        lambda: PerStep(nn.Linear(3, 4))(torch.rand(8, 3)),
        r"PerStep with Linear takes sequences \[T, N, ...\] of 3 axes, got \[8, 3\]; show samples",
    ),
    "images without time": (
        lambda: PerStep(nn.Conv2d(3, 4, 3))(torch.rand(8, 3, 9, 9)),
        r"PerStep with Conv2d takes sequences \[T, N, ...\] of 5 axes, got \[8, 3, 9, 9\]",
    ),
    "the norm last": (lambda: NormNeuron(LIF(), TDBN(3)), r"was given LIF as a norm; give NormNeuron\(norm, neuron\)"),
    "a norm of torch": (lambda: NormNeuron(nn.BatchNorm2d(3), LIF()), "was given BatchNorm2d as a norm.* surgrad.TDBN"),
    "a network for tune": (
        lambda: surgrad.tune(network(), [pair()] * 5, cross_entropy),
        r"was given one \(Sequential\); give a function that makes it",
    ),
    "another kind of function": (lambda: LIF(surrogate=nn.ReLU()), "got an object of type ReLU; the names: rect, "),
    "a width in words": (lambda: Surrogate("rect", width="1"), "width must be a number.*got an object of type str"),
    "a foreign state": (lambda: Adapter(network()).load_state_dict({"a": 1}), "not the state of an Adapter, it has no"),
    "of another controller": (
        lambda: Adapter(network(), "share").load_state_dict(Adapter(network(), "ds_atgo").state_dict()),
        "the state is of the controller DSATGO, and this Adapter has KeepShare; build it alike",
    ),
    "of other neurons": (
        lambda: Adapter(nn.Sequential(network())).load_state_dict(Adapter(network()).state_dict()),
        r"the state is of the neurons \['1'\], and this Adapter has \['0\.1'\]",
    ),
    "nothing to diagnose": (
        lambda: surgrad.diagnose(nn.Sequential(nn.Linear(3, 2)), pair(), cross_entropy),
        r"the network \(Sequential\) has no neuron of surgrad's",
    ),
    "inputs that are NaN": (
        lambda: surgrad.diagnose(network(), (pair()[0] * torch.nan, pair()[1]), cross_entropy),
        r"inputs of \[2, 4, 3\] hold numbers that are not finite",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered(mistake):
    make, answer = MISTAKES[mistake]
    with pytest.raises(BadValue, match=answer):
        make()


def test_an_output_that_is_no_tensor_cannot_be_halved():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return self.inner(x), x

    with pytest.raises(BadValue, match=r"returns an object of type tuple.* let its forward return one tensor"):
        stepped(Two(), pair(), controller="dspike")


def test_a_first_step_without_its_batch_is_said():
    adapter = Adapter(network(), "share")
    with pytest.warns(UserWarning, match=r"finds its first widths by the first batch, and was given none.*step\(\("):
        adapter.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapter.step()


def test_a_printed_diagnosis_is_its_sentences():
    model = nn.Sequential(
        nn.Linear(3, 64), NormNeuron(TDBN(64), LIF(surrogate=Surrogate("rect", 1e-3))), nn.Linear(64, 2)
    )
    found = surgrad.diagnose(model, pair(64), cross_entropy)
    assert str(found) == found.findings[0].sentence
    assert "too narrow; try" in str(found)
    assert str(type(found)([], [])) == "No problem was found."


def test_silent_neurons_that_no_gradient_reaches_are_told_the_width():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 64), LIF(surrogate=Surrogate("rect", 1e-3), threshold=1.5), nn.Linear(64, 2))
    (finding,) = surgrad.diagnose(model, pair(64), cross_entropy).findings
    assert finding.kind == "dead"
    assert re.search(
        r"never fire.* And .* of them get no gradient: width 0\.001 is too narrow; try \d", finding.sentence
    )


@pytest.mark.parametrize("name", ["rect", "atan"])
def test_half_widths_by_name(name):
    half = equivalent_half_width(name, 0.7)
    assert torch.equal(half, equivalent_half_width(SURROGATES[name], torch.tensor(0.7)))
    assert width_of_equivalent(name, half).item() == pytest.approx(0.7, rel=1e-3)
