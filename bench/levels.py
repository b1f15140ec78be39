"""Memory and time of a training step, the more is computed again or packed: ours, and SpikingJelly's memory optimiser.

`python -m bench levels` measures on the CPU; `python -m bench.levels --device cuda --out FILE` on a GPU.
"""

import argparse
import gc
import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.machine import forget_peak, machine, resident_bytes, wait_for_gpu
from bench.memory import let_go, return_at_once
from bench.options import Options
from bench.peers import SJ, installed
from bench.setups import Setup, batch_of, build, forward, network_of
from bench.tables import levels
from bench.timing import Effort, interleave
from surgrad.models import Block

STEPS = (4, 16)
TINY = Setup("resnet19", 0.0625, batch=4, image=16)
OURS = {
    "surgrad": {},
    "surgrad, bits": {"pack_spikes": True},
    "surgrad, blocks again": {"checkpoint": True},
    "surgrad, blocks again, bits": {"pack_spikes": True, "checkpoint": True},
}
Step = Callable[[], object]
Steps = dict[str, Step]
"""Steps of training by name."""
PARTS_OF_BATCH = 4
IN_PARTS = f"surgrad, blocks again, bits, batch in {PARTS_OF_BATCH} parts"
ON_CPU = (1,)
ON_GPU = (1, 4)
"""Levels of SpikingJelly's `optimize_memory`: 1 computes blocks again and packs spikes; 4 searches on a GPU. Blocks
that do not say how they may be divided, as these, are the same at levels 2 and 3 as at 1."""


def run(options: Options) -> Iterator[dict[str, Any]]:
    """Measure ResNet-19 at T = 4 and 16, in float32."""
    setup = TINY if options.quick else Setup("resnet19", 1.0, batch=4)
    found: list[dict[str, Any]] = []
    for steps in STEPS[:1] if options.quick else STEPS:
        options.say(f"memory levels: {setup.network}, T = {steps}")
        of_steps = replace(setup, steps=steps)
        found += measured(
            {**_ours(of_steps, "cpu", "fp32"), **_theirs(of_steps, "cpu", "fp32")}, of_steps, "fp32", options.effort
        )
        yield {"rows": found}


def measured(contenders: Steps, setup: Setup, dtype: str, effort: Effort) -> list[dict[str, Any]]:
    """A row for every level: seconds of a step, and the bytes by which it grows the memory at most."""
    times = interleave(contenders, effort)
    return_at_once()
    rows = []
    for name, step in contenders.items():
        median = statistics.median(times[name].times)
        rows.append({"name": name, "T": setup.steps, "dtype": dtype, "median": median, "peak": _peak(step)})
    return rows


def _ours(setup: Setup, device: str, dtype: str) -> Steps:
    found = {}
    for name, switches in OURS.items():
        network = network_of(setup, installed()["surgrad"]).to(device)
        for switch, on in switches.items():
            setattr(network, switch, on)
        found[name] = _step(network, setup, device, dtype)
    return {**found, IN_PARTS: _step(network, setup, device, dtype, PARTS_OF_BATCH)}


def _theirs(setup: Setup, device: str, dtype: str) -> Steps:
    peers = installed()
    if SJ not in peers:
        return {}
    found = {SJ: _step(network_of(setup, peers[SJ]).to(device), setup, device, dtype)}
    for level in ON_CPU if device == "cpu" else ON_GPU:
        network = build(setup, peers[SJ].layer, device)
        found[f"SpikingJelly, level {level}"] = _step(_optimised(network, setup, level), setup, device, dtype)
    return found


def _optimised(network: nn.Module, setup: Setup, level: int) -> nn.Module:
    """The network with SpikingJelly's memory optimiser, which takes the residual blocks as its units."""
    from spikingjelly.activation_based.memopt import optimize_memory

    images, _ = batch_of(setup, next(network.parameters()).device.type)
    return optimize_memory(network, Block, lambda model: model(images), level=level)


def _step(network: nn.Module, setup: Setup, device: str, dtype: str, parts: int = 1) -> Step:
    """Forward and backward pass of a batch, or of its parts one after the other."""
    images, labels = batch_of(setup, device)
    pieces = list(zip(images.chunk(parts), labels.chunk(parts), strict=True))

    def step() -> Tensor:
        network.zero_grad()
        for piece in pieces:
            loss = forward(network, piece, dtype)
            loss.backward()
        wait_for_gpu()
        return loss

    return step


def _peak(step: Step) -> int:
    """By how many bytes a step grows the memory at most."""
    step()
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    let_go()
    forget_peak()
    before = resident_bytes()
    step()
    return resident_bytes(peak=True) - before


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.levels", description=__doc__)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tiny", action="store_true", help="a small network, to check that it runs")
    given = parser.parse_args()
    whole = Setup("resnet19", 1.0, batch=given.batch)
    setup, effort = (TINY, Effort(rounds=1, budget=1)) if given.tiny else (whole, Effort(rounds=9, budget=10))
    rows: list[dict[str, Any]] = []
    for steps, contenders in product(STEPS, (_ours, _theirs)):  # ours are kept where theirs fail
        of_steps = replace(setup, steps=steps)
        rows += measured(contenders(of_steps, given.device, "bf16"), of_steps, "bf16", effort)
        print(levels({"rows": rows}), flush=True)
        if given.out is not None:
            given.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
