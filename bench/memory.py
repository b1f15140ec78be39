"""Part memory: memory alive between forward and backward pass, of a layer and of a network's training step."""

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from bench.machine import forget_peak, resident_bytes
from bench.options import Options
from bench.peers import NOTHING, Peer, installed
from bench.setups import RESNET18, Setup, batch_of, build, forward
from bench.step import in_networks
from surgrad.kernels.packing import Bits, packed_spikes, unpack

STEPS = (1, 2, 4, 8, 16, 32)
QUICK = (1, 4)
MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of glibc


def run(options: Options) -> Iterator[dict[str, Any]]:
    """Measure the layer in both precisions over T, then ResNet-18 at T = 4."""
    return_at_once()
    found: list[dict[str, Any]] = []
    peers = {n: p for n, p in installed().items() if in_networks(p) and not (options.quick and p.compiled)}
    batch, width = (1, 16) if options.quick else (16, 64)
    for name, peer in peers.items():
        if peer.packed:
            continue  # no layer follows that would save the spikes
        options.say(f"memory: {name}")
        for dtype in (torch.float32, torch.bfloat16):
            for steps in QUICK if options.quick else STEPS:
                found.append({"what": "layer", "name": name, **of_layer(peer, (steps, batch, width, 32, 32), dtype)})
        torch._dynamo.reset()
        yield {"rows": found}
    setup = replace(RESNET18, width=0.125, batch=2, image=16) if options.quick else RESNET18
    for name, peer in {NOTHING: Peer(NOTHING, nn.Identity), **peers}.items():
        options.say(f"memory: {setup.network}, {name}")
        for dtype in ("fp32", "bf16"):
            found.append({"what": setup.network, "name": name, **of_network(peer, setup, dtype)})
        yield {"rows": found}


def of_layer(peer: Peer, shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Any]:
    """Measure what one layer saves of an input of this shape; the input counts if it is saved."""
    layer = peer.layer()
    x = torch.randn(shape).to(dtype).requires_grad_()
    kept = measured(lambda: layer(x), layer)
    return {"T": shape[0], "dtype": {torch.float32: "fp32"}.get(dtype, "bf16"), **per_neuron(kept, x.numel())}


def of_network(peer: Peer, setup: Setup, dtype: str) -> dict[str, Any]:
    """Measure what the network saves, convolutions and norms included, and count its neurons times T."""
    network = build(setup, peer.layer)
    batch = batch_of(setup)
    kept = measured(lambda: forward(network, batch, dtype), network, packed=peer.packed)
    return {"T": setup.steps, "dtype": dtype, **per_neuron(kept, neuron_steps(setup))}


def per_neuron(kept: dict[str, int], count: int) -> dict[str, float]:
    """Add the saved bytes per neuron and time step."""
    return {**kept, "neuron_steps": count, "saved_per_neuron_step": kept["saved"] / count}


def neuron_steps(setup: Setup) -> int:
    """Count the neurons of the network times T: the outputs of all its neurons in one forward pass."""
    counts: list[int] = []

    class Counter(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            counts.append(x.numel())
            return x

    with torch.no_grad():
        build(setup, Counter)(batch_of(setup)[0])
    return sum(counts)


def measured(call: Callable[[], Tensor], module: nn.Module, packed: bool = False) -> dict[str, int]:
    """Measure the bytes that a forward pass leaves allocated, after one warm-up call.

    Args:
        call: runs the forward pass.
        module: the layer or network, whose parameters do not count.
        packed: whether spikes are saved as bits.

    Returns:
        saved: storages that autograd holds for the backward pass, each counted once, without the parameters. resident:
        growth of the process at the end of the forward pass. peak: its largest growth, backward pass included.
    """
    call().sum().backward()
    module.zero_grad()
    let_go()
    forget_peak()
    before = resident_bytes()
    held: WeakSet[_Held] = WeakSet()

    with packed_spikes() if packed else nullcontext() as packer:  # our hooks replace the packer's

        def keep(tensor: Tensor) -> _Held:
            kept = _Held(tensor if packer is None else packer.pack(tensor))
            held.add(kept)
            return kept

        with saved_tensors_hooks(keep, lambda kept: unpack(kept.kept)):
            out = call()
    resident = resident_bytes() - before
    saved = _bytes([kept.memory for kept in held], [*module.parameters()])
    out.sum().backward()
    return {"saved": saved, "resident": resident, "peak": resident_bytes(peak=True) - before}


class _Held:
    """A tensor that autograd has saved, alive as long as its node.

    Tensors that a forward pass saves and releases again, such as the reset after the last time step, do not count.
    """

    def __init__(self, kept: Tensor | Bits):
        self.kept = kept

    @property
    def memory(self) -> Tensor:
        return self.kept if isinstance(self.kept, Tensor) else self.kept.bits


def _bytes(tensors: list[Tensor], without: list[nn.Parameter]) -> int:
    own = {parameter.untyped_storage().data_ptr() for parameter in without}
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in own}.values())


def return_at_once() -> None:
    """Make the C library return freed tensors to the system at once, so that resident memory is memory in use.

    This slows the rest of the process, so memory is measured last.
    """
    with suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, 2**16)


def let_go() -> None:
    """Return freed memory to the system."""
    gc.collect()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
