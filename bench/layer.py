"""Part layer: forward and backward pass of one LIF layer, over T, size and precision."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bench.check import DTYPES
from bench.machine import ROOT, free_bytes
from bench.options import Options
from bench.peers import FRUGAL, OURS, PACKED, Peer, installed
from bench.timing import empty_compilation_cache, interleave, rows

CONFIGS = ((4, 16), (4, 64), (16, 16), (16, 64), (64, 16), (64, 64))  # T, N; a time step has N·64·32·32 elements
QUICK = ((4, 1),)
LEFT_OUT = (PACKED,)  # packing concerns what a network saves, not a single layer
COPY = "copy_ of the input"
FLOOR = 2.5  # copies: a fused pass moves 20 bytes per element in fp32, a copy 8; 10 and 4 in bf16
MOST_ALIVE = 25  # memory needed at once, in multiples of the input, with all contenders
FEWEST_ALIVE = 14  # the same with FRUGAL only
MOST = 2**27  # elements over all time steps; above it only FRUGAL are measured, as the others take minutes each


def run(options: Options) -> Iterator[dict[str, Any]]:
    """Measure all configurations, and the first call of a new process."""
    peers = installed()
    names = (OURS,) if options.quick else FRUGAL
    first = {name: first_call(name) for name in names if name in peers}
    found: list[dict[str, Any]] = []
    skipped: list[str] = []
    for steps, batch in QUICK if options.quick else CONFIGS:
        for dtype in DTYPES:
            count = steps * batch * 64 * 32 * 32
            size = count * DTYPES[dtype].itemsize
            chosen = {
                n: p
                for n, p in peers.items()
                if not (options.quick and p.compiled and dtype == "bf16") and n not in LEFT_OUT and count <= p.most
            }
            if count > MOST or size * MOST_ALIVE > free_bytes():
                few = FRUGAL if size * FEWEST_ALIVE <= free_bytes() else ()
                where = f"T={steps}, {elements(batch)} elements, {dtype}"
                skipped.append(f"{where}: all but {', '.join(few) or 'none'}, for lack of memory or time")
                chosen = {n: p for n, p in chosen.items() if n in few}
            if not chosen:
                continue
            options.say(f"layer: T={steps}, {elements(batch)} elements per time step, {dtype}")
            found += compare(chosen, (steps, batch, 64, 32, 32), dtype, options)
            yield {"rows": found, "skipped": skipped, "first_calls": first}


def elements(batch: int) -> str:
    """Format the number of elements of one time step, N·64·32·32: 64K, 1M, 4M."""
    thousands = batch * 64
    return f"{thousands // 1024}M" if thousands >= 1024 else f"{thousands}K"


def compare(peers: dict[str, Peer], shape: tuple[int, ...], dtype: str, options: Options) -> list[dict[str, Any]]:
    """Measure every contender on one input, and a copy of that input for reference."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=random).to(DTYPES[dtype]).requires_grad_()
    weight = torch.randn(shape, generator=random).to(DTYPES[dtype])
    calls = {name: forward_backward(peer.layer(), x, weight) for name, peer in peers.items()}
    beside = torch.empty_like(x, requires_grad=False)
    calls[COPY] = lambda: beside.copy_(x.detach())
    samples = interleave(calls, options.effort, [name for name, peer in peers.items() if peer.compiled])
    notes = {name: peer.note for name, peer in peers.items()}
    found = rows(samples, T=shape[0], elements=x[0].numel(), dtype=dtype)
    return [{**row, "note": notes.get(row["name"], "")} for row in found]


def forward_backward(layer: nn.Module, x: Tensor, weight: Tensor) -> Callable[[], None]:
    """Return a call that computes spikes, then the gradient of x from the given gradient of the spikes (in the dtype
    that the library returns, found in the first call)."""
    weights = {weight.dtype: weight}

    def call() -> None:
        x.grad = None
        spikes = layer(x)
        if spikes.dtype not in weights:
            weights[spikes.dtype] = weight.to(spikes.dtype)
        spikes.backward(weights[spikes.dtype])

    return call


def first_call(name: str) -> float:
    """Return the seconds of a contender's first forward and backward pass in a new process, building and compiling
    included; torch is warm and the library imported (ours loads its kernels then)."""
    words = [sys.executable, "-m", "bench.layer", name]
    with empty_compilation_cache():
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the first call of {name} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def _print_first_call(name: str) -> None:
    from time import perf_counter

    layer = installed()[name].layer()
    x = torch.randn(4, 1, 64, 32, 32, requires_grad=True)
    (x * 2).tanh().sum().backward()  # torch's own threads start here
    start = perf_counter()
    layer(x).sum().backward()
    print(perf_counter() - start)


if __name__ == "__main__":
    _print_first_call(sys.argv[1])
