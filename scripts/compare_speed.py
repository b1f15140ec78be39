"""Compare the speed of two versions of surgrad: layers, a neuron and a training step, in processes that run in turn.

Run: python scripts/compare_speed.py BEFORE/src AFTER/src [OUT.json]. Each version needs its compiled kernel next to its
sources (python setup.py build_ext --inplace). One version may be older than the redesign of November 2026.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 8
LAYERS = {"layer_small": (8, 16, 8, 8), "layer_medium": (32, 64, 16, 16), "layer_large": (64, 128, 32, 32)}
CALLS = {"layer_small": 400, "layer_medium": 150, "layer_large": 8}


def median_of(call: Callable[[], object], count: int) -> float:
    """Median seconds of a call, after five calls that do not count."""
    seconds = []
    for number in range(count + 5):
        start = time.perf_counter()
        call()
        if number >= 5:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measure() -> dict[str, float]:
    """The seconds of every case, in this process."""
    import torch

    from surgrad import LIF, adapt
    from surgrad.adapt import Adapter
    from surgrad.kernels import lif as kernels
    from surgrad.losses import cross_entropy
    from surgrad.models import small_cnn

    torch.set_num_threads(1)
    redesigned = hasattr(kernels, "LIFArguments")
    keyword = "surrogate" if redesigned else "shape"
    found = {}
    for name, size in LAYERS.items():
        x = torch.randn((4, *size), requires_grad=True)
        above = torch.randn(x.shape)

        def layer(x: torch.Tensor = x, above: torch.Tensor = above) -> None:
            x.grad = None
            kernels.lif(x, 0.2, 1.0, **{keyword: "rect"}).spikes.backward(above)

        found[name] = median_of(layer, CALLS[name])
    neuron = LIF(0.2, train_decay=True)
    currents = torch.randn(4, 8, 16, 8, 8, requires_grad=True)
    found["neuron_forward"] = median_of(lambda: neuron(currents), 500)
    torch.manual_seed(0)
    network = small_cnn(width_multiplier=0.5)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    images = torch.randn(60, 1, 28, 28)
    labels = torch.randint(0, 10, (60,))
    controller = adapt.LSG() if redesigned else adapt.follow("lsg")
    adapter = Adapter(network, controller, loss=cross_entropy, steps=10**6, steps_per_epoch=100)

    def step() -> None:
        adapter.step((images, labels))
        optimizer.zero_grad()
        cross_entropy(network(images), labels).backward()
        optimizer.step()

    found["step"] = median_of(step, 40)
    return found


def process(source: str) -> dict[str, float]:
    """`measure` in a process of the version whose sources are in this folder."""
    environment = {**os.environ, "PYTHONPATH": source}
    done = subprocess.run(
        [sys.executable, __file__, "--measure"], env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(before: str, after: str, out: str | None = None) -> None:
    runs: dict[str, list[dict[str, float]]] = {before: [], after: []}
    for number in range(ROUNDS):
        for source in (before, after) if number % 2 == 0 else (after, before):
            runs[source].append(process(source))
    cases = {}
    for name in runs[before][0]:
        old, new = ([run[name] for run in runs[source]] for source in (before, after))
        ratios = {"ratio": statistics.median(new) / statistics.median(old), "ratio_of_minima": min(new) / min(old)}
        cases[name] = {"before_s": statistics.median(old), "after_s": statistics.median(new), **ratios}
        print(name, {key: round(value, 6) for key, value in cases[name].items()})
    if out is not None:
        record = {"threads": 1, "processes_each": ROUNDS, "cases": cases}
        Path(out).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--measure"]:
        print(json.dumps(measure()))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("before", help="src folder of the older version")
        parser.add_argument("after", help="src folder of the newer version")
        parser.add_argument("out", nargs="?", help="JSON file to write")
        main(**vars(parser.parse_args()))
