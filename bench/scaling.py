"""Part scaling: time over T and over the width of the network, of surgrad and SpikingJelly, with fitted exponents."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from bench.layer import forward_backward
from bench.options import Options
from bench.peers import OURS, SJ, Peer, installed
from bench.setups import Setup, batch_of, build, sgd_step
from bench.timing import interleave, rows

STEPS = (1, 2, 4, 8, 16, 32)
WIDTHS = (0.25, 0.5, 1.0, 2.0)
QUICK_STEPS = (1, 4)
QUICK_WIDTHS = (0.125, 0.25)
CHANNELS = 64  # of the layer, at width 1
BATCH = 8
SIDE = 32
NETWORK = Setup("resnet18", 0.25, steps=2, batch=8)

Point = tuple[str, str, float, Callable[[Peer], Callable[[], object]]]


def run(options: Options) -> Iterator[dict[str, Any]]:
    """Measure times over T at a fixed width, and over the width at T = 4 (layer) or 2 (network), in fp32."""
    peers = {name: peer for name, peer in installed().items() if name in (OURS, SJ)}
    found: list[dict[str, Any]] = []
    for what, axis, value, make in _points(options):
        options.say(f"scaling: {what} over {axis}, {value:g}")
        calls = {name: make(peer) for name, peer in peers.items()}
        found += rows(interleave(calls, options.effort), what=what, axis=axis, value=value)
        yield {"rows": found, "exponents": exponents(found)}


def _points(options: Options) -> list[Point]:
    steps = QUICK_STEPS if options.quick else STEPS
    widths = QUICK_WIDTHS if options.quick else WIDTHS
    network = replace(NETWORK, batch=2, image=16) if options.quick else NETWORK
    points: list[Point] = [("layer", "T", t, lambda peer, t=t: _layer(peer, t, 1.0)) for t in steps]
    points += [("layer", "width", w, lambda peer, w=w: _layer(peer, 4, w)) for w in widths]
    points += [("resnet18", "T", t, lambda peer, t=t: _network(peer, replace(network, steps=t))) for t in steps]
    points += [("resnet18", "width", w, lambda peer, w=w: _network(peer, replace(network, width=w))) for w in widths]
    return points


def _layer(peer: Peer, steps: int, width: float) -> Callable[[], None]:
    random = torch.Generator().manual_seed(0)
    shape = (steps, BATCH, round(CHANNELS * width), SIDE, SIDE)
    x = torch.randn(shape, generator=random).requires_grad_()
    return forward_backward(peer.layer(), x, torch.randn(shape, generator=random))


def _network(peer: Peer, setup: Setup) -> Callable[[], object]:
    return sgd_step(build(setup, peer.layer), batch_of(setup), "fp32")


def exponents(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fit the slope of log time over log T, or log width, for every curve with at least two points."""
    curves: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for row in found:
        curves.setdefault((row["what"], row["axis"], row["name"]), []).append((row["value"], row["median"]))
    names = ("what", "axis", "name")
    drawn = {key: points for key, points in curves.items() if len(points) > 1}
    return [{**dict(zip(names, key, strict=True)), "exponent": slope(points)} for key, points in drawn.items()]


def slope(points: list[tuple[float, float]]) -> float:
    """Return the least-squares slope of the logarithms."""
    xs = [math.log(x) for x, _ in points]
    ys = [math.log(y) for _, y in points]
    x_mean = sum(xs) / len(xs)
    y_mean = sum(ys) / len(ys)
    above = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - x_mean) ** 2 for x in xs)
