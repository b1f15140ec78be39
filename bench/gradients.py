"""`python -m bench.gradients [--out DIR] [--quick]`: memory and time of a step by each gradient, over T."""

import argparse
import json
import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.ticker import NullLocator

from bench.machine import forget_peak, machine, resident_bytes, words
from bench.memory import let_go, return_at_once
from bench.plots import plain_log
from bench.tables import table
from bench.timing import Effort, interleave, rows
from surgrad.files import replace_file
from surgrad.gradients import GRADIENTS
from surgrad.losses import tet
from surgrad.models import resnet18
from surgrad.neurons import LIF
from surgrad.norm import BatchNorm

STEPS = (1, 2, 4, 8, 16, 32)
WIDTH = 0.5
BATCH = 16
SIDE = 32


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.gradients", description=__doc__)
    parser.add_argument("--out", type=Path, help="also write record, table and picture here")
    parser.add_argument("--quick", action="store_true", help="a tiny network, to check that everything runs")
    given = parser.parse_args()
    sizes = (0.0625, 2, 16) if given.quick else (WIDTH, BATCH, SIDE)
    steps = STEPS[:2] if given.quick else STEPS
    found = [row for count in steps for row in measured(count, sizes)]
    record = {"machine": machine(), "network": "resnet18", "sizes": sizes, "rows": found}
    page = f"{words(record['machine'])}\n\n{shown(record)}\n"
    print(page)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        replace_file(given.out / "gradients.json", lambda path: path.write_text(json.dumps(record, indent=1) + "\n"))
        replace_file(given.out / "README.md", lambda path: path.write_text(page))
        replace_file(given.out / "gradients.png", partial(drawn(record).savefig, dpi=130, bbox_inches="tight"))


def measured(steps: int, sizes: tuple[float, int, int]) -> list[dict[str, Any]]:
    """One row per gradient: times of interleaved calls, and the memory of each in a separate process."""
    torch.manual_seed(0)
    calls = {name: step_of(name, steps, sizes) for name in GRADIENTS}
    found = rows(interleave(calls, Effort(rounds=9, budget=60.0)), T=steps)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for row in found:
            row["bytes"] = pool.apply(grown, (row["name"], steps, sizes))
    return found


def step_of(name: str, steps: int, sizes: tuple[float, int, int]) -> Callable[[], object]:
    """A forward and backward pass of the modified ResNet-18 on one batch of images."""
    width, batch, side = sizes
    network = resnet18(steps=steps, neuron=lambda: LIF(0.5), norm=BatchNorm, width_multiplier=width)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from its stubs
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    images = torch.randn(batch, 3, side, side)
    labels = torch.randint(10, (batch,))
    gradient = GRADIENTS.build(name)
    return lambda: gradient.find(network, images, lambda output: tet(output, labels))


def grown(name: str, steps: int, sizes: tuple[float, int, int]) -> int:
    """The most memory, in bytes, by which the process grows during a training step, after one step as a warm-up."""
    return_at_once()
    call = step_of(name, steps, sizes)
    call()
    let_go()
    forget_peak()
    before = resident_bytes()
    call()
    return resident_bytes(peak=True) - before


def shown(record: dict[str, Any]) -> str:
    """One table: a line per T, with memory and time of each gradient."""
    lines = []
    for steps in sorted({row["T"] for row in record["rows"]}):
        mine = {row["name"]: row for row in record["rows"] if row["T"] == steps}
        cells = [f"{row['bytes'] / 2**20:.0f} MiB, {row['median'] * 1e3:.0f} ms" for row in mine.values()]
        lines.append([str(steps), *cells])
    width, batch, side = record["sizes"]
    head = (
        f"A forward and backward pass of the modified ResNet-18, {width:g} times as wide, batch {batch}, images of "
        f"{side}×{side}: the most memory that the process takes for it, and median time."
    )
    return f"{head}\n\n{table(['T', *GRADIENTS], lines)}"


def drawn(record: dict[str, Any]) -> Any:
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
    for name in GRADIENTS:
        mine = [row for row in record["rows"] if row["name"] == name]
        over = [row["T"] for row in mine]
        axes[0].plot(over, [row["bytes"] / 2**20 for row in mine], marker="o", label=name)
        axes[1].plot(over, [row["median"] for row in mine], marker="o", label=name)
    for ax, what in zip(axes, ("memory of a step, MiB", "time of a step, s"), strict=True):
        ax.set(xscale="log", yscale="log", xlabel="T", title=what)
        ax.set_xticks(STEPS, [str(step) for step in STEPS])
        ax.xaxis.set_minor_locator(NullLocator())
        plain_log(ax)
        ax.legend()
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    main()
