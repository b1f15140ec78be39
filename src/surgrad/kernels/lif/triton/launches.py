"""Launches past most of Triton's Python.

Triton finds the compiled kernel of a call from the properties of all its arguments, which takes the host longer than
the launch itself. Most of them are numbers and names that are the same at every step; here they are a key.
"""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from triton.runtime import JITFunction

MOST = 4096  # kernels that are remembered; sequences of many lengths are as many kinds of calls
instead: Callable[[Any, tuple[int, ...], dict[str, Any], dict[str, Any]], None] | None = None
"""What is called in the place of every launch, with its arguments (`compiling.py`)."""
_prepared: dict[Hashable, "_Prepared"] = {}


def launch(kernel: Any, grid: tuple[int, ...], given: dict[str, Any], fixed: dict[str, Any]) -> None:
    """Launch a kernel on the current device.

    Args:
        kernel: a `triton.jit` function, or what a test puts in its place.
        grid: the number of programs along each axis.
        given: the arguments that differ from call to call: tensors, None and floats. No whole numbers, whose values
            decide how Triton compiles.
        fixed: the other arguments, whole numbers and names, and the options of the launch.
    """
    if instead is not None:
        instead(kernel, grid, given, fixed)
        return
    if not isinstance(kernel, JITFunction):
        kernel[grid](**given, **fixed)
        return
    device = torch.cuda.current_device() if torch.cuda.is_available() else None
    key = (kernel, device, *map(_kind, given.values()), *fixed.values())
    prepared = _prepared.get(key)
    if prepared is not None:
        prepared(grid, given)
        return
    if len(_prepared) >= MOST:
        _prepared.clear()
    _prepared[key] = _Prepared(kernel[grid](**given, **fixed), kernel.arg_names, given, fixed)


def _kind(value: Any) -> Hashable:
    """What of a value decides how a kernel is compiled: a tensor's type, and whether it starts at 16 bytes."""
    if isinstance(value, Tensor):
        return value.dtype, value.data_ptr() % 16 == 0
    assert value is None or type(value) is float, value
    return type(value)


class _Prepared:
    """A compiled kernel, and its arguments in their order."""

    def __init__(self, compiled: Any, names: list[str], given: dict[str, Any], fixed: dict[str, Any]):
        self.compiled = compiled
        self.arguments = [fixed.get(name) for name in names]
        self.places = [names.index(name) for name in given]

    def __call__(self, grid: tuple[int, ...], given: dict[str, Any]) -> None:
        arguments = self.arguments.copy()
        for place, value in zip(self.places, given.values(), strict=True):
            arguments[place] = value
        self.compiled[(*grid, 1, 1)](*arguments)
