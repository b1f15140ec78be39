"""The backends by name, and which one serves a call."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from surgrad.errors import BadValue, unknown
from surgrad.kernels.lif import native, plain, reference, triton
from surgrad.kernels.lif.call import Call, Result
from surgrad.kernels.lif.operators import dense, register, transformed, wants_channels_last
from surgrad.surrogates import SURROGATES, SurrogateFunction

BACKENDS: dict[str, Callable[[Call], Result]] = {
    "reference": reference.lif,
    "torch": plain.lif,
    "native": register("native", native, ("CPU",)),
    "triton": register("triton", triton),
}
COMPILED = ("native", "triton")
HISTORY_BACKENDS = (*COMPILED, "reference")
"""Those that keep the potentials of every step."""
_FORMULAS = {name: shape.formula for name, shape in SURROGATES.items() if name in native.GENERATED}
_REMEDIES = {
    "native": "with a C++ compiler at hand: pip install --force-reinstall --no-cache-dir surgrad",
    "triton": "pip install 'triton>=3.6'",
}
_TYPES = tuple(native.DTYPES)
_SAID: set[str] = set()


def choose(backend: str, x: Tensor, shape: SurrogateFunction) -> str:
    """The backend of a call with such a current, by name; raises where it cannot serve."""
    if backend == "auto":
        return _fastest(x, shape)
    if backend not in BACKENDS:
        raise unknown("backend", backend, [*BACKENDS, "auto"])
    if backend in COMPILED:
        reason = _why_not(backend, x, shape)
        if reason:
            raise BadValue(f"backend '{backend}' {reason}; give backend='auto'")
    return backend


def moments(backend: str, x: Tensor) -> Tensor:
    """[2, C] float32: mean and biased variance of each channel of x [T, N, C, ...], by a compiled backend's pass."""
    return getattr(torch.ops.surgrad, f"{backend}_moments")(dense(x.detach(), wants_channels_last(x)))


def _fastest(x: Tensor, shape: SurrogateFunction) -> str:
    backend = "triton" if x.is_cuda else "native"
    if not torch.compiler.is_compiling() and transformed():  # the reference's trade
        return "reference"
    reason = _why_not(backend, x, shape)
    if reason and x.device.type in ("cpu", "cuda") and x.dtype in _TYPES and generated(shape):
        _say_once(backend, reason)
    return "torch" if reason else backend


def _why_not(backend: str, x: Tensor, shape: SurrogateFunction) -> str:
    """Why a compiled backend cannot serve such a call; empty where it can."""
    if x.dtype not in _TYPES:
        return f"computes in float32 and takes float32, bfloat16 and float16, not {x.dtype}"
    if not generated(shape):
        return f"knows the formulas of surgrad.surrogates, and shape '{shape.name}' is another"
    if backend == "native":
        if x.device.type != "cpu":
            return f"runs on the CPU, and the current is on {x.device}"
        return native.why_not()
    return triton.why_not(x.device)


def generated(shape: SurrogateFunction) -> bool:
    """Whether the compiled kernels hold this shape's formula; its constants may differ."""
    return shape.name in _FORMULAS and _FORMULAS[shape.name] == shape.formula


@torch.compiler.assume_constant_result  # runs while a graph is traced; traced itself, a warning would break it
def _say_once(backend: str, reason: str) -> None:
    if reason in _SAID:
        return
    _SAID.add(reason)
    warnings.warn(
        f"surgrad's kernel '{backend}' {reason}. Neurons run in plain torch, with the same results, several times "
        f"slower; {_REMEDIES.get(backend, '')}",
        stacklevel=2,
    )
