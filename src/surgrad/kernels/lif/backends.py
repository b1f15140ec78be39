"""The backends by name, and the choice of one for a call."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from surgrad.errors import BadValue, unknown
from surgrad.kernels.lif import native, plain, reference, triton
from surgrad.kernels.lif.arguments import LIFArguments, LIFOutput
from surgrad.kernels.lif.operators import dense, observed, register, transformed, wants_channels_last
from surgrad.surrogates import SURROGATES, SurrogateFunction

BACKENDS: dict[str, Callable[[LIFArguments], LIFOutput]] = {
    "reference": reference.lif,
    "torch": plain.lif,
    "native": register("native", native, ("CPU",)),
    "triton": register("triton", triton),
}
COMPILED = ("native", "triton")
HISTORY_BACKENDS = (*COMPILED, "reference")
"""The backends that can return the potentials of every step."""
_FORMULAS = {name: function.formula for name, function in SURROGATES.items() if name in native.GENERATED}
_REMEDIES: dict[str, Callable[[], str]] = {"native": native.remedy, "triton": lambda: "pip install 'triton>=3.6'"}
_TYPES = tuple(native.DTYPES)
_SAID: set[str] = set()


def choose(backend: str, x: Tensor, surrogate: SurrogateFunction, history: bool = False) -> str:
    """Choose the backend of a call.

    Args:
        backend: a name of `BACKENDS`, or "auto".
        x: the current.
        surrogate: the surrogate function.
        history: whether the call returns the potentials of every step.

    Returns:
        The backend's name.

    Raises:
        BadValue: if the backend asked for cannot serve the call.
        UnknownName: if there is no such backend.
    """
    if backend == "auto":
        name = _fastest(x, surrogate)
        return name if not history or name in HISTORY_BACKENDS else "reference"
    if backend not in BACKENDS:
        raise unknown("backend", backend, [*BACKENDS, "auto"])
    if backend in COMPILED:
        reason = _why_not(backend, x, surrogate)
        if reason:
            raise BadValue(f"backend '{backend}' {reason}; use backend='auto'")
    if history and backend not in HISTORY_BACKENDS:
        raise BadValue(
            f"backend '{backend}' does not return a history of potentials; use backend='auto', "
            f"{' or '.join(map(repr, HISTORY_BACKENDS))}"
        )
    return backend


def moments(backend: str, x: Tensor) -> Tensor:
    """Compute mean and biased variance of each channel by a compiled backend.

    Args:
        backend: one of `COMPILED`.
        x: [T, N, C, ...].

    Returns:
        [2, C], float32.
    """
    return getattr(torch.ops.surgrad, f"{backend}_moments")(dense(x.detach(), wants_channels_last(x)))


def norm_rows(
    backend: str,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
    momentum: float,
) -> Tensor | None:
    """Find the statistics of x for a `Norm`, and note them in the running estimates, by a backend's kernels.

    Args:
        backend: one of `COMPILED`.
        x: [T, N, C, ...].
        weight: [C], float32.
        bias: [C], float32.
        running_mean: [C], float32, moved towards the mean of x.
        running_var: [C], float32, moved towards the unbiased variance of x.
        batches: 0-d, int64, which is increased by one.
        momentum: the share of the way that the running estimates are moved.

    Returns:
        The rows mean, biased variance, weight and bias [4, C], float32; None where the backend has no kernel for it, or
        something observes the call.
    """
    tensors = (x, weight, bias, running_mean, running_var)
    if backend != "triton" or observed(tensors) or any(t.dtype != torch.float32 for t in tensors[1:]):
        return None
    laid_out = dense(x.detach(), wants_channels_last(x))
    rows: Tensor = triton.NormRows.apply(laid_out, weight, bias, running_mean, running_var, batches, momentum)
    return rows


def _fastest(x: Tensor, surrogate: SurrogateFunction) -> str:
    backend = "triton" if x.is_cuda else "native"
    if not torch.compiler.is_compiling() and transformed():  # only the reference supports it
        return "reference"
    reason = _why_not(backend, x, surrogate)
    if reason and x.device.type in ("cpu", "cuda") and x.dtype in _TYPES and generated(surrogate):
        _say_once(backend, reason)
    return "torch" if reason else backend


def _why_not(backend: str, x: Tensor, surrogate: SurrogateFunction) -> str:
    """Why a compiled backend cannot serve such a call; empty where it can."""
    if x.dtype not in _TYPES:
        return f"computes in float32 and takes float32, bfloat16 and float16, not {x.dtype}"
    if not generated(surrogate):
        return f"knows the formulas of surgrad.surrogates, and the surrogate function '{surrogate.name}' has another"
    if backend == "native":
        if x.device.type != "cpu":
            return f"runs on the CPU, and the current is on {x.device}"
        return native.why_not()
    return triton.why_not(x.device)


def generated(surrogate: SurrogateFunction) -> bool:
    """Whether the compiled kernels contain this surrogate function's formula; its constants may differ."""
    known = _FORMULAS.get(surrogate.name)
    return known is not None and (known is surrogate.formula or known == surrogate.formula)


def _say_once(backend: str, reason: str) -> None:
    if reason in _SAID:
        return
    _SAID.add(reason)
    warnings.warn(
        f"surgrad's kernel '{backend}' {reason}. Neurons run in plain torch, with the same results, several times "
        f"slower; {_REMEDIES[backend]()}",
        stacklevel=2,
    )


# Runs while a graph is traced; traced itself, a warning would break it. torch.compiler.assume_constant_result sets this
# too, and loads the compiler, which takes a second.
_say_once._dynamo_marked_constant = True  # type: ignore[attr-defined]
