"""The C++ kernel itself: its builds, number formats and elementary functions, and how it lives in a process."""

import ctypes
import importlib
import itertools
import os
import shutil
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from surrogate_cases import OTHERS
from torch import Tensor

from surgrad.errors import BadValue
from surgrad.kernels.lif import RESETS, Norm, backends, lif, moments
from surgrad.kernels.lif.native import binding
from surgrad.neurons import LIF
from surgrad.surrogates import SURROGATES, SurrogateFunction, surrogate_function
from surgrad.surrogates.base import Formula

ROOT = Path(__file__).parent.parent
FOLDER = Path(binding.__file__).parent
BUILDS = {level: path for level in binding.LEVELS for path in FOLDER.glob(f"_{level}.*") if path.suffix == ".so"}
needs_a_build = pytest.mark.skipif(not binding.available(), reason=f"the native kernel {binding.why_not()}")
EVERY = SURROGATES | {f"{name}, other constants": other for name, other in OTHERS.items()}
every_shape = pytest.mark.parametrize("shape", EVERY.values(), ids=EVERY)


def everything(
    size: tuple[int, ...] = (3, 5, 7, 9), T: int = 4, dtype: torch.dtype = torch.float32, **options: Any
) -> list[Tensor]:
    """All outputs and gradients of a call that uses all there is, by the native kernel unless told otherwise."""
    random = torch.Generator().manual_seed(3)

    def drawn(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=random)

    C = size[1]
    x, plus, above = (drawn(T, *size).to(dtype) for _ in range(3))
    start = drawn(*size)
    onward = drawn(*size)
    weight, bias, decay, threshold, width = (torch.rand(C, generator=random) * 0.5 + 0.3 for _ in range(5))
    leaves = [value.requires_grad_() for value in (x, plus, start, weight, bias, decay, threshold, width)]
    mean, variance = (
        f(x.detach().float().transpose(0, 2).flatten(1))
        for f in (lambda y: y.mean(1), lambda y: y.var(1, unbiased=False))
    )
    options = {"backend": "native", "surrogate": "tanh"} | options
    out = lif(
        x,
        decay,
        width,
        threshold=threshold,
        initial_potential=start,
        return_histogram=True,
        plus=plus,
        norm=Norm(mean, variance, weight, bias, 1e-5, True),
        plus_norm=Norm(mean, variance, weight, bias, 1e-5, False),
        **options,
    )
    torch.autograd.backward((out.spikes, out.potential), (above, onward))
    return [*out[:3], *(value.grad for value in leaves)]


def assert_equal(one: list[Tensor], other: list[Tensor]) -> None:
    """To the last bit."""
    for number, (a, b) in enumerate(zip(one, other, strict=True)):
        assert torch.equal(a, b), number


# --- builds and threads -----------------------------------------------------------------------------------------------


def runnable() -> list[str]:
    first = {"AVX512": 0, "AVX2": 1}.get(torch.backends.cpu.get_cpu_capability(), 2)
    return [level for level in binding.LEVELS[first:] if level in BUILDS]


def test_a_build_that_is_here_is_used():
    """Else every test of the kernel would be skipped, and none would fail."""
    assert binding.available() == bool(runnable())
    here = (FOLDER / "lif.cpp").exists() and shutil.which("g++") is not None
    assert binding.available() or not here, "a compiler is here: install surgrad again"


@needs_a_build
def test_every_build_computes_the_same_bits(monkeypatch: pytest.MonkeyPatch):
    results: dict[str, list[Tensor]] = {}
    for level in runnable():
        library = binding.declared(ctypes.CDLL(str(BUILDS[level])))
        monkeypatch.setattr(binding, "LIBRARY", library)
        results[level] = []
        for entry, reset in itertools.product(EVERY.values(), RESETS):
            results[level] += everything(surrogate=entry, reset=reset)
        for dtype in (torch.bfloat16, torch.float16):
            results[level] += everything(dtype=dtype, T=17)
            results[level].append(moments("native", torch.randn(3, 2, 5, 31).to(dtype) * 0 + 1.7))
    first, *others = results.values()
    for other in others:
        assert_equal(other, first)
    assert len(results) == len(runnable())


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


LARGE = (4, 8, 96, 96)  # cut into several tasks


@needs_a_build
def test_any_number_of_threads_computes_the_same_bits(two_threads: None):
    alone: dict[torch.dtype, list[Tensor]] = {}
    for threads, dtype in itertools.product((1, 2, 3, 2), (torch.float32, torch.bfloat16)):
        torch.set_num_threads(threads)
        x = torch.randn(4, *LARGE, generator=torch.Generator().manual_seed(1)).to(dtype)
        found = [*everything(LARGE, dtype=dtype), moments("native", x)]
        assert_equal(found, alone.setdefault(dtype, found))


@needs_a_build
@pytest.mark.parametrize("turns", [0, 1, 3])
def test_work_is_handed_to_the_runtime_that_torch_uses(monkeypatch: pytest.MonkeyPatch, two_threads: None, turns: int):
    """A stand-in for the runtime is asked for torch's number of threads, and may call as many as it likes."""
    asked = []

    @ctypes.CFUNCTYPE(None, ctypes.CFUNCTYPE(None, ctypes.c_void_p), ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    def parallel(work: Any, data: int, threads: int, flags: int) -> None:
        asked.append(threads)
        for _ in range(max(turns, 1)):
            work(data)

    expected = everything(LARGE)
    if turns:
        monkeypatch.setattr(binding, "openmp_entry", lambda: ctypes.cast(parallel, ctypes.c_void_p).value)
    else:
        monkeypatch.setattr(binding, "openmp_entry", lambda: None)
    assert_equal(everything(LARGE), expected)
    assert asked == ([2, 2, 2] if turns else []), "forward, backward, and the end of a batch norm"
    asked.clear()
    everything((2, 3, 2, 2))
    assert asked == [], "what is small is done at once"


# --- numbers ----------------------------------------------------------------------------------------------------------


def bits(x: Tensor) -> Tensor:
    """Of a tensor, all NaN made one."""
    integer = {2: torch.int16, 4: torch.int32}[x.element_size()]
    return torch.where(x.isnan(), torch.full_like(x, torch.nan), x).view(integer)


@needs_a_build
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_half_is_read_as_torch_reads_it(dtype: torch.dtype):
    every = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    out = lif(every[None], 0.0, 1.0, surrogate="rect", reset="none", backend="native")
    assert torch.equal(bits(out.potential + 0), bits(every.float() + 0)), "but for the sign of a zero"


@needs_a_build
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_float_is_rounded_to_a_half_as_torch_rounds_it(dtype: torch.dtype):
    """Around every half and every tie between two: on it, and one float32 to either side; and at random."""
    halves = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype).float()
    ties = (halves.view(torch.int32) // 2 + halves.roll(-1).view(torch.int32) // 2).view(torch.float32)
    means = halves / 2 + halves.roll(-1) / 2  # the true ties of subnormal halves
    near = torch.cat([halves, ties, means]).view(torch.int32)
    random = torch.randint(-(2**31), 2**31 - 1, (1_000_000,), generator=torch.Generator().manual_seed(0)).int()
    given = torch.cat([near, near + 1, near - 1, random]).view(torch.float32)
    x = torch.zeros(1, len(given), dtype=dtype, requires_grad=True)
    out = lif(x, 0.0, 1.0, surrogate="rect", reset="none", threshold=9.0, backend="native")
    out.potential.backward(given)  # nothing else is added to it
    assert torch.equal(bits(x.grad[0] + 0), bits(given.to(dtype) + 0))


def scattered(width: float) -> Tensor:
    """Float32 on both sides from next to nothing to 1e12 widths, dense around the width; and the edges."""
    far = torch.logspace(-30, 12, 4001, dtype=torch.float64)
    near = torch.linspace(0, 60, 6007, dtype=torch.float64)
    edges = torch.tensor([0.0, 0.1, 0.5, 1.0, width / 2, width])
    edges = torch.cat([edges, *(torch.nextafter(edges, torch.full_like(edges, to)) for to in (0.0, 9e9))])
    x = torch.cat([(torch.cat([far, near]) * width).float(), edges])
    return torch.cat([x, -x])


@needs_a_build
@every_shape
@pytest.mark.parametrize("width", [1e-3, 0.03, 0.3, 1.0, 1.5, 7.0, 500.0])
def test_slopes_are_the_shapes_own(shape: SurrogateFunction, width: float):
    """Against float64: to 4e-7 of the slope, and as much for every power of e that it lies below its peak, since an
    exponential multiplies the rounding of its argument, as does a power; and to the smallest float32. A shape that is
    a difference is held to the size of its parts."""
    x = scattered(width)[None, None].requires_grad_()
    widths = torch.full((x.shape[2],), width).requires_grad_()
    lif(x, 0.5, widths, surrogate=shape, threshold=0.0, reset="none", backend="native").spikes.sum().backward()
    z = x.detach()[0, 0].double()
    w = widths.detach().double()
    slope = shape.slope(z, w)
    width_slope = shape.width_slope(z, w)
    parts = slope.abs()
    if shape.name == "multi_gaussian":
        h, s, gamma = shape.constants
        lobes = sum(torch.exp(-(((z / w + side) / s) ** 2) / 2) for side in (-1, 1)) * h / s
        parts = gamma / w * ((1 + h) * torch.exp(-((z / w) ** 2) / 2) + lobes)
    exponent = (parts.clamp(min=1e-300) * w).log().abs().clamp(max=100)
    power = shape.constants[0] if shape.name == "q_pseudospike" else 0
    roundings = (6 + power) * 2.0**-24 * (1 + exponent)
    least = 1e-37 / w
    error = (x.grad[0, 0].double() - slope).abs() - roundings * parts - least
    assert (error <= 0).all(), (z[error.argmax()].item(), error.max().item())
    factor = (z / w).abs()
    error = (widths.grad.double() - width_slope).abs() - roundings * (factor * parts + width_slope.abs())
    error -= least * (1 + factor)
    assert (error <= 0).all(), (z[error.argmax()].item(), error.max().item())


@needs_a_build
def test_what_is_not_a_number_stays_none():
    """And infinity is a potential like another: it fires, for ever where nothing resets it."""
    x = torch.tensor([[torch.nan, torch.inf, -torch.inf, 1.0]]).repeat(3, 1)
    for reset in RESETS:
        native, reference = (
            lif(x, 0.5, 1.0, surrogate="atan", reset=reset, backend=b) for b in ("native", "reference")
        )
        assert torch.equal(native.spikes, reference.spikes)
        assert torch.equal(bits(native.potential), bits(reference.potential))


# --- which shapes and types -------------------------------------------------------------------------------------------


@needs_a_build
@pytest.mark.parametrize("name", OTHERS)
def test_other_constants_are_the_same_kernel(name: str):
    """They run natively, and make a difference."""
    native, reference = (everything(surrogate=OTHERS[name], backend=b) for b in ("native", "reference"))
    for ours, theirs in zip(native, reference, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert not torch.equal(everything(surrogate=name)[3], native[3])


def custom() -> SurrogateFunction:
    return surrogate_function(
        "raised",
        step=lambda x, w: (x / w + 0.5).clamp(0, 1),
        slope=lambda x, w: (x.abs() < w / 2) / w,
        reach=lambda w, share: share * w / 2,
        source="these tests",
    )


def test_a_shape_of_ones_own_runs_in_torch():
    own = custom()
    with pytest.raises(BadValue, match=r"backend 'native' knows the formulas .*'raised' has another.*backend='auto'"):
        everything(surrogate=own)
    assert_equal(everything(surrogate=own, backend="auto"), everything(surrogate="rect", backend="torch"))
    usurper = SurrogateFunction(**{**vars(own), "name": "tanh", "formula": Formula(lambda x, w: x, None)})
    with pytest.raises(BadValue, match="has another"):
        everything(surrogate=usurper)


@pytest.mark.parametrize("dtype", [torch.float64])
def test_float64_runs_in_torch(dtype: torch.dtype):
    with pytest.raises(BadValue, match=r"takes float32, bfloat16 and float16, not torch\.float64; .*backend='auto'"):
        everything(dtype=dtype)
    x = torch.randn(3, 4, 5, dtype=dtype)
    auto, torch_too = (lif(x, 0.5, 1.0, surrogate="tanh", backend=b) for b in ("auto", "torch"))
    assert auto.potential.dtype == dtype
    assert torch.equal(auto.potential, torch_too.potential)


def test_without_a_compiler_neurons_run_in_torch_and_say_so_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(binding, "LIBRARY", None)
    monkeypatch.setattr(binding, "WHY_NOT", "was not built when surgrad was installed")
    monkeypatch.setattr(backends, "_SAID", set())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        runs = [everything(backend="auto") for _ in range(3)]
    assert len(said) == 1
    assert "kernel 'native' was not built when surgrad was installed" in str(said[0].message)
    assert "with a C++ compiler installed: pip install --force-reinstall" in str(said[0].message)
    assert_equal(runs[0], everything(backend="torch"))
    with pytest.raises(BadValue, match=r"backend 'native' was not built when surgrad was installed"):
        everything()


def test_where_no_kernel_is_made_for_nothing_is_said(monkeypatch: pytest.MonkeyPatch):
    """A device that has none is no fault of the installation."""
    monkeypatch.setattr(backends, "_SAID", set())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert LIF(0.2).to("meta")(torch.empty(3, 2, 4, device="meta")).shape == (3, 2, 4)


@needs_a_build
@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf (binutils) is not here")
def test_the_build_links_neither_torch_nor_an_openmp_runtime_of_its_own():
    """So that one build serves every torch, and every thread is of the runtime that torch has loaded."""
    for library in BUILDS.values():
        assert ".abi3" in library.name
        linked = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout.lower()
        assert not any(name in linked for name in ("torch", "c10", "gomp", "iomp", "libomp", "libpython"))


def test_an_installation_without_a_compiler_succeeds(tmp_path: Path):
    pytest.importorskip("setuptools")
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.so", "*.dylib", "__pycache__"))
    none = {
        **os.environ,
        "CC": "false",
        "CXX": "false",
        "LDSHARED": "false",
        "LDCXXSHARED": "false",
        "PYTHONPATH": str(tmp_path / "src"),
    }
    words = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(words, cwd=tmp_path, env=none, check=True, capture_output=True)
    assert not [*(tmp_path / "src").rglob("*.so")]
    asked = "from surgrad.kernels.lif import native; print(native.__file__, native.available())"
    said = subprocess.run([sys.executable, "-c", asked], env=none, check=True, capture_output=True, text=True).stdout
    assert said.split() == [str(tmp_path / "src/surgrad/kernels/lif/native/__init__.py"), "False"]


def test_without_a_compiler_neurons_still_compile_whole_and_say_so_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(binding, "LIBRARY", None)
    monkeypatch.setattr(binding, "WHY_NOT", "was not built when surgrad was installed")
    neuron = LIF(0.2)
    current = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(backends, "_SAID", set())
    torch.compiler.reset()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        spikes = torch.compile(neuron, fullgraph=True, backend="eager")(current)
        expected = neuron(current)
    torch.compiler.reset()
    assert ["kernel 'native' was not built" in str(warning.message) for warning in said] == [True]
    assert torch.equal(spikes, expected)


@needs_a_build
def test_a_build_of_other_sources_is_not_used(monkeypatch: pytest.MonkeyPatch):
    """Its numbers of shapes or its structs may be others."""
    monkeypatch.setattr(binding, "digest", lambda: "another")
    library, why = binding._load()
    assert library is None
    assert "was built from other sources" in why


@pytest.mark.parametrize(
    ("setup", "why", "remedy"),
    [
        (
            ROOT / "setup.py",
            "cannot be loaded: _base.so was built from other sources",
            "run `pip install -e .` (or `make`)",
        ),
        (
            ROOT / "none.py",
            "cannot be loaded: _base.so was built from other sources",
            "--force-reinstall --no-cache-dir surgrad",
        ),
        (ROOT / "setup.py", "was not built when surgrad was installed", "--force-reinstall --no-cache-dir surgrad"),
    ],
    ids=["a checkout", "an installed package", "no build"],
)
def test_the_remedy_for_a_build_that_is_not_used(monkeypatch: pytest.MonkeyPatch, setup: Path, why: str, remedy: str):
    assert binding.SETUP == ROOT / "setup.py"
    monkeypatch.setattr(binding, "SETUP", setup)
    monkeypatch.setattr(binding, "LIBRARY", None)
    monkeypatch.setattr(binding, "WHY_NOT", why)
    monkeypatch.setattr(backends, "_SAID", set())
    with pytest.warns(UserWarning, match="kernel 'native'") as said:
        lif(torch.zeros(1, 1, 1), 0.5, 1.0, surrogate="rect", backend="auto")
    assert str(said[0].message).endswith(remedy)


def test_the_slopes_are_those_that_the_shapes_would_write():
    ran = subprocess.run(
        [sys.executable, "scripts/generate_slopes.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr


def test_more_constants_than_the_kernels_have_room_for_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    generator = importlib.import_module("generate_slopes")
    many = replace(SURROGATES["multi_gaussian"], constants=(0.15, 6.0, 0.5, 1.0))
    monkeypatch.setitem(SURROGATES, "many", many)
    for write in (generator.cpp, generator.triton):
        with pytest.raises(SystemExit, match=r"'many' has 4 constants, .* room for 3; .* CONSTANTS in .*base\.py"):
            write()


# --- processes --------------------------------------------------------------------------------------------------------

PARENT = """
import os, sys, numpy, torch
from surgrad.kernels.lif import Norm, lif, moments
torch.set_num_threads(2)
x, above, ones = torch.randn(4, 4, 8, 96, 96), torch.randn(4, 4, 8, 96, 96), torch.ones(8)

def computed():
    given = x.detach().requires_grad_()
    decay = torch.full((8,), 0.5).requires_grad_()
    mean, variance = moments("native", x)
    norm = Norm(mean, variance, ones, ones, 1e-5, True)
    out = lif(given, decay, 1.0, surrogate="tanh", norm=norm, return_histogram=True, backend="native")
    out.spikes.backward(above)
    return [value.detach().numpy() for value in (*out[:3], given.grad, decay.grad, mean, variance)]

expected = computed()  # from here on the runtime's threads are up

def agrees():  # by numpy: torch's own threads wait for ever in a forked child
    return all(numpy.array_equal(a, b) for a, b in zip(computed(), expected, strict=True))
"""


def python(text: str) -> str:
    """What a process of its own prints."""
    command = [sys.executable, "-c", PARENT + textwrap.dedent(text)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@needs_a_build
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_one_openmp_runtime_is_in_the_process():
    """The kernel brings none along, and finds torch's."""
    printed = python("""
        from surgrad.kernels.lif.native import binding
        maps = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
        print([path for path in maps if any(name in os.path.basename(path) for name in ("gomp", "iomp", "libomp"))])
        print(binding.openmp_entry() is not None, agrees())
    """)
    runtimes, found = printed.splitlines()
    assert len(eval(runtimes)) == 1
    assert found == "True True"


@needs_a_build
@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork here")
def test_forked_children_compute_too():
    """After a parallel call: a bare fork and its own child, a process of multiprocessing, a worker of a DataLoader."""
    printed = python("""
        def bare(deeper):
            child = os.fork()
            if child == 0:
                os._exit(0 if agrees() and (not deeper or bare(False) == 0) else 1)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        import multiprocessing
        from torch.utils.data import DataLoader

        def work(queue):
            queue.put(agrees())

        class Items(torch.utils.data.Dataset):
            def __len__(self): return 2
            def __getitem__(self, index): return agrees()

        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        process = context.Process(target=work, args=(queue,))
        process.start()
        print(bare(True) == 0, queue.get(timeout=30), process.join())
        print([bool(item) for item in DataLoader(Items(), num_workers=1, multiprocessing_context="fork")], agrees())
    """)
    assert printed.splitlines() == ["True True None", "[True, True] True"]
