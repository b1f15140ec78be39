"""Part step: one step of SGD on a spiking ResNet-18 and ResNet-19, with each contender's neuron in the same network."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.options import Options
from bench.peers import FRUGAL, LOOP, LOOP_COMPILED, NOTHING, PACKED, SJ, SJ_COMPILED, OverTime, Peer, installed
from bench.split import split
from bench.timing import interleave, rows

WHOLE = {SJ: f"{SJ}, network compiled", LOOP: f"{LOOP}, network compiled"}


@dataclass(frozen=True)
class Setup:
    """A network and its batch of static images, shown for T time steps.

    width: the width multiplier. few: measure only the contenders that the targets name, and in bf16 not SpikingJelly's
    compiled networks, which take minutes to compile.
    """

    network: str
    width: float
    steps: int = 4
    batch: int = 8
    image: int = 32
    few: bool = False


RESNET18 = Setup("resnet18", 1.0)
SETUPS = (RESNET18, Setup("resnet19", 1.0, few=True))
QUICK = (Setup("resnet18", 0.125, batch=2, image=16),)


def network_of(setup: Setup, peer: Peer) -> nn.Module:
    """Build the network with a contender's neuron, on the CPU."""
    network = build(setup, peer.layer)
    network.pack_spikes = peer.packed
    return network


def build(setup: Setup, neuron: Callable[[], nn.Module], device: str = "cpu") -> nn.Module:
    """Build the network with this neuron, in channels_last; the weights do not depend on the neuron."""
    from surgrad import models

    torch.manual_seed(0)
    network = getattr(models, setup.network)(steps=setup.steps, neuron=neuron, width_multiplier=setup.width)
    return network.to(device, memory_format=torch.channels_last)


def batch_of(setup: Setup, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Return random images in channels_last, and labels."""
    random = torch.Generator().manual_seed(1)
    images = torch.randn(setup.batch, 3, setup.image, setup.image, generator=random)
    labels = torch.randint(10, (setup.batch,), generator=random)
    return images.to(device, memory_format=torch.channels_last), labels.to(device)


def autocast(dtype: str, device: str = "cpu") -> AbstractContextManager:
    """Return the context of a precision: autocast for bf16."""
    return torch.autocast(device, torch.bfloat16, enabled=dtype == "bf16")


def forward(network: Callable[[Tensor], Tensor], batch: tuple[Tensor, Tensor], dtype: str) -> Tensor:
    """Return the loss: cross-entropy of the output averaged over time."""
    images, labels = batch
    with autocast(dtype, images.device.type):
        return F.cross_entropy(network(images).float().mean(0), labels)


def sgd_step(network: nn.Module, batch: tuple[Tensor, Tensor], dtype: str, whole: bool = False) -> Callable[[], Tensor]:
    """Return a call of one training step: forward, backward, update. whole: compile the network without its resets."""
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    stateful = [module for module in network.modules() if isinstance(module, OverTime)]
    run: Callable[[Tensor], Tensor] = network
    if whole:
        for module in stateful:
            module.forward = module.run  # type: ignore[method-assign]
        run = torch.compile(network, dynamic=False)

    def step() -> Tensor:
        if whole:
            for module in stateful:
                module.reset()
        optimiser.zero_grad()
        loss = forward(run, batch, dtype)
        loss.backward()
        optimiser.step()
        return loss

    return step


def in_networks(peer: Peer) -> bool:
    """Whether a contender is measured in networks; the others are in the tables of the layer only."""
    return peer.name != "indexing loop" and peer.most == math.inf


def contenders(setup: Setup, dtype: str, options: Options) -> dict[str, Peer]:
    """Return the network without neurons, which is the lower bound without fusion, and every peer."""
    peers = {NOTHING: Peer(NOTHING, nn.Identity), **installed()}
    if setup.few:
        peers = {n: p for n, p in peers.items() if n in (NOTHING, PACKED, *FRUGAL, LOOP, LOOP_COMPILED)}
        peers = {n: p for n, p in peers.items() if dtype == "fp32" or n != SJ_COMPILED}
    return {n: p for n, p in peers.items() if in_networks(p) and not (options.quick and p.compiled)}


def run(options: Options) -> Iterator[dict[str, Any]]:
    """Measure every network and precision, and our training step by kind of operation."""
    found: list[dict[str, Any]] = []
    splits: list[dict[str, Any]] = []
    for setup in QUICK if options.quick else SETUPS:
        for dtype in ("fp32", "bf16"):
            options.say(f"step: {setup.network}, {dtype}")
            found += compare(setup, dtype, options)
            splits.append({"network": setup.network, "dtype": dtype, "seconds": split(setup, dtype)})
            yield {"rows": found, "splits": splits}


def compare(setup: Setup, dtype: str, options: Options) -> list[dict[str, Any]]:
    """Measure every contender in one network and precision."""
    peers = contenders(setup, dtype, options)
    batch = batch_of(setup)
    calls = {name: sgd_step(network_of(setup, peer), batch, dtype) for name, peer in peers.items()}
    slow = {SJ} if setup.few and dtype == "bf16" else set()
    whole = {} if options.quick else {name: WHOLE[name] for name in WHOLE if name in peers and name not in slow}
    for name, label in whole.items():
        calls[label] = sgd_step(build(setup, peers[name].layer), batch, dtype, whole=True)
    compiling = [*whole.values(), *(name for name, peer in peers.items() if peer.compiled)]
    samples = interleave(calls, options.effort, compiling)
    common = {"network": setup.network, "width": setup.width, "T": setup.steps, "batch": setup.batch, "dtype": dtype}
    return rows(samples, **common)
