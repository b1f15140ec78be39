"""`python -m bench.native [--threads N] [--out FILE]`: the native kernels of a LIF layer with batch norm.

Nanoseconds an element and time step of the norm's moments, the forward pass, the backward pass, and its second part,
which finishes the norm's gradient. Medians of many calls; FILE gets them as JSON.
"""

import argparse
import json
from collections.abc import Callable
from ctypes import byref
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from bench.machine import machine, words
from bench.tables import table
from bench.timing import Effort, interleave
from surgrad.files import replace_file
from surgrad.kernels.lif import Norm, lif_arguments
from surgrad.kernels.lif.arguments import PerTensor
from surgrad.kernels.lif.native import binding
from surgrad.kernels.lif.operators import new_gradients

SIZES = ((4, 8, 64, 32), (4, 8, 128, 16), (4, 8, 512, 4))
"""Time steps, images, channels and side: layers of ResNet-18 with batches of 8."""
EFFORT = Effort(rounds=41, budget=20)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.native", description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = [measured(size, dtype) for dtype in (torch.float32, torch.bfloat16) for size in SIZES]
    record = {"machine": machine(), "threads": given.threads, "unit": "ns an element and time step", "rows": rows}
    print(f"{words(record['machine'])}\n\n{shown(rows)}")
    if given.out:
        replace_file(given.out, lambda path: path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8"))


def measured(size: tuple[int, int, int, int], dtype: torch.dtype) -> dict[str, Any]:
    """One layer, its currents in the layout channels_last."""
    steps, images, channels, side = size
    x = torch.randn(steps, images, side, side, channels, dtype=dtype).movedim(-1, 2)
    row = {"T": steps, "images": images, "channels": channels, "side": side, "dtype": str(dtype).removeprefix("torch.")}
    samples = interleave(calls(x), EFFORT)
    return {**row, **{name: median(found.times) / x.numel() * 1e9 for name, found in samples.items()}}


def calls(x: Tensor) -> dict[str, Callable[[], Any]]:
    """The four kernels, ready to be called."""
    ones = torch.ones(x.shape[2])
    norm = Norm(x.float().mean((0, 1, 3, 4)), x.float().var((0, 1, 3, 4)), ones, 0.1 * ones, 1e-5, True)
    given = lif_arguments(x, torch.tensor(0.3), torch.tensor(1.0), surrogate="rect", norm=norm)
    wanted = PerTensor(True, True, False, False, True, False, False, False)
    gradients = new_gradients(wanted, given)
    library = binding._built()
    sums, spikes, rows = (
        torch.zeros(6, x.shape[2], dtype=torch.float64),
        torch.empty_like(x),
        torch.empty(2, x.shape[2]),
    )
    of_spikes = torch.randn_like(x)
    backward = binding._backward_call(of_spikes, None, None, wanted, given, gradients)
    backward.sums = sums.data_ptr()
    forward = binding._call(given, spikes=spikes.data_ptr())
    moments = binding._Lif(steps=len(x), **binding._layout(x))
    moments.summands[0].x = x.data_ptr()
    moments.summands[0].stride = moments.elements
    kept = (x, norm, given, gradients, sums, spikes, of_spikes)  # the kernels get addresses alone
    return {
        "moments": lambda kept=kept: library.surgrad_moments(byref(moments), rows.data_ptr()),
        "forward": lambda: library.surgrad_forward(byref(forward)),
        "backward": lambda: library.surgrad_backward(byref(backward)),
        "finish": lambda: library.surgrad_finish(byref(backward)),
    }


def shown(rows: list[dict[str, Any]]) -> str:
    names = ("moments", "forward", "backward", "finish")
    lines = [
        [f"{row['dtype']}, T={row['T']}, {row['images']}×{row['channels']}×{row['side']}²"]
        + [f"{row[name]:.2f}" for name in names]
        for row in rows
    ]
    return table(["ns an element and time step", *names], lines)


if __name__ == "__main__":
    main()
