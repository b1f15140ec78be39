"""The contract of every neuron: its decay, its dynamics, and the state that it carries or does not."""

import inspect
import math
from typing import Any

import numpy as np
import pytest
import slow_lif
import torch
from torch import Tensor, nn

import surgrad
import surgrad.neurons
from surgrad.errors import BadValue, UnknownName
from surgrad.kernels.lif import BINS, native
from surgrad.layers import Dropout
from surgrad.neurons import (
    ASGL,
    DSATGO,
    IF,
    LIF,
    NEURONS,
    PLIF,
    PSN,
    FusedNeuron,
    Neuron,
    ParallelNeuron,
    Readout,
    SteppedNeuron,
    needs_whole_sequence,
    neurons,
    streaming,
)
from surgrad.norm import TDBN, TEBN, NormNeuron
from surgrad.surrogates import SURROGATES, Surrogate, spike

LEAKY = [name for name, neuron in NEURONS.items() if neuron.has_decay]
SIGMOID = [name for name in LEAKY if name != "glif"]
"""Those whose trained decay is a sigmoid of its parameter; GLIF's has a gate too."""
CARRYING = [name for name, neuron in NEURONS.items() if neuron.supports_streaming]
"""Those with a recurrence, and so a state; they can have parameters of each channel, too."""
LEVELS: dict[str, set[float]] = {"ternary": {-1, 0, 1}, "mlf": {0, 1, 2, 3}}
"""What a spike may be, in units of the amplitude; 0 or 1 elsewhere."""
every_neuron = pytest.mark.parametrize("name", NEURONS)
every_carrying = pytest.mark.parametrize("name", CARRYING)
every_leaky = pytest.mark.parametrize("name", LEAKY)
every_sigmoid = pytest.mark.parametrize("name", SIGMOID)


def make(name: str, **options: Any) -> Neuron:
    """In evaluation, where no neuron draws random numbers or changes by being used."""
    return NEURONS[name](**options).eval()


def currents(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Strong enough that a good share of all potentials fires, and a good share does not."""
    return torch.randn(size, generator=torch.Generator().manual_seed(1)).to(dtype) * 3


# --- the constructor ------------------------------------------------------------------------------------------------


@every_neuron
def test_every_option_is_a_named_parameter(name: str):
    """So that type checkers find a misspelt one, and recipes can set it."""
    parameters = inspect.signature(NEURONS[name]).parameters.values()
    assert not [p.name for p in parameters if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    assert {p.name for p in parameters} == {*NEURONS.options(name), *(NEURONS.context & {p.name for p in parameters})}
    assert {"threshold", "backend"} <= set(NEURONS.options(name))
    assert ("decay" in NEURONS.options(name)) == NEURONS[name].has_decay
    assert all(option.default is not option.REQUIRED for option in NEURONS.options(name).values())
    with pytest.raises(TypeError, match="thresold"):
        NEURONS[name](thresold=1.0)


@every_neuron
def test_a_neuron_is_built_from_its_options(name: str):
    """All defaults, stated: what a recipe does."""
    options = {key: option.default for key, option in NEURONS.options(name).items()}
    surrogate = Surrogate("tanh", 0.3, learn=name == "asgl")
    neuron = NEURONS.build(name, options, surrogate=surrogate, steps=4)
    assert type(neuron) is NEURONS[name]
    assert neuron.surrogate is surrogate
    assert repr(neuron) == repr(NEURONS[name](surrogate=Surrogate("tanh", 0.3, learn=name == "asgl")))
    with pytest.raises(BadValue, match=r"neuron.threshold = 0.0 is out of range; give a number above 0"):
        NEURONS.build(name, {"threshold": 0.0})
    with pytest.raises(
        BadValue, match=rf"neuron.thresold: neuron '{name}' has no option 'thresold'; did you mean 'thr"
    ):
        NEURONS.build(name, {"thresold": 0.5})


def test_options_of_single_neurons():
    assert NEURONS.build("mlf", {"levels": 2}).levels == 2
    assert NEURONS.build("trsg", {"mp_init": False}).mp_init is False
    assert NEURONS.build("mpbn", {"momentum": None}, layer_channels=3).norm_weight.shape == (3,)
    assert NEURONS.build("glif", steps=7).logit_inputs.shape == (7,)
    with pytest.raises(UnknownName, match="unknown neuron 'plfi'; did you mean 'plif'"):
        NEURONS["plfi"]


def test_neurons_are_abstract_or_final():
    for base in (Neuron, ParallelNeuron):
        with pytest.raises(TypeError, match="abstract"):
            base()
    for kind in NEURONS.values():
        bases = {base for base in kind.__mro__[1:] if base in NEURONS.values()}
        assert not bases, f"{kind.__name__} overrides {bases}"
        assert issubclass(kind, FusedNeuron) + issubclass(kind, SteppedNeuron) + issubclass(kind, ParallelNeuron) == 1


def test_old_names_are_served_with_a_warning():
    with pytest.warns(
        FutureWarning, match=r"surgrad\.neurons\.Stepped is deprecated .* use surgrad\.neurons\.SteppedNeu"
    ):
        assert surgrad.neurons.Stepped is SteppedNeuron
    neuron = LIF()
    with pytest.warns(FutureWarning, match=r"Neuron\.watch is deprecated .* use record_histogram"):
        neuron.watch = True
    assert neuron.record_histogram
    neuron(currents(1, 2, 3))
    with pytest.warns(FutureWarning, match=r"Neuron\.membrane is deprecated .* use histogram"):
        assert neuron.membrane is neuron.histogram
    with pytest.warns(FutureWarning, match=r"Neuron\.watch is deprecated"):
        assert neuron.watch


@every_carrying
def test_equal_channels_are_one_layer(name: str):
    """Decay, threshold and width of each channel, all as they start: the spikes and gradients of the layer."""
    options = {"layer_channels": 3} if name == "mpbn" else {}
    layer = make(name, **options)
    channels = make(name, channels=3)
    assert channels.surrogate.width.shape == channels.threshold.shape == channels.decay.shape == (3,)
    own = dict(layer.named_parameters())
    for key, parameter in channels.named_parameters():
        assert torch.equal(parameter.movedim(-1, 0), own[key].expand(parameter.movedim(-1, 0).shape)) or (
            parameter.ndim == own[key].ndim + 1 and torch.equal(parameter, own[key].unsqueeze(-1).expand_as(parameter))
        ), key
    x = currents(4, 6, 3, 2)
    gradients = []
    for neuron in (layer, channels):
        y = x.clone().requires_grad_()
        spikes = neuron(y)
        (spikes * x).sum().backward()
        gradients.append((spikes, y.grad))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


# --- the decay ------------------------------------------------------------------------------------------------------


def test_has_decay_says_what_the_constructor_takes():
    assert [name for name, neuron in NEURONS.items() if "decay" in inspect.signature(neuron).parameters] == LEAKY


@every_sigmoid
@pytest.mark.parametrize("channels", [None, 3])
def test_trained_decay_is_a_sigmoid(name: str, channels: int | None):
    neuron = NEURONS[name](0.3, train_decay=True, channels=channels)
    size = () if channels is None else (channels,)
    own = [key for key, _ in NEURONS[name](0.3, train_decay=False, channels=channels).named_parameters()]
    assert sorted(key for key, _ in neuron.named_parameters()) == sorted(["logit_decay", *own])
    assert neuron.logit_decay.shape == neuron.decay.shape == size
    torch.testing.assert_close(neuron.logit_decay.detach(), torch.full(size, math.log(0.3 / 0.7)))
    torch.testing.assert_close(neuron.decay.detach(), torch.full(size, 0.3))
    neuron.decay.sum().backward()
    torch.testing.assert_close(neuron.logit_decay.grad, torch.full(size, 0.3 * 0.7))


@every_sigmoid
@pytest.mark.parametrize("value", [0.0, 0.1, 0.25, 1.0])
def test_fixed_decay_is_exact_and_no_parameter(name: str, value: float):
    neuron = NEURONS[name](value, train_decay=False)
    assert torch.equal(neuron.decay, torch.tensor(value))
    assert "logit_decay" not in dict(neuron.named_parameters())
    assert NEURONS[name](tau=4.0, train_decay=False).decay.item() == 0.75
    assert NEURONS[name](tau=1.0, train_decay=False).decay.item() == 0.0


@every_leaky
@pytest.mark.parametrize("train", [False, True])
def test_tau_and_decay_are_tied(name: str, train: bool):
    by_tau = NEURONS[name](tau=5.0, train_decay=train)
    by_decay = NEURONS[name](0.8, train_decay=train)
    assert torch.equal(by_tau.decay, by_decay.decay)


def test_defaults_of_the_papers():
    lif = LIF()
    plif = PLIF()
    integrate = IF()
    assert (lif.decay.item(), lif.threshold.item()) == (pytest.approx(0.2), 0.5)  # Lian et al. 2023
    assert (plif.decay.item(), plif.threshold.item(), plif.detach_reset) == (0.5, 1.0, True)  # Fang et al. 2021
    assert plif.logit_decay.requires_grad
    assert plif.surrogate.function is SURROGATES["atan"]
    assert plif.surrogate.width.item() == pytest.approx(1 / math.pi)  # their α = 2, w = 2/(πα)
    assert (integrate.decay.item(), integrate.threshold.item()) == (1.0, 1.0)
    assert not lif.detach_reset, "the papers keep the gradient of the reset"
    assert all(neuron.reset_mode == "zero" for neuron in (lif, plif, integrate))


# --- the dynamics ---------------------------------------------------------------------------------------------------


def test_lif_is_the_loop():
    """Lian et al. 2023, eqs. 1 and 2: u_t = β·u_{t-1}·(1 - o_{t-1}) + I_t, o_t = 1[u_t >= v_th]."""
    x = currents(6, 4, 3)
    v = torch.zeros(4, 3)
    spikes = LIF(0.25, threshold=0.5)(x)
    assert 0.1 < spikes.mean() < 0.9
    for now, fired in zip(x, spikes, strict=True):
        u = 0.25 * v + now
        assert torch.equal(fired, (u >= 0.5).float())
        v = u * (u < 0.5)


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("tau", [1.0, 2.0, 4.0])
def test_plif_charges_by_a_share_of_the_difference(channels: int | None, tau: float):
    """Fang et al. 2021: v += (x - v)/τ."""
    x = currents(6, 4, 3, 5)
    v = torch.zeros(4, 3, 5)
    spikes = PLIF(tau=tau, train_decay=False, threshold=0.5, channels=channels)(x)
    assert 0.1 < spikes.mean() < 0.9
    for now, fired in zip(x, spikes, strict=True):
        v = v + (now - v) / tau
        assert (v - 0.5).abs().min() > 1e-6, "rounding decides nothing"
        assert torch.equal(fired, (v >= 0.5).float())
        v = v * (v < 0.5)


@pytest.mark.parametrize("reset", ["zero", "subtract", "none"])
def test_if_adds_up(reset: Any):
    x = currents(6, 4, 3)
    v = torch.zeros(4, 3)
    spikes = IF(threshold=0.5, reset=reset)(x)
    assert 0.1 < spikes.mean() < 0.9
    for now, fired in zip(x, spikes, strict=True):
        v = v + now
        assert torch.equal(fired, (v >= 0.5).float())
        v = {"zero": v * (1 - fired), "subtract": v - 0.5 * fired, "none": v}[reset]


def test_gradient_of_plif_time_constant():
    """Fang et al. 2021: 1/τ = σ(w), ∂L/∂w = σ'(w)·Σ δ_t·(x_t - v_{t-1}), reset detached. Here β = 1 - 1/τ = σ(b), so
    b = -w and ∂L/∂b is the negative."""
    tau = 3.0
    width = 0.8
    neuron = PLIF(tau=tau, threshold=0.5, surrogate=Surrogate("tanh", width)).double()
    x = currents(5, 4, 3, dtype=torch.float64).requires_grad_()
    above = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    neuron(x).backward(above)

    beta = neuron.decay.detach().numpy()
    v_th = np.array(0.5)
    inputs = x.detach().numpy()
    to_spikes = above.numpy()
    slow = slow_lif.forward(inputs * (1 - beta), beta, v_th, reset="zero")
    w = neuron.surrogate.width.numpy()  # 0.8 as float32 has it
    delta = slow_lif.backward(
        slow, beta, v_th, w, "tanh", reset="zero", detach_reset=True, to_spikes=to_spikes, to_potential=np.zeros((4, 3))
    )["current"]
    expected = -beta * (1 - beta) * (delta * (inputs - slow.before)).sum()
    assert neuron.logit_decay.grad is not None
    assert neuron.logit_decay.grad.item() == pytest.approx(expected, rel=1e-10)
    torch.testing.assert_close(x.grad, torch.tensor(delta * (1 - beta)), rtol=1e-10, atol=1e-12)


@every_leaky
@pytest.mark.parametrize("size", [(4, 2, 3), (4, 2, 3, 5, 2)])
def test_one_decay_a_channel_is_one_neuron_a_channel(name: str, size: tuple[int, ...]):
    x = currents(*size)
    together = make(name, decay=0.5, train_decay=True, threshold=0.5, channels=3)
    by_channel = name != "ds_atgo" and not together.threshold_units and "threshold" in dict(together.named_buffers())
    with torch.no_grad():
        together.logit_decay.copy_(torch.tensor([-1.0, 0.5, 2.0]))
        if by_channel:  # else it is trained, in units of itself, or found for the whole layer
            together.threshold.copy_(torch.tensor([0.3, 0.5, 0.7]))
    spikes = together(x)
    (spikes * x).sum().backward()
    assert together.logit_decay.grad is not None
    for channel in range(3):
        threshold = together.threshold[channel].item() if by_channel else 0.5
        alone = make(name, decay=0.5, train_decay=True, threshold=threshold)
        with torch.no_grad():
            alone.logit_decay.copy_(together.logit_decay[channel])
        part = x[:, :, channel]
        expected = alone(part)
        assert torch.equal(spikes[:, :, channel], expected)
        (expected * part).sum().backward()
        torch.testing.assert_close(together.logit_decay.grad[channel], alone.logit_decay.grad)


@every_carrying
@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_spikes_come_in_the_inputs_dtype(name: str, channels: int | None, dtype: torch.dtype):
    x = currents(4, 2, 3, dtype=dtype)
    neuron = make(name, channels=channels, threshold=0.5, carry=True)
    spikes = neuron(x)
    assert spikes.dtype == dtype
    assert spikes.shape == x.shape
    one = 1.0 if neuron.amplitude is None else neuron.amplitude.to(dtype).max().item()
    assert set(spikes.unique().tolist()) == {one * level for level in LEVELS.get(name, {0, 1})}
    assert neuron.potential is not None
    assert neuron.potential.dtype == torch.promote_types(dtype, torch.float32)


@every_carrying
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_input_is_integrated_in_float32(name: str, dtype: torch.dtype):
    """Half-precision input is rounded once, before it comes in, and never again."""
    x = currents(6, 8, 3, 5, dtype=dtype)
    decay = {"decay": 0.3} if name in LEAKY else {}  # no binary fraction, and neither is 1 - 0.3
    half, full = (make(name, threshold=0.5, carry=True, **decay) for _ in range(2))
    assert torch.equal(half(x).float(), full(x.float()))
    assert half.potential is not None
    assert full.potential is not None
    assert torch.equal(half.potential, full.potential)


@every_neuron
def test_the_last_histogram_is_kept_while_it_is_recorded(name: str):
    neuron = make(name, threshold=0.5)
    x = currents(4, 2, 3)
    neuron(x)
    assert neuron.histogram is None
    neuron.record_histogram = True
    neuron(x)
    assert neuron.histogram is None, "recorded in training mode only"
    for part in (x, x[:2]):
        spikes = neuron.train()(part)
        assert neuron.histogram is not None
        assert neuron.histogram.sum() == part.numel() * (len(LEVELS["mlf"]) - 1 if name == "mlf" else 1)
        if name not in ("asgl", "ds_atgo", "ternary"):  # smooth in training, a threshold of every step, two of them
            one = 1.0 if neuron.amplitude is None else neuron.amplitude.detach()
            assert neuron.histogram[BINS // 2 :].sum() == (spikes / one).sum()
        seen = neuron.histogram
        neuron.eval()(x)
        assert neuron.histogram is seen


# --- the state ------------------------------------------------------------------------------------------------------


@every_neuron
def test_every_call_starts_from_rest(name: str):
    neuron = make(name, threshold=0.5)
    x = currents(3, 4, 2)
    assert torch.equal(neuron(x), neuron(x))
    assert neuron.potential is None
    assert neuron(currents(2, 7, 2)).shape == (2, 7, 2), "another batch size fits"


@every_carrying
@pytest.mark.parametrize("reset", ["zero", "subtract", "none"])
def test_carried_halves_are_one_sequence(name: str, reset: Any):
    decay = {"decay": 0.8} if NEURONS[name].has_decay else {}
    whole = make(name, threshold=0.5, reset=reset, **decay)
    halves = make(name, threshold=0.5, reset=reset, carry=True, **decay)
    x = currents(7, 40, 3) / 3  # weak enough that what is left of a potential counts
    x_whole = x.clone().requires_grad_()
    x_halves = x.clone().requires_grad_()
    expected = whole(x_whole)
    spikes = torch.cat([halves(x_halves[:3]), halves(x_halves[3:])])
    assert torch.equal(spikes, expected)
    assert not torch.equal(whole(x[3:]), expected[3:]), "the state does matter here"
    for s in (spikes, expected):
        (s * x).sum().backward()
    torch.testing.assert_close(x_halves.grad, x_whole.grad)
    for ours, theirs in zip(halves.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@every_carrying
def test_reset_touches_this_network_only(name: str):
    def network() -> nn.Module:
        decay = {"decay": 0.8} if NEURONS[name].has_decay else {}
        outer, inner = (make(name, threshold=v_th, carry=True, **decay) for v_th in (0.5, 0.3))
        return nn.Sequential(outer, nn.Sequential(inner))

    here = network()
    there = network()
    x = currents(3, 40, 2) / 3
    first = here(x)
    there(x)
    assert not torch.equal(here(x), first)
    surgrad.reset(here)
    assert all(neuron.potential is None for neuron in neurons(here).values())
    assert all(neuron.potential is not None for neuron in neurons(there).values())
    assert torch.equal(here(x), first)


@every_carrying
def test_detach_cuts_the_gradient_and_keeps_the_potential(name: str):
    here, there = (make(name, threshold=0.5, carry=True) for _ in range(2))
    early = currents(3, 4, 2).requires_grad_()
    for neuron in (here, there):
        neuron(early)
        assert neuron.potential is not None
        assert neuron.potential.requires_grad
    before = here.potential.clone()  # pyright: ignore[reportOptionalMemberAccess]
    surgrad.detach(nn.Sequential(here))
    assert here.potential is not None
    assert there.potential is not None
    assert not here.potential.requires_grad
    assert there.potential.requires_grad
    assert torch.equal(here.potential, before)
    late = currents(2, 4, 2).requires_grad_()
    here(late).sum().backward()
    assert late.grad is not None
    assert early.grad is None
    surgrad.detach(LIF())  # nothing carried yet: nothing to cut


@every_carrying
def test_state_is_never_saved(name: str):
    neuron = make(name, carry=True)
    saved = set(neuron.state_dict())
    neuron.record_histogram = True
    neuron.train()(currents(3, 4, 2))
    assert neuron.potential is not None
    assert neuron.histogram is not None
    assert set(neuron.state_dict()) == saved
    assert not [key for key in saved if "potential" in key or "membrane" in key]


@every_neuron
def test_state_dict_restores_decay_threshold_and_width(name: str):
    decay = {"decay": 0.6} if name in LEAKY else {}
    here = make(name, threshold=0.7, surrogate=Surrogate("atan", 0.3, learn=name == "asgl"), **decay)
    there = make(name)
    if set(here.state_dict()) != set(there.state_dict()):
        there = make(name, **({"decay": 0.1} if name in LEAKY else {}))
    there.load_state_dict(here.state_dict())
    assert torch.equal(there.decay, here.decay)
    assert torch.equal(there.threshold, here.threshold)
    assert here.threshold.item() == pytest.approx(1.0 if NEURONS[name].threshold_units else 0.7)
    assert there.surrogate.width.item() == pytest.approx(0.3)


@every_carrying
def test_carried_state_that_does_not_fit_is_an_error(name: str):
    neuron = make(name, carry=True)
    neuron(currents(3, 4, 2))
    with pytest.raises(BadValue, match=r"carries a potential \[(\d, )?4, 2\] .* does not fit the input") as error:
        neuron(currents(3, 5, 2))
    assert "call surgrad.reset(network) before a new sequence" in str(error.value)
    surgrad.reset(neuron)
    assert neuron(currents(3, 5, 2)).shape == (3, 5, 2)


def test_a_sequence_may_come_in_several_calls_for_a_while():
    network = nn.Sequential(LIF(0.9), nn.Linear(3, 3), LIF(0.9, carry=True))
    x = currents(7, 4, 3) / 3
    whole = network(x)
    surgrad.reset(network)
    with streaming(network):
        assert torch.equal(torch.cat([network(x[:3]), network(x[3:])]), whole)
        surgrad.reset(network)
        assert torch.equal(network(x), whole)
    assert [neuron.carry for neuron in neurons(network).values()] == [False, True]
    assert all(neuron.potential is None for neuron in neurons(network).values())


def test_who_needs_whole_sequences():
    network = nn.ModuleDict(
        {
            "lif": LIF(),
            "psn": PSN(),
            "sliding": NEURONS["sliding_psn"](),
            "glif": NEURONS["glif"](),
            "tebn": TEBN(3, steps=2),
            "tdbn": TDBN(3),
            "drop": Dropout(),
            "trsg": NEURONS["trsg"](),
        }
    )
    assert set(needs_whole_sequence(network)) == {"psn", "sliding", "glif", "tebn", "drop", "trsg"}
    assert set(needs_whole_sequence(network.eval())) == {"psn", "sliding", "glif", "tebn"}


def test_neurons_of_a_model_by_path():
    model = nn.Sequential(LIF(), nn.ReLU(), nn.Sequential(IF()))
    assert neurons(model) == {"0": model[0], "2.0": model[2][0]}


@every_neuron
def test_each_neuron_has_a_surrogate_of_its_own_unless_given_one(name: str):
    one = make(name)
    two = make(name)
    assert one.surrogate is not two.surrogate
    own = Surrogate("tanh", 0.3, learn=name == "asgl")
    assert make(name, surrogate=own).surrogate is own
    assert make(name, surrogate="tanh").surrogate.function is SURROGATES["tanh"]
    assert make(name, surrogate="tanh").surrogate.width.item() == 1.0


# --- the readout ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_readout_is_the_mean_over_time(dtype: torch.dtype):
    x = currents(7, 4, 3, dtype=dtype)
    out = Readout()(x)
    assert out.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(out, sum(x.to(out.dtype)) / 7)  # type: ignore[arg-type]


# --- errors ---------------------------------------------------------------------------------------------------------


@every_leaky
def test_refuses_impossible_decays(name: str):
    neuron = NEURONS[name]
    for tau in (0.5, 0.0, -2.0, math.nan):
        with pytest.raises(BadValue, match=r"tau must be at least 1 time step, got "):
            neuron(tau=tau)
    with pytest.raises(BadValue, match=r"decay 0.2 and tau 2 are both given; give one of them"):
        neuron(0.2, tau=2.0)
    for decay in (-0.1, 1.1, math.nan):
        with pytest.raises(
            BadValue, match=r"decay must be from 0 \(forgets everything\) to 1 \(forgets nothing\), got "
        ):
            neuron(decay, train_decay=False)
    for end in (0.0, 1.0):
        with pytest.raises(
            BadValue, match=r"a trained decay is a sigmoid, so it must start between 0 and 1, not at [01];"
        ):
            neuron(end, train_decay=True)


@every_neuron
def test_refuses_impossible_options(name: str):
    neuron = NEURONS[name]
    for threshold, written in ((0.0, "0"), (-1, "-1"), (-0.5, "-0.5"), (math.nan, "nan")):
        with pytest.raises(BadValue, match=f"^threshold must be positive, got {written}$"):
            neuron(threshold=threshold)
    with pytest.raises(UnknownName, match=r"unknown surrogate function 'triangel'; did you mean 'triangle'\?"):
        neuron(surrogate="triangel")
    with pytest.raises(UnknownName, match=r"unknown backend 'cupy'; choose from auto, "):
        neuron(backend="cupy")
    if "reset" in NEURONS.options(name):  # parallel neurons have none
        with pytest.raises(UnknownName, match=r"unknown reset 'substract'; did you mean 'subtract'\?"):
            neuron(reset="substract")


@every_carrying
@pytest.mark.parametrize("size", [(2, 4, 5), (2, 4, 5, 3, 3), (2, 3)])
def test_refuses_input_of_other_channels(name: str, size: tuple[int, ...]):
    with pytest.raises(BadValue, match=r"does not fit currents .*or one per channel as \[C\]"):
        make(name, channels=3)(currents(*size))


# --- a separate width for the first step ----------------------------------------------------------------------------


def test_the_first_step_has_its_own_width():
    """Gradients are those of a loop whose first step spikes with the other width; forward nothing changes."""
    x = currents(4, 6, 3).requires_grad_()
    weight = torch.randn(4, 6, 3)
    neuron = LIF(0.3, train_decay=True, surrogate=Surrogate("atan", 0.8, steps=2))
    neuron.surrogate.width[0] = 0.2
    neuron.record_histogram = True
    spikes = neuron(x)
    (spikes * weight).sum().backward()
    y = x.detach().clone().requires_grad_()
    decay = neuron.decay.detach().clone().requires_grad_()
    v = torch.zeros(6, 3)
    slow = []
    for step, current in enumerate(y):
        u = decay * v + current
        slow.append(spike(u - 0.5, torch.tensor(0.2 if step == 0 else 0.8), SURROGATES["atan"]))
        v = u * (1 - slow[-1])
    (torch.stack(slow) * weight).sum().backward()
    assert torch.equal(spikes, torch.stack(slow))
    torch.testing.assert_close(x.grad, y.grad)
    torch.testing.assert_close(neuron.logit_decay.grad, decay.grad * decay * (1 - decay))
    assert neuron.histogram.sum() == x.numel()
    assert torch.equal(neuron(x[:1]), spikes[:1])


def test_the_first_step_of_plif_has_its_gain_too():
    x = currents(4, 6, 3)
    one, other = (PLIF(tau=3.0, surrogate=Surrogate("atan", 0.5, steps=steps)) for steps in (1, 2))
    grads = []
    for neuron in (one, other):
        y = x.clone().requires_grad_()
        spikes = neuron(y)
        (spikes * x).sum().backward()
        grads.append((spikes, y.grad, neuron.logit_decay.grad))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs)


@every_neuron
@pytest.mark.parametrize("channels", [None, 3])
def test_equal_widths_of_all_steps_are_one_width(name: str, channels: int | None):
    if name == "asgl" or (channels and issubclass(NEURONS[name], ParallelNeuron)):
        pytest.skip("learns its width, or has no channels")
    x = currents(4, 6, 3)
    size = () if channels is None else (channels,)
    found = []
    for steps in (1, 3):
        torch.manual_seed(0)
        neuron = make(name, surrogate=Surrogate("atan", torch.full(size, 0.6), steps=steps), channels=channels)
        assert neuron.surrogate.width.shape == (size if steps == 1 else (3, channels or 1))
        y = x.clone().requires_grad_()
        spikes = neuron(y)
        (spikes * torch.linspace(-1, 1, spikes.numel()).view_as(spikes)).sum().backward()
        found.append((spikes.detach(), y.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@every_neuron
def test_each_width_counts_the_potentials_that_it_meets(name: str):
    """The histograms of widths [S, C] add up to the one of the layer, and each has its own steps and channel."""
    parallel = issubclass(NEURONS[name], ParallelNeuron)
    if name == "asgl":
        pytest.skip("learns its width")
    x = currents(4, 6, 3)
    counts = {}
    for size in ((), (3,), (3, 3), (3, 1)):
        torch.manual_seed(0)
        surrogate = Surrogate(
            "atan", torch.ones(size[-1:] if size[-1:] != (1,) else ()), steps=3 if len(size) > 1 else 1
        )
        neuron = make(name, surrogate=surrogate, **({} if parallel else {"channels": 3})).train()
        neuron.record_histogram = neuron.histogram_by_width = True
        spikes = neuron(x)
        counts[size] = neuron.histogram
        assert neuron.histogram.shape == (*size, BINS)
    assert torch.equal(counts[(3,)].sum(0), counts[()])
    assert torch.equal(counts[(3, 3)].sum(0), counts[(3,)])
    assert torch.equal(counts[(3, 3)].sum(1), counts[(3, 1)].squeeze(1))
    in_step = counts[()].sum() // 4
    assert counts[(3, 1)].sum(-1).flatten().tolist() == [in_step, in_step, 2 * in_step]
    if name == "lif":
        fired = torch.stack([spikes[0].sum(0), spikes[1].sum(0), spikes[2:].sum((0, 1))])
        assert torch.equal(counts[(3, 3)][..., BINS // 2 :].sum(-1), fired.long())


def test_widths_of_steps_need_all_steps_in_one_call():
    neuron = LIF(surrogate=Surrogate(steps=2), carry=True)
    with pytest.raises(BadValue, match=r"widths of several time steps, which need all steps in one call"):
        neuron(currents(1, 2, 3))
    with torch.no_grad():  # where no width plays a part
        assert neuron(currents(1, 2, 3)).shape == (1, 2, 3)
    with pytest.raises(BadValue, match="the widths of 2 time steps, and a call with potentials alone does not say"):
        Surrogate(steps=2)(torch.zeros(2, 3))
    with pytest.raises(BadValue, match="learn is set and steps = 2, but a learned width"):
        Surrogate(learn=True, steps=2)
    with pytest.raises(BadValue, match="steps must be 1 or more, got 0"):
        Surrogate(steps=0)


def test_the_first_width_of_an_earlier_release_is_loaded():
    for size in ((), (3,)):
        later = Surrogate("rect", torch.full(size, 0.8), steps=2)
        later.load_state_dict({"width": torch.full(size, 0.7), "first_width": torch.full(size, 0.3)})
        assert later.width.tolist() == torch.tensor([[0.3], [0.7]]).expand_as(later.width).tolist()
    with pytest.warns(FutureWarning, match=r"Surrogate\(first=True\).*steps=2"):
        assert Surrogate(first=True).width.shape == (2, 1)


def test_norm_and_neuron_are_one_pass_where_steps_have_widths():
    torch.manual_seed(0)
    pair = NormNeuron(TDBN(3), LIF(surrogate=Surrogate(steps=2)))
    twin = NormNeuron(TDBN(3), LIF())
    x = currents(1, 6, 3, 4, 4)
    assert torch.equal(pair(x, steps=3), twin(x, steps=3))
    if native.available:
        assert pair._fused(x, None) == "native"


# --- ASGL and DS-ATGO -----------------------------------------------------------------------------------------------


def asgl(smooth: float, **options: Any) -> ASGL:
    return ASGL(0.3, smooth=smooth, surrogate=Surrogate("tanh", 0.6, learn=True), **options)


def test_asgl_all_smooth_has_true_gradients():
    """Of its input and of its width, by finite differences."""
    neuron = asgl(1.0).double()
    x = currents(3, 4, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(neuron, (x.requires_grad_(),))

    def of_width(width: Tensor) -> Tensor:
        return torch.func.functional_call(neuron, {"surrogate.width": width}, (x.detach(),))

    assert torch.autograd.gradcheck(of_width, (neuron.surrogate.width.detach().clone().requires_grad_(),))


def test_asgl_that_never_is_smooth_is_the_lif():
    x = currents(4, 6, 3)
    one = asgl(0.0)
    other = LIF(0.3, surrogate=Surrogate("tanh", 0.6, learn=True))
    grads = []
    for neuron in (one, other):
        y = x.clone().requires_grad_()
        spikes = neuron(y)
        (spikes * x).sum().backward()
        grads.append((spikes, y.grad, neuron.surrogate.width.grad))
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_asgl_trains_its_width():
    for made in (ASGL(), ASGL(surrogate="tanh", channels=3)):
        assert isinstance(made.surrogate.width, nn.Parameter)
    assert made.surrogate.width.shape == (3,)
    with pytest.raises(BadValue, match="asgl trains its width, and this surrogate does not learn"):
        ASGL(surrogate=Surrogate("rect"))


def test_asgl_mixes_in_training_and_spikes_in_evaluation():
    torch.manual_seed(0)
    neuron = asgl(0.2)
    x = currents(1, 200, 50) / 3  # where the smooth step is neither 0 nor 1 in float32
    out = neuron(x)
    exact = (x >= 0.5).float()
    smooth = out != exact
    assert smooth.float().mean().item() == pytest.approx(0.2, abs=0.02)
    torch.testing.assert_close(out[smooth], SURROGATES["tanh"].step(x - 0.5, torch.tensor(0.6))[smooth])
    assert torch.equal(neuron.eval()(x), exact)
    with pytest.raises(BadValue, match=r"^smooth must be from 0 to 1, got 1\.5$"):
        ASGL(smooth=1.5)


def test_ds_atgo_fires_at_mean_and_spread():
    neuron = DSATGO(0.3)
    x = currents(2, 50, 4)
    spikes = neuron(x)
    first = x[0].mean() + x[0].std(correction=0)
    assert torch.equal(spikes[0], (x[0] >= first).float())
    u = 0.3 * x[0] * (1 - spikes[0]) + x[1]
    second = u.mean() + u.std(correction=0)
    torch.testing.assert_close(spikes[1], (u >= second).float())
    running = neuron.running_threshold[:3]
    torch.testing.assert_close(running, torch.stack([0.45 + 0.1 * first, 0.45 + 0.1 * second, torch.tensor(0.5)]))
    evaluated = neuron.eval()(x)
    assert torch.equal(evaluated[0], (x[0] >= running[0]).float())
    assert torch.equal(neuron.running_threshold[:3], running)


# --- a recurrent neuron -----------------------------------------------------------------------------------------------


class Recurrent(SteppedNeuron):
    """The spikes of a step are added, through a weight of 0.7, to the potential that the next step continues from."""

    detaches_reset_itself = True

    def next_state(self, state: Any, current: Any, u: Any, fired: Any, threshold: Any) -> Tensor:
        return super().next_state(state, current, u, fired, threshold) + 0.7 * fired


class Constant(Recurrent):
    detaches_reset_itself = False


def test_a_recurrent_connection_has_its_gradient_where_the_reset_is_detached():
    """One step later, d u_2 / d I_1 is decay * (1 - o_1 + 0.7 * slope_1) with the connection, for a reset to zero."""
    found = {}
    for kind in (Recurrent, Constant):
        neuron = kind(0.5, threshold=1.0, surrogate="rect", detach_reset=True)
        currents = torch.tensor([1.1, 0.3]).view(2, 1, 1).requires_grad_()
        second = neuron(currents)[1].sum()
        (found[kind],) = torch.autograd.grad(second, currents)
    assert found[Constant][0].item() == 0, "the neuron fired, and its reset is a constant"
    slope = found[Recurrent][1].item()
    assert slope > 0
    assert found[Recurrent][0].item() == pytest.approx(0.5 * 0.7 * slope * slope)
