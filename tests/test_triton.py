"""The Triton kernels against the specification: on the GPU where there is one, else in triton's interpreter.

Triton reads TRITON_INTERPRET when it is imported; where something imported it before, these tests are skipped."""

import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.profiler import ProfilerActivity, profile

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu" and "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"

from surgrad import LIF, TDBN, BatchNorm, NormNeuron  # noqa: E402
from surgrad.kernels.lif import LIFArguments, Norm, lif_arguments, native, reference, triton  # noqa: E402
from surgrad.kernels.lif.arguments import TENSORS  # noqa: E402
from surgrad.kernels.lif.histograms import BINS, PER_THRESHOLD, histogram  # noqa: E402
from surgrad.kernels.lif.operators import flattened, register  # noqa: E402
from surgrad.surrogates import SURROGATES  # noqa: E402

IMPORTED = "import sys, surgrad.kernels.lif.triton as t; sys.exit(t.__name__ + '.kernels' in sys.modules)"
if triton.why_not(DEVICE):
    pytest.skip(f"triton {triton.why_not(DEVICE)}", allow_module_level=True)

from surgrad.kernels.lif.triton import bits, counters, kernels, launches, statistics, sums, tiling  # noqa: E402

fused = register("triton_under_test", triton)
BOTH = ("reference", "triton")
KERNELS = (
    *((kernels, name) for name in ("forward", "backward", "finish")),
    *((statistics, name) for name in ("gather", "merge")),
    (sums, "total"),
    *((bits, name) for name in ("pack", "unpack")),
)
AT_REST = {
    f"aten::{name}"
    for name in (
        *("new_empty", "empty", "empty_like", "empty_strided"),
        *("detach", "select", "slice", "as_strided", "unbind", "to", "promote_types"),
    )
}
"""Operations that launch nothing on a GPU: `to` only where `_to_copy` follows."""
CASES = 24


@pytest.fixture(autouse=True)
def _poison() -> Iterator[None]:
    """New memory holds NaN, so that nobody passes who leaves some unwritten, or reads it."""
    torch.use_deterministic_algorithms(True, warn_only=True)  # which fills it
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few elements then take many programs, and many tiles each."""
    monkeypatch.setattr(tiling, "THREADS", 32)
    monkeypatch.setattr(tiling, "MOST_PROGRAMS", 3)
    monkeypatch.setattr(tiling, "WIDEST_ROW", 4)


def laid_out(x: Tensor, last: bool) -> Tensor:
    """x [T, N, C, H, W] with its channels side by side, if so."""
    return x.movedim(2, -1).contiguous().movedim(-1, 2) if last and x.ndim == 5 else x


def random_call(seed: int) -> LIFArguments:
    """Any options at odd sizes. The first few seeds go through all of the steps, layouts, dtypes and resets."""
    choose = random.Random(seed)
    torch.manual_seed(seed)
    T = (1, 2, 3, 5, 17)[seed % 5]
    dtype = (torch.float32, torch.float32, torch.bfloat16, torch.float16)[seed % 4]
    size = choose.choice([(7,), (5, 3), (2, 3, 5, 3), (2, 5, 3, 3)])
    last = seed % 3 == 0
    channels = size[1] if len(size) > 1 else 1
    flags = [choose.random() < 0.5 for _ in range(8)]
    per_channel = (channels,) if flags[0] and len(size) > 1 else ()

    def summand(steps: int, normed: bool, batch: bool) -> tuple[Tensor, Norm | None]:
        x = laid_out(torch.randn(steps, *size, device=DEVICE) * 0.7 + 0.2, last).to(dtype)
        if not normed or len(size) < 2:
            return x, None
        flat = x.float().movedim(2, 0).flatten(1)
        rows = (flat.mean(1), flat.var(1, unbiased=False), torch.rand(channels) + 0.5, torch.randn(channels) * 0.2)
        return x, Norm(*(row.to(DEVICE) for row in rows), 1e-5, batch, scale=choose.choice((0.5, 1.0, 3.0)))

    def parameter(low: float, high: float) -> Tensor:
        return (torch.rand(per_channel) * (high - low) + low).to(DEVICE)

    width = parameter(0.4, 2.0)
    if seed % 3 == 1:  # one for each of the first steps
        width = torch.rand(choose.choice((1, 2, 6)), *(per_channel or (1,)), device=DEVICE) + 0.4
    x, norm = summand(1 if flags[1] else T, flags[2], flags[3])
    plus, plus_norm = summand(1 if flags[4] else T, flags[2], flags[5])
    initial = laid_out(torch.randn(1, *size, device=DEVICE), last)[0] if flags[6] else None
    return lif_arguments(
        x,
        decay=parameter(0.2, 0.9),
        threshold=parameter(0.3, 0.8),
        width=width,
        surrogate=list(SURROGATES.values())[seed % len(SURROGATES)],
        norm=norm,
        plus=plus if seed % 2 else None,
        plus_norm=plus_norm if seed % 2 else None,
        steps=T,
        reset=("zero", "subtract", "none")[seed // 2 % 3],
        detach_reset=flags[7],
        initial_potential=initial,
        return_history=seed % 4 == 1 or seed % 7 == 2,
    )


def leaves_of(call: LIFArguments, dtype: torch.dtype | None) -> tuple[LIFArguments, dict[str, Tensor]]:
    """The call over leaves of autograd, of another dtype if given, and these by name."""
    given = {name: getattr(call, name) for name in TENSORS}
    leaves = {
        name: value.detach().clone().to(dtype or value.dtype).requires_grad_(name != "width" or value.ndim < 2)
        for name, value in given.items()
        if value is not None
    }
    return replace(call, **leaves), leaves


def run(backend: Any, call: LIFArguments, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Outputs and the gradients of all leaves, by name."""
    torch.manual_seed(0)
    call, leaves = leaves_of(call, dtype)
    above = laid_out(torch.randint(-2, 3, call.size).to(DEVICE, call.x.dtype), call.x.ndim == 5)
    spikes, potential, _, history = backend(call)
    outputs = [(spikes, above), (potential, torch.ones_like(potential))]
    if history is not None:
        outputs.append((history, above.to(history.dtype).flip(0)))
    torch.autograd.backward(*zip(*outputs, strict=True))
    kept = {} if history is None else {"history": history.detach()}
    return {
        "spikes": spikes.detach(),
        "potential": potential.detach(),
        **kept,
        **{name: gradient_of(leaves[name], name) for name in leaves},
    }


def gradient_of(leaf: Tensor, name: str) -> Tensor:
    """The gradient of a leaf, without the rows of a norm that receive none."""
    gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    return gradient[2:] if name.endswith("norm") else gradient  # mean and variance


@pytest.mark.parametrize("seed", range(CASES))
def test_outputs_and_gradients_are_the_specifications(seed: int, monkeypatch: pytest.MonkeyPatch):
    if seed % 2:
        small_tiles(monkeypatch)
    call = random_call(seed)
    actual = run(fused, call)
    expected = run(reference.lif, call, torch.float64)
    assert torch.equal(actual.pop("spikes").double(), expected.pop("spikes"))
    for name, value in actual.items():
        rough = {torch.float32: 3e-5, torch.float16: 3e-3, torch.bfloat16: 2e-2}[value.dtype]
        allowed = rough * (1 + expected[name].abs().max().item())
        assert (value.double() - expected[name]).abs().max().item() <= allowed, name


def dyadic_call(size: tuple[int, ...], last: bool, **options: Any) -> LIFArguments:
    """Short binary fractions, so that nothing is ever rounded; a third of the first step is at the threshold."""
    torch.manual_seed(1)
    x = torch.randint(-64, 65, size).float() / 64
    x = laid_out(torch.where(torch.rand(size) < 1 / 3, 0.5, x), last).to(DEVICE)
    quarter, half, one = (torch.tensor(v, device=DEVICE) for v in (0.25, 0.5, 1.0))
    return lif_arguments(x, decay=quarter, threshold=half, width=one, surrogate="rect", **options)


@pytest.mark.parametrize("reset", ["zero", "subtract", "none"])
@pytest.mark.parametrize("detach_reset", [False, True])
def test_dyadic_numbers_are_exact(reset: str, detach_reset: bool, monkeypatch: pytest.MonkeyPatch):
    small_tiles(monkeypatch)
    call = dyadic_call((2, 3, 3, 5, 3), detach_reset, reset=reset, detach_reset=detach_reset)
    if reset == "zero":
        call = replace(call, decay=call.decay.expand(3).contiguous())
    actual = run(fused, call)
    expected = run(reference.lif, call)
    for name, value in actual.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("size", [(2, 3, 5), (10, 2, 3, 5, 3)])
def test_the_histogram_counts_every_unit(size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch):
    small_tiles(monkeypatch)
    call = dyadic_call(size, True, return_histogram=True)
    counts = fused(call)[2]
    expected = reference.lif(call)[2]
    assert counts is not None
    assert torch.equal(counts, expected)


def test_the_instructions_for_a_gpu_find_the_bins():
    """Interpreted here: what lies 1e-4 of a bin away from every edge is in the histogram's bin, 0 too, and what lies
    beyond, is infinite or NaN is in the first or the last."""
    draws = random.Random(0)
    per = np.float32(PER_THRESHOLD / np.float32(0.3))
    inner = [(draws.randrange(-BINS // 2, BINS // 2) + draws.uniform(1e-4, 1 - 1e-4)) / per for _ in range(2000)]
    ends = [scale * sign for scale in (BINS / per, 1e9, 1e38, math.inf) for sign in (1, -1)]
    values = np.array([*inner, *ends, 0.0, -0.0, -1e-30, 1e-30, math.nan], dtype=np.float32)
    expected = [histogram(torch.tensor(x), torch.tensor(0.3)).argmax().item() for x in values]
    found = [counter_of(x, per * np.float32(1 / BINS), table=1024) for x in values]
    assert [min(number, BINS - 1) for number in found] == expected
    assert max(found) == BINS  # the counter that is added to the last bin's


def counter_of(x: np.float32, per: np.float32, table: int) -> int:
    """The number of the counter to which `counters.ADD` adds, from its instructions."""
    of: dict[str, Any] = {"$1": x, "$2": per, "$3": np.uint32(table)}
    for line in counters.ADD.value.strip("{}").split(";"):
        name, _, rest = line.strip().partition(" ")
        to, *given = [word.strip(" []") for word in rest.split(",")]
        values = [np.uint32(int(w[2:], 16)).view(np.float32) if w.startswith("0f") else of.get(w) for w in given]
        if name.startswith(("fma", "add")):
            of[to] = rounded(*values, down=name.endswith("rm.f32"))
            of[to] = np.float32(min(max(of[to], 0), 1) if of[to] == of[to] else 0) if ".sat" in name else of[to]
        elif name == "mov.b32":
            of[to] = values[0].view(np.float32 if to == "table" else np.uint32)
    return divmod(int(of["address"]) - table, 4)[0]


def rounded(a: np.float32, b: np.float32, c: np.float32 | None = None, *, down: bool = False) -> np.float32:
    """a·b + c, or a + b, of which only the result is rounded: to the nearest float32, or to the one below."""
    wide = float(a) + float(b) if c is None else float(a) * float(b) + float(c)
    if not math.isfinite(wide):
        return np.float32(wide)
    exact = Fraction(float(a)) + Fraction(float(b)) if c is None else Fraction(float(a) * float(b)) + Fraction(float(c))
    with np.errstate(over="ignore"):
        near = np.float32(wide)
    if down and (np.isposinf(near) or (np.isfinite(near) and Fraction(float(near)) > exact)):
        near = np.nextafter(near, np.float32(-math.inf))
    return near


class FakeKernel:
    """Compiles for a call by `kernel[grid](...)`, and notes what is launched."""

    arg_names = ("x", "y", "SIZE", "scale")

    def __init__(self) -> None:
        self.compiled: list[dict[str, Any]] = []
        self.launched: list[tuple[Any, ...]] = []

    def __getitem__(self, grid: Any) -> Any:
        def compile_and_launch(**arguments: Any) -> Any:
            self.compiled.append(arguments)
            return self

        def launch_compiled(*arguments: Any) -> None:
            assert grid == (7, 1, 1)
            self.launched.append(arguments)

        return launch_compiled if len(grid) == 3 else compile_and_launch


def test_a_kernel_is_looked_up_by_what_decides_its_compilation(monkeypatch: pytest.MonkeyPatch):
    """Types, alignment, absence, sizes and options; and no values of tensors or floats."""
    monkeypatch.setattr(launches, "JITFunction", FakeKernel)
    monkeypatch.setattr(launches, "_prepared", {})
    kernel = FakeKernel()
    a, b = torch.zeros(64), torch.ones(64)

    def launch(x: Any, y: Any = None, scale: float = 1.0, size: int = 2) -> int:
        launches.launch(kernel, (7,), {"x": x, "y": y, "scale": scale}, {"SIZE": size, "num_warps": 4})
        return len(kernel.compiled)

    assert launch(a) == 1
    assert launch(b, scale=3.0) == 1
    assert kernel.launched == [(b, None, 2, 3.0)]
    assert launch(a[4:]) == 1  # at 16 bytes again
    assert launch(a[1:]) == 2
    assert launch(a.double()) == 3
    assert launch(a, b) == 4
    assert launch(a, size=3) == 5
    assert launch(b, a, 2.0) == 5
    with pytest.raises(AssertionError):
        launch(a, scale=1)  # a whole number, whose value would decide
    assert kernel.launched[-1] == (b, a, 2, 2.0)
    monkeypatch.setattr(launches, "MOST", 5)
    assert launch(a, size=4) == 6  # forgets the others
    assert launch(a) == 7


def test_numbers_of_a_norm_are_floats():
    """Whole numbers would be compiled into a kernel, of which the key knows the kind alone."""
    x = torch.zeros(2, 3, 4, device=DEVICE)
    row = torch.ones(4, device=DEVICE)
    found = lif_arguments(x, 0.5, 1.0, norm=Norm(row, row, row, row, 1, False, scale=1))
    assert [type(value) for value in (found.eps, found.scale, found.plus_eps, found.plus_scale)] == [float] * 4


def test_calls_repeat_to_the_last_bit(monkeypatch: pytest.MonkeyPatch):
    small_tiles(monkeypatch)
    call = random_call(8)
    once = run(fused, call)
    again = run(fused, call)
    for name, value in once.items():
        assert torch.equal(value, again[name]), name


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_moments_survive_a_large_mean(last: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    small_tiles(monkeypatch)
    torch.manual_seed(0)
    spread = torch.tensor([1e-3, 1.0, 100.0]).view(-1, 1, 1)
    x = laid_out(torch.randn(5, 3, 3, 7, 3) * spread + 30, last).to(DEVICE, dtype)
    flat = x.double().movedim(2, 0).flatten(1)
    mean, variance = triton.moments(x)
    torch.testing.assert_close(mean.double(), flat.mean(1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(variance.double(), flat.var(1, unbiased=False), rtol=2e-4, atol=0)


@pytest.mark.parametrize("norm", [TDBN, BatchNorm])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("plus", [False, True])
def test_a_norm_in_the_kernels_is_the_norm(norm: Any, last: bool, plus: bool, monkeypatch: pytest.MonkeyPatch):
    """Its rows, its running estimates and its gradients, where the kernels compute all of them."""
    small_tiles(monkeypatch)
    layers = [NormNeuron(norm(5), LIF(0.3, train_decay=True, backend=name), norm(5) if plus else None) for name in BOTH]
    results = []
    for layer in layers:
        layer.to(DEVICE)
        draws = torch.Generator().manual_seed(0)
        for parameter in layer.norm.parameters():
            parameter.data += torch.rand(5, generator=draws).to(DEVICE)
        given = [laid_out(torch.randn(2, 3, 5, 3, 2, generator=draws) + 2, last).to(DEVICE) for _ in range(1 + plus)]
        currents = [current.requires_grad_() for current in given]
        spikes = layer(*currents)
        (spikes * torch.rand(spikes.shape, generator=draws).to(DEVICE)).sum().backward()
        gradients = [value.grad for value in (*currents, *layer.parameters()) if value.requires_grad]
        results.append([spikes.detach(), *gradients, *layer.norm.buffers()])
    assert results[0][0].any()
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("summands", [1, 2])
def test_few_launches_for_a_layer_with_its_norm(summands: int, monkeypatch: pytest.MonkeyPatch):
    """A training step of a layer: six kernels, three more for a second summand with its norm, and two of torch, the
    decay and its gradient. Each costs a GPU some microseconds."""
    norms = [TDBN(4) for _ in range(summands)]
    layer = NormNeuron(norms[0], LIF(0.3, train_decay=True, backend="triton"), *norms[1:]).to(DEVICE)
    currents = [torch.randn(2, 3, 4, 2, 2, device=DEVICE, requires_grad=True).clone() for _ in norms]  # no leaves
    ours: list[str] = []
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # see _poison
    for module, name in KERNELS:
        monkeypatch.setattr(module, name, Noted(name, ours))
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        spikes = layer(*currents)
        spikes.backward(spikes.detach())
    statistics = ["gather", "merge"] * summands
    assert ours == [*statistics, "forward", "backward", "total", *["finish"] * summands]
    of_torch = [event.name for event in recorded.events() if event.name.startswith("aten::")]
    assert [name for name in of_torch if name not in AT_REST] == ["aten::sigmoid", "aten::sigmoid_backward"]


class Noted:
    """In the place of a kernel: notes its launches."""

    def __init__(self, name: str, launches: list[str]):
        self.name = name
        self.launches = launches

    def __getitem__(self, grid: Any) -> Any:
        return lambda *given, **options: self.launches.append(self.name)


def arguments_of(call: LIFArguments) -> tuple[Any, ...]:
    """What the operator takes, its tensors leaves of autograd."""
    return flattened(leaves_of(call, None)[0])


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_the_operators_keep_what_torch_expects_of_them(seed: int):
    given = arguments_of(random_call(seed))
    torch.library.opcheck(torch.ops.surgrad.triton_under_test.default, given)
    bare = [value.detach() if isinstance(value, Tensor) else value for value in given]
    torch.library.opcheck(torch.ops.surgrad.triton_under_test_moments.default, (bare[0],))


def test_no_second_graph_when_widths_and_decays_change():
    graphs = CompileCounter()
    x = torch.randn(3, 2, 4, device=DEVICE)
    decay = torch.tensor(0.5, device=DEVICE, requires_grad=True)
    width = torch.tensor(1.0, device=DEVICE)

    @torch.compile(fullgraph=True, backend=graphs)
    def loss(x: Tensor, decay: Tensor, width: Tensor) -> Tensor:
        return fused(lif_arguments(x, decay, width, threshold=torch.tensor(0.5, device=DEVICE))).spikes.sum()

    for number in range(3):
        loss(x, decay * (0.9 - 0.1 * number), width + number).backward()
    assert graphs.frame_count == 1
    assert decay.grad is not None


@pytest.mark.skipif(DEVICE.type == "cpu", reason="CUDA graphs need CUDA")
def test_a_cuda_graph_replays_with_new_currents_widths_and_decays():
    call = dyadic_call((4, 2, 3, 5, 3), True)
    static, leaves = leaves_of(call, None)
    above = torch.ones_like(call.x)

    def step() -> list[Tensor]:
        spikes = fused(static)[0]
        wanted = [leaves[name] for name in ("x", "decay", "width")]
        return [spikes, *torch.autograd.grad(spikes, wanted, above)]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        leaves["x"].copy_(call.x.flip(1) * 0.5)
        leaves["decay"].fill_(0.75)
        leaves["width"].fill_(0.5)
    graph.replay()
    for value, expected in zip(captured, step(), strict=True):
        assert torch.equal(value, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 4095, 4096, 4097, 9000])
def test_bits_give_the_spikes_back(dtype: torch.dtype, count: int):
    spikes = (torch.rand(count, generator=torch.Generator().manual_seed(count)) < 0.4).to(DEVICE, dtype)
    packed = triton.pack(spikes)
    assert (packed.dtype, packed.shape) == (torch.uint8, (-(-count // 8),))
    assert torch.equal(triton.unpack(packed, torch.full_like(spikes, torch.nan)), spikes)
    if native.available() and dtype != torch.float64:
        assert torch.equal(packed.cpu(), native.pack(spikes.cpu()))


def test_nothing_of_triton_is_needed_before_a_call():
    subprocess.run([sys.executable, "-c", IMPORTED], check=True)


def test_why_not_names_the_device():
    assert triton.why_not(torch.device("cuda")) == ""
    assert triton.why_not(torch.device("meta")) == "runs on CUDA, and the current is on meta"
