"""Compile the kernels for a GPU on a machine that need not have one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget

from surgrad.kernels.lif import triton as backend
from surgrad.kernels.lif.triton import launches


class Launch(NamedTuple):
    """A kernel that would have been launched.

    Attributes:
        name: the kernel's.
        compiled: what Triton made of it.
        options: sizes, switches and launch options, by name.
    """

    name: str
    compiled: Any
    options: dict[str, Any]


class Driver:
    """In the place of Triton's driver of a GPU: says that there is one of a kind, and launches nothing.

    Args:
        arch: the kind, as 90 for sm_90.
    """

    def __init__(self, arch: int):
        self.arch = arch

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def is_active(self) -> bool:
        return True


@contextmanager
def compiling_for(arch: int) -> Iterator[list[Launch]]:
    """Within it, calls of the backend "triton" with tensors on the CPU compile the kernels that they would launch on a
    GPU, and compute nothing: what they return is memory without values.

    Triton keeps the driver, and one compiled kernel for each device, for the rest of the process. So one process
    compiles for one GPU, and then computes on none.

    Args:
        arch: the GPU, as 90 for sm_90.

    Returns:
        The launches so far.
    """
    found: list[Launch] = []

    def note(kernel: Any, grid: tuple[int, ...], given: dict[str, Any], fixed: dict[str, Any]) -> None:
        compiled = kernel.run(grid=grid, warmup=True, **given, **fixed)
        found.append(Launch(kernel.fn.__name__, compiled, fixed))

    triton.runtime.driver.set_active(Driver(arch))
    backend.compiles_only = True
    launches.instead = note
    try:
        yield found
    finally:
        backend.compiles_only = False
        launches.instead = None
