"""`python -m bench.host [--out FILE]`: what a layer costs the host of a GPU, measured without one.

A layer of neurons with its norm, forward and backward. Its kernels are compiled for a GPU, and the driver is an empty
function, so that everything runs but the launches themselves. In turn, in one thread: as surgrad launches, through
Triton's `kernel[grid](...)`, and with no launch at all.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import triton
from triton.compiler.compiler import CompiledKernel

from bench.machine import machine
from surgrad import LIF, TDBN, NormNeuron
from surgrad.kernels.lif import triton as backend
from surgrad.kernels.lif.triton import binding, launches
from surgrad.kernels.lif.triton.compiling import Driver

ARCH = 90
SIZE = (2, 4, 8, 8, 16)  # [T, N, H, W, C]
ROUNDS = 25
CALLS = 60


def by_triton(kernel: Any, grid: Any, given: dict[str, Any], fixed: dict[str, Any]) -> None:
    kernel[grid](**given, **fixed)


def nothing(*_: Any) -> None:
    pass


WAYS: dict[str, Callable[..., None]] = {"surgrad": launches.launch, "triton": by_triton, "no launch": nothing}


@contextmanager
def empty_driver() -> Iterator[list[int]]:
    """Within it, tensors on the CPU are taken for those of a GPU, and launches are only counted."""
    count = [0]

    def launched(*_: Any) -> None:
        count[0] += 1

    def prepared(kernel: Any) -> None:
        kernel.function = 1
        kernel._run = launched

    real = CompiledKernel._init_handles
    triton.runtime.driver.set_active(Driver(ARCH))
    CompiledKernel._init_handles = prepared
    backend.compiles_only = True
    try:
        yield count
    finally:
        CompiledKernel._init_handles = real
        backend.compiles_only = False


def measured() -> dict[str, Any]:
    """The launches of a step of a layer, and microseconds of the host: medians and quartiles over rounds."""
    layer = NormNeuron(TDBN(SIZE[-1]), LIF(0.3, train_decay=True, backend="triton"))
    x = torch.zeros(SIZE, dtype=torch.bfloat16).movedim(-1, 2)
    gradient = torch.zeros_like(x)

    def step() -> None:
        layer(x.clone().requires_grad_()).backward(gradient)

    times: dict[str, list[float]] = {name: [] for name in WAYS}
    with empty_driver() as count:
        step()
        count[0] = 0
        step()
        found = count[0]
        for _ in range(ROUNDS):
            for name, way in WAYS.items():
                binding.launch = way
                times[name].append(_median_of_calls(step))
        binding.launch = launches.launch
    return {"launches": found, "us": {name: statistics.quantiles(rounds, n=4) for name, rounds in times.items()}}


def _median_of_calls(step: Callable[[], None]) -> float:
    step()
    found = []
    for _ in range(CALLS):
        start = time.perf_counter()
        step()
        found.append(time.perf_counter() - start)
    return 1e6 * statistics.median(found)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.host", description=__doc__)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    row = {"machine": machine(), **measured()}
    print(f"{row['launches']} kernels of ours for a step of a layer; microseconds of the host, with quartiles:")
    for name, (low, middle, high) in row["us"].items():
        print(f"    {name}: {middle:.0f} ({low:.0f} to {high:.0f})")
    if given.out is not None:
        given.out.write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
