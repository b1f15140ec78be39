"""The contract of every LIF backend, against a second implementation with its own backward pass (`slow_lif`)."""

import math
import random
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slow_lif
import torch
from kernel_cases import (
    DEVICES,
    Case,
    Values,
    assert_same,
    assert_serves,
    best,
    detached_or_not,
    draw,
    every_backend,
    every_reset,
    expected,
    laid_out,
    near_a_jump,
    place,
    run,
    single,
    takes,
)
from slow_lif import CURVES, summed
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter, CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from surgrad import ranks
from surgrad.errors import BadValue, UnknownName
from surgrad.kernels.lif import (
    BACKENDS,
    BINS,
    COMPILED,
    HISTORY_BACKENDS,
    PER_THRESHOLD,
    RESETS,
    Norm,
    lif,
    lif_history,
    moments,
    native,
    triton,
)
from surgrad.kernels.lif.arguments import TENSORS, LIFArguments, PerTensor
from surgrad.kernels.lif.operators import SumRow, flattened, tensors_of, unflattened
from surgrad.neurons import LIF
from surgrad.surrogates import CONSTANTS, SURROGATES, dspike

LAYOUTS = {"TN": (7,), "TNC": (5, 3), "TNCHW": (2, 3, 5, 7)}  # everything but T, in odd sizes; C = 3
CASES = [
    pytest.param(T, layout, per_channel, id=f"T{T}-{layout}-{'channels' if per_channel else 'scalar'}")
    for T, layout, per_channel in product((1, 2, 5), LAYOUTS, (False, True))
    if not (per_channel and layout == "TN")  # no channels there
]
compiled = pytest.mark.parametrize(
    ("backend", "device"), [place(*on) for on in product(BACKENDS, DEVICES) if on[0] in COMPILED]
)


def typed(*dtypes: torch.dtype) -> Any:
    """Every backend with each of these types that it takes."""
    places = [place(*on) for on in product(BACKENDS, DEVICES, dtypes) if takes(on[0], on[2])]
    return pytest.mark.parametrize(("backend", "device", "dtype"), places)


def leaf(value: np.ndarray, device: str, dtype: torch.dtype) -> Tensor:
    return torch.tensor(value, dtype=dtype, device=device).requires_grad_()


@pytest.mark.parametrize("width", [0.4, 1.0, 2.0])
def test_the_jumps_of_the_slopes_are_found(width: float):
    """Which every draw keeps away from."""
    edges = {"rect": width / 2, "tilted": width / 2, "leaky_box": width, "dspike": 0.5}
    w = np.asarray(width)
    x = np.linspace(-3, 3, 301) + 0.003
    for name in SURROGATES:
        edge = edges.get(name, 0.0)
        assert near_a_jump(name, np.asarray([-edge, edge]), w).all() == (name in edges), name
        assert not near_a_jump(name, x[np.abs(np.abs(x) - edge) > 0.001], w).any(), name


@every_backend
@every_reset
@detached_or_not
@pytest.mark.parametrize(("T", "layout", "per_channel"), CASES)
@pytest.mark.parametrize(("surrogate", "with_start"), [("tanh", True), ("triangle", False)])
def test_outputs_and_all_gradients(
    backend: str,
    device: str,
    reset: Any,
    detach_reset: bool,
    T: int,
    layout: str,
    per_channel: bool,
    surrogate: str,
    with_start: bool,
):
    case = Case(T, LAYOUTS[layout], surrogate, reset, detach_reset, per_channel, start=with_start)
    found = assert_serves(case, backend, device)
    fired = found.out.spikes.mean()
    assert T == 1 or 0 < fired < 1, "a case without spikes, or with nothing else, would prove little"


@every_backend
@every_reset
@pytest.mark.parametrize("learned", ["decay", "threshold", "width", "current", "start", "plus", "weight", "plus_bias"])
def test_each_gradient_comes_alone(backend: str, device: str, reset: Any, learned: str):
    """A parameter's gradient does not depend on which others are asked for, and the others receive none."""
    summands = learned in ("plus", "weight", "plus_bias")
    case = Case(size=(5, 3), reset=reset, norm="batch" * summands, plus=summands, plus_norm="fixed" * summands)
    values = draw(case)
    together, alone = (run(case, values, backend, device, learned=who).gradients for who in (None, (learned,)))
    assert_same(alone.pop(learned), together[learned], learned)
    assert all(other is None for other in alone.values())


@every_backend
@every_reset
def test_gradient_of_the_spikes_alone_and_of_the_potential_alone(backend: str, device: str, reset: Any):
    case = Case(size=(5, 3), reset=reset, per_channel=False, start=False)
    values = draw(case)
    for name, output in (("to_spikes", "spikes"), ("to_potential", "potential")):
        nothing = {"to_spikes": np.zeros_like(values["to_spikes"]), "to_potential": np.zeros_like(values["start"])}
        wanted = expected(case, values | nothing | {name: values[name]})
        current, decay, width, threshold = (
            leaf(values[n], device, best(backend)) for n in ("current", "decay", "width", "threshold")
        )
        out = lif(current, decay, width, surrogate="tanh", threshold=threshold, reset=reset, backend=backend)
        getattr(out, output).backward(torch.tensor(values[name], dtype=best(backend), device=device))
        assert_same(current.grad, wanted.gradients["current"], output, wanted.roundings)


@pytest.mark.parametrize(("backend", "device"), [place(*on) for on in product(HISTORY_BACKENDS, DEVICES)])
@every_reset
@detached_or_not
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"T": 1, "start": False},
        {"per_channel": False, "memory": "channels_last", "above": "channels_last"},
        {"norm": "batch", "plus": True, "plus_norm": "fixed", "watch": True},
        {"shown": (True, False), "norm": "fixed"},
        {"size": (2, 37, 11), "above": "expanded"},
        {"surrogate": "rect", "keep": False, "memory": "sliced"},
    ],
    ids=str,
)
def test_potentials_of_every_step_and_what_arrives_there(
    backend: str, device: str, reset: Any, detach_reset: bool, options: dict[str, Any]
):
    case = Case(**{"T": 4, "reset": reset, "detach_reset": detach_reset, "history": True} | options)
    found = assert_serves(case, backend, device)
    assert found.out.history is not None
    assert found.out.history.stride() == found.out.spikes.stride()


@every_backend
@every_reset
def test_two_calls_with_the_potential_handed_on_are_one(backend: str, device: str, reset: Any):
    case = Case(T=5, size=(5, 3), reset=reset)
    values = draw(case)
    roundings = expected(case, values).roundings

    def run(cut: int | None) -> tuple[Tensor, ...]:
        current, decay, width = (leaf(values[n], device, best(backend)) for n in ("current", "decay", "width"))
        options: dict[str, Any] = {"surrogate": "tanh", "threshold": 0.4, "reset": reset, "backend": backend}
        if cut is None:
            out = lif(current, decay, width, **options)
            spikes = out.spikes
            potential = out.potential
        else:
            first = lif(current[:cut], decay, width, **options)
            second = lif(current[cut:], decay, width, initial_potential=first.potential, **options)
            spikes = torch.cat([first.spikes, second.spikes])
            potential = second.potential
        (spikes * torch.tensor(values["to_spikes"], dtype=best(backend), device=device)).sum().backward()
        assert current.grad is not None
        assert decay.grad is not None
        return spikes.detach(), potential.detach(), current.grad, decay.grad

    (spikes, *whole) = run(None)
    (spikes_too, *halved) = run(2)
    assert torch.equal(spikes, spikes_too)
    for one, two in zip(whole, halved, strict=True):
        assert_same(two, one, "two halves", roundings)


# --- normalised and added currents, and other forms of a call ---------------------------------------------------------

NORMS = ("", "batch", "fixed")


@every_backend
@detached_or_not
@pytest.mark.parametrize("norm", NORMS[1:])
@pytest.mark.parametrize("layout", ["TNC", "TNCHW"])
@pytest.mark.parametrize("memory", ["contiguous", "channels_last"])
def test_a_normalised_current(backend: str, device: str, detach_reset: bool, norm: str, layout: str, memory: str):
    for reset, T in product(RESETS, (1, 4)):
        assert_serves(
            Case(T, LAYOUTS[layout], "triangle", reset, detach_reset, norm=norm, memory=memory, scales=(0.5, 1.0)),
            backend,
            device,
        )


@every_backend
@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("memory", ["contiguous", "channels_last"])
def test_a_norm_that_ranks_share(backend: str, device: str, plus: bool, memory: str, monkeypatch: pytest.MonkeyPatch):
    """Two ranks with the same share of a batch: each finds what one process finds for it in the whole batch. Of two
    summands, one is the same at every step, and has fewer values."""
    own = draw(Case(4, LAYOUTS["TNCHW"], norm="batch", plus=plus, plus_norm="batch" * plus, shown=(False, True)))
    names = ("current", "plus", "start", "to_spikes", "to_potential", "to_history")
    twice = {name: np.concatenate([own[name]] * 2, axis=-len(LAYOUTS["TNCHW"])) for name in names}
    N, *rest = LAYOUTS["TNCHW"]
    options = {"norm": "batch", "plus": plus, "plus_norm": "batch" * plus, "shown": (False, True), "memory": memory}
    wanted = run(Case(4, (2 * N, *rest), **options), own | twice, backend, device)
    monkeypatch.setattr(ranks, "summed", lambda value: 2 * value)
    found = run(Case(4, (N, *rest), **options, shared=True), own, backend, device)
    assert torch.equal(found.out.spikes, wanted.out.spikes[:, :N])
    for name, gradient in found.gradients.items():
        whole = wanted.gradients[name]
        half = whole.narrow(-len(LAYOUTS["TNCHW"]), 0, N) if name in names else whole / 2
        torch.testing.assert_close(gradient, half, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


@every_backend
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("plus_norm", NORMS)
@pytest.mark.parametrize("shown", list(product((False, True), repeat=2)), ids=str)
def test_a_sum_of_two_currents(backend: str, device: str, norm: str, plus_norm: str, shown: tuple[bool, bool]):
    """Each with or without its norm, each new at every step or one step shown at each."""
    for reset, memory in product(RESETS, ("contiguous", "channels_last")):
        case = Case(
            4, LAYOUTS["TNCHW"], "tanh", reset, norm=norm, plus=True, plus_norm=plus_norm, shown=shown, memory=memory
        )
        assert_serves(case, backend, device)
        assert_serves(replace(case, size=LAYOUTS["TNC"], memory="contiguous", start=False), backend, device)


@every_backend
@pytest.mark.parametrize("norm", NORMS)
def test_one_step_shown_at_every_step(backend: str, device: str, norm: str):
    for T, layout in product((1, 2, 6), ("TNC", "TNCHW")):
        assert_serves(Case(T, LAYOUTS[layout], norm=norm, shown=(True, False)), backend, device)


@every_backend
@every_reset
@pytest.mark.parametrize("norm", NORMS)
def test_a_potential_that_nobody_keeps(backend: str, device: str, reset: Any, norm: str):
    assert_serves(Case(4, reset=reset, norm=norm, keep=False, surrogate="triangle"), backend, device)


@every_backend
def test_a_decay_that_also_scales_the_norm(backend: str, device: str):
    """As a parametric neuron has it: weight γ(1 - β) and bias μ(1 - β) send their gradients on to β."""
    case = Case(4, norm="batch", per_channel=True)
    values = draw(case)
    beta = values["decay"]
    gamma = values["weight"].copy()
    values = draw(replace(case, seed=case.seed)) | {"weight": single(gamma * (1 - beta))}
    wanted = expected(case, values)
    dtype = best(backend)
    decay = leaf(beta, device, dtype)
    weight = leaf(values["weight"] / (1 - beta), device, dtype)
    tensors = {n: torch.tensor(v, dtype=dtype, device=device) for n, v in values.items()}
    norm = Norm(tensors["mean"], tensors["variance"], weight * (1 - decay), tensors["bias"], case.eps, True)
    out = lif(
        tensors["current"],
        decay,
        tensors["width"],
        surrogate="tanh",
        threshold=tensors["threshold"],
        initial_potential=tensors["start"],
        norm=norm,
        backend=backend,
    )
    torch.autograd.backward((out.spikes, out.potential), (tensors["to_spikes"], tensors["to_potential"]))
    through = wanted.gradients["decay"] - wanted.gradients["weight"] * values["weight"] / (1 - beta)
    size = wanted.sizes["decay"] + wanted.sizes["weight"]
    assert_same(decay.grad, through, "β", wanted.roundings, size)
    assert_same(weight.grad, wanted.gradients["weight"] * (1 - beta), "γ", wanted.roundings, size)


@every_backend
@every_reset
@pytest.mark.parametrize("rows", [1, 2, 4, 6])
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_width_for_each_step(backend: str, device: str, reset: Any, rows: int, per_channel: bool):
    """The last row holds at all later steps; and blocks smaller than a layer load the widths of every step anew."""
    for surrogate, size, memory in (
        ("tanh", (5, 3), "contiguous"),
        ("rect", (3, 5, 79, 13), "channels_last"),
        ("dspike", (3, 5, 79, 13), "contiguous"),
    ):
        case = Case(4, size, surrogate, reset, per_channel=per_channel, width_rows=rows, norm="batch", memory=memory)
        assert_serves(case, backend, device)


@every_backend
def test_widths_of_steps_that_do_not_fit_are_refused(backend: str, device: str):
    current = torch.zeros(4, 2, 3, device=device)
    for size in ((4, 2), (0, 3)):
        with pytest.raises(BadValue, match=r"widths of shape .* one for each time step as \[T, 1\]"):
            lif(current, 0.5, torch.ones(size), backend=backend)
    with pytest.raises(BadValue, match="a width for each time step takes no gradient"):
        lif(current, 0.5, torch.ones(4, 1, requires_grad=True), backend=backend)


# N, C, ... on both sides of the sizes at which blocks and vectors end, and alone
SIZES = [
    (1,),
    (1, 1),
    (1, 1, 1, 1),
    (67,),
    (1023,),
    (1024,),
    (1025,),
    (5, 1, 13),
    (1, 15),
    (1, 16),
    (1, 17),
    (3, 63),
    (2, 64),
    (2, 65),
    (2, 1023),
    (1, 1025),
    (1, 3, 1023),
    (2, 2, 257),
    (1, 5, 31, 33),
    (3, 1, 8, 8),
    (2, 37, 1, 1),
    (2, 7, 1, 19),
]


@every_backend
@pytest.mark.parametrize("T", [1, 2, 17])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_odd_sizes(backend: str, device: str, T: int, size: tuple[int, ...]):
    many = len(size) > 1 and math.prod(size) > size[1]  # more than one value a channel
    for memory, norm in (("contiguous", ""), ("channels_last", "batch" if many else "fixed")):
        norm = norm if len(size) > 1 else ""
        case = Case(T, size, "triangle", "subtract", per_channel=len(size) > 1, norm=norm, memory=memory)
        assert_serves(case, backend, device)


@every_backend
@pytest.mark.parametrize("T", [64, 65, 300])
@pytest.mark.parametrize("memory", ["contiguous", "channels_last"])
def test_many_steps(backend: str, device: str, T: int, memory: str):
    for size, norm in (((1, 1), ""), ((2, 3, 13), "batch"), ((1, 5, 13), "")):
        assert_serves(Case(T, size, norm=norm, memory=memory, surrogate="triangle"), backend, device)


@every_backend
@pytest.mark.parametrize("memory", ["contiguous", "channels_last"])
@pytest.mark.parametrize(("norm", "T"), [("", 2), ("batch", 2), ("fixed", 1)])
def test_a_layer_large_enough_to_be_shared_out(backend: str, device: str, memory: str, norm: str, T: int):
    case = Case(T, (3, 5, 79, 83), "triangle", "subtract", norm=norm, memory=memory, shown=(T == 1, False))
    assert_serves(case, backend, device)


@every_backend
@pytest.mark.parametrize("memory", ["transposed", "sliced", "guarded"])
@pytest.mark.parametrize("above", ["transposed", "sliced", "guarded", "channels_last", "expanded"])
def test_currents_and_gradients_anyhow_in_memory(backend: str, device: str, memory: str, above: str):
    for layout, norm in product(("TN", "TNC", "TNCHW"), ("", "batch")):
        norm = norm if layout != "TN" else ""
        case = Case(3, LAYOUTS[layout], per_channel=layout != "TN", norm=norm, plus=True, memory=memory, above=above)
        assert_serves(case, backend, device)


@every_backend
def test_no_samples_no_channels_no_space(backend: str, device: str):
    """Nothing in, nothing out: empty spikes, empty gradients, and zeros for what is shared."""
    to = {"device": device, "dtype": best(backend)}
    for size, norm in product(((0, 3), (0, 3, 5, 7), (2, 0), (2, 0, 5), (2, 3, 0, 7)), ("", "fixed")):
        current = torch.zeros(2, *size, **to, requires_grad=True)
        decay, weight = (torch.full((size[1],), 0.5, **to).requires_grad_() for _ in range(2))
        ones = torch.ones(size[1], **to)
        given = Norm(ones, ones, weight, ones, 1e-5, False) if norm else None
        out = lif(current, decay, 1.0, surrogate="rect", norm=given, return_histogram=True, backend=backend)
        (out.spikes.sum() + out.potential.sum()).backward()
        assert out.spikes.shape == current.grad.shape == (2, *size)
        assert out.potential.shape == size
        assert out.histogram.sum() == 0
        assert not decay.grad.any()
        assert not norm or not weight.grad.any()


def random_case(chance: random.Random, seed: int) -> Case:
    """Any combination of what can be chosen."""
    size = chance.choice(
        [(7,), (5, 3), (2, 3, 5), (2, 3, 5, 7), (1, 17, 3), (3, 1, 4, 4), (1, 2, 1, 1), (2, 2, 2, 3, 2)]
    )
    norms = NORMS if len(size) > 1 and math.prod(size) > size[1] else ("",)
    plus = chance.random() < 0.5
    ways = ["contiguous", "channels_last", "transposed", "sliced", "guarded"]
    return Case(
        T=chance.choice([1, 2, 3, 5, 9]),
        size=size,
        surrogate=chance.choice(list(SURROGATES)),
        reset=chance.choice(RESETS),
        detach_reset=chance.random() < 0.5,
        per_channel=some(chance, PARAMETERS) if len(size) > 1 else False,
        width_rows=chance.choice([0, 0, 1, 2, 4, 12]),
        start=chance.random() < 0.5,
        keep=chance.random() < 0.7,
        watch=chance.random() < 0.3,
        norm=chance.choice(norms),
        plus=plus,
        plus_norm=chance.choice(norms) if plus else "",
        shown=(chance.random() < 0.3, plus and chance.random() < 0.3),
        memory=chance.choice(ways),
        above=chance.choice([*ways, "expanded"]),
        eps=chance.choice([1e-5, 1e-2]),
        seed=seed,
        scales=(chance.choice([0.5, 1.0, 3.0]), chance.choice([0.5, 1.0, 3.0])),
    )


PARAMETERS = ("decay", "threshold", "width")


def some(chance: random.Random, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if chance.random() < 0.5)


def wanted_of(chance: random.Random, case: Case) -> tuple[str, ...] | None:
    """The names of what asks for a gradient: all, or some."""
    others = [*PARAMETERS, *(["start"] if case.start else []), *(["plus"] if case.plus else [])]
    others += [prefix + part for _, norm, prefix, _ in case.terms if norm for part in ("weight", "bias")]
    return None if chance.random() < 0.5 else ("current", *some(chance, tuple(others)))


@every_backend
@pytest.mark.parametrize("tenth", range(10))
def test_anything_at_random(backend: str, device: str, tenth: int):
    chance = random.Random(tenth)
    for seed in range(10 if device == "cuda" else 30):  # nearly each compiles kernels there
        case = random_case(chance, seed)
        out = assert_serves(case, backend, device, wanted_of(chance, case)).out
        if case.watch:
            assert out.histogram.sum() == out.spikes.numel(), case
            assert out.histogram[BINS // 2 :].sum() == out.spikes.sum(), case


@compiled
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_anything_at_random_in_half_precision(backend: str, device: str, dtype: torch.dtype):
    """It is the float32 call of the same numbers, its spikes and the gradients of its currents rounded."""
    chance = random.Random(0)
    for seed in range(16 if device == "cuda" else 40):
        case = random_case(chance, seed)
        fixed = {name: "fixed" if getattr(case, name) else "" for name in ("norm", "plus_norm")}
        case = replace(case, **fixed)  # a batch's statistics are taken up again where δ is already rounded
        values = draw(case)
        for name in ("current", "plus", "to_spikes"):
            values[name] = torch.tensor(values[name]).to(dtype).double().numpy()
        half, full = (run(case, values, backend, device, kind) for kind in (dtype, torch.float32))
        assert torch.equal(half.out.spikes.float(), full.out.spikes), case
        for name, gradient in half.gradients.items():
            if gradient is not None:
                assert torch.equal(gradient, full.gradients[name].to(gradient.dtype)), (name, case)


# --- exactness ------------------------------------------------------------------------------------------------------


def dyadic_currents(T: int, *size: int) -> np.ndarray:
    """Multiples of 1/64, a third of which bring a rested membrane exactly to a threshold of 1/2."""
    random = np.random.default_rng(3)
    current = random.integers(-64, 65, (T, *size)) / 64
    return np.where(random.random((T, *size)) < 1 / 3, 0.5, current)


def dyadic(case: Case) -> Values:
    """Arguments among short binary fractions: with decay 1/4, a box of width 1 and norms whose √variance is a power of
    two, nothing is rounded in any order of summation."""
    random = np.random.default_rng(4)
    channels = (case.channels,)
    values = draw(case) | {
        "current": dyadic_currents(len(draw(case)["current"]), *case.size),
        "start": random.integers(-32, 33, case.size) / 64,
        "plus": random.integers(-32, 33, draw(case)["plus"].shape) / 64,
        "to_spikes": random.integers(-1, 2, (case.T, *case.size)).astype(np.float64),
        "to_potential": np.zeros(case.size),
        "decay": np.array(0.25),
        "threshold": np.array(0.5),
        "width": np.array(1.0),
    }
    for prefix in ("", "plus_"):
        values |= {
            f"{prefix}mean": random.integers(-8, 9, channels) / 16,
            f"{prefix}variance": random.choice([0.25, 1.0, 4.0], channels),
            f"{prefix}weight": random.choice([-0.5, 0.5, 1.0], channels),
            f"{prefix}bias": random.integers(-8, 9, channels) / 16,
        }
    return values


def assert_exact(case: Case, backend: str, device: str, dtype: torch.dtype) -> None:
    values = dyadic(case)
    wanted = expected(case, values)
    found = run(case, values, backend, device, dtype)
    assert np.array_equal(found.out.spikes.detach().cpu().numpy(), wanted.ran.spikes)
    assert np.array_equal(found.out.potential.detach().cpu().numpy(), wanted.ran.potential)
    for name, gradient in found.gradients.items():
        assert gradient is not None
        assert np.array_equal(gradient.cpu().numpy(), wanted.gradients[name]), name


@typed(torch.float32, torch.float64)
@every_reset
@detached_or_not
def test_exact_on_dyadic_numbers(backend: str, device: str, reset: Any, detach_reset: bool, dtype: torch.dtype):
    """Spikes, potential and gradients are equal to the last bit in float32 and in float64."""
    for start, shown in product((False, True), repeat=2):
        case = Case(2 if start else 3, (4, 3), "rect", reset, detach_reset, False, start, shown=(shown, False))
        assert_exact(case, backend, device, dtype)


@typed(torch.float32, torch.float64)
@every_reset
@detached_or_not
@pytest.mark.parametrize("memory", ["contiguous", "channels_last"])
def test_exact_on_dyadic_norms_and_sums(
    backend: str, device: str, reset: Any, detach_reset: bool, dtype: torch.dtype, memory: str
):
    sums = (("", False, ""), ("fixed", False, ""), ("fixed", True, ""), ("", True, "fixed"), ("fixed", True, "fixed"))
    for (norm, plus, plus_norm), shown in product(sums, (False, True)):
        case = Case(
            2,
            (2, 3, 2, 5),
            "rect",
            reset,
            detach_reset,
            False,
            norm=norm,
            plus=plus,
            plus_norm=plus_norm,
            shown=(shown, False),
            eps=0.0,
            memory=memory,
        )
        assert_exact(case, backend, device, dtype)


@every_backend
@every_reset
def test_spikes_and_potential_are_the_references_to_the_last_bit(backend: str, device: str, reset: Any):
    """Where nothing is normalised, every backend rounds where the reference does. Gradients may differ by roundings."""
    for dtype, memory, start in product(
        (torch.float32, torch.bfloat16), ("contiguous", "channels_last"), (False, True)
    ):
        for T, size, plus in ((1, (3, 5), False), (7, (3, 17, 9, 11), False), (7, (3, 17, 9, 11), True)):
            plus = plus and dtype == torch.float32
            case = Case(T, size, reset=reset, start=start, plus=plus, memory=memory, watch=True)
            values = draw(case)
            ours, theirs = (run(case, values, b, device, dtype, autograd=False).out for b in (backend, "reference"))
            for mine, its in zip(ours[:3], theirs[:3], strict=True):
                assert torch.equal(mine, its), case


@every_backend
@every_reset
def test_a_potential_exactly_at_the_threshold_fires(backend: str, device: str, reset: Any):
    current = dyadic_currents(5, 11, 13)
    slow = slow_lif.forward(current, np.array(0.25), np.array(0.5), reset=reset)
    at_the_threshold = slow.u == 0.5
    assert at_the_threshold.sum() > 50
    spikes = (
        lif(
            torch.tensor(current, dtype=torch.float32, device=device),
            0.25,
            1.0,
            surrogate="rect",
            reset=reset,
            backend=backend,
        )
        .spikes.cpu()
        .numpy()
    )
    assert spikes[at_the_threshold].all()
    assert np.array_equal(spikes, slow.spikes)


@every_backend
@every_reset
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("per_channel", [False, True])
def test_half_precision_in_and_out_around_a_float32_state(
    backend: str, device: str, reset: Any, dtype: torch.dtype, per_channel: bool
):
    values = draw(Case(5, LAYOUTS["TNCHW"], per_channel=per_channel))
    current = torch.tensor(values["current"], device=device).to(dtype)
    above = torch.tensor(values["to_spikes"], device=device).to(dtype)

    def run(current: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
        current = current.detach().requires_grad_()
        decay, start, width, threshold = (
            leaf(values[n], device, torch.float32) for n in ("decay", "start", "width", "threshold")
        )
        out = lif(
            current,
            decay,
            width,
            surrogate="tanh",
            threshold=threshold,
            reset=reset,
            initial_potential=start,
            backend=backend,
        )
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
    values = draw(Case(2, LAYOUTS["TNC"], per_channel=False))
    current = torch.tensor(values["current"], dtype=torch.float32, device=device)
    start = torch.tensor(values["start"], device=device).to(start_dtype)
    decay = torch.tensor(0.3, device=device)
    out = lif(current, decay, 1.0, surrogate="rect", initial_potential=start, backend=backend)
    expected = lif(current, decay, 1.0, surrogate="rect", initial_potential=start.float(), backend=backend)
    assert out.potential.dtype == torch.float32
    assert torch.equal(out.potential, expected.potential)


@every_backend
@every_reset
@pytest.mark.parametrize("norm", NORMS)
def test_calls_repeat_to_the_last_bit(backend: str, device: str, reset: Any, norm: str):
    case = Case(5, LAYOUTS["TNCHW"], reset=reset, norm=norm)
    values = draw(case)
    once, again = (run(case, values, backend, device, torch.float32).gradients for _ in range(2))
    assert all(torch.equal(once[name], again[name]) for name in once)


@every_backend
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("norm", NORMS)
def test_half_precision_is_rounded_at_the_ends_alone(backend: str, device: str, dtype: torch.dtype, norm: str):
    """Normalised and summed currents of 8 or 11 bits: all between them and the spikes is float32, and a gradient is
    rounded as often as it is stored, twice on its way through batch statistics."""
    case = Case(4, LAYOUTS["TNCHW"], norm=norm, plus=True)
    values = draw(case)
    for name in ("current", "plus", "to_spikes"):
        values[name] = torch.tensor(values[name]).to(dtype).double().numpy()
    half = run(case, values, backend, device, dtype)
    full = run(case, values, backend, device, torch.float32)
    assert half.out.spikes.dtype == half.leaves["current"].grad.dtype == half.leaves["plus"].grad.dtype == dtype
    assert half.out.potential.dtype == torch.float32
    assert torch.equal(half.out.spikes.float(), full.out.spikes)
    assert torch.equal(half.out.potential, full.out.potential)
    wanted = expected(case, values)
    for name, gradient in half.gradients.items():
        if name in ("current", "plus"):
            bits = torch.finfo(dtype).eps / 2 / 2.0**-24
            assert_same(gradient.float(), wanted.gradients[name], name, wanted.roundings + 2 * bits, wanted.sizes[name])
        else:
            assert torch.equal(gradient, full.gradients[name]), name


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Memory that nobody has written yet reads as NaN."""
    torch.use_deterministic_algorithms(True)  # which fills it
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@every_backend
def test_nothing_unwritten_comes_out(backend: str, device: str, poisoned: None):
    """Neither of fresh memory nor of what another call left behind."""
    chance = random.Random(5)
    for seed in range(60):
        case = random_case(chance, seed)
        spoilt = {name: np.full_like(value, np.nan) for name, value in draw(case).items()}
        run(replace(case, watch=False), spoilt, backend, device)
        assert_serves(case, backend, device)


# --- storage, statistics, safety ------------------------------------------------------------------------------------


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_last_steps_stay_channels_last(backend: str, device: str, dtype: torch.dtype):
    current = torch.randn(3, 2, 4, 5, 7, device=device).to(dtype)
    inner = current.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (3, 2))
    out, plain = (lif(c, 0.3, 1.0, surrogate="rect", backend=backend).spikes for c in (inner, current))
    assert out.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert plain.is_contiguous()
    assert torch.equal(out, plain)


@every_backend
def test_an_expanded_current_is_one_current_shown_often(backend: str, device: str):
    for axis in range(4):  # steps, samples, channels, places
        size = [4, 2, 3, 5]
        times = [1, 1, 1, 1]
        size[axis] = 1
        times[axis] = 4
        once = torch.randn(size, device=device).requires_grad_()
        repeated = once.detach().repeat(times).requires_grad_()
        for current in (once.expand(repeated.shape), repeated):
            lif(current, 0.6, 1.0, surrogate="tanh", backend=backend).spikes.square().sum().backward()
        assert once.grad is not None
        assert repeated.grad is not None
        torch.testing.assert_close(once.grad, repeated.grad.sum(axis, keepdim=True))


@every_backend
@every_reset
@pytest.mark.parametrize("thresholds", [0.5, (0.25, 0.5, 2.0)])
def test_histogram_of_potentials(backend: str, device: str, reset: Any, thresholds: float | tuple[float, ...]):
    """Against a count one unit at a time. All numbers are binary fractions, so that bins' edges are hit exactly."""
    current = dyadic_currents(5, 4, 3, 6)
    current[0, 0, :, 0] = 100.0  # beyond both ends
    current[1, 1, :, 0] = -100.0
    threshold = np.asarray(thresholds)
    broadcast_channels = threshold.reshape(-1, 1) if threshold.ndim else threshold
    slow = slow_lif.forward(current, np.array(0.25), broadcast_channels, reset=reset)
    counts = [0] * BINS
    for x in ((slow.u - broadcast_channels) / broadcast_channels).flatten():
        counts[min(max(math.floor(x * PER_THRESHOLD) + BINS // 2, 0), BINS - 1)] += 1
    assert counts[0] > 0
    assert counts[-1] > 0
    out = lif(
        torch.tensor(current, dtype=torch.float32, device=device),
        0.25,
        1.0,
        surrogate="rect",
        threshold=torch.tensor(threshold, dtype=torch.float32),
        reset=reset,
        return_histogram=True,
        backend=backend,
    )
    assert out.histogram is not None
    assert out.histogram.dtype == torch.int64
    assert out.histogram.tolist() == counts


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fired_share_of_the_histogram_is_exact(backend: str, device: str, dtype: torch.dtype):
    """Also where a threshold is no binary fraction and potentials lie one rounding away from it."""
    threshold = torch.tensor(0.3)
    near = threshold + torch.arange(-50, 51) * 2**-25
    current = near.repeat(3, 20, 1).to(device, dtype)
    out = lif(current, 0.37, 1.0, surrogate="rect", threshold=threshold, return_histogram=True, backend=backend)
    assert out.histogram is not None
    assert out.histogram.sum() == current.numel()
    assert out.histogram[BINS // 2 :].sum() == out.spikes.sum(dtype=torch.float64)


@every_backend
@every_reset
def test_watching_changes_nothing(backend: str, device: str, reset: Any):
    case = Case(5, LAYOUTS["TNCHW"], "atan", reset, norm="batch", plus=True)
    values = draw(case)
    seen, unseen = (run(replace(case, watch=watch), values, backend, device, torch.float32) for watch in (True, False))
    assert seen.out.histogram is not None
    assert torch.equal(seen.out.spikes, unseen.out.spikes)
    assert torch.equal(seen.out.potential, unseen.out.potential)
    assert all(torch.equal(seen.gradients[name], gradient) for name, gradient in unseen.gradients.items())


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("per_channel", [False, True])
def test_writing_the_width_between_forward_and_backward_raises(
    backend: str, device: str, dtype: torch.dtype, per_channel: bool
):
    width = torch.ones((3,) if per_channel else (), device=device)
    current = torch.randn(2, 5, 3, device=device, dtype=dtype, requires_grad=True)
    loss = lif(current, 0.2, width, surrogate="atan", backend=backend).spikes.sum()
    width.fill_(0.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@every_backend
def test_spikes_are_the_same_for_every_width(backend: str, device: str):
    values = draw(Case(5, LAYOUTS["TNC"]))
    current = torch.tensor(values["current"], dtype=torch.float32, device=device)
    outs = [lif(current, 0.7, width, surrogate="triangle", backend=backend) for width in (0.01, 1.0, 50.0)]
    for out in outs[1:]:
        assert torch.equal(out.spikes, outs[0].spikes)
        assert torch.equal(out.potential, outs[0].potential)


@every_backend
def test_no_graph_without_need(backend: str, device: str):
    current = torch.randn(2, 5, 3, device=device, requires_grad=True)
    with torch.no_grad():
        out = lif(current, 0.2, 1.0, surrogate="atan", backend=backend)
    assert not out.spikes.requires_grad
    assert not out.potential.requires_grad


class Traffic(TorchDispatchMode):
    """Notes what the kernels' operators are given, and every other that brings forth a tensor in new memory."""

    def __init__(self) -> None:
        super().__init__()
        self.copied: list[str] = []
        self.given: list[set[int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        before = {a.untyped_storage().data_ptr() for a in args if isinstance(a, Tensor)}
        if str(func).startswith("surgrad."):
            self.given.append({a.data_ptr() for a in args if isinstance(a, Tensor)})
        elif isinstance(out, Tensor) and out.numel() > 100 and out.untyped_storage().data_ptr() not in before:
            self.copied.append(str(func))
        return out


@compiled
@pytest.mark.parametrize("memory", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_is_copied_on_the_way_in_or_out(backend: str, device: str, memory: str, dtype: torch.dtype):
    x, plus, above = (laid_out(torch.randn(3, 2, 4, 5, 7, device=device).to(dtype), memory) for _ in range(3))
    start = laid_out(torch.randn(2, 4, 5, 7, device=device), memory, 1)
    x.requires_grad_()
    moments(backend, x)  # once before, for what is done once
    with Traffic() as traffic:
        moments(backend, x)
        out = lif(x, 0.3, 1.0, surrogate="rect", plus=plus, initial_potential=start, backend=backend)
        out.spikes.backward(above)
    assert traffic.copied == []
    in_moments, forwards, backwards = traffic.given
    assert x.data_ptr() in in_moments
    assert {x.data_ptr(), plus.data_ptr(), start.data_ptr()} <= forwards
    assert {x.data_ptr(), plus.data_ptr(), start.data_ptr(), above.data_ptr()} <= backwards
    assert out.spikes.stride() == x.grad.stride() == x.stride()
    assert out.potential.stride() == start.stride()


@compiled
def test_nothing_is_copied_on_the_direct_path(backend: str, device: str, monkeypatch: pytest.MonkeyPatch):
    """Which no dispatch mode sees: the kernel is given the caller's own memory."""
    kernel = {"native": native, "triton": triton}[backend]
    given = []

    def noted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            flat = [*arguments[:-1], *tensors_of(arguments[-1])]
            given.append({a.data_ptr() for a in flat if isinstance(a, Tensor)})
            return real(*arguments)

        return call

    x, plus, above = (laid_out(torch.randn(3, 2, 4, 5, 7, device=device), "channels_last") for _ in range(3))
    start = laid_out(torch.randn(2, 4, 5, 7, device=device), "channels_last", 1)
    x.requires_grad_()
    for name in ("forward", "backward"):
        monkeypatch.setattr(kernel, name, noted(getattr(kernel, name)))
    out = lif(x, 0.3, 1.0, surrogate="rect", plus=plus, initial_potential=start, backend=backend)
    out.spikes.backward(above)
    assert {x.data_ptr(), plus.data_ptr(), start.data_ptr()} <= given[0]
    assert {x.data_ptr(), plus.data_ptr(), start.data_ptr(), above.data_ptr()} <= given[1]
    assert len(given) == 2


@every_backend
def test_outputs_may_be_written_to(backend: str, device: str):
    """Nothing returned is a view that autograd guards: a user resets some potentials in place."""
    learned = torch.tensor(2.0, device=device, requires_grad=True)
    for memory in ("contiguous", "channels_last"):
        x = laid_out(torch.randn(1, 2, 4, 5, 7, device=device), memory).to(best(backend)).requires_grad_()
        out = lif(x, 0.3, 1.0, surrogate="rect", steps=3, backend=backend)
        out.potential[0] = 0.0
        out.potential.mul_(learned)
        out.spikes.mul_(learned)
        (out.spikes.sum() + out.potential.sum()).backward()
        assert x.grad is not None


@every_backend
def test_serves_without_a_graph_under_autocast_and_as_a_function(backend: str, device: str):
    case = Case(3, LAYOUTS["TNC"], norm="batch")
    values = draw(case)
    usual = run(case, values, backend, device, torch.float32).out
    for context in (torch.no_grad(), torch.inference_mode(), torch.autocast(device, torch.bfloat16)):
        with context:
            out = run(case, values, backend, device, torch.float32, autograd=False).out
        assert torch.equal(out.spikes, usual.spikes)
        assert torch.equal(out.potential, usual.potential)
    neuron = LIF(0.3, train_decay=True, channels=3, surrogate="atan", backend=backend).to(device)
    other = {"logit_decay": torch.full((3,), 0.7, device=device, requires_grad=True)}
    current = torch.tensor(values["current"], dtype=torch.float32, device=device)
    spikes = torch.func.functional_call(neuron, other, (current,))
    spikes.sum().backward()
    assert other["logit_decay"].grad.any()
    neuron.logit_decay.data.fill_(0.7)
    assert torch.equal(neuron(current), spikes)


@every_backend
def test_several_threads_at_once(backend: str, device: str):
    """Each gets what it would have got alone."""
    cases = [
        Case(4, (3, 5, 9, 11), norm=norm, reset=reset, seed=n) for n, (norm, reset) in enumerate(product(NORMS, RESETS))
    ]
    drawn = [draw(case) for case in cases]
    alone = [run(case, values, backend, device, torch.float32) for case, values in zip(cases, drawn, strict=True)]

    def work(n: int) -> bool:
        again = run(cases[n % 9], drawn[n % 9], backend, device, torch.float32)
        same = [torch.equal(g, alone[n % 9].gradients[name]) for name, g in again.gradients.items()]
        return all(same) and torch.equal(again.out.spikes, alone[n % 9].out.spikes)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(72)))


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("ratio", [0, 1, 1000])
def test_moments(backend: str, device: str, dtype: torch.dtype, ratio: float):
    """Against float64, also where the mean is a thousand times the deviation."""
    for size, memory in product(
        [(3, 5, 3), (3, 1, 7, 9), (2, 37, 1, 1), (4, 3, 63, 65)], ["contiguous", "channels_last"]
    ):
        x = laid_out((torch.randn(3, *size, dtype=torch.float64) + ratio).to(device, dtype), memory)
        exact = x.double().transpose(0, 2).flatten(1)
        mean, variance = moments(backend, x).double()
        deviation = exact.std(1, unbiased=False)
        assert ((mean - exact.mean(1)).abs() <= 4e-7 * deviation + 2.0**-24 * exact.mean(1).abs()).all()
        torch.testing.assert_close(variance, deviation.square(), rtol=2e-6, atol=0)


@every_backend
def test_a_second_derivative_is_right_or_refused(backend: str, device: str):
    def duplicate_batch(backend: str) -> Tensor:
        values = draw(Case(3, LAYOUTS["TNC"], "atan"))
        current, decay = (leaf(values[n], device, best(backend)) for n in ("current", "decay"))
        out = lif(current, decay, 1.0, surrogate="atan", backend=backend)
        above = torch.tensor(values["to_spikes"], device=device).to(out.spikes)
        (first,) = torch.autograd.grad(out.spikes, current, above, create_graph=True)
        return torch.autograd.grad(first.square().sum() + decay.sum(), decay)[0]  # the second part is not all of it

    try:
        found = duplicate_batch(backend)
    except BadValue as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert "only the reference has a second derivative" in refusal
    else:
        torch.testing.assert_close(found, duplicate_batch("reference"), check_dtype=False)


# --- the second implementation itself -------------------------------------------------------------------------------


@every_reset
@detached_or_not
@pytest.mark.parametrize("curve", CURVES)
def test_the_slow_backward_is_the_derivative_of_a_smooth_network(reset: str, detach_reset: bool, curve: str):
    """Where the step is replaced by the surrogate function's G, the backward pass is a true derivative: central
    differences of the loop must give it. For a detached reset, the loop whose resets are frozen at the spikes of the
    first pass."""
    drawn = draw(Case(4, LAYOUTS["TNC"]))
    names = ("current", "decay", "threshold", "width", "start")
    values = {name: drawn[name] for name in names}

    def run(values: dict[str, np.ndarray], frozen: np.ndarray | None) -> slow_lif.Slow:
        return slow_lif.forward(
            values["current"],
            values["decay"],
            values["threshold"],
            reset=reset,
            start=values["start"],
            fire=lambda x: CURVES[curve](x, values["width"])[0],
            frozen=frozen,
        )

    first = run(values, None)
    frozen = first.spikes if detach_reset else None

    def loss(values: dict[str, np.ndarray]) -> float:
        ran = run(values, frozen)
        return (ran.spikes * drawn["to_spikes"]).sum() + (ran.potential * drawn["to_potential"]).sum()

    found = slow_lif.backward(
        first,
        drawn["decay"],
        drawn["threshold"],
        drawn["width"],
        curve,
        reset=reset,
        detach_reset=detach_reset,
        to_spikes=drawn["to_spikes"],
        to_potential=drawn["to_potential"],
    )
    for name in names:
        value = values[name]
        gradient = found[name] if name in ("current", "start") else summed(found[name], value.shape)
        for at in list(np.ndindex(value.shape))[:20]:
            nudge = np.zeros_like(value)
            nudge[at] = 1e-6
            rise = loss(values | {name: value + nudge}) - loss(values | {name: value - nudge})
            assert gradient[at] == pytest.approx(rise / 2e-6, rel=1e-6, abs=1e-7), (name, at)


@pytest.mark.parametrize("batch", [False, True])
def test_the_slow_norm_is_differentiated_rightly(batch: bool):
    """By central differences of a smooth function of the normalised numbers."""
    random = np.random.default_rng(2)
    x = random.normal(0.3, 1.5, (3, 2, 4))
    weight = random.normal(1, 0.3, 4)
    above = random.normal(0, 1, (3, 2, 4))
    fixed = slow_lif.channel_mean(x) + 0.2, slow_lif.channel_mean(x**2)

    def statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = slow_lif.channel_mean(x)
        return (mean, slow_lif.channel_mean((x - mean[:, None].T) ** 2)) if batch else fixed

    def loss(x: np.ndarray, weight: np.ndarray) -> float:
        return (above * np.sin(weight * slow_lif.standardised(x, *statistics(x), 1e-2))).sum()

    delta = above * np.cos(weight * slow_lif.standardised(x, *statistics(x), 1e-2))
    to_x, by_weight = slow_lif.through_norm(x, delta, *statistics(x), weight, 1e-2, batch=batch)
    for gradient, at in ((to_x, 0), (summed(by_weight, (4,)), 1)):
        for index in np.ndindex(gradient.shape):
            nudge = [np.zeros_like(x), np.zeros_like(weight)]
            nudge[at][index] = 1e-6
            rise = loss(x + nudge[0], weight + nudge[1]) - loss(x - nudge[0], weight - nudge[1])
            assert gradient[index] == pytest.approx(rise / 2e-6, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("detach_reset", [False, True])
def test_backward_of_the_hard_reset_as_published(detach_reset: bool):
    """Lian et al. 2023 (eq. 12, hard reset): δ_t = (g_t - β·u_t·δ_{t+1})·h(u_t) + β·(1 - o_t)·δ_{t+1}, without its
    second term where the reset is detached; ∂L/∂β = Σ_{t<T} δ_{t+1}·u_t·(1 - o_t)."""
    values = draw(Case(5, LAYOUTS["TNC"], per_channel=False))
    given = values["current"]
    above = values["to_spikes"]
    beta = float(values["decay"])
    v_th = 0.5
    alpha = 1.1
    u = np.zeros_like(given)
    o = np.zeros_like(given)
    for t in range(5):
        u[t] = given[t] + (beta * u[t - 1] * (1 - o[t - 1]) if t else 0)
        o[t] = u[t] >= v_th
    h = (np.abs(u - v_th) < alpha / 2) / alpha
    delta = np.zeros((6, *given.shape[1:]))
    for t in reversed(range(5)):
        through_the_reset = 0 if detach_reset else beta * u[t] * delta[t + 1]
        delta[t] = (above[t] - through_the_reset) * h[t] + beta * (1 - o[t]) * delta[t + 1]
    to_beta = sum((delta[t + 1] * u[t] * (1 - o[t])).sum() for t in range(4))

    current, decay = (leaf(values[n], "cpu", torch.float64) for n in ("current", "decay"))
    out = lif(current, decay, alpha, surrogate="rect", threshold=v_th, detach_reset=detach_reset, backend="auto")
    out.spikes.backward(torch.tensor(above))
    assert np.array_equal(out.spikes.detach().numpy(), o)
    assert_same(current.grad, delta[:5], "δ")
    assert_same(decay.grad, to_beta, "∂L/∂β")


@every_backend
def test_one_step_teaches_the_decay_nothing(backend: str, device: str):
    """No gradient, and not a zero: an optimiser with a memory would count the step."""
    for dtype in {best(backend), torch.float32}:
        decay = torch.tensor(0.2, requires_grad=True, dtype=dtype, device=device)
        x = torch.randn(1, 5, 3, requires_grad=True, dtype=dtype, device=device)
        lif(x, decay, 1.0, surrogate="rect", backend=backend).spikes.sum().backward()
        assert decay.grad is None
        assert x.grad is not None


@every_backend
@every_reset
@detached_or_not
@pytest.mark.parametrize("curve", CURVES)
def test_gradients_where_little_is_learned(backend: str, device: str, reset: str, detach_reset: bool, curve: str):
    """Parameters of a whole layer and an untrained threshold, as in most networks: kernels take a shorter way."""
    case = Case(3, LAYOUTS["TNC"], curve, reset, detach_reset, per_channel=False)
    for learned in (("current",), ("current", "decay"), ("current", "width"), ("current", "start")):
        assert_serves(case, backend, device, learned)


@compiled
@pytest.mark.parametrize("size", [(3, 64, 9, 9), (2, 48, 8, 8)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_many_blocks_of_channels_side_by_side(backend: str, device: str, size: tuple[int, ...], per_channel: bool):
    """A block's parameters may be those of the last block, where its channels are, and may not where they are not."""
    assert_serves(
        Case(3, size, norm="batch", plus=True, plus_norm="fixed", memory="channels_last", per_channel=per_channel),
        backend,
        device,
    )


# --- errors ---------------------------------------------------------------------------------------------------------


def test_misspelt_reset_offers_the_nearest():
    with pytest.raises(UnknownName, match=r"unknown reset 'substract'; did you mean 'subtract'\?"):
        lif(torch.zeros(1, 2, 3), 0.2, 1.0, surrogate="rect", reset="substract")  # type: ignore[arg-type]


def test_unknown_backend_lists_the_known():
    with pytest.raises(UnknownName, match=r"unknown backend 'cupy'; choose from auto.*reference"):
        lif(torch.zeros(1, 2, 3), 0.2, 1.0, surrogate="rect", backend="cupy")


def test_misspelt_surrogate_function_offers_the_nearest():
    with pytest.raises(UnknownName, match=r"did you mean 'triangle'\?"):
        lif(torch.zeros(1, 2, 3), 0.2, 1.0, surrogate="triangel")


@every_backend
@pytest.mark.parametrize(
    "current", [torch.zeros(2, 3, 4, dtype=torch.int64), torch.zeros(3), torch.zeros(0, 2, 3), torch.tensor(1.0)]
)
def test_refuses_what_is_no_current(backend: str, device: str, current: Tensor):
    with pytest.raises(BadValue, match=r"current is torch\..* of shape .*; give floating-point currents \[T, N, ...\]"):
        lif(current.to(device), 0.2, 1.0, surrogate="rect", backend=backend)


@every_backend
@pytest.mark.parametrize("name", ["decay", "threshold", "width"])
@pytest.mark.parametrize(("size", "given_size"), [((2, 5, 3), (4,)), ((2, 5, 3), (1, 1, 3)), ((2, 3), (3,))])
def test_refuses_a_parameter_that_fits_no_channel(
    backend: str, device: str, name: str, size: tuple[int, ...], given_size: tuple[int, ...]
):
    parameters: dict[str, Any] = {"decay": 0.2, "threshold": 0.5, "width": 1.0} | {name: torch.full(given_size, 0.5)}
    with pytest.raises(BadValue, match=r"does not fit currents .*give a number, or one per channel as \[C\]"):
        lif(torch.zeros(size, device=device), surrogate="rect", backend=backend, **parameters)


@every_backend
def test_refuses_a_start_of_another_shape(backend: str, device: str):
    """[C] would broadcast over the samples without an error, and every sample would begin alike."""
    with pytest.raises(BadValue, match=r"initial_potential \[3\] does not fit .* one step, \[5, 3\]"):
        lif(
            torch.zeros(2, 5, 3, device=device),
            0.2,
            1.0,
            surrogate="rect",
            initial_potential=torch.zeros(3, device=device),
            backend=backend,
        )


@every_backend
@pytest.mark.parametrize("fits", [1, 3, 5])
def test_refuses_a_norm_that_fits_no_channel(backend: str, device: str, fits: int):
    """A kernel would read what lies beyond it."""
    current, right, wrong = (torch.ones(size, device=device) for size in ((2, 3, 4), 4, fits))
    for parts in ((wrong, right, right, right), (right, right, wrong, right), (right, right, right, wrong)):
        norm = Norm(*parts, 1e-5, False)
        for given in ({"norm": norm}, {"plus": current, "plus_norm": norm}):
            with pytest.raises(BadValue, match="norm"):
                lif(current, 0.2, 1.0, surrogate="rect", backend=backend, **given)


@every_backend
@pytest.mark.parametrize("steps", [0, -1])
def test_refuses_no_steps(backend: str, device: str, steps: int):
    with pytest.raises(BadValue, match="steps"):
        lif(torch.ones(1, 3, 4, device=device), 0.2, 1.0, surrogate="rect", steps=steps, backend=backend)


@every_backend
def test_refuses_summands_that_do_not_fit(backend: str, device: str):
    current = torch.ones(3, 2, 4, device=device)
    for plus, steps in (((2, 2, 4), None), ((3, 1, 4), None), ((3, 2, 4), 5)):
        with pytest.raises(BadValue, match=r"does not fit \d steps .* where it is the same at every step"):
            lif(current, 0.2, 1.0, surrogate="rect", plus=torch.ones(plus, device=device), steps=steps, backend=backend)


# --- torch.compile --------------------------------------------------------------------------------------------------


def stack() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(5, 8),
        LIF(0.3, train_decay=True, surrogate="triangle"),
        nn.Linear(8, 8),
        LIF(0.25, surrogate="atan", reset="subtract", channels=8),
        nn.Linear(8, 3),
        LIF(tau=2.0, surrogate="dspike", detach_reset=True),
    )


def test_compiled_whole_and_never_again_when_widths_or_decays_change():
    plain = stack()
    compiled = stack()
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
        spikes = fast(x)
        expected = plain(x)
        assert expected.sum() > 0
        assert torch.equal(spikes, expected)
        spikes.sum().backward()
        expected.sum().backward()
        for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
            assert ours.grad is not None
            assert theirs.grad is not None
            torch.testing.assert_close(ours.grad, theirs.grad)
    assert counter.frame_count == 1


@every_backend
@pytest.mark.parametrize("mode", ["eager", "aot_eager"])
def test_compiled_with_norms_sums_and_a_state(backend: str, device: str, mode: str):
    """One graph, forward and backward; new decays, widths and weights are no reason for another."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend(mode)

    def network(x: Tensor, plus: Tensor, weight: Tensor, decay: Tensor, width: Tensor, start: Tensor) -> Tensor:
        mean = x.detach().mean((0, 1, 3))
        variance = x.detach().var((0, 1, 3), unbiased=False)
        norm = Norm(mean, variance, weight, weight, 1e-5, True)
        out = lif(
            x,
            decay,
            width,
            surrogate="tanh",
            norm=norm,
            plus=plus,
            initial_potential=start,
            return_histogram=True,
            backend=backend,
        )
        return out.spikes.sum(0) + out.potential * (out.histogram.sum() > 0)

    whole = torch.compile(network, fullgraph=True, backend=counter)
    for number in range(3):
        torch.manual_seed(number)
        size = {"x": (4, 2, 3, 5), "plus": (4, 2, 3, 5), "weight": (3,), "decay": (3,), "width": (), "start": (2, 3, 5)}
        given = [torch.rand(sizes, device=device) + 0.1 for sizes in size.values()]
        results = []
        for function in (network, whole):
            leaves = [value.clone().requires_grad_() for value in given]
            out = function(*leaves)
            out.square().sum().backward()
            results.append([out, *(value.grad for value in leaves)])
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs)
    assert counter.frame_count == 1


@compiled
def test_compiled_to_the_end(backend: str, device: str):
    """By inductor, which reorders, fuses and frees what surrounds the kernel."""
    torch._dynamo.reset()
    neuron = LIF(0.3, train_decay=True, surrogate="atan", backend=backend).to(device)
    x = torch.randn(4, 6, 5, device=device)
    results = []
    for function in (neuron, torch.compile(neuron, fullgraph=True)):
        neuron.zero_grad()
        given = x.clone().requires_grad_()
        (function(given * 2) * torch.arange(5, device=device)).sum().backward()
        results.append((given.grad, neuron.logit_decay.grad.clone()))
    torch.testing.assert_close(*results)


def operator_samples(device: str) -> list[LIFArguments]:
    """Arguments of a kernel's operator: the fewest, all twice with other outputs, and in half precision."""
    x = torch.randn(3, 2, 4, 5, device=device)
    number = torch.tensor(0.5, device=device)
    many = torch.rand(4, device=device)
    rows = torch.rand(4, 4, device=device) + 0.5
    start = torch.randn(2, 4, 5, device=device)
    none = PerTensor(*[None] * len(TENSORS))
    bare = none._replace(x=x, decay=number, threshold=number, width=number)
    learned = PerTensor(*(v.clone().requires_grad_() for v in (x, rows, x[:1], rows, many, many, many, start)))
    half = laid_out(torch.randn(3, 2, 4, 5, device=device).bfloat16(), "channels_last").requires_grad_()

    def sample(tensors: PerTensor, **options: Any) -> LIFArguments:
        plain = {
            "eps": 0.0,
            "plus_eps": 0.0,
            "scale": 1.0,
            "plus_scale": 1.0,
            "batch": False,
            "plus_batch": False,
            "shared": False,
            "steps": 3,
            "detach_reset": False,
            "return_histogram": False,
            "return_potential": True,
            "return_history": False,
            "reset": "zero",
            "surrogate": SURROGATES["tanh"],
        }
        return LIFArguments(**tensors._asdict(), **(plain | options))

    norms = {"eps": 1e-5, "plus_eps": 1e-5, "batch": True, "surrogate": SURROGATES["dspike"], "reset": "subtract"}
    return [
        sample(bare),
        sample(learned, **norms, detach_reset=True, return_histogram=True),
        sample(learned, **norms, return_history=True),
        sample(bare._replace(x=half, norm=rows, threshold=many), eps=1e-5, batch=True, return_potential=False),
    ]


@compiled
@pytest.mark.parametrize("sample", range(4))
def test_operators_keep_what_torch_expects_of_them(backend: str, device: str, sample: int):
    """No hidden writes or shared memory, shapes and strides known before, gradients that trace."""
    a = operator_samples(device)[sample]
    given = flattened(a)
    torch.library.opcheck(getattr(torch.ops.surgrad, backend).default, given)
    bare = [value.detach() if isinstance(value, Tensor) else value for value in given]
    x = bare[0]
    wanted = [isinstance(tensor, Tensor) for tensor in tensors_of(a)]
    above = laid_out(torch.randn_like(x), "contiguous" if x.is_contiguous() else "channels_last")
    onward = torch.randn_like(x[0], dtype=torch.float32) if a.return_potential else None
    there = torch.randn_like(above, dtype=torch.float32) if a.return_history else None
    to_backward = (above, onward, there, wanted, *bare)
    torch.library.opcheck(getattr(torch.ops.surgrad, f"{backend}_backward").default, to_backward)
    torch.library.opcheck(getattr(torch.ops.surgrad, f"{backend}_moments").default, (x,))


def test_arguments_are_flattened_and_back_by_their_names():
    """Whatever fields there are: tensors first, then numbers, then whole numbers and switches."""
    for a in operator_samples("cpu"):
        again = unflattened(*flattened(a))
        for field in fields(LIFArguments):
            assert getattr(again, field.name) is getattr(a, field.name) or getattr(again, field.name) == getattr(
                a, field.name
            ), field.name
    other = replace(operator_samples("cpu")[0], surrogate=dspike(0.75))
    assert unflattened(*flattened(other)).surrogate.constants == (0.75,)
    names = [field.name for field in fields(LIFArguments)]
    assert tuple(names[: len(TENSORS)]) == TENSORS == PerTensor._fields


def test_the_native_header_has_the_rows_of_the_sums():
    header = (Path(native.__file__).parent / "lif.h").read_text()
    rows = re.search(r"enum Sum { (.*), SUMS };", header)[1].split(", ")
    assert rows == [row.name for row in SumRow]
    assert f"float constants[{CONSTANTS}];" in header
    assert max(len(function.constants) for function in SURROGATES.values()) <= CONSTANTS


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_old_names_of_keywords_work_and_warn():
    x = torch.randn(3, 2, 4)
    start = torch.randn(2, 4)
    new = lif(x, 0.5, 1.0, surrogate="atan", initial_potential=start, return_histogram=True)
    with pytest.warns(FutureWarning, match=r"lif\(shape=\) is deprecated .* use surrogate="):
        old = lif(x, 0.5, 1.0, shape="atan", start=start, watch=True, keep=False)
    assert torch.equal(old.spikes, new.spikes)
    assert torch.equal(old.histogram, new.histogram)
    assert old.potential is None
    with pytest.warns(FutureWarning, match="lif_history"):
        out, history = lif_history(x, 0.5, 1.0, surrogate="atan")
    assert torch.equal(history, out.history)
    with pytest.raises(TypeError, match="unexpected keyword argument 'thresold'"):
        lif(x, 0.5, 1.0, thresold=1.0)


class Names(TorchDispatchMode):
    """Notes the operators that run under it, as tracers and counters of operations do."""

    def __init__(self):
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(func.name())
        return func(*args, **(kwargs or {}))


@compiled
def test_who_looks_at_operators_sees_the_kernel(backend: str, device: str):
    """The direct path past torch's dispatcher is for calls that nothing observes; it gives the same."""
    x = torch.randn(3, 2, 4, 5, device=device)

    def results(watched: bool) -> tuple[Tensor, Tensor | None]:
        given = x.clone().requires_grad_()
        with names if watched else nullcontext():
            spikes = lif(given, 0.5, 1.0, surrogate="tanh", backend=backend).spikes
            spikes.square().sum().backward()
        return spikes, given.grad

    names = Names()
    for ours, theirs in zip(results(watched=True), results(watched=False), strict=True):
        assert torch.equal(ours, theirs)
    assert {f"surgrad::{backend}", f"surgrad::{backend}_backward"} <= names.seen
    for early in (False, True):
        traced = make_fx(lambda x: lif(x, 0.5, 1.0, surrogate="tanh", backend=backend).spikes, pre_dispatch=early)(x)
        assert f"surgrad.{backend}" in str(traced.graph)
    with FakeTensorMode() as fakes:
        fake = lif(fakes.from_tensor(x), 0.5, 1.0, surrogate="tanh", backend=backend).spikes
    assert type(fake) is FakeTensor
    assert fake.shape == x.shape


@pytest.mark.parametrize(
    ("backend", "device", "dtype"), [place(*on, torch.float32) for on in product(BACKENDS, DEVICES)]
)
@pytest.mark.parametrize("width", [1e-40, 1e-20, 1e-9])
@pytest.mark.parametrize("surrogate", sorted(SURROGATES))
def test_the_narrowest_widths_have_finite_gradients(
    backend: str, device: str, dtype: Any, width: float, surrogate: str
):
    """Widths below `surgrad.surrogates.base.NARROWEST` act as that one."""
    current = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)).to(device)
    found = []
    for given in (width, 1e-9):
        leaves = [current.clone(), *(torch.tensor(value, device=device) for value in (0.5, given))]
        x, decay, w = (leaf.requires_grad_() for leaf in leaves)
        lif(x, decay, w, surrogate=surrogate, reset="subtract", backend=backend).spikes.sum().backward()
        assert all(torch.isfinite(leaf.grad).all() for leaf in (x, decay, w))
        found.append((x.grad, decay.grad))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("backend", "device", "dtype"), [place(*on, torch.float32) for on in product(BACKENDS, DEVICES)]
)
def test_potentials_that_are_no_numbers_are_counted_as_silent(backend: str, device: str, dtype: Any):
    current = torch.tensor([[0.0, torch.nan, 1.0, torch.inf, -torch.inf]], device=device)[None]
    out = lif(current.expand(1, 4, 5), 0.5, 1.0, backend=backend, return_histogram=True)
    assert out.histogram is not None
    assert out.histogram.sum() == 20
    assert out.histogram[0] == 8
    assert out.histogram[BINS // 2 :].sum() == out.spikes.sum() == 8
