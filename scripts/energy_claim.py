"""`python scripts/energy_claim.py [RUN ...] [--data DIR] [--out FILE]`: which rates give 7.8 % of an ANN's energy.

Li et al. 2021 (Dspike) write that their network needs 7.8 % of the energy of the same network as an ANN, and state
neither its rates nor T. For the modified ResNet-18 of their CIFAR recipes this solves

    (4.6·MACs + 0.9·r·ACs) / (4.6·all connections) = 0.078

for one rate r (spikes per input and time step) of all layers. The first layer multiplies, once or in every step. What
follows an average pooling sees averages of spikes: they are multiplied, or each spike in them is added, as if the
averaging were part of the weights. Of each RUN it counts what the trained network needs, and its mean rate.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import torch

from surgrad.files import replace_file
from surgrad.measure import Accounting, Energy, energy
from surgrad.measure.operations import AC, MAC
from surgrad.models import MODELS
from surgrad.train import energy_of_run

CLAIM = 0.078
STEPS = (2, 4, 6)
"""Those of the paper's CIFAR rows."""
PASSES = 30
"""After which running means are such that spikes come through to the last layer."""
WAYS = {
    f"first layer {stem}, averages {averages}": Accounting(stem_every_step=every, fractions_as_acs=folded)
    for (stem, every), (averages, folded) in product(
        (("once", False), ("in every step", True)), (("multiplied", False), ("added", True))
    )
}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="*", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--images", type=int, default=1000, help="test images of each run (default: %(default)s)")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    record = {
        "claim": CLAIM,
        "needed": [row for steps in STEPS for row in needed(steps)],
        "runs": [row for run in given.run for row in found(run, given.data, given.images)],
    }
    text = json.dumps(record, indent=1) + "\n"
    print(text, end="")
    if given.out:
        replace_file(given.out, lambda path: path.write_text(text, encoding="utf-8"))


def needed(steps: int) -> list[dict[str, Any]]:
    """The rates for the claim, by how operations are counted."""
    torch.manual_seed(0)
    network = MODELS["resnet18"](10, steps=steps)
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        for _ in range(PASSES):
            network.train()(images)
    rows = []
    for way, accounting in WAYS.items():
        counted = energy(network, [images], accounting)
        rows.append({"network": "resnet18", "T": steps, "counting": way, "rate": rate_for(counted)})
    return rows


def rate_for(counted: Energy) -> float:
    """The rate of all inputs that are added, at which the network needs the claimed share; negative: none is small
    enough."""
    multiplied = sum(layer.macs for layer in counted.layers)
    return (CLAIM * counted.ann - MAC * multiplied) / (AC * sum(additions(counted)))


def additions(counted: Energy) -> list[float]:
    """Of each layer that adds, the additions at a rate of 1; an average of four spikes is four additions."""
    added = [layer for layer in counted.layers if not layer.macs]
    silent = [layer.layer for layer in added if not layer.rate]
    if silent:
        raise ValueError(f"no spike reaches {', '.join(silent)}; give a network whose layers all receive some")
    return [layer.passes * layer.connections * layer.spikes / layer.rate for layer in added]


def found(run: Path, data: Path | None, images: int) -> list[dict[str, Any]]:
    """What a trained network needs on the test images, and its mean rate."""
    rows = []
    for way, accounting in WAYS.items():
        counted = energy_of_run(run, accounting, data=data, images=images)
        rate = sum(layer.acs for layer in counted.layers) / sum(additions(counted))
        row = {"run": run.name, "T": counted.steps, "counting": way, "share": counted.ratio, "rate": rate}
        rows.append({**row, "firing_rates": counted.firing_rates})
    return rows


if __name__ == "__main__":
    main()
