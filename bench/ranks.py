"""`python -m bench.ranks --data DIR [--out FILE]`: trainings of one process and of two, on two cores.

Each is a command, `surgrad train`, alone or by torchrun; the rate is that of its second epoch. FILE gets a JSON line
after each.
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
NETWORKS = {
    "small_resnet": ("model.width_multiplier=0.5",),
    "resnet19": ("model.name=resnet19", "model.width_multiplier=0.125"),
}
WAYS: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "one, 1 thread": (1, 1, ()),
    "one, 2 threads": (1, 2, ()),
    "two, shared norms": (2, 1, ()),
    "two, own norms": (2, 1, ("run.sync_norms=false",)),
}
"""Processes, threads of each, and settings."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.ranks", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    _add(given.out, {"machine": machine(), "settings": SETTINGS, "networks": NETWORKS})
    rates: dict[tuple[str, str], list[float]] = {}
    for _ in range(given.rounds):
        for network, sizes in NETWORKS.items():
            for way, (processes, threads, more) in WAYS.items():
                rate = _rate(processes, threads, (*SETTINGS, *sizes, *more), given.data)
                rates.setdefault((network, way), []).append(rate)
                _add(given.out, {"network": network, "way": way, "images_per_second": rate})
    for (network, way), found in rates.items():
        share = statistics.median(found) / (2 * statistics.median(rates[network, "one, 1 thread"]))
        listed = ", ".join(f"{rate:.0f}" for rate in found)
        print(f"{network}, {way}: {listed} images/s; {share:.0%} of twice one process with one thread")


def _rate(processes: int, threads: int, settings: tuple[str, ...], data: Path) -> float:
    """The images a second of a training's second epoch."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    sets = [word for setting in settings for word in ("--set", setting)]
    with tempfile.TemporaryDirectory() as folder:
        words = ["surgrad", "train", "lsg_cifar10_small_t2", "--data", str(data), "--out", f"{folder}/run", *sets]
        subprocess.run(
            [sys.executable, "-m", *(launcher if processes > 1 else []), *words],
            check=True,
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        rate: float = read_rows(Path(folder, "run", "metrics.jsonl"))[-1]["images_per_second"]
    return rate


def _add(out: Path | None, row: dict[str, Any]) -> None:
    print(row, flush=True)
    if out is not None:
        append_rows(out, [row])


if __name__ == "__main__":
    main()
