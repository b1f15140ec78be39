"""The leaky integrate-and-fire neuron over all time steps: one function, several backends, one meaning.

`reference.py` is the specification; README.md derives the backward pass that the faster backends compute in one go.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from surgrad.errors import BadValue, unknown
from surgrad.kernels.lif.backends import BACKENDS as BACKENDS
from surgrad.kernels.lif.backends import COMPILED as COMPILED
from surgrad.kernels.lif.backends import HISTORY_BACKENDS as HISTORY_BACKENDS
from surgrad.kernels.lif.backends import choose as choose
from surgrad.kernels.lif.backends import moments as moments
from surgrad.kernels.lif.call import Call, Summand
from surgrad.kernels.lif.call import Norm as Norm
from surgrad.kernels.lif.histograms import BINS as BINS
from surgrad.kernels.lif.histograms import PER_THRESHOLD as PER_THRESHOLD
from surgrad.kernels.lif.histograms import histogram as histogram
from surgrad.kernels.lif.histograms import mean_of as mean_of
from surgrad.kernels.lif.histograms import reach_of as reach_of
from surgrad.kernels.lif.histograms import share_within as share_within
from surgrad.kernels.lif.histograms import spread_of as spread_of
from surgrad.kernels.lif.reference import after_reset as after_reset
from surgrad.surrogates import SurrogateFunction, find_surrogate

Reset = Literal["zero", "subtract", "none"]
RESETS: tuple[str, ...] = ("zero", "subtract", "none")


class LIFOutput(NamedTuple):
    """What `lif` returns.

    spikes: [T, N, ...], 0 or 1, of the current's dtype.
    potential: [N, ...], float32 or better: the membrane potential after the last step's reset; give it to the next
        call as `start` to go on where this one ended. None unless kept.
    membrane: int64 [BINS] histogram of (u - threshold)/threshold, or None unless watched: PER_THRESHOLD bins to a
        threshold, bin BINS/2 starts at 0, both ends collect what lies beyond.
    """

    spikes: Tensor
    potential: Tensor | None
    histogram: Tensor | None


def lif(
    current: Tensor,
    decay: Tensor | float,
    width: Tensor | float,
    *,
    shape: str | SurrogateFunction,
    threshold: Tensor | float = 0.5,
    reset: Reset = "zero",
    detach_reset: bool = False,
    start: Tensor | None = None,
    watch: bool = False,
    keep: bool = True,
    norm: Norm | None = None,
    plus: Tensor | None = None,
    plus_norm: Norm | None = None,
    steps: int | None = None,
    backend: str = "auto",
) -> LIFOutput:
    """Leaky integrate-and-fire over T steps (Lian et al. 2023, eqs. 1 and 2, with reset "zero").

        u_t = decay·v_{t-1} + I_t        o_t = 1[u_t >= threshold]
        v_t = u_t·(1 - o_t)  ("zero"),   u_t - threshold·o_t  ("subtract"),   u_t  ("none");   v_0 = start or 0
        I_t = norm(current_t) + plus_norm(plus_t), each as far as given

    current: [T, N, C, ...] (or [T, N]), float32, float64, bfloat16 or float16; the state is float32 or better.
    decay, threshold, width: numbers or 0-d tensors, or one per channel as tensors [C]; potentials are in the
        current's units. Gradients reach decay and threshold always, width where it requires one.
    shape: the surrogate shape of the backward pass.
    detach_reset: whether the spike in the reset is a constant in the backward pass. The papers keep its gradient
        (False). A threshold that reset "subtract" takes away keeps its own gradient either way.
    watch: also return the histogram of membrane potentials. keep: also return the last potential.
    norm, plus, plus_norm: a batch normalisation of the current, and a second summand of the current's shape and dtype
        with its own, computed in the same pass.
    steps: T, where current or plus is [1, N, C, ...] and the same at every step.
    backend: "reference" (the specification, by autograd), "torch" (any shape and dtype, keeps less), "native" (C++, on
        the CPU), "triton" (CUDA), or "auto": the fastest that serves.
    """
    call = checked(
        current, decay, width, shape, threshold, reset, detach_reset, start, watch, keep, norm, plus, plus_norm, steps
    )
    spikes, potential, histogram, _ = BACKENDS[choose(backend, current, call.shape)](call)
    return LIFOutput(spikes, potential if keep else None, histogram)


def lif_history(
    current: Tensor,
    decay: Tensor | float,
    width: Tensor | float,
    *,
    shape: str | SurrogateFunction,
    threshold: Tensor | float = 0.5,
    reset: Reset = "zero",
    detach_reset: bool = False,
    start: Tensor | None = None,
    watch: bool = False,
    keep: bool = True,
    norm: Norm | None = None,
    plus: Tensor | None = None,
    plus_norm: Norm | None = None,
    steps: int | None = None,
    backend: str = "auto",
) -> tuple[LIFOutput, Tensor]:
    """`lif`, and the potentials u of every step before their reset, [T, N, ...], float32 or better, as a part of the
    graph. backend: as of `lif`, without "torch"."""
    call = checked(
        current,
        decay,
        width,
        shape,
        threshold,
        reset,
        detach_reset,
        start,
        watch,
        keep,
        norm,
        plus,
        plus_norm,
        steps,
        history=True,
    )
    name = choose(backend, current, call.shape)
    if name not in HISTORY_BACKENDS and backend != "auto":
        raise BadValue(
            f"backend '{backend}' keeps no history of potentials; give backend='auto', "
            f"{' or '.join(map(repr, HISTORY_BACKENDS))}"
        )
    spikes, potential, histogram, history = BACKENDS[name if name in HISTORY_BACKENDS else "reference"](call)
    assert history is not None  # it was asked for
    return LIFOutput(spikes, potential if keep else None, histogram), history


def checked(
    current: Tensor,
    decay: Tensor | float,
    width: Tensor | float,
    shape: str | SurrogateFunction,
    threshold: Tensor | float,
    reset: str,
    detach_reset: bool,
    start: Tensor | None,
    watch: bool,
    keep: bool,
    norm: Norm | None,
    plus: Tensor | None,
    plus_norm: Norm | None,
    steps: int | None,
    history: bool = False,
) -> Call:
    """The arguments of `lif` as a backend takes them, or an error."""
    if reset not in RESETS:
        raise unknown("reset", reset, RESETS)
    if plus is None and plus_norm is not None:
        raise BadValue("plus_norm is given and plus is not; give what it is to normalise")
    terms = (
        (Summand(current, norm),)
        if plus is None
        else (Summand(current, norm), Summand(plus.to(current.dtype), plus_norm))
    )
    steps = _checked_steps(terms, steps)
    dtype = torch.promote_types(current.dtype, torch.float32)
    decay, width, threshold = (_parameter(v, current, dtype) for v in (decay, width, threshold))
    _check_norms(terms)
    _check_devices(current, plus=plus, start=start, norm=norm and norm.weight, plus_norm=plus_norm and plus_norm.weight)
    start = _checked_start(start, current, dtype)
    return Call(
        terms, decay, threshold, width, find_surrogate(shape), steps, reset, detach_reset, start, watch, keep, history
    )


def _checked_steps(terms: tuple[Summand, ...], steps: int | None) -> int:
    current = terms[0].x
    if current.ndim < 2 or current.shape[0] < 1 or not current.is_floating_point():
        given = f"{current.dtype} of shape {list(current.shape)}"
        raise BadValue(f"current is {given}; give floating-point currents [T, N, ...] with T >= 1")
    longest = max(len(term.x) for term in terms)
    steps = longest if steps is None else steps
    if steps < 1:
        raise BadValue(f"steps {steps} is not a number of time steps; give 1 or more")
    for name, term in zip(("current", "plus"), terms, strict=False):
        if len(term.x) not in (1, steps) or term.x.shape[1:] != current.shape[1:]:
            raise BadValue(
                f"{name} {list(term.x.shape)} does not fit {steps} steps of currents {list(current.shape[1:])}; give "
                f"{[steps, *current.shape[1:]]}, or {[1, *current.shape[1:]]} where it is the same at every step"
            )
    return steps


def _check_norms(terms: tuple[Summand, ...]) -> None:
    for name, (x, norm) in zip(("current", "plus"), terms, strict=False):
        size = x.shape[2:3] if x.ndim > 2 else (1,)
        if norm is not None and any(row.shape != size for row in norm[:4]):
            sizes = ", ".join(str(list(row.shape)) for row in norm[:4])
            raise BadValue(
                f"the norm of {name} has mean, variance, weight and bias of shapes {sizes}; give one number a channel, "
                f"{list(size)}"
            )


def _check_devices(current: Tensor, **others: Tensor | None) -> None:
    for name, value in others.items():
        if value is not None and value.device != current.device:
            raise BadValue(f"{name} is on {value.device} and current on {current.device}; move one to the other")


def _checked_start(start: Tensor | None, current: Tensor, dtype: torch.dtype) -> Tensor | None:
    if start is None:
        return None
    if start.shape != current.shape[1:]:
        raise BadValue(f"start {list(start.shape)} does not fit currents {list(current.shape)}; give one step's shape")
    return start.to(dtype)


def _parameter(value: Tensor | float, current: Tensor, dtype: torch.dtype) -> Tensor:
    """A number as a 0-d tensor, or one per channel as [C], in the state's dtype, on the current's device."""
    value = torch.as_tensor(value, dtype=dtype, device=current.device)
    if value.ndim and (current.ndim < 3 or value.shape != current.shape[2:3]):
        raise BadValue(
            f"a neuron parameter of shape {list(value.shape)} does not fit currents {list(current.shape)}; "
            "give a number, or one per channel as [C] for currents [T, N, C, ...]"
        )
    return value
