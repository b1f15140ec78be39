"""Gradients through time, against what their papers' formulas give when they are written down slowly."""

import inspect
import json
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.testing import assert_close

from surgrad import gradients
from surgrad.errors import BadValue, UnknownName
from surgrad.gradients import GRADIENTS, bptt, ottt, rate_based, sltt
from surgrad.gradients.online import _Traces
from surgrad.layers import Dropout, PerStep
from surgrad.losses import cross_entropy, tet
from surgrad.models import SpikingNetwork, small_cnn, small_resnet
from surgrad.models.blocks import conv, linear, pooled_head
from surgrad.neurons import IF, LIF, NEURONS, PLIF, neurons
from surgrad.norm import TDBN, TEBN, BatchNorm, NormNeuron
from surgrad.surrogates import SURROGATES, Surrogate, spike
from surgrad.train import train
from surgrad.train.building import build
from surgrad.train.progress import Lines

STEPS = 4
N = 6
CLASSES = 3
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
every_gradient = pytest.mark.parametrize("name", GRADIENTS)


def loss_fn(output: Tensor) -> Tensor:
    """The mean over the steps of each one's cross-entropy."""
    return tet(output, LABELS, weight=0.0)


def plain_lif(**options: Any) -> LIF:
    return LIF(0.6, threshold=0.2, surrogate=Surrogate("tanh", 0.7), **options)


def flat(
    neuron: Callable[[], LIF], norm: Callable[[int], nn.Module] | None = None, steps: int = STEPS
) -> SpikingNetwork:
    """Two layers of neurons on recordings [T, N, 5], in float64."""
    torch.manual_seed(0)
    norm = norm or (lambda channels: nn.Identity())
    body = nn.Sequential(linear(8, 7), NormNeuron(norm(7), neuron()))
    fire = NormNeuron(norm(8), neuron())
    network = SpikingNetwork(linear(5, 8), fire, body, linear(7, CLASSES), steps, sample_dims=1)
    return network.double()


def recording(steps: int = STEPS) -> Tensor:
    return 2 * torch.randn(steps, N, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def found(
    gradient: Callable[..., tuple[Tensor, Tensor]],
    network: SpikingNetwork,
    x: Tensor,
    by: Callable[[Tensor], Tensor] = loss_fn,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    network.zero_grad()
    loss, output = gradient(network, x, by)
    return loss, output, {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor], **bounds: float) -> None:
    assert set(ours) == set(theirs)
    for name, gradient in theirs.items():
        assert gradient.any(), name
        torch.testing.assert_close(
            ours[name],
            gradient,
            msg=lambda text, name=name: f"{name}: {text}",
            **({"rtol": 1e-9, "atol": 1e-12} | bounds),
        )


# --- all of them ------------------------------------------------------------------------------------------------------


@every_gradient
def test_every_parameter_of_a_gradient_is_an_option(name: str):
    assert set(inspect.signature(GRADIENTS[name]).parameters) == set(GRADIENTS.options(name))
    gradient = GRADIENTS.build(name)
    gradient.check(flat(plain_lif))
    assert gradient.allows_compile == (name == "bptt")


@every_gradient
def test_functions_are_the_registered_gradients(name: str):
    network = flat(plain_lif, TDBN)
    function = getattr(gradients, {"rate": "rate_based"}.get(name, name))
    loss, output, expected = found(GRADIENTS.build(name).find, network, recording())
    again, outputs, ours = found(function, network, recording())
    assert torch.equal(loss, again)
    assert torch.equal(output, outputs)
    same(ours, expected, rtol=0.0, atol=0.0)


def test_options_of_gradients():
    assert GRADIENTS.build("sltt", {"steps": 2}).steps == 2
    with pytest.raises(BadValue, match=r"gradient.steps = 0 is out of range; give a number from 1"):
        GRADIENTS.build("sltt", {"steps": 0})
    with pytest.raises(BadValue, match=r"gradient.steps: gradient 'ottt' has no option 'steps'; it has none"):
        GRADIENTS.build("ottt", {"steps": 2})
    with pytest.raises(BadValue, match=r"a backward pass of 3 time steps, and there are 2; give at most 2"):
        GRADIENTS.build("sltt", {"steps": 3}).check(flat(plain_lif, steps=2))
    GRADIENTS.build("sltt", {"steps": 3}).check(flat(plain_lif, steps=2), steps=3)


def test_rate_was_renamed():
    with pytest.warns(
        FutureWarning, match=r"surgrad.gradients.rate is deprecated .*; use surgrad.gradients.rate_based"
    ):
        from surgrad.gradients import rate
    assert rate is rate_based


@every_gradient
def test_static_features_are_shown_in_every_step(name: str):
    """By `sample_dims`, a network of features takes [N, features] for static input."""
    network = flat(plain_lif)
    x = recording(1)[0]
    _, static, to_static = found(GRADIENTS[name]().find, network, x)
    _, shown, to_shown = found(GRADIENTS[name]().find, network, x.expand(STEPS, *x.shape))
    torch.testing.assert_close(static, shown)
    same(to_static, to_shown)


@every_gradient
@pytest.mark.parametrize("norm", [None, BatchNorm, TDBN])
def test_of_one_step_all_are_one(name: str, norm: Any):
    network = flat(plain_lif, norm, steps=1)
    _, _, expected = found(bptt, network, recording(1))
    _, _, ours = found(GRADIENTS[name]().find, network, recording(1))
    same(ours, expected)


@every_gradient
def test_loss_and_output_are_the_forward_passs(name: str):
    """Without a norm, which sees other statistics in each way, nothing of the forward pass differs."""
    network = flat(plain_lif)
    x = recording()
    expected = network(x).detach()
    loss, output, _ = found(GRADIENTS[name]().find, network, x)
    torch.testing.assert_close(output, expected.mean(0, keepdim=True) if name == "rate" else expected)
    assert loss.item() == pytest.approx(loss_fn(output).item())
    assert not loss.requires_grad
    assert not output.requires_grad
    assert network.steps == STEPS


@every_gradient
def test_a_static_image_is_shown_in_every_step(name: str):
    torch.manual_seed(0)
    network = small_cnn(3, in_channels=1, steps=STEPS, neuron=plain_lif, width_multiplier=0.25)
    image = torch.randn(N, 1, 8, 8)
    _, static, to_static = found(GRADIENTS[name]().find, network, image)
    _, shown, to_shown = found(GRADIENTS[name]().find, network, image.expand(STEPS, *image.shape))
    torch.testing.assert_close(static, shown, rtol=1e-4, atol=1e-5)
    for key in to_static:
        torch.testing.assert_close(to_static[key], to_shown[key], rtol=1e-3, atol=1e-5)


@every_gradient
def test_nothing_is_left_behind(name: str):
    """No potential, no hook, no mode: the next call is as the first one."""
    network = flat(plain_lif, BatchNorm)
    x = recording()
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules()]
    first = found(GRADIENTS[name]().find, network, x)[2]
    same(found(GRADIENTS[name]().find, network, x)[2], first)
    assert [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules()] == hooks
    assert all(module.training for module in network.modules())
    for neuron in neurons(network).values():
        assert neuron.potential is None
        assert (neuron.carry, neuron.penalty_fn, neuron.penalty) == (False, None, None)


@every_gradient
def test_histograms_are_of_all_steps(name: str):
    network = flat(plain_lif)
    x = recording()
    for neuron in neurons(network).values():
        neuron.record_histogram = True
    found(bptt, network, x)
    expected = [neuron.histogram for neuron in neurons(network).values()]
    found(GRADIENTS[name]().find, network, x)
    for ours, theirs in zip((neuron.histogram for neuron in neurons(network).values()), expected, strict=True):
        assert ours is not None
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("name", "grows"), [("bptt", True), ("sltt", False), ("ottt", False), ("rate", False)])
def test_memory_grows_with_the_steps_or_does_not(name: str, grows: bool):
    """What the graph keeps for the way back, at the most, in bytes."""
    most = []
    for steps in (2, 8, 32):
        network = flat(plain_lif, TDBN)
        held = _Held()
        with torch.autograd.graph.saved_tensors_hooks(held.pack, held.unpack):
            found(GRADIENTS[name]().find, network, recording(steps))
        most.append(held.most)
    if grows:
        assert most[2] - most[1] == pytest.approx(4 * (most[1] - most[0]), rel=0.1)
        assert most[2] > 10 * most[0]
    else:
        assert most[0] == most[1] == most[2] > 0


class _Held:
    """Counts the bytes of saved tensors while they live."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def pack(self, tensor: Tensor) -> Any:
        return _Box(self, tensor)

    def unpack(self, box: Any) -> Tensor:
        return box.tensor


class _Box:
    def __init__(self, held: _Held, tensor: Tensor):
        self.held = held
        self.tensor = tensor
        held.now += tensor.nbytes
        held.most = max(held.most, held.now)

    def __del__(self) -> None:
        self.held.now -= self.tensor.nbytes


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("words", [("sltt",), ("sltt", "gradient.steps=1"), ("ottt",), ("rate",)], ids=str)
def test_a_training_by_it_stops_and_resumes_exactly(tiny: Any, tmp_path: Path, words: tuple[str, ...]):
    name, *more = words
    recipe = tiny(
        f"gradient.name={name}",
        *more,
        "neuron.train_decay=false",
        "adapt.name=esg",
        "adapt.period=1",
        "optim.epochs=2",
    )
    whole = train(recipe, tmp_path / "whole")
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    with pytest.raises(Stopped):
        train(recipe, tmp_path / "broken", show=StoppedAfterAnEpoch(2))
    again = train(recipe, tmp_path / "broken", resume=True)
    one, other = (load_file(run / "last.safetensors") for run in (whole, again))
    assert set(one) == set(other)
    assert [key for key in one if not torch.equal(one[key], other[key])] == []


class Stopped(Exception):
    pass


class StoppedAfterAnEpoch(Lines):
    def finish(self, row: dict[str, Any]) -> None:
        raise Stopped


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (["gradient.name=slt"], r"unknown gradient 'slt'; did you mean 'sltt'\?"),
        (
            ["gradient.steps=2"],
            r"gradient.steps: gradient 'bptt' has no option 'steps', but 'sltt' has it; set gradient.name too",
        ),
        (
            ["gradient.name=sltt", "gradient.steps=9"],
            r"gradient.steps = 9 is more than model.steps = 2; give at most that",
        ),
        (
            ["gradient.name=sltt", "gradient.steps=2", "progressive.fraction=0.5", "progressive.steps=1"],
            r"gradient.steps = 2 is more than progressive.steps = 1; give at most that",
        ),
        (
            ["gradient.name=rate", "neuron.train_decay=true"],
            r"gradient.name = rate: '.*' has trained parameters",
        ),
        (["gradient.name=rate", "penalty.name=im_loss", "neuron.train_decay=false"], r"penalties need potentials"),
        (
            ["gradient.name=ottt", "neuron.train_decay=true"],
            r"gradient.name = ottt: OTTT's traces use one fixed decay",
        ),
        (
            ["gradient.name=sltt", "norm.name=tebn"],
            r"gradient.name = sltt: '.*', TEBN, needs all time steps in one call",
        ),
        (
            ["gradient.name=sltt", "model.last_step=true"],
            r"gradient.name = sltt: last_step uses the output of the last",
        ),
        (["gradient.name=rate", "run.compile=true"], r"run.compile compiles all time steps as one graph"),
    ],
)
def test_recipes_refuse_gradients_that_cannot_be(tiny: Any, settings: list[str], text: str):
    with pytest.raises((BadValue, UnknownName), match=text):
        build(tiny(*settings))


# --- SLTT -------------------------------------------------------------------------------------------------------------


def slow_lif(u: Tensor, neuron: LIF) -> tuple[Tensor, Tensor]:
    fired = spike(u - neuron.threshold, neuron.surrogate.width, neuron.surrogate.function)
    return fired, u * (1 - fired)


def test_sltt_is_the_loop_with_potentials_cut_between_steps():
    network = flat(partial(plain_lif, train_decay=True))
    x = recording()
    _, output, ours = found(sltt, network, x)
    first, second = neurons(network).values()
    network.zero_grad()
    v = torch.zeros(N, 8).double()
    w = torch.zeros(N, 7).double()
    outputs = []
    for now in x:
        fired, v = slow_lif(first.decay * v.detach() + network.stem[0](now), first)
        fired, w = slow_lif(second.decay * w.detach() + network.body[0][0](fired), second)
        outputs.append(network.head[0](fired))
    loss_fn(torch.stack(outputs)).backward()
    torch.testing.assert_close(output, torch.stack(outputs).detach())
    same(ours, {name: p.grad for name, p in network.named_parameters() if p.grad is not None})


def test_sltt_goes_back_from_some_steps_at_random():
    """SLTT-K's gradient is, over its draws, K/T times that of all steps (the authors' code divides each chosen step's
    loss by T)."""
    network = flat(plain_lif)
    x = recording()
    _, output, whole = found(sltt, network, x)
    every = []
    torch.manual_seed(3)
    for _ in range(400):
        _, seen, gradient = found(partial(sltt, steps=1), network, x)
        assert torch.equal(seen, output), "the forward pass is the same"
        every.append(gradient)
    kinds = {tuple(round(value, 9) for value in g["stem.0.weight"].flatten()[:4].tolist()) for g in every}
    assert len(kinds) == STEPS
    for name in whole:
        mean = torch.stack([gradient[name] for gradient in every]).mean(0)
        assert (STEPS * mean - whole[name]).norm() < 0.2 * whole[name].norm()
    same(found(partial(sltt, steps=STEPS), network, x)[2], whole)


def test_sltt_refuses_more_backward_passes_than_there_are_time_steps():
    with pytest.raises(BadValue, match=rf"a backward pass of {STEPS + 1} time steps, and there are {STEPS}; give at"):
        sltt(flat(plain_lif), recording(), loss_fn, steps=STEPS + 1)
    with pytest.raises(BadValue, match=r"steps must be at least 1, got 0; give none"):
        sltt(flat(plain_lif), recording(), loss_fn, steps=0)


# --- OTTT -------------------------------------------------------------------------------------------------------------


def test_ottt_of_one_layer_without_reset_is_exact():
    """The trace is then ∂u_t/∂W, all that backpropagation through time finds (Xiao et al. 2022, section 4)."""
    torch.manual_seed(0)
    fire = NormNeuron(nn.Identity(), plain_lif(reset="none"))
    network = SpikingNetwork(linear(5, 8), fire, nn.Identity(), linear(8, CLASSES), STEPS, sample_dims=1).double()
    x = recording()
    ours, expected, cut = (found(gradient, network, x)[2] for gradient in (ottt, bptt, sltt))
    for key in ("stem.0.weight", "stem.0.bias"):
        exact = torch.allclose(ours[key], expected[key], rtol=1e-9)
        assert exact == key.endswith("weight"), "a bias has no trace"
        assert not torch.allclose(cut[key], expected[key], rtol=1e-2)


def test_ottt_is_the_formula():
    """∇W = Σ_t δ_t·â_tᵀ, δ_t of this step alone."""
    network = flat(plain_lif)
    x = recording()
    _, _, ours = found(ottt, network, x)
    first, second = neurons(network).values()
    layers = [network.stem[0], network.body[0][0], network.head[0]]
    wanted = [torch.zeros_like(layer.weight) for layer in layers]
    traces: list[Any] = [0.0, 0.0, 0.0]
    v = torch.zeros(N, 8).double()
    w = torch.zeros(N, 7).double()
    for now in x:
        currents = []
        inputs = [now]
        currents.append(layers[0](now))
        fired, v = slow_lif(first.decay * v.detach() + currents[0], first)
        inputs.append(fired)
        currents.append(layers[1](fired))
        fired, w = slow_lif(second.decay * w.detach() + currents[1], second)
        inputs.append(fired)
        currents.append(layers[2](fired))
        deltas = torch.autograd.grad(loss_fn(currents[2][None]) / STEPS, currents)
        for place, (entered, delta) in enumerate(zip(inputs, deltas, strict=True)):
            traces[place] = first.decay * traces[place] + entered.detach()
            wanted[place] += delta.T @ traces[place]
    same(
        {key: value for key, value in ours.items() if key.endswith("weight")},
        dict(zip(("stem.0.weight", "body.0.0.weight", "head.0.weight"), wanted, strict=True)),
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_ottt_of_one_convolution_without_reset_is_exact(stride: int):
    torch.manual_seed(0)
    fire = NormNeuron(nn.Identity(), plain_lif(reset="none"))
    head = nn.Sequential(pooled_head(), linear(8, CLASSES))
    network = SpikingNetwork(conv(2, 8, stride=stride), fire, nn.Identity(), head, STEPS).double()
    x = torch.randn(STEPS, N, 2, 8, 8, dtype=torch.float64)
    ours, expected, cut = (found(gradient, network, x)[2]["stem.0.weight"] for gradient in (ottt, bptt, sltt))
    torch.testing.assert_close(ours, expected)
    assert not torch.allclose(cut, expected, rtol=1e-2)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(3, 4, 3, padding="same", dilation=2),
        nn.Conv2d(3, 4, (3, 5), padding="same"),
        nn.Conv2d(3, 4, 2, stride=2),
        nn.Conv2d(3, 6, 3, groups=3, padding="valid"),
        nn.Conv3d(3, 4, 3, padding=1),
        nn.Linear(6, 4),
    ],
    ids=str,
)
@pytest.mark.parametrize("named", [False, True])
def test_ottts_traces_give_every_layer_its_own_gradient(layer: nn.Module, named: bool):
    """In the first step the trace is the input, so the gradient is autograd's."""
    size = {nn.Conv1d: (2, 3, 6), nn.Conv3d: (2, 3, 4, 6, 6), nn.Linear: (2, 6)}.get(type(layer), (2, 3, 8, 8))
    x = torch.randn(*size, generator=torch.Generator().manual_seed(0), requires_grad=True)
    call = getattr(F, type(layer).__name__.lower())
    words = () if type(layer) is nn.Linear else ("stride", "padding", "dilation", "groups")
    told = {word: getattr(layer, word) for word in words}
    found = []
    for mode in (nullcontext(), _Traces(0.5)):
        with mode:
            out = call(input=x, weight=layer.weight, bias=layer.bias, **told) if named else layer(x)
        weights = torch.linspace(-1, 1, out.numel()).view_as(out)
        found.append(torch.autograd.grad((out * weights).sum(), [x, layer.weight, layer.bias]))
    for ours, theirs in zip(*found, strict=True):
        assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_ottt_refuses_what_it_has_no_trace_of():
    network = flat(plain_lif)
    network.head = PerStep(nn.Bilinear(4, 4, 4))
    with pytest.raises(
        BadValue, match=r"'head.0', Bilinear, has no trace in OTTT .*; use convolutions and linear layers"
    ):
        found(ottt, network, recording())
    network = flat(plain_lif)
    network.fire.neuron.recurrent = nn.Parameter(torch.zeros(4, 4))
    with pytest.raises(BadValue, match=r"'fire.neuron', LIF, has no trace .* parameter 'recurrent' \[4, 4\]; use conv"):
        found(ottt, network, recording())
    network = flat(plain_lif)
    nn.utils.parametrizations.weight_norm(next(m for m in network.modules() if isinstance(m, nn.Linear)))
    found(ottt, network, recording())
    with _Traces(0.5), pytest.raises(BadValue, match=r"a kernel of 2×3 with padding='same' pads one side more"):
        nn.Conv2d(3, 4, (2, 3), padding="same")(torch.randn(1, 3, 4, 4))


def test_ottt_refuses_decays_that_differ():
    network = flat(plain_lif)
    next(iter(neurons(network).values())).fixed_decay.fill_(0.3)
    with pytest.raises(BadValue, match=r"are different \(0.3 to 0.6\); give all neurons the same decay"):
        ottt(network, recording(), loss_fn)


# --- what needs all steps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gradient", [sltt, ottt])
@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (lambda: NormNeuron(TEBN(7, steps=STEPS), plain_lif()), "TEBN"),
        (lambda: Dropout(0.2), "Dropout"),
        (lambda: NEURONS["sliding_psn"](), "SlidingPSN"),
        (lambda: NEURONS["trsg"](0.6), "TrLIF"),
    ],
)
def test_online_refuses_what_needs_all_steps(gradient: Any, part: Callable[[], nn.Module], kind: str):
    network = flat(plain_lif)
    network.body.append(part().double())
    with pytest.raises(BadValue, match=rf"'body.*', {kind}, needs all time steps in one call"):
        gradient(network, recording(), loss_fn)
    network = flat(plain_lif)
    network.last_step = True
    with pytest.raises(BadValue, match=r"last_step uses the output of the last time step alone"):
        gradient(network, recording(), loss_fn)


# --- rates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", ["zero", "subtract", "none"])
@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("kind", [LIF, PLIF, IF])
def test_rate_is_exact_for_constant_currents(kind: type[LIF], reset: Any, detach_reset: bool):
    """One layer of neurons on the same current in every step: then the averages tell all."""
    torch.manual_seed(0)
    options = {"decay": 0.6, "train_decay": False} if kind is not IF else {}
    neuron = kind(threshold=0.8, surrogate=Surrogate("tanh", 0.7), reset=reset, detach_reset=detach_reset, **options)
    fire = NormNeuron(nn.Identity(), neuron)
    network = SpikingNetwork(linear(5, 8), fire, nn.Identity(), linear(8, CLASSES), 7, sample_dims=1).double()
    x = recording(1).expand(7, N, 5)
    by = lambda output: cross_entropy(output, LABELS)  # noqa: E731
    same(found(rate_based, network, x, by)[2], found(bptt, network, x, by)[2])


def test_rate_of_two_layers_is_the_chain_of_averages():
    """Against the formula: every layer's slope is mean_t h(u_t)·∂u_t/∂c̅ of what it saw, a constant."""
    network = flat(plain_lif)
    x = recording()
    by = lambda output: cross_entropy(output, LABELS)  # noqa: E731
    ours = found(rate_based, network, x, by)[2]
    slopes = []
    rates = []
    entered = x
    for layer, neuron in zip((network.stem[0], network.body[0][0]), neurons(network).values(), strict=True):
        shift = torch.zeros(N, layer.out_features, dtype=torch.float64, requires_grad=True)
        v = torch.zeros_like(shift)
        spikes = []
        for now in entered:
            fired, v = slow_lif(neuron.decay * v + layer(now).detach() + shift, neuron)
            spikes.append(fired)
        out = torch.stack(spikes)
        slopes.append(torch.autograd.grad(out.mean(0).sum(), shift)[0])
        rates.append(out.mean(0).detach())
        entered = out.detach()
    network.zero_grad()
    value = x.mean(0)
    for layer, slope, mean in zip((network.stem[0], network.body[0][0]), slopes, rates, strict=True):
        current = layer(value)
        value = mean + slope * (current - current.detach())
    by(network.head[0](value)[None]).backward()
    same(ours, {name: p.grad for name, p in network.named_parameters() if p.grad is not None})


def test_rate_leaves_norms_as_one_forward_pass_does():
    ours = flat(plain_lif, BatchNorm)
    theirs = flat(plain_lif, BatchNorm)
    x = recording()
    found(rate_based, ours, x)
    theirs(x)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)


def test_rate_points_as_backpropagation_does():
    """On a residual network with norms the two gradients of the weights have an acute angle."""
    torch.manual_seed(0)
    network = small_resnet(3, in_channels=1, steps=STEPS, neuron=plain_lif, norm=BatchNorm, width_multiplier=0.5)
    x = torch.randn(N, 1, 16, 16)
    by = lambda output: cross_entropy(output, LABELS)  # noqa: E731
    ways = (rate_based, bptt)
    ours, theirs = (torch.cat([g.flatten() for g in found(way, network, x, by)[2].values()]) for way in ways)
    assert torch.nn.functional.cosine_similarity(ours, theirs, 0) > 0.5


@pytest.mark.parametrize(
    ("neuron", "norm", "text"),
    [
        (lambda: LIF(0.6, train_decay=True), None, "has trained parameters"),
        (lambda: NEURONS["klif"](0.6), None, "KLIF, has no averaged form; use lif, plif or if"),
        (lambda: LIF(0.6, surrogate=Surrogate("rect", 1.0, steps=2)), None, "one width"),
        (plain_lif, partial(TEBN, steps=STEPS), "TEBN, has no averaged form; use batchnorm or tdbn"),
    ],
)
def test_rate_refuses_what_has_no_average(neuron: Any, norm: Any, text: str):
    with pytest.raises(BadValue, match=text):
        rate_based(flat(neuron, norm), recording(), loss_fn)


def test_rate_refuses_what_draws_anew():
    network = flat(plain_lif)
    network.body.append(Dropout(0.2))
    with pytest.raises(BadValue, match=r"Dropout, would not do the same in the second pass"):
        rate_based(network, recording(), loss_fn)
    network.body[-1].p = 0.0
    rate_based(network, recording(), loss_fn)


def test_rate_leaves_norms_in_evaluation_alone():
    network = flat(plain_lif, BatchNorm, steps=1)
    x = recording(1)
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.eval().running_var.fill_(3.0)
    same(found(rate_based, network, x)[2], found(bptt, network, x)[2])


def test_online_refuses_a_first_width_and_ottt_trained_decays():
    with pytest.raises(BadValue, match="has separate widths for 2 time steps"):
        sltt(flat(lambda: LIF(0.6, surrogate=Surrogate("rect", 1.0, steps=2))), recording(), loss_fn)
    with pytest.raises(BadValue, match=r"are trained .*; give all neurons the same decay, and do not train it"):
        ottt(flat(partial(plain_lif, train_decay=True)), recording(), loss_fn)


def test_rate_refuses_evaluation_last_steps_and_penalties():
    network = flat(plain_lif)
    with pytest.raises(BadValue, match=r"is for training mode; call network.train\(\)"):
        rate_based(network.eval(), recording(), loss_fn)
    network.train().last_step = True
    with pytest.raises(BadValue, match="has no last step"):
        rate_based(network, recording(), loss_fn)
    network.last_step = False
    next(iter(neurons(network).values())).penalty_fn = lambda u, o, neuron: u.mean()
    with pytest.raises(BadValue, match="penalties need potentials"):
        rate_based(network, recording(), loss_fn)


def test_every_shape_has_a_slope_for_rates():
    for shape in SURROGATES:
        network = flat(lambda shape=shape: LIF(0.6, surrogate=Surrogate(shape, 0.7)))
        assert found(rate_based, network, recording())[2]["stem.0.weight"].isfinite().all()
