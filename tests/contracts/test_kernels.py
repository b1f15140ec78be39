"""The contract of every LIF backend, against a second implementation with its own backward pass (`slow_lif`)."""

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
import slow_lif
import torch
from slow_lif import CURVES, summed
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from surgrad.errors import BadValue, UnknownName
from surgrad.kernels.lif import BACKENDS, BINS, PER_THRESHOLD, RESETS, lif
from surgrad.neurons import LIF

LAYOUTS = {"TN": (7,), "TNC": (5, 3), "TNCHW": (2, 3, 5, 7)}  # everything but T, in odd sizes; C = 3
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
ON = [(backend, device) for backend, device in product(BACKENDS, DEVICES)]
every_backend = pytest.mark.parametrize(("backend", "device"), ON, ids=["-".join(on) for on in ON])
every_reset = pytest.mark.parametrize("reset", RESETS)
detached_or_not = pytest.mark.parametrize("detach_reset", [False, True], ids=["kept", "detached"])

CASES = [
    pytest.param(T, layout, per_channel, id=f"T{T}-{layout}-{'channels' if per_channel else 'scalar'}")
    for T, layout, per_channel in product((1, 2, 5), LAYOUTS, (False, True))
    if not (per_channel and layout == "TN")  # no channels there
]


@dataclass
class Given:
    """One call's arguments, as float64 arrays of numpy; parameters are () or (C,)."""

    current: np.ndarray
    decay: np.ndarray
    threshold: np.ndarray
    width: np.ndarray
    start: np.ndarray
    to_spikes: np.ndarray
    to_potential: np.ndarray

    def against_a_step(self, name: str) -> np.ndarray:
        value = getattr(self, name)
        return value.reshape(-1, *[1] * (self.current.ndim - 3)) if value.ndim else value


def given(T: int, layout: str, per_channel: bool) -> Given:
    random = np.random.default_rng(7)
    size = LAYOUTS[layout]

    def parameter(low: float, high: float) -> np.ndarray:
        return random.uniform(low, high, (3,) if per_channel else ())

    return Given(
        current=random.normal(0.2, 0.7, (T, *size)),
        decay=parameter(0.2, 0.9),
        threshold=parameter(0.3, 0.8),
        width=parameter(0.4, 2.0),
        start=random.normal(0, 0.5, size),
        to_spikes=random.normal(0, 1, (T, *size)),
        to_potential=random.normal(0, 1, size),
    )


def leaf(value: np.ndarray, device: str, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(value, dtype=dtype, device=device).requires_grad_()


def assert_same(actual: Tensor | None, expected: Any, what: str) -> None:
    if actual is None:  # autograd's word for a zero: at T = 1, from rest, the decay has no part in anything
        assert not np.any(np.asarray(expected)), f"no gradient reached {what}"
        return
    actual = actual.detach().cpu()
    torch.testing.assert_close(
        actual, torch.as_tensor(expected), rtol=1e-10, atol=1e-11, msg=lambda text: f"{what}: {text}"
    )


@every_backend
@every_reset
@detached_or_not
@pytest.mark.parametrize(("T", "layout", "per_channel"), CASES)
@pytest.mark.parametrize(("shape", "with_start"), [("tanh", True), ("triangle", False)])
def test_outputs_and_all_gradients(backend: str, device: str, reset: Any, detach_reset: bool, T: int, layout: str,
                                   per_channel: bool, shape: str, with_start: bool):  # fmt: skip
    g = given(T, layout, per_channel)
    size = g.decay.shape
    decay, threshold, width = (g.against_a_step(name) for name in ("decay", "threshold", "width"))
    slow = slow_lif.forward(g.current, decay, threshold, reset=reset, start=g.start if with_start else None)
    expected = slow_lif.backward(slow, decay, threshold, width, shape, reset=reset, detach_reset=detach_reset,
                                 to_spikes=g.to_spikes, to_potential=g.to_potential)  # fmt: skip
    assert T == 1 or 0 < slow.spikes.mean() < 1, "a case without spikes, or with nothing else, would prove little"

    leaves = {n: leaf(getattr(g, n), device) for n in ("current", "decay", "threshold", "width", "start")}
    out = lif(leaves["current"], leaves["decay"], leaves["width"], shape=shape, threshold=leaves["threshold"],
              reset=reset, detach_reset=detach_reset, start=leaves["start"] if with_start else None,
              backend=backend)  # fmt: skip
    assert np.array_equal(out.spikes.detach().cpu().numpy(), slow.spikes)
    assert_same(out.potential, slow.potential, "potential")
    assert out.membrane is None, "nobody watches"

    above = (torch.tensor(g.to_spikes, device=device), torch.tensor(g.to_potential, device=device))
    torch.autograd.backward((out.spikes, out.potential), above)
    assert_same(leaves["current"].grad, expected["current"], "∂L/∂I")
    for name in ("decay", "threshold", "width"):
        assert_same(leaves[name].grad, summed(expected[name], size), f"∂L/∂{name}")
    if with_start:
        assert_same(leaves["start"].grad, expected["start"], "∂L/∂v_0")


@every_backend
@every_reset
@pytest.mark.parametrize("learned", ["decay", "threshold", "width", "current", "start"])
def test_each_gradient_comes_alone(backend: str, device: str, reset: Any, learned: str):
    """A parameter's gradient does not depend on which others are asked for, and the others receive none."""
    g = given(3, "TNC", True)
    names = ("current", "decay", "threshold", "width", "start")

    def gradients(asked: tuple[str, ...]) -> dict[str, Tensor | None]:
        values = {n: leaf(getattr(g, n), device).requires_grad_(n in asked) for n in names}
        out = lif(values["current"], values["decay"], values["width"], shape="tanh", threshold=values["threshold"],
                  reset=reset, start=values["start"], backend=backend)  # fmt: skip
        (out.spikes * torch.tensor(g.to_spikes, device=device)).sum().backward()
        return {n: value.grad for n, value in values.items()}

    together, alone = gradients(names), gradients((learned,))
    assert_same(alone.pop(learned), together[learned].cpu() if together[learned] is not None else None, learned)
    assert all(other is None for other in alone.values())


@every_backend
@every_reset
def test_gradient_of_the_spikes_alone_and_of_the_potential_alone(backend: str, device: str, reset: Any):
    g = given(3, "TNC", False)
    slow = slow_lif.forward(g.current, g.decay, g.threshold, reset=reset)
    nothing = {"to_spikes": np.zeros_like(g.to_spikes), "to_potential": np.zeros_like(g.to_potential)}
    for name, output in (("to_spikes", "spikes"), ("to_potential", "potential")):
        above = getattr(g, name)
        expected = slow_lif.backward(slow, g.decay, g.threshold, g.width, "tanh", reset=reset, detach_reset=False,
                                     **(nothing | {name: above}))  # fmt: skip
        current = leaf(g.current, device)
        out = lif(current, leaf(g.decay, device), leaf(g.width, device), shape="tanh",
                  threshold=leaf(g.threshold, device), reset=reset, backend=backend)  # fmt: skip
        getattr(out, output).backward(torch.tensor(above, device=device))
        assert_same(current.grad, expected["current"], output)


@every_backend
@every_reset
def test_two_calls_with_the_potential_handed_on_are_one(backend: str, device: str, reset: Any):
    g = given(5, "TNC", True)

    def run(cut: int | None) -> tuple[Tensor, ...]:
        current, decay, width = (leaf(v, device) for v in (g.current, g.decay, g.width))
        options: dict[str, Any] = {"shape": "tanh", "threshold": 0.4, "reset": reset, "backend": backend}
        if cut is None:
            out = lif(current, decay, width, **options)
            spikes, potential = out.spikes, out.potential
        else:
            first = lif(current[:cut], decay, width, **options)
            second = lif(current[cut:], decay, width, start=first.potential, **options)
            spikes, potential = torch.cat([first.spikes, second.spikes]), second.potential
        (spikes * torch.tensor(g.to_spikes, device=device)).sum().backward()
        assert current.grad is not None
        assert decay.grad is not None
        return spikes.detach(), potential.detach(), current.grad, decay.grad

    for whole, halved in zip(run(None), run(2), strict=True):
        assert_same(halved, whole.cpu(), "two halves")


# --- exactness ------------------------------------------------------------------------------------------------------


def dyadic_currents(T: int, *size: int) -> np.ndarray:
    """Multiples of 1/64, a third of which bring a rested membrane exactly to a threshold of 1/2."""
    random = np.random.default_rng(3)
    current = random.integers(-64, 65, (T, *size)) / 64
    return np.where(random.random((T, *size)) < 1 / 3, 0.5, current)


@every_backend
@every_reset
@detached_or_not
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_on_dyadic_numbers(backend: str, device: str, reset: Any, detach_reset: bool, dtype: torch.dtype):
    """With decay 1/4 and a box of width 1 every number is a short binary fraction: no rounding in any order of
    summation, so that spikes, potential and gradients are equal to the last bit in float32 and in float64."""
    random = np.random.default_rng(4)
    current = dyadic_currents(3, 4, 3)
    decay, threshold, width = np.array(0.25), np.array(0.5), np.array(1.0)
    to_spikes = random.integers(-1, 2, current.shape).astype(np.float64)
    slow = slow_lif.forward(current, decay, threshold, reset=reset)
    expected = slow_lif.backward(slow, decay, threshold, width, "rect", reset=reset, detach_reset=detach_reset,
                                 to_spikes=to_spikes, to_potential=np.zeros(current.shape[1:]))  # fmt: skip
    leaves = [leaf(value, device, dtype) for value in (current, decay, threshold)]
    out = lif(leaves[0], leaves[1], 1.0, shape="rect", threshold=leaves[2], reset=reset, detach_reset=detach_reset,
              backend=backend)  # fmt: skip
    out.spikes.backward(torch.tensor(to_spikes, dtype=dtype, device=device))
    assert np.array_equal(out.spikes.detach().cpu().numpy(), slow.spikes)
    assert np.array_equal(out.potential.detach().cpu().numpy(), slow.potential)
    for tensor, name in zip(leaves, ("current", "decay", "threshold"), strict=True):
        assert tensor.grad is not None
        exact = expected[name] if name == "current" else summed(expected[name], ())
        assert np.array_equal(tensor.grad.cpu().numpy(), exact), name


@every_backend
@every_reset
def test_a_potential_exactly_at_the_threshold_fires(backend: str, device: str, reset: Any):
    current = dyadic_currents(5, 11, 13)
    slow = slow_lif.forward(current, np.array(0.25), np.array(0.5), reset=reset)
    at_the_threshold = slow.u == 0.5
    assert at_the_threshold.sum() > 50
    spikes = lif(torch.tensor(current, dtype=torch.float32, device=device), 0.25, 1.0, shape="rect", reset=reset,
                 backend=backend).spikes.cpu().numpy()  # fmt: skip
    assert spikes[at_the_threshold].all()
    assert np.array_equal(spikes, slow.spikes)


@every_backend
@every_reset
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("per_channel", [False, True])
def test_half_precision_in_and_out_around_a_float32_state(backend: str, device: str, reset: Any, dtype: torch.dtype,
                                                          per_channel: bool):  # fmt: skip
    g = given(5, "TNCHW", per_channel)
    current = torch.tensor(g.current, device=device).to(dtype)
    above = torch.tensor(g.to_spikes, device=device).to(dtype)

    def run(current: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
        current = current.detach().requires_grad_()
        decay, start = (leaf(v, device, torch.float32) for v in (g.decay, g.start))
        out = lif(current, decay, leaf(g.width, device, torch.float32), shape="tanh",
                  threshold=leaf(g.threshold, device, torch.float32), reset=reset, start=start,
                  backend=backend)  # fmt: skip
        (out.spikes * above).sum().backward()
        assert current.grad is not None
        assert decay.grad is not None
        assert start.grad is not None
        return out, current.grad, decay.grad, start.grad

    out, to_current, to_decay, to_start = run(current)
    full, to_full_current, to_full_decay, to_full_start = run(current.float())
    assert out.spikes.dtype == to_current.dtype == dtype
    assert out.potential.dtype == to_decay.dtype == torch.float32
    assert torch.equal(out.spikes.float(), full.spikes)
    assert torch.equal(out.potential, full.potential)
    assert torch.equal(to_current, to_full_current.to(dtype)), "δ is computed in float32 and rounded once"
    assert torch.equal(to_decay, to_full_decay)
    assert torch.equal(to_start, to_full_start)


@every_backend
@pytest.mark.parametrize("start_dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_state_is_float32_whatever_the_start(backend: str, device: str, start_dtype: torch.dtype):
    g = given(2, "TNC", False)
    current = torch.tensor(g.current, dtype=torch.float32, device=device)
    start = torch.tensor(g.start, device=device).to(start_dtype)
    decay = torch.tensor(0.3, device=device)
    out = lif(current, decay, 1.0, shape="rect", start=start, backend=backend)
    expected = lif(current, decay, 1.0, shape="rect", start=start.float(), backend=backend)
    assert out.potential.dtype == torch.float32
    assert torch.equal(out.potential, expected.potential)


@every_backend
@every_reset
def test_calls_repeat_to_the_last_bit(backend: str, device: str, reset: Any):
    g = given(5, "TNCHW", True)
    decays = []
    for _ in range(2):
        decay = leaf(g.decay, device, torch.float32)
        current = torch.tensor(g.current, dtype=torch.float32, device=device)
        lif(current, decay, 1.0, shape="tanh", reset=reset, backend=backend).spikes.sum().backward()
        decays.append(decay.grad)
    assert torch.equal(*decays)


# --- storage, statistics, safety ------------------------------------------------------------------------------------


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_last_steps_stay_channels_last(backend: str, device: str, dtype: torch.dtype):
    current = torch.randn(3, 2, 4, 5, 7, device=device).to(dtype)
    inner = current.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (3, 2))
    out, plain = (lif(c, 0.3, 1.0, shape="rect", backend=backend).spikes for c in (inner, current))
    assert out.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert plain.is_contiguous()
    assert torch.equal(out, plain)


@every_backend
def test_an_expanded_current_is_one_current_shown_often(backend: str, device: str):
    once = torch.randn(1, 2, 3, 5, device=device).requires_grad_()
    repeated = once.detach().repeat(4, 1, 1, 1).requires_grad_()
    for current in (once.expand(4, 2, 3, 5), repeated):
        lif(current, 0.6, 1.0, shape="tanh", backend=backend).spikes.square().sum().backward()
    assert once.grad is not None
    assert repeated.grad is not None
    torch.testing.assert_close(once.grad, repeated.grad.sum(0, keepdim=True))


@every_backend
@every_reset
@pytest.mark.parametrize("thresholds", [0.5, (0.25, 0.5, 2.0)])
def test_histogram_of_potentials(backend: str, device: str, reset: Any, thresholds: float | tuple[float, ...]):
    """Against a count one unit at a time. All numbers are binary fractions, so that bins' edges are hit exactly."""
    current = dyadic_currents(5, 4, 3, 6)
    current[0, 0, :, 0], current[1, 1, :, 0] = 100.0, -100.0  # beyond both ends
    threshold = np.asarray(thresholds)
    against = threshold.reshape(-1, 1) if threshold.ndim else threshold
    slow = slow_lif.forward(current, np.array(0.25), against, reset=reset)
    counts = [0] * BINS
    for x in ((slow.u - against) / against).flatten():
        counts[min(max(math.floor(x * PER_THRESHOLD) + BINS // 2, 0), BINS - 1)] += 1
    assert counts[0] > 0
    assert counts[-1] > 0
    out = lif(torch.tensor(current, dtype=torch.float32, device=device), 0.25, 1.0, shape="rect",
              threshold=torch.tensor(threshold, dtype=torch.float32), reset=reset, watch=True,
              backend=backend)  # fmt: skip
    assert out.membrane is not None
    assert out.membrane.dtype == torch.int64
    assert out.membrane.tolist() == counts


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fired_share_of_the_histogram_is_exact(backend: str, device: str, dtype: torch.dtype):
    """Also where a threshold is no binary fraction and potentials lie one rounding away from it."""
    threshold = torch.tensor(0.3)
    near = threshold + torch.arange(-50, 51) * 2**-25
    current = near.repeat(3, 20, 1).to(device, dtype)
    out = lif(current, 0.37, 1.0, shape="rect", threshold=threshold, watch=True, backend=backend)
    assert out.membrane is not None
    assert out.membrane.sum() == current.numel()
    assert out.membrane[BINS // 2 :].sum() == out.spikes.sum(dtype=torch.float64)


@every_backend
@every_reset
def test_watching_changes_nothing(backend: str, device: str, reset: Any):
    g = given(5, "TNCHW", True)
    results = []
    for watch in (False, True):
        current = leaf(g.current, device, torch.float32)
        out = lif(current, leaf(g.decay, device, torch.float32), 1.0, shape="atan", reset=reset, watch=watch,
                  backend=backend)  # fmt: skip
        out.spikes.backward(torch.tensor(g.to_spikes, dtype=torch.float32, device=device))
        results.append((out.spikes, out.potential, current.grad))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("per_channel", [False, True])
def test_writing_the_width_between_forward_and_backward_raises(backend: str, device: str, dtype: torch.dtype,
                                                               per_channel: bool):  # fmt: skip
    width = torch.ones((3,) if per_channel else (), device=device)
    current = torch.randn(2, 5, 3, device=device, dtype=dtype, requires_grad=True)
    loss = lif(current, 0.2, width, shape="atan", backend=backend).spikes.sum()
    width.fill_(0.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@every_backend
def test_spikes_are_the_same_for_every_width(backend: str, device: str):
    g = given(5, "TNC", True)
    current = torch.tensor(g.current, dtype=torch.float32, device=device)
    outs = [lif(current, 0.7, width, shape="triangle", backend=backend) for width in (0.01, 1.0, 50.0)]
    for out in outs[1:]:
        assert torch.equal(out.spikes, outs[0].spikes)
        assert torch.equal(out.potential, outs[0].potential)


@every_backend
def test_no_graph_without_need(backend: str, device: str):
    current = torch.randn(2, 5, 3, device=device, requires_grad=True)
    with torch.no_grad():
        out = lif(current, 0.2, 1.0, shape="atan", backend=backend)
    assert not out.spikes.requires_grad
    assert not out.potential.requires_grad


# --- the second implementation itself -------------------------------------------------------------------------------


@every_reset
@detached_or_not
@pytest.mark.parametrize("curve", CURVES)
def test_the_slow_backward_is_the_derivative_of_a_smooth_network(reset: str, detach_reset: bool, curve: str):
    """Where the step is replaced by the shape's own G, the backward pass is a true derivative: central differences of
    the loop must give it. For a detached reset, the loop whose resets are frozen at the spikes of the first pass."""
    g = given(4, "TNC", True)
    names = ("current", "decay", "threshold", "width", "start")
    values = {name: getattr(g, name) for name in names}

    def run(values: dict[str, np.ndarray], frozen: np.ndarray | None) -> slow_lif.Slow:
        return slow_lif.forward(values["current"], values["decay"], values["threshold"], reset=reset,
                                start=values["start"], fire=lambda x: CURVES[curve](x, values["width"])[0],
                                frozen=frozen)  # fmt: skip

    first = run(values, None)
    frozen = first.spikes if detach_reset else None

    def loss(values: dict[str, np.ndarray]) -> float:
        ran = run(values, frozen)
        return (ran.spikes * g.to_spikes).sum() + (ran.potential * g.to_potential).sum()

    found = slow_lif.backward(first, g.decay, g.threshold, g.width, curve, reset=reset, detach_reset=detach_reset,
                              to_spikes=g.to_spikes, to_potential=g.to_potential)  # fmt: skip
    for name in names:
        value = values[name]
        gradient = found[name] if name in ("current", "start") else summed(found[name], value.shape)
        for at in list(np.ndindex(value.shape))[:20]:
            nudge = np.zeros_like(value)
            nudge[at] = 1e-6
            rise = loss(values | {name: value + nudge}) - loss(values | {name: value - nudge})
            assert gradient[at] == pytest.approx(rise / 2e-6, rel=1e-6, abs=1e-7), (name, at)


@pytest.mark.parametrize("detach_reset", [False, True])
def test_backward_of_the_hard_reset_as_published(detach_reset: bool):
    """Lian et al. 2023 (eq. 12, hard reset): δ_t = (g_t - β·u_t·δ_{t+1})·h(u_t) + β·(1 - o_t)·δ_{t+1}, without its
    second term where the reset is detached; ∂L/∂β = Σ_{t<T} δ_{t+1}·u_t·(1 - o_t)."""
    g = given(5, "TNC", False)
    beta, v_th, alpha = float(g.decay), 0.5, 1.1
    u, o = np.zeros_like(g.current), np.zeros_like(g.current)
    for t in range(5):
        u[t] = g.current[t] + (beta * u[t - 1] * (1 - o[t - 1]) if t else 0)
        o[t] = u[t] >= v_th
    h = (np.abs(u - v_th) < alpha / 2) / alpha
    delta = np.zeros((6, *g.current.shape[1:]))
    for t in reversed(range(5)):
        through_the_reset = 0 if detach_reset else beta * u[t] * delta[t + 1]
        delta[t] = (g.to_spikes[t] - through_the_reset) * h[t] + beta * (1 - o[t]) * delta[t + 1]
    to_beta = sum((delta[t + 1] * u[t] * (1 - o[t])).sum() for t in range(4))

    current, decay = leaf(g.current, "cpu"), leaf(g.decay, "cpu")
    out = lif(current, decay, alpha, shape="rect", threshold=v_th, detach_reset=detach_reset, backend="auto")
    out.spikes.backward(torch.tensor(g.to_spikes))
    assert np.array_equal(out.spikes.detach().numpy(), o)
    assert_same(current.grad, delta[:5], "δ")
    assert_same(decay.grad, to_beta, "∂L/∂β")


def test_one_step_teaches_the_decay_nothing():
    decay = torch.tensor(0.2, requires_grad=True)
    lif(torch.randn(1, 5, 3, requires_grad=True), decay, 1.0, shape="rect").spikes.sum().backward()
    assert decay.grad is None or decay.grad == 0


# --- errors ---------------------------------------------------------------------------------------------------------


def test_misspelt_reset_offers_the_nearest():
    with pytest.raises(UnknownName, match=r"unknown reset 'substract'; did you mean 'subtract'\?"):
        lif(torch.zeros(1, 2, 3), 0.2, 1.0, shape="rect", reset="substract")  # type: ignore[arg-type]


def test_unknown_backend_lists_the_known():
    with pytest.raises(UnknownName, match=r"unknown backend 'cupy'.* known: .*auto.*reference"):
        lif(torch.zeros(1, 2, 3), 0.2, 1.0, shape="rect", backend="cupy")


def test_misspelt_shape_offers_the_nearest():
    with pytest.raises(UnknownName, match=r"did you mean 'triangle'\?"):
        lif(torch.zeros(1, 2, 3), 0.2, 1.0, shape="triangel")


@every_backend
@pytest.mark.parametrize(
    "current", [torch.zeros(2, 3, 4, dtype=torch.int64), torch.zeros(3), torch.zeros(0, 2, 3), torch.tensor(1.0)]
)
def test_refuses_what_is_no_current(backend: str, device: str, current: Tensor):
    with pytest.raises(BadValue, match=r"current is torch\..* of shape .*; give floating-point currents \[T, N, ...\]"):
        lif(current.to(device), 0.2, 1.0, shape="rect", backend=backend)


@every_backend
@pytest.mark.parametrize("name", ["decay", "threshold", "width"])
@pytest.mark.parametrize(("size", "given_size"), [((2, 5, 3), (4,)), ((2, 5, 3), (1, 3)), ((2, 3), (3,))])
def test_refuses_a_parameter_that_fits_no_channel(backend: str, device: str, name: str, size: tuple[int, ...],
                                                  given_size: tuple[int, ...]):  # fmt: skip
    parameters: dict[str, Any] = {"decay": 0.2, "threshold": 0.5, "width": 1.0} | {name: torch.full(given_size, 0.5)}
    with pytest.raises(BadValue, match=r"does not fit currents .*give a number, or one per channel as \[C\]"):
        lif(torch.zeros(size, device=device), shape="rect", backend=backend, **parameters)


@every_backend
def test_refuses_a_start_of_another_shape(backend: str, device: str):
    """[C] would broadcast over the samples without a word, and every sample would begin alike."""
    with pytest.raises(BadValue, match="start"):
        lif(torch.zeros(2, 5, 3, device=device), 0.2, 1.0, shape="rect", start=torch.zeros(3, device=device),
            backend=backend)  # fmt: skip


# --- torch.compile --------------------------------------------------------------------------------------------------


def stack() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(5, 8), LIF(0.3, train_decay=True, surrogate="triangle"),
        nn.Linear(8, 8), LIF(0.25, surrogate="atan", reset="subtract", channels=8),
        nn.Linear(8, 3), LIF(tau=2.0, surrogate="dspike", detach_reset=True),
    )  # fmt: skip


def test_compiled_whole_and_never_again_when_widths_or_decays_change():
    plain, compiled = stack(), stack()
    counter = CompileCounter()  # counts graphs and runs them as they are: tracing is what is tested, not inductor
    torch._dynamo.reset()
    fast = torch.compile(compiled, fullgraph=True, backend=counter)
    x = torch.randn(4, 6, 5)
    for number in range(3):
        for network in (plain, compiled):
            network.zero_grad()
            with torch.no_grad():
                for index in (1, 3, 5):
                    network[index].surrogate.width.fill_(1.0 / (number + 1))
                network[1].logit_decay.fill_(0.5 * number)
                network[3].fixed_decay.fill_(0.2 * number)
        spikes, expected = fast(x), plain(x)
        assert expected.sum() > 0
        assert torch.equal(spikes, expected)
        spikes.sum().backward()
        expected.sum().backward()
        for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
            assert ours.grad is not None
            assert theirs.grad is not None
            torch.testing.assert_close(ours.grad, theirs.grad)
    assert counter.frame_count == 1
