"""`python -m bench.ranks --data DIR [--out FILE]`: trainings of one process and of two, on two cores.

Each is a command, `surgrad train`, alone or by torchrun; the rate is that of its second epoch. Of a search of `dspike`,
whose directions the ranks divide, it is the time of an epoch of two steps and one search. FILE gets a JSON line after
each.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.machine import machine
from surgrad.files import append_rows, read_rows

SETTINGS = (
    *("data.limit=1024", "data.batch=128", "optim.epochs=2", "run.precision=fp32", "run.device=cpu"),
    *("progressive.fraction=0", "progressive.image_size=none", "adapt.name=share"),
)
ALONE = "one, 1 thread"
WAYS: dict[str, tuple[int, int, tuple[str, ...]]] = {
    ALONE: (1, 1, ()),
    "one, 2 threads": (1, 2, ()),
    "two, shared norms": (2, 1, ()),
    "two, own norms": (2, 1, ("run.sync_norms=false",)),
}
"""Processes, threads of each, and settings."""
WORK: tuple[tuple[str, tuple[str, ...], tuple[str, ...], str], ...] = (
    ("small_resnet", ("model.width_multiplier=0.5",), tuple(WAYS), "images_per_second"),
    ("resnet19", ("model.name=resnet19", "model.width_multiplier=0.125"), tuple(WAYS), "images_per_second"),
    (
        "search",  # it takes most of this epoch
        (
            *("model.width_multiplier=0.25", "data.limit=256", "neuron.train_decay=false", "surrogate.name=dspike"),
            *("adapt.name=dspike", "adapt.samples=128"),
        ),
        (ALONE, "two, shared norms"),
        "epoch_seconds",
    ),
)
"""Names, settings, ways, and what of the last epoch is compared."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.ranks", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    _add(given.out, {"machine": machine(), "settings": SETTINGS, "work": WORK})
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(given.rounds):
        for what, settings, ways, unit in WORK:
            for way in ways:
                value = _last_epoch(way, (*SETTINGS, *settings), given.data)[unit]
                found.setdefault((what, way), []).append(value)
                _add(given.out, {"what": what, "way": way, unit: value})
    for (what, way), values in found.items():
        factor = statistics.median(values) / statistics.median(found[what, ALONE])
        print(f"{what}, {way}: {', '.join(f'{value:.3g}' for value in values)}; {factor:.2f} times that of one process")


def _last_epoch(way: str, settings: tuple[str, ...], data: Path) -> dict[str, Any]:
    """The metrics of a training's last epoch."""
    processes, threads, more = WAYS[way]
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    sets = [word for setting in (*settings, *more) for word in ("--set", setting)]
    with tempfile.TemporaryDirectory() as folder:
        words = ["surgrad", "train", "lsg_cifar10_small_t2", "--data", str(data), "--out", f"{folder}/run", *sets]
        subprocess.run(
            [sys.executable, "-m", *(launcher if processes > 1 else []), *words],
            check=True,
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        row: dict[str, Any] = read_rows(Path(folder, "run", "metrics.jsonl"))[-1]
    return row


def _add(out: Path | None, row: dict[str, Any]) -> None:
    print(row, flush=True)
    if out is not None:
        append_rows(out, [row])


if __name__ == "__main__":
    main()
