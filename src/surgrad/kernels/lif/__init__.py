"""The leaky integrate-and-fire neuron over all time steps: one function, several backends with the same results.

`reference.py` is the specification; README.md derives the backward pass that the faster backends compute in one pass.
"""

from typing import Any, TypedDict, Unpack

from torch import Tensor

from surgrad.deprecated import warn
from surgrad.kernels.lif.arguments import RESETS as RESETS
from surgrad.kernels.lif.arguments import LIFArguments as LIFArguments
from surgrad.kernels.lif.arguments import LIFOutput as LIFOutput
from surgrad.kernels.lif.arguments import Norm as Norm
from surgrad.kernels.lif.arguments import Reset as Reset
from surgrad.kernels.lif.arguments import lif_arguments as lif_arguments
from surgrad.kernels.lif.backends import BACKENDS as BACKENDS
from surgrad.kernels.lif.backends import COMPILED as COMPILED
from surgrad.kernels.lif.backends import HISTORY_BACKENDS as HISTORY_BACKENDS
from surgrad.kernels.lif.backends import choose as choose
from surgrad.kernels.lif.backends import moments as moments
from surgrad.kernels.lif.backends import norm_rows as norm_rows
from surgrad.kernels.lif.histograms import BINS as BINS
from surgrad.kernels.lif.histograms import PER_THRESHOLD as PER_THRESHOLD
from surgrad.kernels.lif.histograms import StepCounter as StepCounter
from surgrad.kernels.lif.histograms import histogram as histogram
from surgrad.kernels.lif.histograms import mean_of as mean_of
from surgrad.kernels.lif.histograms import reach_of as reach_of
from surgrad.kernels.lif.histograms import reaches_of as reaches_of
from surgrad.kernels.lif.histograms import share_within as share_within
from surgrad.kernels.lif.histograms import spread_of as spread_of
from surgrad.kernels.lif.reference import after_reset as after_reset
from surgrad.surrogates import SurrogateFunction

_RENAMED = {
    "shape": "surrogate",
    "watch": "return_histogram",
    "keep": "return_potential",
    "start": "initial_potential",
}


class _OldNames(TypedDict, total=False):
    """Keywords of `lif` that go away with the next release."""

    shape: str | SurrogateFunction
    watch: bool
    keep: bool
    start: Tensor | None


def lif(
    current: Tensor,
    decay: Tensor | float,
    width: Tensor | float,
    *,
    surrogate: str | SurrogateFunction = "rect",
    threshold: Tensor | float = 0.5,
    reset: Reset = "zero",
    detach_reset: bool = False,
    initial_potential: Tensor | None = None,
    return_histogram: bool = False,
    return_potential: bool = True,
    return_history: bool = False,
    norm: Norm | None = None,
    plus: Tensor | None = None,
    plus_norm: Norm | None = None,
    steps: int | None = None,
    backend: str = "auto",
    **old: Unpack[_OldNames],
) -> LIFOutput:
    """Run leaky integrate-and-fire neurons over T time steps (Lian et al. 2023, eqs. 1 and 2, with reset "zero").

        u_t = decay·v_{t-1} + I_t        o_t = 1[u_t >= threshold]
        v_t = u_t·(1 - o_t)  ("zero"),   u_t - threshold·o_t  ("subtract"),   u_t  ("none");   v_0 = initial_potential
        I_t = norm(current_t) + plus_norm(plus_t)

    Potentials are in the current's units. The state u, v is float32 or better. Gradients reach current, plus, the
    weights and biases of the norms, decay, threshold and initial_potential, and width where it requires one.

    Args:
        current: [T, N, C, ...] or [T, N], float32, float64, bfloat16 or float16.
        decay: a number or 0-d tensor, or one per channel, [C].
        width: the surrogate function's width in the same units, a number or [C]; or one for each time step, [S, 1] or
            [S, C], of which the last row also holds at later steps; such widths receive no gradient.
        surrogate: the surrogate function of the backward pass, or its name.
        threshold: a number or [C].
        reset: "zero", "subtract" or "none".
        detach_reset: treat the spike in the reset as a constant in the backward pass. The papers keep its gradient
            (False). The threshold that reset "subtract" takes away keeps its own gradient in either case.
        initial_potential: [N, C, ...], v_0; 0 by default.
        return_histogram: also return the histogram of membrane potentials.
        return_potential: return the potential after the last step.
        return_history: also return the potentials of every step before their reset, as a part of the graph.
        norm: a batch normalisation of `current`, computed in the same pass.
        plus: a second summand of the current's shape and dtype, with its own norm `plus_norm`.
        plus_norm: see `plus`.
        steps: T, if `current` or `plus` is [1, N, C, ...] and the same at every step.
        backend: "reference" (the specification, by autograd), "torch" (any shape and dtype, saves less memory for the
            backward pass; without history), "native" (C++, on the CPU), "triton" (CUDA), or "auto": the fastest that
            can serve the call.

    Returns:
        Spikes [T, N, C, ...], and what else was asked for; see `LIFOutput`.

    Raises:
        BadValue: if shapes, devices or numbers of time steps do not fit together, or the backend cannot serve the call.
        UnknownName: if there is no such reset, surrogate function or backend.

    Example:
        >>> import torch
        >>> current = torch.full((3, 1, 2), 0.4, requires_grad=True)  # [T, N, C]
        >>> out = lif(current, decay=0.5, width=1.0, threshold=0.5)
        >>> out.spikes[:, 0, 0]  # the potentials before the reset are 0.4, 0.6 and 0.4
        tensor([0., 1., 0.], grad_fn=<SelectBackward0>)
        >>> out.spikes.sum().backward()
        >>> current.grad.shape
        torch.Size([3, 1, 2])
    """
    if old:
        for name in old:
            if name not in _RENAMED:
                raise TypeError(f"lif() got an unexpected keyword argument '{name}'")
            warn(f"lif({name}=)", f"{_RENAMED[name]}=")
        surrogate = old.get("shape", surrogate)
        return_histogram = old.get("watch", return_histogram)
        return_potential = old.get("keep", return_potential)
        initial_potential = old.get("start", initial_potential)
    arguments = lif_arguments(
        current,
        decay,
        width,
        surrogate=surrogate,
        threshold=threshold,
        reset=reset,
        detach_reset=detach_reset,
        initial_potential=initial_potential,
        return_histogram=return_histogram,
        return_potential=return_potential,
        return_history=return_history,
        norm=norm,
        plus=plus,
        plus_norm=plus_norm,
        steps=steps,
    )
    return BACKENDS[choose(backend, current, arguments.surrogate, return_history)](arguments)


def lif_history(
    current: Tensor, decay: Tensor | float, width: Tensor | float, **options: Any
) -> tuple[LIFOutput, Tensor]:
    """Run `lif(..., return_history=True)`, which replaces this function; it goes away with the next release.

    The parameters are those of `lif`.

    Returns:
        The result of `lif`, and its `history`.
    """
    warn("surgrad.kernels.lif.lif_history", "lif(..., return_history=True).history")
    out = lif(current, decay, width, return_history=True, **options)
    assert out.history is not None
    return out, out.history
