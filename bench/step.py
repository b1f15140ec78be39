"""Part step: one step of SGD on a spiking ResNet-18 and ResNet-19, with each contender's neuron in the same network."""

import math
from collections.abc import Iterator
from typing import Any

from torch import nn

from bench.options import Options
from bench.peers import FRUGAL, LOOP, LOOP_COMPILED, NOTHING, PACKED, SJ, SJ_COMPILED, Peer, installed
from bench.setups import QUICK, SETUPS, Setup, batch_of, build, network_of, sgd_step
from bench.split import split
from bench.timing import interleave, rows

WHOLE = {SJ: f"{SJ}, network compiled", LOOP: f"{LOOP}, network compiled"}


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
