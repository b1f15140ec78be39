"""`python scripts/measure_attacks.py RUN... [--data DIR] [--out FILE]`: test accuracy under attacks on the images.

FGSM (Goodfellow et al. 2015): x + ε·sign(∂L/∂x). PGD (Madry et al. 2018): 10 steps of ε/4 from a random start within ε.
ε is in units of pixels in [0, 1]; pixels stay in [0, 1]. A surrogate gradient that is mostly zero would hide a weak
network: so each attack uses the run's own widths, and widths that reach 40 % of the potentials, and the lower accuracy
counts.
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from surgrad import Adapter, load_run
from surgrad.adapt import KeepShare
from surgrad.data import load
from surgrad.files import replace_file
from surgrad.losses import cross_entropy
from surgrad.models import SpikingNetwork
from surgrad.surrogates import find_surrogates
from surgrad.train import build
from surgrad.train.evaluation import correct_in
from surgrad.train.run_folder import recipe_of

EPSILONS = (2 / 255, 8 / 255)
STEPS = 10
COMMON_SHARE = 0.4
BATCH = 250


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--limit", type=int, metavar="N", help="attack the first N test images")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = {run.name: measured(run, given.data, given.limit) for run in given.runs}
    for name, accuracies in found.items():
        print(name, " ".join(f"{kind} {100 * value:.2f}" for kind, value in accuracies.items()), flush=True)
    if given.out:
        replace_file(given.out, lambda path: path.write_text(json.dumps(found, indent=1) + "\n"))


def measured(run: Path, data: Path | None, limit: int | None = None) -> dict[str, float]:
    """Accuracies without an attack, and under each."""
    torch.manual_seed(0)
    recipe = recipe_of(run)
    parts = build(recipe, data)
    network = load_run(run).to(parts.device)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    x, y = (torch.cat(part)[:limit] for part in zip(*parts.batches.test(), strict=True))
    batches = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    source = load(recipe.data.name, data)
    mean, std = (torch.tensor(values, device=parts.device).view(-1, 1, 1) for values in (source.mean, source.std))
    limits = (0 - mean) / std, (1 - mean) / std
    out = {"clean": accuracy(network, batches)}
    for epsilon in EPSILONS:
        for name, steps in (("fgsm", 1), ("pgd", STEPS)):
            size = epsilon / std
            kinds = [own(network), common(network, batches[0])]
            scores = []
            for kind in kinds:
                with kind:
                    attacked = [(attack(network, x, y, size, steps, limits), y) for x, y in batches]
                scores.append(accuracy(network, attacked))
            out[f"{name} {round(255 * epsilon)}/255"] = min(scores)
    return out


@torch.no_grad()
def accuracy(network: SpikingNetwork, batches: list[tuple[Tensor, Tensor]]) -> float:
    right = sum(int(correct_in(network(x), y)) for x, y in batches)
    return right / sum(len(y) for _, y in batches)


@contextmanager
def own(network: SpikingNetwork) -> Iterator[None]:
    """The widths of the run."""
    yield


@contextmanager
def common(network: SpikingNetwork, batch: tuple[Tensor, Tensor]) -> Iterator[None]:
    """Widths that reach `COMMON_SHARE` of the potentials."""
    before = {name: slot.width.clone() for name, slot in find_surrogates(network).items()}
    adapter = Adapter(network, KeepShare(COMMON_SHARE))
    adapter.step(batch)
    adapter.detach()
    yield
    for name, slot in find_surrogates(network).items():
        slot.width.copy_(before[name])


def attack(
    network: SpikingNetwork, images: Tensor, labels: Tensor, size: Tensor, steps: int, limits: tuple[Tensor, Tensor]
) -> Tensor:
    """The images after FGSM (one step of `size`) or PGD (several of a quarter, from a random start)."""
    single = steps == 1
    x = images if single else images + (2 * torch.rand_like(images) - 1) * size
    for _ in range(steps):
        x = x.clamp(*limits).requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(network(x), labels), x)
        moved = x.detach() + gradient.sign() * (size if single else size / 4)
        x = torch.maximum(torch.minimum(moved, images + size), images - size)
    return x.clamp(*limits)


if __name__ == "__main__":
    main()
