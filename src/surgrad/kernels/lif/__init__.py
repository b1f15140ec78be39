"""The leaky integrate-and-fire neuron over all time steps: one function, several backends, one meaning.

`reference.py` is the specification; README.md derives the backward pass that the faster backends compute in one go.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from surgrad.errors import BadValue, unknown
from surgrad.kernels.lif import reference
from surgrad.kernels.lif.membrane import BINS as BINS
from surgrad.kernels.lif.membrane import PER_THRESHOLD as PER_THRESHOLD
from surgrad.shapes import Shape, find_shape

Reset = Literal["zero", "subtract", "none"]
RESETS: tuple[str, ...] = ("zero", "subtract", "none")
BACKENDS: dict[str, Callable[..., tuple[Tensor, Tensor, Tensor | None]]] = {"reference": reference.lif}


class LIFOutput(NamedTuple):
    """What `lif` returns.

    spikes: [T, N, ...], 0 or 1, of the current's dtype.
    potential: [N, ...], float32 or better: the membrane potential after the last step's reset; give it to the next
        call as `start` to go on where this one ended.
    membrane: int64 [BINS] histogram of (u - threshold)/threshold, or None unless watched: PER_THRESHOLD bins to a
        threshold, bin BINS/2 starts at 0, both ends collect what lies beyond.
    """

    spikes: Tensor
    potential: Tensor
    membrane: Tensor | None


def lif(current: Tensor, decay: Tensor | float, width: Tensor | float, *, shape: str | Shape,
        threshold: Tensor | float = 0.5, reset: Reset = "zero", detach_reset: bool = False,
        start: Tensor | None = None, watch: bool = False, backend: str = "auto") -> LIFOutput:  # fmt: skip
    """Leaky integrate-and-fire over T steps (Lian et al. 2023, eqs. 1 and 2, with reset "zero").

        u_t = decay·v_{t-1} + I_t        o_t = 1[u_t >= threshold]
        v_t = u_t·(1 - o_t)  ("zero"),   u_t - threshold·o_t  ("subtract"),   u_t  ("none");   v_0 = start or 0

    current: I, [T, N, C, ...] (or [T, N]), float32, float64, bfloat16 or float16; the state is float32 or better.
    decay, threshold, width: numbers or 0-d tensors, or one per channel as tensors [C]; potentials are in the
        current's units. Gradients reach decay and threshold always, width where it requires one.
    shape: the surrogate shape of the backward pass.
    detach_reset: whether the spike in the reset is a constant in the backward pass. The papers keep its gradient
        (False). A threshold that reset "subtract" takes away keeps its own gradient either way.
    watch: also return the histogram of membrane potentials.
    """
    if reset not in RESETS:
        raise unknown("reset", reset, RESETS)
    name = "reference" if backend == "auto" else backend
    if name not in BACKENDS:
        raise unknown("backend", backend, [*BACKENDS, "auto"])
    if current.ndim < 2 or current.shape[0] < 1 or not current.is_floating_point():
        given = f"{current.dtype} of shape {list(current.shape)}"
        raise BadValue(f"current is {given}; give floating-point currents [T, N, ...] with T >= 1")
    dtype = torch.promote_types(current.dtype, torch.float32)
    decay, width, threshold = (per_channel(v, current, dtype) for v in (decay, width, threshold))
    start = _checked_start(start, current, dtype)
    out = BACKENDS[name](current, decay, width, threshold, find_shape(shape), reset, detach_reset, start, watch)
    return LIFOutput(*out)


def _checked_start(start: Tensor | None, current: Tensor, dtype: torch.dtype) -> Tensor | None:
    if start is None:
        return None
    if start.shape != current.shape[1:]:
        raise BadValue(f"start {list(start.shape)} does not fit currents {list(current.shape)}; give one step's shape")
    return start.to(dtype)


def per_channel(value: Tensor | float, current: Tensor, dtype: torch.dtype) -> Tensor:
    """A number as a 0-d tensor, or one per channel as [C, 1, ...], in the state's dtype."""
    value = torch.as_tensor(value, dtype=dtype, device=current.device)
    if value.ndim == 0:
        return value
    if current.ndim < 3 or value.shape != current.shape[2:3]:
        raise BadValue(
            f"a neuron parameter of shape {list(value.shape)} does not fit currents {list(current.shape)}; "
            "give a number, or one per channel as [C] for currents [T, N, C, ...]"
        )
    return value.view(-1, *[1] * (current.ndim - 3))
