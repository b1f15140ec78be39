"""Does another target than the share give better widths in deep networks? A line for every training:

    python scripts/other_targets.py --data DIR --out records/start_anywhere/other_targets.jsonl

On the plain networks of sweeps/shapes_in_depth.toml (3 and 10 layers, MNIST) a controller finds each layer's width for

    share     the share χ* = 0.3 of the potentials within reach, as `surgrad.adapt.KeepShare` does;
    variance  v_th²·E[h(u)²] = r, r the layer's firing rate and h the slope of its surrogate. With tdBN between two
              layers of equal rate, the back-propagated gradient then has the same variance before and after a layer;
    both      the wider of the two.

Runs whose line is in the file already are left out.
"""

import argparse
import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from surgrad.adapt import CONTROLLERS, KeepShare, StepContext
from surgrad.config import set_fields
from surgrad.config.recipe import derive
from surgrad.files import append_rows, read_rows
from surgrad.kernels.lif import BINS, PER_THRESHOLD
from surgrad.recipes import find_recipe
from surgrad.surrogates import width_of_equivalent
from surgrad.train import train

FUNCTIONS = ("rect", "triangle", "atan", "fast_sigmoid")
LAYERS = (3, 10)
SEEDS = 3
SETTINGS = (
    "neuron.train_decay=false",
    "data.name=mnist",
    "data.flip=false",
    "data.crop=0",
    "data.batch=256",
    "data.limit=20000",
    "model.steps=2",
    "model.name=mlp",
    "optim.name=sgd",
    "optim.lr=0.1",
    "optim.epochs=3",
)
HALVES = torch.logspace(-2, 1.5, 400, dtype=torch.float64)
"""Half-widths in thresholds that are tried."""


class KeepVariance(KeepShare):
    """The half-width at which a layer passes the variance of the gradient on."""

    def __call__(self, context: StepContext) -> dict[str, Tensor]:
        self.neurons = context.neurons
        return super().__call__(context)

    def _aims(self, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self._of_layer(self.neurons[name], histogram) for name, histogram in counts.items()}

    @staticmethod
    def _of_layer(neuron: Any, counts: Tensor) -> Tensor:
        threshold = neuron.threshold.detach().double().mean()
        share = counts.double() / counts.sum()
        centres = threshold * (torch.arange(BINS) - BINS // 2 + 0.5) / PER_THRESHOLD
        function = neuron.surrogate.function
        widths = width_of_equivalent(function, HALVES * threshold)
        powers = threshold**2 * (function.slope(centres, widths[:, None]).square() * share).sum(1)
        rate = share[BINS // 2 :].sum()
        wide_enough = (powers >= rate).sum().clamp(min=1)
        return HALVES[wide_enough - 1]


class KeepBoth(KeepVariance):
    """The wider of the two half-widths."""

    def _aims(self, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        by_share = KeepShare._aims(self, counts)
        return {name: torch.maximum(aim, by_share[name]) for name, aim in super()._aims(counts).items()}


TARGETS = {"share": "share", "variance": "keep_variance", "both": "keep_both"}
CONTROLLERS.add("keep_variance", KeepVariance)
CONTROLLERS.add("keep_both", KeepBoth)


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    names = ("layers", "function", "target", "seed")
    held = {tuple(row[name] for name in names) for row in read_rows(given.out)} if given.out.exists() else set()
    for case in product(LAYERS, FUNCTIONS, TARGETS, range(SEEDS)):
        if case not in held:
            row = dict(zip(names, case, strict=True)) | trained(*case, data=given.data)
            append_rows(given.out, [row])
            print(json.dumps(row), flush=True)


def trained(layers: int, function: str, target: str, seed: int, data: Path) -> dict[str, Any]:
    """Test accuracy of the last epoch, and the widths of the layers then."""
    sets = (*SETTINGS, f"model.layers={layers}", f"surrogate.name={function}", f"adapt.name={TARGETS[target]}")
    recipe = derive(set_fields(find_recipe("lsg_fashion_small_t4"), sets), seed=seed)
    with TemporaryDirectory() as folder:
        out = train(recipe, Path(folder) / "run", data=data)
        last = read_rows(out / "metrics.jsonl")[-1]
        widths = [row["width"] for row in read_rows(out / "widths.jsonl") if row["epoch"] == last["epoch"]]
    return {"accuracy": last["test_accuracy"], "widths": [round(width, 3) for width in widths]}


if __name__ == "__main__":
    main()
