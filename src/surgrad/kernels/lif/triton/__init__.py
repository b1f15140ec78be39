"""The Triton kernels, for CUDA; with TRITON_INTERPRET=1 set before triton is imported, also for the CPU, to test them.

Triton is imported by the first call, so it need not be installed where these kernels are not used.
"""

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from surgrad.kernels.lif.arguments import LIFArguments, PerTensor
from surgrad.kernels.lif.operators import KernelOutput


def forward(a: LIFArguments) -> KernelOutput:
    """See `surgrad.kernels.lif.operators.Kernel`."""
    from surgrad.kernels.lif.triton import binding

    return binding.forward(a)


def backward(
    grad_spikes: Tensor | None,
    grad_potential: Tensor | None,
    grad_history: Tensor | None,
    wanted: PerTensor[bool],
    a: LIFArguments,
) -> PerTensor[Tensor]:
    """See `surgrad.kernels.lif.operators.Kernel`."""
    from surgrad.kernels.lif.triton import binding

    return binding.backward(grad_spikes, grad_potential, grad_history, wanted, a)


def moments(x: Tensor) -> Tensor:
    """See `surgrad.kernels.lif.operators.Kernel`."""
    from surgrad.kernels.lif.triton import binding

    return binding.moments(x)


def pack(spikes: Tensor) -> Tensor:
    """See `surgrad.kernels.packing.Codec`."""
    from surgrad.kernels.lif.triton import binding

    return binding.pack(spikes)


def unpack(bits: Tensor, into: Tensor) -> Tensor:
    """See `surgrad.kernels.packing.Codec`."""
    from surgrad.kernels.lif.triton import binding

    return binding.unpack(bits, into)


class NormRows(torch.autograd.Function):
    """See `surgrad.kernels.lif.backends.norm_rows`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        batches: Tensor,
        momentum: float,
    ) -> Tensor:
        from surgrad.kernels.lif.triton import binding

        return binding.norm_rows(x, weight, bias, running_mean, running_var, batches, momentum)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        _, _, to_weight, to_bias = grads[0]
        return None, to_weight, to_bias, None, None, None, None


def why_not(device: torch.device) -> str:
    """Why these kernels cannot serve tensors on that device, to follow "backend 'triton' "; empty where they can."""
    if VERSION is None or VERSION < LEAST:
        found = "it is not installed" if VERSION is None else f"{VERSION[0]}.{VERSION[1]} is installed"
        return f"needs the package triton, {LEAST[0]}.{LEAST[1]} or newer, and {found}"
    if device.type == "cuda" or (device.type == "cpu" and (compiles_only or _interpreted())):
        return ""
    return f"runs on CUDA, and the current is on {device}"


def _version() -> tuple[int, ...] | None:
    try:
        return tuple(int(part) for part in version("triton").split(".")[:2])
    except PackageNotFoundError:
        return None


compiles_only = False
"""Whether calls with tensors on the CPU compile kernels and compute nothing (`compiling.py`)."""
LEAST = (3, 6)  # the oldest release that they are written for; tested with 3.7
VERSION = _version()


def _interpreted() -> bool:
    """Whether triton interprets kernels: TRITON_INTERPRET was set before triton was imported."""
    if os.environ.get("TRITON_INTERPRET", "0").lower() in ("", "0", "false", "off", "no", "n"):
        return False
    import triton

    return not isinstance(triton.language.sum, triton.runtime.JITFunction)
