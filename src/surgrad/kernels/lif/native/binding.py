"""From tensors to the C interface of lif.h."""

import ctypes
import hashlib
import os
import re
from ctypes import POINTER, Structure, byref, c_float, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surgrad.kernels.lif.arguments import LIFArguments, PerTensor, per_channel
from surgrad.kernels.lif.operators import (
    KernelOutput,
    SumRow,
    laid_out_last,
    new_gradients,
    new_outputs,
    over_ranks,
)
from surgrad.surrogates import CONSTANTS

LEVELS = ("avx512", "avx2", "base")  # builds, from the newest processors to the oldest
DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
_RESETS = {"zero": 0, "subtract": 1, "none": 2}
_WANT_NORM = 1  # as in lif.h
_WANT_DECAY = 2
_WANT_THRESHOLD = 4
_WANT_WIDTH = 8
_FOLDER = Path(__file__).parent
SETUP = _FOLDER.parents[4] / "setup.py"  # which exists in a checkout only
OTHER_SOURCES = "was built from other sources"
_SOURCES = ("lif.h", "arrays.h", "block.h", "elementary.h", "slopes.h", "lif.cpp")
GENERATED = {  # the number of each surrogate function
    name: number
    for number, name in enumerate(
        re.findall(r"X\((\w+)\)", (_FOLDER / "slopes.h").read_text().split("#define SURROGATES")[1][3:])
    )
}


class _Summand(Structure):
    _fields_ = [
        ("x", c_void_p),
        ("stride", c_int64),
        ("norm", c_void_p),
        ("eps", c_float),
        ("scale", c_float),
        ("batch", c_int32),
        ("grad", c_void_p),
    ]


class _Lif(Structure):
    _fields_ = [
        ("steps", c_int64),
        ("elements", c_int64),
        ("channels", c_int64),
        ("inner", c_int64),
        ("dtype", c_int32),
        ("surrogate", c_int32),
        ("reset", c_int32),
        ("detach_reset", c_int32),
        ("summands", _Summand * 2),
        ("decay", c_void_p),
        ("threshold", c_void_p),
        ("width", c_void_p),
        ("decay_many", c_int32),
        ("threshold_many", c_int32),
        ("width_many", c_int32),
        ("wants", c_int32),
        ("width_rows", c_int64),
        ("constants", c_float * CONSTANTS),
        ("threads", c_int32),
        ("initial_potential", c_void_p),
        ("spikes", c_void_p),
        ("potential", c_void_p),
        ("histogram", c_void_p),
        ("history", c_void_p),
        ("grad_spikes", c_void_p),
        ("grad_potential", c_void_p),
        ("grad_history", c_void_p),
        ("grad_initial", c_void_p),
        ("sums", c_void_p),
        ("parallel", c_void_p),
    ]


def _load() -> tuple[ctypes.CDLL | None, str]:
    """The best installed build that this processor can run; or None, and why."""
    capability = torch.backends.cpu.get_cpu_capability()
    first = {"AVX512": 0, "AVX2": 1}.get(capability, 2)
    why = "was not built when surgrad was installed"
    for level in LEVELS[first:]:
        for path in sorted(_FOLDER.glob(f"_{level}.*")):
            if path.suffix in (".so", ".dylib"):
                try:
                    return declared(ctypes.CDLL(str(path))), ""
                except (OSError, AttributeError, ValueError) as error:
                    why = f"cannot be loaded: {error}"
    return None, why


def declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """Declare the types of a library's functions; raises ValueError if it was built from other sources."""
    library.surgrad_sources.restype = ctypes.c_char_p
    if library.surgrad_sources().decode() != digest():
        raise ValueError(f"{Path(library._name).name} {OTHER_SOURCES}")
    for function in (library.surgrad_forward, library.surgrad_backward, library.surgrad_finish):
        function.argtypes = [POINTER(_Lif)]
        function.restype = None
    library.surgrad_moments.argtypes = [POINTER(_Lif), c_void_p]
    library.surgrad_moments.restype = None
    for function in (library.surgrad_pack, library.surgrad_unpack):
        function.argtypes = [POINTER(_Lif), c_void_p, c_int64, c_void_p]
        function.restype = None
    return library


def digest() -> str:
    """The digest of the sources; setup.py computes the same for a build."""
    return hashlib.sha256(b"".join((_FOLDER / name).read_bytes() for name in _SOURCES)).hexdigest()


LIBRARY, WHY_NOT = _load()


def why_not() -> str:
    """Why no build can be used; empty where one is."""
    return WHY_NOT


def remedy() -> str:
    """What to do where no build can be used."""
    if OTHER_SOURCES in WHY_NOT and SETUP.exists():
        return "run `pip install -e .` (or `make`)"
    return "with a C++ compiler installed: pip install --force-reinstall --no-cache-dir surgrad"


def available() -> bool:
    """Whether there is a build that can be used; else WHY_NOT says why."""
    return LIBRARY is not None


@cache
def openmp_entry() -> int | None:
    """The address of GOMP_parallel in the OpenMP runtime that torch uses."""
    for path in _loaded():
        if any(name in Path(path).name for name in ("gomp", "iomp5", "libomp")):
            try:
                return ctypes.cast(ctypes.CDLL(path).GOMP_parallel, c_void_p).value
            except (OSError, AttributeError):
                continue
    return None


def _loaded() -> list[str]:
    """The shared libraries of this process, those in torch's own folders first."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return []
    paths = {line.split(maxsplit=5)[5].strip() for line in maps.read_text().splitlines() if line.count("/") > 1}
    return sorted(paths, key=lambda path: "torch" not in path)


def _after_fork() -> None:
    """Use one thread in a forked child: the runtime's threads do not exist there, and a call would wait forever."""
    global _forked
    _forked = True


_forked = False
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None or tensor.numel() == 0 else tensor.data_ptr()


def _threads() -> dict[str, int | None]:
    return {"threads": 1 if _forked else torch.get_num_threads(), "parallel": None if _forked else openmp_entry()}


def _layout(x: Tensor) -> dict[str, int | None]:
    channels = x.shape[2] if x.ndim > 2 else 1
    elements = x[0].numel()
    last = laid_out_last(x)
    inner = 1 if last else elements // max(1, x.shape[1] * channels) if x.ndim > 2 else max(1, elements)
    return {"elements": elements, "channels": channels, "inner": inner, "dtype": DTYPES[x.dtype], **_threads()}


def _call(a: LIFArguments, grads: tuple[Tensor | None, ...] = (None, None), **fields: Any) -> _Lif:
    """The struct of a call; grads: memory for the gradients of the summands. fields: others of its fields."""
    call = _Lif(
        steps=a.steps,
        surrogate=GENERATED[a.surrogate.name],
        reset=_RESETS[a.reset],
        detach_reset=a.detach_reset,
        initial_potential=_pointer(a.initial_potential),
        **_layout(a.x),
        **fields,
    )
    for slot, summand, grad in zip(call.summands, a.summands, grads, strict=False):
        slot.x = _pointer(summand.x)
        slot.norm = _pointer(summand.norm)
        slot.eps = summand.eps
        slot.scale = summand.scale
        slot.batch = summand.batch
        slot.grad = _pointer(grad)
        slot.stride = call.elements if summand.x.shape[0] > 1 else 0
    for name in ("decay", "threshold", "width"):
        value: Tensor = getattr(a, name)
        setattr(call, name, value.data_ptr())
        setattr(call, f"{name}_many", per_channel(value))
    call.width_rows = a.width.shape[0] if a.width.ndim == 2 else 1
    for i, constant in enumerate(a.surrogate.constants):
        call.constants[i] = constant
    return call


def forward(a: LIFArguments) -> KernelOutput:
    """Compute a call's outputs; see `surgrad.kernels.lif.operators.Kernel`."""
    out = new_outputs(a)
    if out.spikes.numel():
        call = _call(
            a,
            spikes=_pointer(out.spikes),
            potential=_pointer(out.potential),
            histogram=_pointer(out.histogram),
            history=_pointer(out.history),
        )
        _built().surgrad_forward(byref(call))
    return out


def backward(
    grad_spikes: Tensor | None,
    grad_potential: Tensor | None,
    grad_history: Tensor | None,
    wanted: PerTensor[bool],
    a: LIFArguments,
) -> PerTensor[Tensor]:
    """Compute a call's gradients.

    The parameters are those of `surgrad.kernels.lif.operators.Kernel.backward`.
    """
    found = new_gradients(wanted, a)
    sums = torch.zeros(len(SumRow), a.channels, dtype=torch.float64)
    if a.x.numel():
        call = _backward_call(grad_spikes, grad_potential, grad_history, wanted, a, found)
        call.sums = sums.data_ptr()
        _built().surgrad_backward(byref(call))
        if a.batch or a.plus_batch:
            totals = over_ranks(sums, a)
            call.sums = totals.data_ptr()
            _built().surgrad_finish(byref(call))
    _fill_parameters(found, sums, a)
    return found


def _backward_call(
    grad_spikes: Tensor | None,
    grad_potential: Tensor | None,
    grad_history: Tensor | None,
    wanted: PerTensor[bool],
    a: LIFArguments,
    found: PerTensor[Tensor],
) -> _Lif:
    """The struct of a backward pass, without the sums."""
    norms = a.norm is not None or a.plus_norm is not None
    return _call(
        a,
        (found.x, found.plus),
        wants=(
            _WANT_NORM * norms
            + _WANT_DECAY * wanted.decay
            + _WANT_THRESHOLD * wanted.threshold
            + _WANT_WIDTH * wanted.width
        ),
        grad_spikes=_pointer(grad_spikes),
        grad_potential=_pointer(grad_potential),
        grad_history=_pointer(grad_history),
        grad_initial=_pointer(found.initial_potential),
    )


def _fill_parameters(found: PerTensor[Tensor], sums: Tensor, a: LIFArguments) -> None:
    """The gradients of norms and parameters, where there is memory for them, from the sums of a backward pass."""
    if a.norm is not None and found.norm.numel():
        _fill_norm(found.norm, a.norm, sums, SumRow.GAIN, a.eps, a.scale)
    if a.plus_norm is not None and found.plus_norm.numel():
        _fill_norm(found.plus_norm, a.plus_norm, sums, SumRow.PLUS_GAIN, a.plus_eps, a.plus_scale)
    rows = ((found.decay, SumRow.DECAY), (found.threshold, SumRow.THRESHOLD), (found.width, SumRow.WIDTH))
    for gradient, row in rows:
        if gradient.numel():
            gradient.copy_(sums[row] if gradient.ndim else sums[row].sum())


def _fill_norm(gradient: Tensor, norm: Tensor, sums: Tensor, gain: SumRow, eps: float, scale: float) -> None:
    """The gradient of the rows mean, variance, weight and bias of a norm."""
    gradient[:2] = 0.0
    gradient[2] = sums[gain] * torch.rsqrt(norm[1].double() + eps).mul_(scale)
    gradient[3] = sums[SumRow.SHIFT]


def moments(x: Tensor) -> Tensor:
    """Compute the statistics of a norm; see `surgrad.kernels.lif.operators.Kernel`."""
    out = x.new_empty(2, x.shape[2] if x.ndim > 2 else 1, dtype=torch.float32)
    if not x.numel():
        return out.fill_(torch.nan)
    call = _Lif(steps=len(x), **_layout(x))
    call.summands[0].x = _pointer(x)
    call.summands[0].stride = call.elements
    _built().surgrad_moments(byref(call), out.data_ptr())
    return out


def pack(spikes: Tensor) -> Tensor:
    """See `surgrad.kernels.packing.Codec`."""
    bits = torch.empty((spikes.numel() + 7) // 8, dtype=torch.uint8)
    call = _Lif(dtype=DTYPES[spikes.dtype], **_threads())
    _built().surgrad_pack(byref(call), spikes.data_ptr(), spikes.numel(), bits.data_ptr())
    return bits


def unpack(bits: Tensor, into: Tensor) -> Tensor:
    """See `surgrad.kernels.packing.Codec`."""
    call = _Lif(dtype=DTYPES[into.dtype], **_threads())
    _built().surgrad_unpack(byref(call), bits.data_ptr(), into.numel(), into.data_ptr())
    return into


def _built() -> ctypes.CDLL:
    assert LIBRARY is not None, "called only where `available`"
    return LIBRARY
