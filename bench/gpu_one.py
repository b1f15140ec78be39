"""Measure one contender on one device: layer, training step, training step as a CUDA graph. Used by `bench/gpu.py`."""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.check import DTYPES
from bench.peers import NOTHING, SJ, OverTime, Peer, PlainLoop, installed, spikingjelly_lif
from bench.setups import Setup, batch_of, network_of, sgd_step

BYTES = {"fp32": 20, "bf16": 10}  # per element and time step of a fused pass: 8 forward and 12 backward; half in bf16
CYCLES_PER_SECOND = 2e9  # of a GPU's clock, at most
PARTS = ("layer", "step")
FLUSH = 256 * 2**20  # bytes: more than any L2 cache
LAYERS = tuple((steps, batch) for steps in (4, 16) for batch in (16, 64, 256))  # a time step has N·64·32·32 elements
NETWORKS = tuple(Setup(name, 1.0, batch=batch) for name in ("resnet18", "resnet19") for batch in (64, 128))
SHORT_LAYERS = ((4, 64),)
SHORT_NETWORKS = (Setup("resnet19", 1.0, batch=128),)
TINY_LAYERS = ((4, 1),)
TINY_NETWORKS = (Setup("resnet18", 0.125, batch=2, image=16),)


class Device:
    """Timer of calls on a device.

    On CUDA it uses events. Before each call it empties the L2 cache, and keeps the device busy until the host has
    queued the whole call, so that the events measure the device alone.
    """

    def __init__(self, name: str, repeats: int):
        self.name = name
        self.cuda = name == "cuda"
        self.repeats = repeats
        self.rubbish = torch.empty(FLUSH if self.cuda else 1, dtype=torch.int8, device=name)

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def mark(self) -> Any:
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start: Any, end: Any) -> float:
        """Return the milliseconds between two marks."""
        return start.elapsed_time(end) if self.cuda else (end - start) * 1e3

    def flush(self) -> None:
        for _ in range(8):
            self.rubbish.zero_()

    def occupy(self, seconds: float) -> None:
        """Keep the device busy for this long, without memory traffic."""
        if self.cuda:
            torch.cuda._sleep(int(seconds * CYCLES_PER_SECOND))

    def times(self, call: Callable[[], list[Any]]) -> list[list[float]]:
        """Return, for each repeat, the milliseconds between the marks that the call returns; two calls warm up."""
        call()
        self.wait()
        start = time.perf_counter()
        call()
        host = time.perf_counter() - start
        marks = []
        for _ in range(self.repeats):
            self.flush()
            self.occupy(2 * host)
            marks.append(call())
        self.wait()
        return [[self.between(a, b) for a, b in pairwise(m)] for m in marks]

    def queued(self, call: Callable[[], object]) -> float:
        """Return the milliseconds per call when many calls are queued without waiting, the host's time included."""
        self.wait()
        start = time.perf_counter()
        for _ in range(self.repeats):
            call()
        self.wait()
        return (time.perf_counter() - start) / self.repeats * 1e3

    def allocated(self, peak: bool = False) -> int | None:
        if not self.cuda:
            return None
        return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()


def copy_gb_s(device: Device) -> float:
    """Measure the bandwidth of a large copy, reads and writes counted."""
    source = torch.ones(2**28 if device.cuda else 2**22, device=device.name)
    target = torch.empty_like(source)

    def call() -> list[Any]:
        start = device.mark()
        target.copy_(source)
        return [start, device.mark()]

    return 2 * source.nbytes / statistics.median(t[0] for t in device.times(call)) / 1e6


def layer_row(peer: Peer, steps: int, batch: int, dtype: str, device: Device, copy: float) -> dict[str, Any]:
    """Measure forward and backward pass of one layer."""
    torch.manual_seed(0)
    x = torch.randn(steps, batch, 64, 32, 32, device=device.name).to(DTYPES[dtype]).requires_grad_()
    layer = peer.layer().to(device.name)
    start = time.perf_counter()
    spikes = layer(x)
    weight = torch.randn(x.shape, device=device.name).to(spikes.dtype)
    spikes.backward(weight)
    device.wait()
    first = time.perf_counter() - start
    with torch.no_grad():
        differs = (spikes != PlainLoop()(x)).double().mean().item()
    del spikes

    def call() -> list[Any]:
        x.grad = None
        marks = [device.mark()]
        out = layer(x)
        marks.append(device.mark())
        out.backward(weight)
        return [*marks, device.mark()]

    raw = device.times(call)
    median = statistics.median(map(sum, raw))
    share = BYTES[dtype] * x.numel() / (median * 1e6) / copy
    return {
        "T": steps,
        "elements": x[0].numel(),
        "dtype": dtype,
        "first_s": first,
        "differs": differs,
        "median_ms": median,
        "forward_ms": statistics.median(t[0] for t in raw),
        "share_of_copy": share,
        "queued_ms": device.queued(call),
        "kept_bytes_per_element": kept(layer, x, device),
        "raw_ms": raw,
    }


def kept(layer: nn.Module, x: Tensor, device: Device) -> float | None:
    """Return the bytes per element that a forward pass leaves allocated in addition to its input and its output. The
    state of the previous call, which it replaces, does not count."""
    x.grad = None
    device.wait()
    before = device.allocated()
    out = layer(x)
    after = device.allocated()
    if before is None or after is None:
        return None
    return round((after - before - out.nbytes) / x.numel(), 2)


def step_row(peer: Peer, setup: Setup, device: Device, graph: bool) -> dict[str, Any]:
    """Measure one step of SGD in bf16, called directly or replayed as a CUDA graph.

    The row has the losses of the first and the last step, to show that the network trains.
    """
    step = sgd_step(network_of(setup, peer).to(device.name), batch_of(setup, device.name), "bf16")
    losses = [step().item()]
    run = captured(step) if graph else step
    if device.cuda:
        torch.cuda.reset_peak_memory_stats()

    def call() -> list[Any]:
        start = device.mark()
        run()
        return [start, device.mark()]

    raw = [t[0] for t in device.times(call)]
    peak = device.allocated(peak=True)
    queued = device.queued(run)
    losses.append(step().item())
    if not all(map(math.isfinite, losses)):
        raise RuntimeError(f"the loss is not finite: {losses}")
    return {
        "median_ms": statistics.median(raw),
        "queued_ms": queued,
        "raw_ms": raw,
        "losses": losses,
        "peak_mib": None if peak is None else round(peak / 2**20),
    }


def captured(step: Callable[[], Tensor]) -> Callable[[], None]:
    """Capture the step as a CUDA graph, after three steps on a side stream, as in torch's documentation."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def spikingjelly_mixed() -> OverTime:
    """Build SpikingJelly's node in its mixed precision: Triton, state in bf16, arithmetic in fp32."""
    from spikingjelly.activation_based.precision import PrecisionConfig, prepare_model_for_precision

    layer = spikingjelly_lif()
    config = PrecisionConfig(mode="bf16", neuron_storage="bf16")
    layer.node = prepare_model_for_precision(layer.get_submodule("node"), "cuda", config).model
    return layer


def attempt(make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the row, or the error in its place, so that the other rows are still measured."""
    try:
        return make()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:600]}
    finally:
        torch.cuda.empty_cache()


def main() -> None:
    """Measure one contender and write the record after every row."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    device = Device(given.device, 3 if given.tiny else 15 if given.short else 30)
    more = (Peer(NOTHING, nn.Identity), Peer(f"{SJ}, mixed precision", spikingjelly_mixed))
    peer = {**{extra.name: extra for extra in more}, **installed()}[given.peer]
    name = torch.cuda.get_device_name() if device.cuda else given.device
    copy = copy_gb_s(device)
    record: dict[str, Any] = {
        "machine": {"name": name, "torch": torch.__version__, "cuda": torch.version.cuda},
        "copy_gb_s": copy,
        "tiny": given.tiny,
        "layer": [],
        "step": [],
    }

    layers = TINY_LAYERS if given.tiny else SHORT_LAYERS if given.short else LAYERS
    networks = TINY_NETWORKS if given.tiny else SHORT_NETWORKS if given.short else NETWORKS
    for steps, batch in () if peer.name == NOTHING or "layer" not in given.parts else layers:
        for dtype in DTYPES:
            case = {"T": steps, "elements": batch * 64 * 32 * 32, "dtype": dtype}
            row = attempt(lambda s=steps, b=batch, d=dtype: layer_row(peer, s, b, d, device, copy))
            _add(record, "layer", {**case, **row}, given.out)
    # The graphs come last: a failed capture may affect what follows.
    for graph in (False, True) if device.cuda else (False,):
        for setup in networks if "step" in given.parts else ():
            row = attempt(lambda s=setup, g=graph: step_row(peer, s, device, g))
            _add(record, "step", {"network": setup.network, "batch": setup.batch, "graph": graph, **row}, given.out)


def _add(record: dict[str, Any], part: str, row: dict[str, Any], path: Path) -> None:
    record[part].append(row)
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(record))
    beside.replace(path)


if __name__ == "__main__":
    main()
