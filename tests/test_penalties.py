"""Penalties on potentials, against slow formulas; and that asking for them changes nothing else."""

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from surgrad import LIF, TDBN, NormNeuron, PerStep, penalties
from surgrad.config.registry import Registry
from surgrad.config.values import Fraction
from surgrad.errors import BadValue, UnknownName
from surgrad.kernels.lif import HISTORY_BACKENDS, lif
from surgrad.losses import cross_entropy
from surgrad.models import MODELS, ResidualBlock, small_cnn
from surgrad.neurons import NEURONS, neurons
from surgrad.penalties import PENALTIES, penalise, penalty
from surgrad.surrogates import Surrogate

every_penalty = pytest.mark.parametrize("name", PENALTIES)
T = 3
N = 4
C = 5


def currents(*size: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(size or (T, N, C, 2), generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(
        dtype
    )


def simulated(x: Tensor, decay: float, threshold: float) -> tuple[Tensor, Tensor]:
    """Potentials before their reset, and spikes, of a LIF with hard reset."""
    v = torch.zeros_like(x[0])
    potentials = []
    spikes = []
    for current in x:
        u = decay * v + current
        potentials.append(u)
        spikes.append((u >= threshold).to(x.dtype))
        v = u * (u < threshold)
    return torch.stack(potentials), torch.stack(spikes)


def slow_im_loss(u: Tensor, o: Tensor, threshold: float, half: float) -> float:
    return (sum(u.flatten().tolist()) / u.numel() - threshold) ** 2


def slow_rmp_loss(u: Tensor, o: Tensor, threshold: float, half: float) -> float:
    return sum((a - b) ** 2 for a, b in zip(u.flatten().tolist(), o.flatten().tolist(), strict=True)) / u.numel()


def slow_recdis(u: Tensor, o: Tensor, threshold: float, half: float) -> float:
    channels = u.movedim(2, 0).flatten(1)  # [C, others]
    total = 0.0
    for channel in channels.tolist():
        z = [(value - threshold) / half for value in channel]
        middle = sum(z) / len(z)
        spread = (sum((value - middle) ** 2 for value in z) / len(z)) ** 0.5
        middle = abs(middle)
        for fault in (middle - spread, middle + spread - 1, 0.25 - middle - spread):
            total += max(fault, 0.0) ** 2 / len(channels)
    return total


FORMULAS = {"im_loss": slow_im_loss, "recdis": slow_recdis, "rmp_loss": slow_rmp_loss}
"""Each penalty of (potentials, spikes, threshold, half-width of the rectangle), written out."""


def slow(name: str, u: Tensor, o: Tensor, threshold: float, half: float) -> float:
    if name not in FORMULAS:
        raise KeyError(f"penalty '{name}' has no formula in FORMULAS of tests/test_penalties.py; write it there")
    return FORMULAS[name](u, o, threshold, half)


def depends_on_potentials(name: str) -> bool:
    """Whether a penalty has a gradient in the potentials; one of the spikes alone has none."""
    u = currents().requires_grad_()
    return PENALTIES[name](u, (u >= 0.5).double(), LIF(0.3).double()).requires_grad


@every_penalty
@pytest.mark.parametrize("scale", [0.05, 0.4, 3.0])
def test_penalties_are_their_formulas(name: str, scale: float):
    """At scales where one or another fault of RecDis holds."""
    neuron = LIF(0.3, surrogate=Surrogate("rect", 0.8)).double()
    penalise(neuron, name)
    x = scale * currents() + 0.2
    spikes = neuron(x)
    u, o = simulated(x, float(neuron.decay), 0.5)
    assert torch.equal(spikes, o)
    half = float(neuron.surrogate.width) / 2
    assert penalty(neuron).item() == pytest.approx(slow(name, u, o, 0.5, half), rel=1e-9)


def test_a_penalty_without_a_formula_is_named():
    with pytest.raises(KeyError, match="penalty 'mine' has no formula in FORMULAS"):
        slow("mine", currents(), currents(), 0.5, 0.4)


def test_recdis_has_no_complaint_of_what_fills_its_window():
    neuron = LIF(0.0, surrogate=Surrogate("rect", 1.0)).double()
    penalise(neuron, "recdis")
    neuron(0.5 + 0.3 * currents(1, 20_000, 2))
    assert penalty(neuron).item() == 0.0


@pytest.mark.parametrize("name", [name for name in PENALTIES if depends_on_potentials(name)])
@pytest.mark.parametrize("channels", [None, C])
def test_the_gradient_is_that_of_the_formula(name: str, channels: int | None):
    """The penalty's own way to the currents, by finite differences where no spike changes; reset "none" has no other
    way, so that the surrogate takes no part in it."""
    neuron = LIF(0.3, reset="none", channels=channels, surrogate=Surrogate("rect", 0.8)).double()
    penalise(neuron, lambda potentials, spikes, neuron: PENALTIES[name](potentials, spikes.detach(), neuron))
    x = 1.5 * currents() + 0.1
    o = neuron(x)

    def potentials_alone(x: Tensor) -> Tensor:
        v = torch.zeros_like(x[0])
        all_of_them = []
        for current in x:
            v = neuron.decay.view(-1, 1) * v + current if channels else neuron.decay * v + current
            all_of_them.append(v)
        return PENALTIES[name](torch.stack(all_of_them), o.detach(), neuron)

    assert torch.autograd.gradcheck(potentials_alone, x.clone().requires_grad_())
    x.requires_grad_()
    neuron(x)
    (found,) = torch.autograd.grad(penalty(neuron), x)
    (expected,) = torch.autograd.grad(potentials_alone(x), x)
    torch.testing.assert_close(found, expected)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        PerStep(nn.Linear(6, 16)),
        NormNeuron(TDBN(16), LIF(train_decay=True)),
        PerStep(nn.Linear(16, 16)),
        NormNeuron(TDBN(16), LIF(train_decay=True)),
        PerStep(nn.Linear(16, 3)),
    )


@every_penalty
def test_asking_changes_neither_output_nor_the_losss_gradients(name: str):
    x = currents(T, 32, 6, dtype=torch.float32)
    labels = torch.arange(32) % 3
    plain = network()
    asked = network()
    penalise(asked, name)
    outputs = []
    for model in (plain, asked):
        outputs.append(model(x))
        cross_entropy(outputs[-1], labels).backward()
    torch.testing.assert_close(outputs[0], outputs[1])
    for (key, one), (_, other) in zip(plain.named_parameters(), asked.named_parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=key, rtol=1e-4, atol=1e-6)


@every_penalty
def test_a_penalty_is_a_trainings(name: str):
    model = network()
    with pytest.raises(BadValue, match=r"no neuron of this network holds a penalty; call penalise\(network, ...\)"):
        penalty(model)
    penalise(model, name)
    x = currents(T, 32, 6, dtype=torch.float32)
    model(x)
    value = penalty(model)
    assert value.ndim == 0
    assert value.requires_grad
    assert value.item() == pytest.approx(sum(neuron.penalty.item() for neuron in neurons(model).values()))
    model.eval()(x)
    assert all(neuron.penalty is None for neuron in neurons(model).values())


@every_penalty
@pytest.mark.parametrize("neuron", NEURONS)
def test_every_neuron_can_be_penalised(name: str, neuron: str):
    one = NEURONS[neuron]()
    penalise(one, name)
    x = currents(dtype=torch.float32).requires_grad_()
    one(x)
    penalty(one).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.any()


def test_a_first_step_with_a_width_of_its_own_counts():
    apart = LIF(0.3, surrogate=Surrogate("rect", 1.0, steps=2))
    whole = LIF(0.3)
    x = currents(dtype=torch.float32)
    for one in (apart, whole):
        penalise(one, "im_loss")
        one(x)
    assert penalty(apart).item() == pytest.approx(penalty(whole).item())


@pytest.mark.parametrize("model", ["resnet18", "resnet19", "small_resnet"])
def test_neurons_within_residual_blocks_can_be_left_out(model: str):
    """IM-Loss's layers: all but those before an addition (Guo et al. 2022a)."""
    net = MODELS[model](width_multiplier=0.05)
    penalise(net, "im_loss", inner=False)
    asked = {key for key, neuron in neurons(net).items() if neuron.penalty_fn is not None}
    all_of_them = {*neurons(net)}
    blocks = [key for key, module in net.named_modules() if isinstance(module, ResidualBlock)]
    if model == "small_resnet":  # whose shortcuts carry currents: both neurons of a block lie inside it
        assert len(all_of_them - asked) == 4
    else:
        assert all_of_them - asked == {f"{key}.fire1.neuron" for key in blocks}
    penalise(net, "im_loss")
    assert all(neuron.penalty_fn is not None for neuron in neurons(net).values())


def test_an_unknown_penalty_is_named():
    with pytest.raises(UnknownName, match=r"unknown penalty 'imloss'; did you mean 'im_loss'"):
        penalise(network(), "imloss")


def test_a_function_of_ones_own():
    model = network()
    penalise(model, lambda potentials, spikes, neuron: spikes.mean())
    x = currents(T, 32, 6, dtype=torch.float32)
    model(x)
    assert 0 < penalty(model).item() < 2


def low_rate(potentials: Tensor, spikes: Tensor, neuron: LIF, target: Fraction = 0.1) -> Tensor:
    """The square distance of the firing rate from a target."""
    return (spikes.mean() - target).square()


def test_a_penalty_with_an_option(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(penalties, "PENALTIES", Registry("penalty", {"low_rate": low_rate}, PENALTIES.context))
    model = network()
    x = currents(T, 32, 6, dtype=torch.float32)
    rates = []
    for neuron in neurons(model).values():
        neuron.register_forward_hook(lambda _m, _i, out: rates.append(out.mean().item()))
    for by in ("low_rate", low_rate):
        for options in ({}, {"target": 0.5}):
            penalise(model, by, **options)
            rates.clear()
            model(x)
            wanted = sum((rate - options.get("target", 0.1)) ** 2 for rate in rates)
            assert penalty(model).item() == pytest.approx(wanted)
    with pytest.raises(BadValue, match=r"penalty.target = 2 is out of range; give a number from 0 to 1"):
        penalise(model, "low_rate", target=2)
    with pytest.raises(
        BadValue, match=r"penalty.targt: penalty 'low_rate' has no option 'targt'; did you mean 'target'"
    ):
        penalise(model, "low_rate", targt=0.5)


@every_penalty
def test_every_parameter_of_a_penalty_is_its_input_or_an_option(name: str):
    parameters = [*inspect.signature(PENALTIES[name]).parameters]
    assert parameters == ["potentials", "spikes", "neuron", *PENALTIES.options(name)]


def test_one_graph():
    torch.compiler.reset()
    graphs = CompileCounterWithBackend("eager")
    model = small_cnn(width_multiplier=0.125)
    penalise(model, "im_loss")

    def step(images: Tensor) -> Tensor:
        return model(images).sum() + penalty(model)

    run: Any = torch.compile(step, fullgraph=True, backend=graphs)
    for _ in range(3):
        run(torch.randn(2, 1, 16, 16)).backward()
    assert graphs.frame_count == 1
    torch.compiler.reset()


@pytest.mark.parametrize("backend", ["auto", *HISTORY_BACKENDS])
def test_history_is_what_was_compared(backend: str):
    x = currents(dtype=torch.float32)
    out = lif(x, 0.3, 1.0, surrogate="rect", return_history=True, backend=backend)
    u, _ = simulated(x.double(), 0.3, 0.5)
    torch.testing.assert_close(out.history, u.float())
    for ours, theirs in zip(out[:2], lif(x, 0.3, 1.0, surrogate="rect", backend="reference")[:2], strict=True):
        torch.testing.assert_close(ours, theirs)
    wide = lif(x.double(), 0.3, 1.0, surrogate="rect", return_history=True)
    assert wide.spikes.dtype == torch.float64, "what no kernel takes, the reference does"
    with pytest.raises(BadValue, match=r"backend 'torch' does not return a history of potentials"):
        lif(x, 0.3, 1.0, surrogate="rect", return_history=True, backend="torch")
