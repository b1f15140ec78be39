"""The neurons of other papers, spikes and all gradients, against loops written down from their formulas."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from surgrad.errors import BadValue
from surgrad.neurons import (
    CLIF,
    GLIF,
    IMPLIF,
    KLIF,
    LIF,
    LTMD,
    MLF,
    MPBN,
    PSN,
    DietLIF,
    MaskedPSN,
    Neuron,
    ParallelNeuron,
    SlidingPSN,
    TernaryLIF,
    TrLIF,
)
from surgrad.norm import TDBN, NormNeuron
from surgrad.surrogates import SURROGATES, Surrogate, spike

T = 5
N = 6
C = 3
SHAPE = SURROGATES["tanh"]
WIDTH = 0.8


def fire(x: Tensor) -> Tensor:
    return spike(x, torch.tensor(WIDTH, dtype=x.dtype), SHAPE)


def currents(scale: float = 1.0) -> Tensor:
    return scale * torch.randn(T, N, C, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.3


def made(kind: type[Neuron], **options) -> Neuron:
    """In float64, with parameters that differ from channel to channel and are at no special place."""
    neuron = kind(surrogate=Surrogate("tanh", WIDTH), **options).double()
    neuron.surrogate.width.fill_(WIDTH)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in neuron.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return neuron


def compare(neuron: Neuron, slow: Callable[[Tensor], Tensor], x: Tensor | None = None) -> None:
    """slow: of currents, by the neuron's own parameters, so that both find gradients for the same tensors."""
    x = currents() if x is None else x
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    found = []
    for run in (neuron, slow):
        y = x.clone().requires_grad_()
        out = run(y)
        parameters = [p for p in neuron.parameters() if p.requires_grad]
        found.append([out, *torch.autograd.grad((out * weight).sum(), [y, *parameters])])
    assert 0.05 < (found[0][0] != 0).double().mean() < 0.95
    for number, (ours, theirs) in enumerate(zip(*found, strict=True)):
        assert theirs.any(), number
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_trsg_multiplies_its_input_by_one_minus_the_decay():
    plain, scaled = (made(TrLIF, decay=0.3, mp_init=False, decay_input=on) for on in (False, True))
    x = currents(4.0)
    torch.testing.assert_close(scaled(x), plain((1 - plain.decay) * x))
    compare(scaled, lambda y: plain_like(scaled)((1 - scaled.decay) * y), x)


def plain_like(scaled: TrLIF) -> TrLIF:
    """A neuron with the parameters of another one, which does not scale its input."""
    plain = made(TrLIF, decay=0.3, mp_init=False)
    plain.logit_decay = scaled.logit_decay
    plain.inverse_softplus_threshold = scaled.inverse_softplus_threshold
    return plain


@pytest.mark.parametrize("options", [{}, {"channels": C}])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_klif(options: dict, reset: str):
    neuron = made(KLIF, decay=0.7, train_decay=True, reset=reset, **options)

    def slow(x: Tensor) -> Tensor:
        v = torch.zeros_like(x[0])
        spikes = []
        for current in x:
            u = torch.relu(neuron.scale * (neuron.decay * v + current))
            spikes.append(fire(u - neuron.threshold))
            v = u * (1 - spikes[-1]) if reset == "zero" else u - neuron.threshold * spikes[-1]
        return torch.stack(spikes)

    compare(neuron, slow)


@pytest.mark.parametrize("options", [{}, {"channels": C}])
def test_clif(options: dict):
    neuron = made(CLIF, decay=0.7, train_decay=True, **options)

    def slow(x: Tensor) -> Tensor:
        v = torch.zeros_like(x[0])
        m = torch.zeros_like(x[0])
        spikes = []
        for current in x:
            u = neuron.decay * v + current
            spikes.append(fire(u - neuron.threshold))
            m = m * torch.sigmoid((1 - neuron.decay) * u) + spikes[-1]
            v = u - spikes[-1] * (neuron.threshold + torch.sigmoid(m))
        return torch.stack(spikes)

    compare(neuron, slow)


@pytest.mark.parametrize("options", [{}, {"channels": C}])
def test_glif(options: dict):
    """One step more than there are weights of steps: the last of them serves on."""
    neuron = made(GLIF, steps=T - 1, train_decay=True, **options)
    a, b, g = torch.sigmoid(neuron.gates.detach())

    def slow(x: Tensor) -> Tensor:
        a, b, g = torch.sigmoid(neuron.gates)
        tau, leak, back = (torch.sigmoid(p) for p in (neuron.logit_decay, neuron.logit_leak, neuron.logit_reset))
        inputs = torch.sigmoid(torch.cat([neuron.logit_inputs, neuron.logit_inputs[-1:]]))
        u = torch.zeros_like(x[0])
        o = torch.zeros_like(x[0])
        spikes = []
        for current, c in zip(x, inputs, strict=True):
            u = (
                (1 - a * (1 - tau)) * u * (1 - g * o)
                - (1 - a) * leak
                + (1 - b * (1 - c)) * current
                - (1 - g) * back * o
            )
            o = fire(u - torch.sigmoid(neuron.logit_threshold))
            spikes.append(o)
        return torch.stack(spikes)

    compare(neuron, slow)
    torch.testing.assert_close(neuron.decay, 1 - a * (1 - torch.sigmoid(neuron.logit_decay)))
    assert all((gate > 0).all() and (gate < 1).all() for gate in (a, b, g))


def test_glif_starts_as_published():
    neuron = GLIF(steps=4, threshold=0.5)
    assert neuron.fixed_decay.item() == pytest.approx(0.25)
    assert torch.sigmoid(neuron.logit_leak).item() == pytest.approx(0.5 / 8)
    assert torch.sigmoid(neuron.logit_reset).item() == neuron.threshold.item() == pytest.approx(0.5)
    assert torch.sigmoid(neuron.logit_inputs).tolist() == [0.5] * 4
    assert neuron.gates.tolist() == [0.0] * 3
    drawn = GLIF(channels=1000, gate_spread=0.1).gates
    assert drawn.shape == (3, 1000)
    assert drawn.abs().max() <= 0.1
    assert drawn.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.05)


@pytest.mark.parametrize("options", [{}, {"channels": C}])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_ternary(options: dict, reset: str):
    neuron = made(TernaryLIF, decay=0.7, train_decay=True, reset=reset, **options)

    def slow(x: Tensor) -> Tensor:
        v = torch.zeros_like(x[0])
        spikes = []
        for current in x:
            u = neuron.decay * v + current
            o = fire(u - neuron.threshold) - fire(-u - neuron.threshold)
            spikes.append(neuron.trained_amplitude * o)
            v = u * (1 - o.abs()) if reset == "zero" else u - neuron.threshold * o
        return torch.stack(spikes)

    compare(neuron, slow)
    assert {*torch.sign(neuron(currents())).unique().tolist()} == {-1, 0, 1}


@pytest.mark.parametrize("options", [{}, {"channels": C}])
def test_mlf(options: dict):
    neuron = made(MLF, train_decay=True, **options)

    def slow(x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for threshold in (0.6, 1.6, 2.6):
            v = torch.zeros_like(x[0])
            spikes = []
            for current in x:
                u = neuron.decay * v + current
                spikes.append(fire(u - neuron.threshold - (threshold - 0.6)))
                v = u * (1 - spikes[-1])
            total = total + torch.stack(spikes)
        return total

    compare(neuron, slow, currents(2.0))
    assert {*neuron(currents(2.0)).unique().tolist()} == {0, 1, 2, 3}
    assert torch.equal(MLF(levels=1)(currents()), LIF(0.25, threshold=0.6)(currents()))


@pytest.mark.parametrize("options", [{}, {"channels": C}])
def test_ltmd(options: dict):
    neuron = made(LTMD, decay=0.7, train_decay=True, **options)

    def slow(x: Tensor) -> Tensor:
        threshold = torch.tanh(neuron.atanh_threshold)
        v = torch.zeros_like(x[0])
        spikes = []
        for current in x:
            u = neuron.decay * v + current
            spikes.append(fire(u - threshold))
            v = u * (1 - spikes[-1])
        return torch.stack(spikes)

    compare(neuron, slow)
    assert LTMD().atanh_threshold.item() == pytest.approx(0.5)


@pytest.mark.parametrize("options", [{}, {"channels": C}])
def test_diet(options: dict):
    """u_t = λ·(u_{t-1} - v·o_{t-1}) + I_t, o = Θ(u/v - 1), its slope 0.3 times that of u/v - 1, and none in the
    reset."""
    neuron = made(DietLIF, decay=0.7, threshold=0.6, **options)

    def slow(x: Tensor) -> Tensor:
        v_th = neuron.trained_threshold
        u = torch.zeros_like(x[0])
        o = torch.zeros_like(x[0])
        spikes = []
        for current in x:
            u = neuron.decay * u + current - neuron.decay * v_th * o
            o = fire(u / v_th - 1)
            spikes.append(0.3 * o + 0.7 * o.detach())
            o = o.detach()
        return torch.stack(spikes)

    compare(neuron, slow)
    assert DietLIF(threshold=0.6).trained_threshold.item() == pytest.approx(0.6)
    with pytest.raises(
        BadValue, match=r"damping 0.3 scales the gradient of the spikes only.* give detach_reset=True or damping=1"
    ):
        DietLIF(detach_reset=False)


@pytest.mark.parametrize("options", [{}, {"channels": C}])
def test_trsg(options: dict):
    """The spike is v·round(clamp(u/v - ½, 0, 1)), the rounding straight through."""
    neuron = TrLIF(decay=0.7, threshold=0.6, mp_init=False, surrogate=Surrogate("rect", 1.0), **options).double()

    def slow(x: Tensor) -> Tensor:
        v_th = torch.nn.functional.softplus(neuron.inverse_softplus_threshold)
        v = torch.zeros_like(x[0])
        spikes = []
        for current in x:
            u = neuron.decay * v + current
            soft = (u / v_th - 0.5).clamp(0, 1)
            spikes.append(v_th * (soft + ((u >= v_th).double() - soft).detach()))
            v = u - spikes[-1]
        return torch.stack(spikes)

    compare(neuron, slow)
    assert neuron.amplitude.detach().mean().item() == pytest.approx(0.6)


def test_mp_init_is_where_those_that_fired_ended():
    neuron = TrLIF(decay=0.7, threshold=0.6, momentum=0.5)
    x = currents().float()
    assert neuron.running_rest.item() == 0
    u = torch.zeros(N, C)
    ended = torch.zeros(N, C, dtype=torch.bool)
    for current in x / neuron.amplitude.detach():
        u = neuron.decay.detach() * u + current
        ended |= u >= 1
        u = u - (u >= 1).float()
    neuron(x)
    assert neuron.running_rest.item() == pytest.approx(0.5 * u[ended].mean().item(), rel=1e-5)
    held = neuron.running_rest.clone()
    in_evaluation = neuron.eval()(x)
    assert torch.equal(neuron.running_rest, held)
    other = LIF(0.7, threshold=1.0, reset="subtract", carry=True)
    other.potential = held.expand(N, C)
    assert torch.equal(in_evaluation / neuron.amplitude, other(x / neuron.amplitude))
    silent = TrLIF(threshold=0.6)
    silent(x - 100)
    assert silent.running_rest.item() == 0, "no neuron fired, so the average stays"


@pytest.mark.parametrize("options", [{}, {"channels": C}])
def test_imp(options: dict):
    neuron = made(IMPLIF, decay=0.7, train_decay=True, **options)

    def slow(x: Tensor) -> Tensor:
        v = neuron.initial.expand(x.shape[1:])
        spikes = []
        for current in x:
            u = neuron.decay * v + current
            spikes.append(fire(u - neuron.threshold))
            v = u * (1 - spikes[-1])
        return torch.stack(spikes)

    compare(neuron, slow)
    assert torch.equal(IMPLIF(0.7)(currents()), LIF(0.7)(currents())), "it starts at rest"


@pytest.mark.parametrize("options", [{}, {"channels": C}])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("training", [True, False])
def test_mpbn(options: dict, reset: str, training: bool):
    neuron = made(MPBN, decay=0.7, train_decay=True, reset=reset, **options).train(training)
    neuron.norm_mean.fill_(0.2)
    neuron.norm_variance.fill_(1.7)
    over = 0 if options else (0, 1)

    def slow(x: Tensor) -> Tensor:
        v = torch.zeros_like(x[0])
        spikes = []
        for current in x:
            u = neuron.decay * v + current
            mean = u.mean(over) if training else torch.tensor(0.2, dtype=torch.float64)
            variance = u.var(over, correction=0) if training else torch.tensor(1.7, dtype=torch.float64)
            seen = neuron.norm_weight * (u - mean) / torch.sqrt(variance + 1e-5) + neuron.norm_bias
            spikes.append(fire(seen - neuron.threshold))
            v = u * (1 - spikes[-1]) if reset == "zero" else u - neuron.threshold * spikes[-1]
        return torch.stack(spikes)

    compare(neuron, slow)


def test_mpbn_without_momentum_remembers_the_newest_call():
    neuron = made(MPBN, decay=0.0, train_decay=False, channels=C, momentum=None)
    x = currents()
    for call in (3 * x, x):
        neuron(call)
    values = x.transpose(1, 2).flatten(2).double()  # without decay, potentials are the currents
    torch.testing.assert_close(neuron.norm_mean.double(), values.mean(2).mean(0))
    torch.testing.assert_close(neuron.norm_variance.double(), values.var(2).mean(0))


def test_mpbn_remembers_the_moments_of_all_steps():
    neuron = made(MPBN, decay=0.0, train_decay=False, channels=C)
    x = currents()
    neuron(x)
    mean = torch.zeros(C, dtype=torch.float64)
    variance = torch.ones(C, dtype=torch.float64)
    for u in x:  # nothing is left of a step at decay 0
        mean = 0.9 * mean + 0.1 * u.mean(0)
        variance = 0.9 * variance + 0.1 * u.var(0)
    torch.testing.assert_close(neuron.norm_mean, mean)
    torch.testing.assert_close(neuron.norm_variance, variance)


@pytest.mark.parametrize("reset", ["zero", "none"])
@pytest.mark.parametrize("trained", [{"decay": 0.8, "train_decay": True}, {"channels": C, "threshold": 0.3}])
def test_mpbn_folded_spikes_as_before(reset: str, trained: dict):
    """In evaluation, whatever the signs; and without a norm."""
    neuron = made(MPBN, reset=reset, **trained).eval()
    if neuron.norm_weight.ndim == 0:
        neuron.set_norm_channels(4)
    with torch.no_grad():
        for name, values in {
            "weight": [-0.7, 1.3, 0.4, 0.0],
            "bias": [0.9, -0.4, 0.1, 0.6],
            "mean": [0.1, 0.5, -0.3, 0.2],
            "variance": [0.4, 2.0, 1.0, 3.0],
        }.items():
            tensor = getattr(neuron, f"norm_{name}")
            tensor.copy_(torch.tensor(values)[: len(tensor)])
    neuron = neuron.double()
    folded = neuron.folded()
    x = currents()[..., :1].expand(T, N, len(neuron.norm_weight)) * torch.linspace(0.8, 1.2, len(neuron.norm_weight))
    spikes = neuron(x)
    assert 0.2 < spikes.mean() < 0.8
    assert torch.equal(folded(x), spikes)
    assert not any("norm" in key for key in folded.state_dict())
    with pytest.raises(BadValue, match="use reset='zero' or do not fold"):
        MPBN(reset="subtract").folded()


def test_mpbn_has_a_norm_a_channel_behind_a_norm():
    trained = MPBN(channels=7)
    torch.nn.init.constant_(trained.norm_weight, 3.0)
    assert NormNeuron(TDBN(7), trained).neuron.norm_weight.eq(3.0).all(), "what it learned stays"
    fire = NormNeuron(TDBN(7), MPBN())
    assert fire.neuron.norm_weight.shape == (7,)
    assert MPBN().norm_weight.shape == ()
    one = torch.randn(2, 1, 7)  # has no variance, and so is seen as in evaluation
    assert torch.equal(fire.neuron(one), fire.neuron.eval()(one))


def test_psn():
    neuron = made(PSN, steps=T)

    def slow(x: Tensor) -> Tensor:
        return torch.stack(
            [
                fire(sum(w * step for w, step in zip(row, x, strict=True)) - b)
                for row, b in zip(neuron.weight, neuron.step_threshold, strict=True)
            ]
        )

    compare(neuron, slow, currents(2.0))


@pytest.mark.parametrize("order", [1, 2, None])
@pytest.mark.parametrize("masking", [0.0, 0.4, 1.0])
def test_masked_psn(order: int | None, masking: float):
    neuron = made(MaskedPSN, steps=T, order=order, masking=masking)

    def slow(x: Tensor) -> Tensor:
        out = []
        for t in range(T):
            kept = [1.0 if 0 <= t - s < (order or T) else 1 - masking for s in range(T)]
            potential = sum(k * w * step for k, w, step in zip(kept, neuron.weight[t], x, strict=True))
            out.append(fire(potential - neuron.step_threshold[t]))
        return torch.stack(out)

    compare(neuron, slow, currents(6.0))


def test_sliding_psn():
    neuron = made(SlidingPSN, order=3)

    def slow(x: Tensor) -> Tensor:
        before = torch.cat([torch.zeros(2, N, C, dtype=x.dtype), x])
        w = neuron.weight
        return torch.stack(
            [
                fire(w[0] * before[t + 2] + w[1] * before[t + 1] + w[2] * before[t] - neuron.step_threshold)
                for t in range(T)
            ]
        )

    compare(neuron, slow)
    assert SlidingPSN(order=3).weight.tolist() == [1, 0.5, 0.25]


@pytest.mark.parametrize("kind", [MaskedPSN, SlidingPSN])
def test_masked_ones_see_no_later_step(kind: type[ParallelNeuron]):
    neuron = kind(steps=T)
    x = currents(2.0).float()
    later = x.clone()
    later[3] += 5
    assert torch.equal(neuron(x)[:3], neuron(later)[:3])
    assert not torch.equal(PSN(steps=T)(x)[:3], PSN(steps=T)(later)[:3])


def test_errors_of_parallel_neurons():
    with pytest.raises(BadValue, match=r"built for 4 steps, got a sequence of 5; build it with steps=5"):
        PSN(steps=4)(currents())
    with pytest.raises(
        BadValue, match=r"PSN has one weight matrix for the whole layer and no potential to carry; give neither"
    ):
        PSN(carry=True)
    for kind in (MaskedPSN, SlidingPSN):
        with pytest.raises(BadValue, match=r"^order must be at least 1 time step, got 0$"):
            kind(order=0)
    with pytest.raises(BadValue, match=r"^levels must be at least 1, got 0$"):
        MLF(levels=0)
    for threshold, kind, curve in ((1.0, GLIF, "sigmoid"), (1.5, LTMD, "tanh")):
        with pytest.raises(BadValue, match=rf"is a {curve} and must be below 1, got {threshold:g}"):
            kind(threshold=threshold)
