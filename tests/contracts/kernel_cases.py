"""Calls of `surgrad.lif` drawn at random: their arguments, what `slow_lif` says of them, and what a backend does.

Every number drawn is a float32, so that a backend that computes in float32 and an oracle in float64 are asked the same
question; and no potential lies near a jump of the step or of the slope, so that both must find the same spikes.
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
import slow_lif
import torch
from slow_lif import Array, across, summed
from torch import Tensor

from surgrad.errors import BadValue
from surgrad.kernels.lif import BACKENDS, COMPILED, RESETS, LIFOutput, Norm, choose, lif
from surgrad.surrogates import SURROGATES

MARGIN = 1e-4  # that potentials keep from every jump
UNIT = 2.0**-24  # a float32's rounding error, in units of the result
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def place(backend: str, device: str, *more: Any) -> Any:
    """A backend on a device as a test's parameters; skipped, with the backend's own reason, where it cannot run."""
    try:
        choose(backend, torch.zeros(1, 1, device=device), SURROGATES["rect"])
        if backend == "triton" and device == "cpu":
            raise BadValue("its interpreter is slow: tests/test_triton.py holds it to the reference")
        marks: tuple[Any, ...] = ()
    except BadValue as error:
        marks = (pytest.mark.skip(reason=str(error)),)
    names = [str(value).removeprefix("torch.") for value in (backend, device, *more)]
    return pytest.param(backend, device, *more, marks=marks, id="-".join(names))


def takes(backend: str, dtype: torch.dtype) -> bool:
    return dtype != torch.float64 or backend not in COMPILED


every_backend = pytest.mark.parametrize(("backend", "device"), [place(*on) for on in product(BACKENDS, DEVICES)])
every_reset = pytest.mark.parametrize("reset", RESETS)
detached_or_not = pytest.mark.parametrize("detach_reset", [False, True], ids=["kept", "detached"])


def best(backend: str) -> torch.dtype:
    """The widest type that a backend takes."""
    return torch.float64 if takes(backend, torch.float64) else torch.float32


@dataclass(frozen=True)
class Case:
    """Everything that can be chosen about a call; `size` is [N, C, ...], all but T."""

    T: int = 3
    size: tuple[int, ...] = (2, 3, 5)
    surrogate: str = "tanh"
    reset: Any = "zero"
    detach_reset: bool = False
    per_channel: bool | tuple[str, ...] = True  # of all parameters, or of these
    start: bool = True
    keep: bool = True
    watch: bool = False
    history: bool = False
    norm: str = ""  # "", "batch", "fixed"
    plus: bool = False
    plus_norm: str = ""
    shown: tuple[bool, bool] = (False, False)  # whether current, plus is one step shown at each
    memory: str = "contiguous"  # of currents and start: see `laid_out`
    above: str = "contiguous"  # of the gradients that arrive
    eps: float = 1e-5  # of both norms
    scales: tuple[float, float] = (1.0, 1.0)  # of the norms of current, plus
    shared: bool = False  # whether the statistics of "batch" are those of all ranks
    seed: int = 7
    width_rows: int = 0  # S of a width for each step, [S, 1] or [S, C]; 0: one width for all steps

    @property
    def channels(self) -> int:
        return self.size[1] if len(self.size) > 1 else 1

    def weight(self, values: "Values", prefix: str) -> Array:
        """The weight of a norm, times its scale."""
        return self.scales[prefix == "plus_"] * values[f"{prefix}weight"]

    @property
    def terms(self) -> tuple[tuple[str, str, str, bool], ...]:
        """(name, its norm, prefix of its norm's parts, whether it is one step shown at each) of every summand."""
        first = ("current", self.norm, "", self.shown[0])
        return (first, ("plus", self.plus_norm, "plus_", self.shown[1])) if self.plus else (first,)


Values = dict[str, Array]


def single(value: Any) -> Array:
    """Rounded to float32, as a float64."""
    return np.asarray(value, np.float32).astype(np.float64)


def draw(case: Case) -> Values:
    """The arguments of a call, and the gradients that arrive at its outputs."""
    random = np.random.default_rng(case.seed)
    C = case.channels

    def parameter(name: str, low: float, high: float, rows: int = 0) -> Array:
        many = case.per_channel if isinstance(case.per_channel, bool) else name in case.per_channel
        if rows:
            return random.uniform(low, high, (rows, C if many else 1))
        return random.uniform(low, high, (C,) if many else ())

    values = {
        "current": random.normal(0.2, 0.7, (1 if case.shown[0] else case.T, *case.size)),
        "decay": parameter("decay", 0.2, 0.9),
        "threshold": parameter("threshold", 0.3, 0.8),
        "width": parameter("width", 0.4, 2.0, case.width_rows),
        "start": random.normal(0, 0.5, case.size),
        "to_spikes": random.normal(0, 1, (case.T, *case.size)),
        "to_potential": random.normal(0, 1, case.size),
        "to_history": random.normal(0, 1, (case.T, *case.size)),
        "plus": random.normal(-0.1, 0.5, (1 if case.shown[1] else case.T, *case.size)),
    }
    for prefix in ("", "plus_"):
        values |= {
            f"{prefix}mean": random.normal(0, 0.3, C),
            f"{prefix}variance": random.uniform(0.3, 2, C),
            f"{prefix}weight": random.uniform(0.4, 0.9, C),
            f"{prefix}bias": random.normal(0.2, 0.3, C),
        }
    if case.above == "expanded":
        values |= {
            "to_spikes": np.ones((case.T, *case.size)),
            "to_potential": np.ones(case.size),
            "to_history": np.ones((case.T, *case.size)),
        }
    values = {name: single(value) for name, value in values.items()}
    return _kept_from_jumps(case, values, random)


def _kept_from_jumps(case: Case, values: Values, random: np.random.Generator) -> Values:
    threshold = broadcast_to_step(case, values["threshold"])
    width = widths(case, values)
    for _ in range(100):
        for _, norm, prefix, _ in case.terms:
            if norm == "batch":
                values |= _statistics(values, prefix)
        x = forward(case, values).u - threshold
        near = (np.abs(x) < MARGIN) | near_a_jump(case.surrogate, x, width)
        if not near.any():
            return values
        near = near.any(0, keepdims=True) if case.shown[0] else near
        values["current"] = single(values["current"] + near * random.uniform(0.02, 0.1, near.shape))
    raise AssertionError(f"no potentials away from the jumps found for {case}")


def near_a_jump(surrogate: str, x: Array, width: Array) -> Array:
    """Where the slope jumps within MARGIN of x: it changes by more than any continuous one of these widths does."""
    curve = slow_lif.curve(surrogate)
    _, below, _ = curve(x - MARGIN, width)
    _, above, _ = curve(x + MARGIN, width)
    return np.asarray(np.abs(above - below) > 100 * MARGIN / width)


def _statistics(values: Values, prefix: str) -> Values:
    x = values["plus" if prefix else "current"]
    mean = slow_lif.channel_mean(x)
    variance = slow_lif.channel_mean((x - across(mean, x.ndim)) ** 2)
    return {f"{prefix}mean": mean, f"{prefix}variance": variance}


def broadcast_to_step(case: Case, value: Array) -> Array:
    return value.reshape(-1, *[1] * (len(case.size) - 2)) if value.ndim else value


def widths(case: Case, values: Values) -> Array:
    """The widths, to broadcast against one step, or against all where each has its own."""
    value = values["width"]
    if value.ndim < 2:
        return broadcast_to_step(case, value)
    of_steps = value[np.minimum(np.arange(case.T), len(value) - 1)]
    return of_steps.reshape(case.T, *[1] * (len(case.size) > 1), -1, *[1] * (len(case.size) - 2))


def summand(case: Case, values: Values, name: str, norm: str, prefix: str) -> Array:
    x = values[name]
    if norm:
        x = slow_lif.standardised(x, values[f"{prefix}mean"], values[f"{prefix}variance"], case.eps)
        x = x * across(case.weight(values, prefix), x.ndim) + across(values[f"{prefix}bias"], x.ndim)
    return np.broadcast_to(x, (case.T, *case.size))


def forward(case: Case, values: Values) -> slow_lif.Slow:
    current = sum(summand(case, values, *term[:3]) for term in case.terms)
    decay, threshold = (broadcast_to_step(case, values[name]) for name in ("decay", "threshold"))
    return slow_lif.forward(
        np.asarray(current), decay, threshold, reset=case.reset, start=values["start"] if case.start else None
    )


@dataclass
class Expected:
    """What must come: outputs and gradients by name, and how many float32 roundings of which size each may show."""

    ran: slow_lif.Slow
    gradients: Values
    sizes: Values
    potential: float  # the size of the numbers that potentials are made of
    roundings: float


def expected(case: Case, values: Values) -> Expected:
    """By `slow_lif`, in float64. `sizes`: of an elementwise gradient its largest element, of a sum that of its terms.

    A step is a handful of roundings, forward and back, and a slope multiplies those of u by some u/w."""
    ran = forward(case, values)
    decay, threshold = (broadcast_to_step(case, values[name]) for name in ("decay", "threshold"))
    width = widths(case, values)
    found = slow_lif.backward(
        ran,
        decay,
        threshold,
        width,
        case.surrogate,
        reset=case.reset,
        detach_reset=case.detach_reset,
        to_spikes=values["to_spikes"],
        to_potential=values["to_potential"] * case.keep,
        to_history=values["to_history"] * case.history,
    )
    delta = found.pop("current")
    onward = found.pop("start")
    of = {}
    sizes = {}
    largest = np.abs(delta).max(initial=0)
    for name in ("decay", "threshold", *(["width"] if not case.width_rows else [])):
        of[name] = summed(found[name], values[name].shape)
        sizes[name] = summed(np.abs(found[name]), values[name].shape) + largest
    if not case.width_rows:  # a surrogate function may write ∂G/∂w as a difference from x/w·slope
        sizes["width"] += summed(np.abs(found["threshold"] * (ran.u - threshold) / width), values["width"].shape)
    if case.start:
        of["start"] = onward
        sizes["start"] = largest
    for term in case.terms:
        _to_summand(case, values, delta, term, of, sizes)
    potential = np.abs(ran.u).max(initial=0) + sum(_normalised_from(case, values, *term[:3]) for term in case.terms)
    steepness = 1 + potential / width.min(initial=9)
    return Expected(ran, of, sizes, float(potential), float(4 * (case.T + 4) * steepness))


def _normalised_from(case: Case, values: Values, name: str, norm: str, prefix: str) -> float:
    """The size of the numbers whose difference a normalised current is: of x·gain and mean·gain."""
    if not norm or not values[name].size:
        return 0.0
    gain = case.weight(values, prefix) / np.sqrt(values[f"{prefix}variance"] + case.eps)
    x = np.abs(values[name]) + across(np.abs(values[f"{prefix}mean"]), values[name].ndim)
    return float((x * across(np.abs(gain), x.ndim)).max())


def _to_summand(
    case: Case, values: Values, delta: Array, term: tuple[str, str, str, bool], of: Values, sizes: Values
) -> None:
    """Enter the gradients of a summand, and of its norm, into `of`."""
    name, norm, prefix, shown = term
    largest = np.abs(delta).sum(0).max(initial=0) if shown else np.abs(delta).max(initial=0)
    delta = delta.sum(0, keepdims=True) if shown else delta
    of[name] = delta
    sizes[name] = largest
    if not norm:
        return
    mean, variance = (values[f"{prefix}{part}"] for part in ("mean", "variance"))
    weight = case.weight(values, prefix)
    of[name], by_weight = slow_lif.through_norm(
        values[name], delta, mean, variance, weight, case.eps, batch=norm == "batch"
    )
    xhat = np.abs(slow_lif.standardised(values[name], mean, variance, case.eps)).max(initial=0)
    sizes[name] = (weight / np.sqrt(variance + case.eps)).max(initial=0) * largest * (1 + xhat)
    for part, terms in (("weight", case.scales[prefix == "plus_"] * by_weight), ("bias", delta)):
        of[f"{prefix}{part}"] = summed(terms, weight.shape)
        sizes[f"{prefix}{part}"] = summed(np.abs(terms), weight.shape) + largest


# --- a backend's part -----------------------------------------------------------------------------------------------


def laid_out(x: Tensor, memory: str, channel: int = 2) -> Tensor:
    """The same numbers laid out in another way; around them NaN, where there is anything around. channel: its axis."""
    if memory == "channels_last" and channel < x.ndim:
        return x.movedim(channel, -1).contiguous().movedim(-1, channel)
    if memory == "transposed" and x.ndim > 1:
        return x.transpose(0, 1).contiguous().transpose(0, 1)
    if memory == "sliced":
        wide = x.new_full((*x.shape[:-1], 2 * x.shape[-1] + 3), math.nan)
        wide[..., 2:-1:2] = x
        return wide[..., 2:-1:2]
    if memory == "guarded":
        wide = x.new_full((x.numel() + 133,), math.nan)
        wide[67:-66] = x.flatten()
        return wide[67:-66].view(x.shape)
    return x


@dataclass
class Found:
    """The outputs of a backend, the leaves that went in, and their gradients."""

    out: LIFOutput
    leaves: dict[str, Tensor]

    @property
    def gradients(self) -> dict[str, Tensor | None]:
        return {name: value.grad for name, value in self.leaves.items()}


def run(
    case: Case,
    values: Values,
    backend: str,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    learned: tuple[str, ...] | None = None,
    autograd: bool = True,
) -> Found:
    """The call by a backend, forward and back. dtype: of currents and spikes; the widest by default. learned: the
    names of what asks for a gradient; all by default."""
    dtype = best(backend) if dtype is None else dtype
    state = torch.promote_types(dtype, torch.float32)
    leaves: dict[str, Tensor] = {}

    def leaf(name: str, dtype: torch.dtype, memory: str = "contiguous") -> Tensor:
        value = laid_out(torch.tensor(values[name], dtype=dtype, device=device), memory, 1 if name == "start" else 2)
        value = value.detach()
        if name == "width" and case.width_rows:  # no gradient reaches it
            return value
        leaves[name] = value.requires_grad_(autograd and (learned is None or name in learned))
        return leaves[name]

    def norm_of(kind: str, prefix: str) -> Norm | None:
        if not kind:
            return None
        mean, variance = (torch.tensor(values[prefix + n], dtype=state, device=device) for n in ("mean", "variance"))
        weight, bias = (leaf(prefix + n, state) for n in ("weight", "bias"))
        scale = case.scales[prefix == "plus_"]
        return Norm(mean, variance, weight, bias, case.eps, kind == "batch", scale=scale, shared=case.shared)

    out = lif(
        leaf("current", dtype, case.memory),
        leaf("decay", state),
        leaf("width", state),
        surrogate=case.surrogate,
        threshold=leaf("threshold", state),
        reset=case.reset,
        detach_reset=case.detach_reset,
        initial_potential=leaf("start", state, case.memory) if case.start else None,
        return_histogram=case.watch,
        return_potential=case.keep,
        return_history=case.history,
        norm=norm_of(case.norm, ""),
        plus=leaf("plus", dtype, case.memory) if case.plus else None,
        plus_norm=norm_of(case.plus_norm, "plus_"),
        steps=case.T,
        backend=backend,
    )
    if autograd:
        _backward(case, values, out)
    return Found(out, leaves)


def _backward(case: Case, values: Values, out: LIFOutput) -> None:
    named = {"to_spikes": (out.spikes, 2), "to_potential": (out.potential, 1), "to_history": (out.history, 2)}
    given = {name: (output, axis) for name, (output, axis) in named.items() if output is not None}
    outputs = [output for output, _ in given.values()]
    if case.above == "expanded":
        sum(output.sum() for output in outputs).backward()
        return
    above = [
        laid_out(torch.tensor(values[name]).to(output), case.above, axis) for name, (output, axis) in given.items()
    ]
    pairs = [(output, gradient) for output, gradient in zip(outputs, above, strict=True) if output.requires_grad]
    torch.autograd.backward(*zip(*pairs, strict=True))


def assert_same(actual: Tensor | None, wanted: Any, what: str, roundings: float = 0, size: Any = None) -> None:
    """Float64: equal to 1e-10. Float32: to so many rounding errors of numbers of that size, the largest by default."""
    wanted = torch.as_tensor(wanted).detach().cpu()
    if actual is None:  # autograd's word for a zero: at T = 1, from rest, the decay has no part in anything
        assert not wanted.any(), f"no gradient reached {what}"
        return
    actual = actual.detach().cpu()
    assert actual.shape == wanted.shape, f"{what}: {list(actual.shape)}, not {list(wanted.shape)}"
    if actual.dtype == torch.float64:
        torch.testing.assert_close(actual, wanted, rtol=1e-10, atol=1e-11, msg=lambda text: f"{what}: {text}")
        return
    if size is None:
        size = wanted.abs().amax() if wanted.numel() else 0.0
    allowed = roundings * UNIT * torch.as_tensor(size, dtype=torch.float64)
    beyond = (actual.double() - wanted.double()).abs() - allowed
    assert (beyond <= 0).all(), f"{what}: {beyond.max():.3g} beyond the {allowed.max():.3g} that rounding explains"


def assert_serves(case: Case, backend: str, device: str = "cpu", learned: tuple[str, ...] | None = None) -> Found:
    """A backend's outputs and all gradients asked for (`learned`; all by default) are those of the slow
    implementation."""
    values = draw(case)
    wanted = expected(case, values)
    found = run(case, values, backend, device, learned=learned)
    assert np.array_equal(found.out.spikes.detach().cpu().numpy(), wanted.ran.spikes), case
    if case.keep:
        assert_same(
            found.out.potential, wanted.ran.potential, f"potential of {case}", wanted.roundings, wanted.potential
        )
    else:
        assert found.out.potential is None, f"nobody keeps the potential of {case}"
    assert (found.out.histogram is None) == (not case.watch), case
    if case.history:
        assert_same(found.out.history, wanted.ran.u, f"history of {case}", wanted.roundings, wanted.potential)
    assert found.gradients.keys() == wanted.gradients.keys(), case
    for name, gradient in found.gradients.items():
        if learned is not None and name not in learned:
            assert gradient is None, f"∂L/∂{name} of {case} is not wanted"
            continue
        assert_same(gradient, wanted.gradients[name], f"∂L/∂{name} of {case}", wanted.roundings, wanted.sizes[name])
    return found
