"""`make gpu OUT=DIR [DATA=DIR]`: everything that a GPU should be asked, in a quarter of an hour.

In this order: the tests of kernels and trainings; one layer and one network next to SpikingJelly, a compiled plain loop
and the same network without neurons; the training loop of recipes; memory, the more of it is saved; a training of one
process and of two on the device; a training of CIFAR-10 where DATA has it. Every part has a time limit and a log in
DIR, and writes its results row by row, so that what was measured until then is kept wherever it is cut off. It installs
nothing: it needs torch, triton, numpy, pytest and pytest-xdist, and SpikingJelly to be compared with it.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from surgrad.files import read_rows, write_json

ROOT = Path(__file__).parents[1]
CONTENDERS = (
    "surgrad",
    "surgrad, spikes as bits",
    "SpikingJelly, mixed precision",
    "SpikingJelly, FlexSN",
    "no neuron",
    "plain loop, compiled",
    "SpikingJelly, compiled",
)
"""The most important first: those at the end may be cut off."""
GRACE = 10
"""Seconds that the processes of a part have to end themselves."""
TRAININGS = ("tests/test_gpu.py", "tests/test_triton.py", "-k", "test_triton or test_gpu")
KERNELS = ("tests/contracts/test_kernels.py", "-k", "triton and cuda")


def parts(out: Path, data: Path | None, tiny: bool) -> list[tuple[str, int, list[str]]]:
    """(name, time limit in seconds, command) of every part."""
    device = ["--device", "cpu", "--tiny"] if tiny else []
    tests = {"tests": ("tests/test_cuda_graph.py",)} if tiny else {"tests": TRAININGS, "kernels": KERNELS}
    # -v: the log of a part that is cut off names the tests that failed
    pytest = ["pytest", "-n", "auto", "--noconftest", "-o", "addopts=", "-v"]
    short = [] if tiny else ["--short"]
    found = [
        *((name, 130, [*pytest, *chosen]) for name, chosen in tests.items()),
        ("step", 220, ["bench.gpu", "--out", f"{out}/step", "--limit", "60", *short, *device, "--only", *CONTENDERS]),
        ("loop", 90, ["bench.loop", "--out", f"{out}/loop.jsonl", *device]),
        ("levels", 60, ["bench.levels", "--out", f"{out}/levels.json", *device]),
        *((f"ranks-{count}", 40, ranks(count, out, tiny)) for count in (1, 2)),
    ]
    if data is not None:
        record = ["bench.record", "fixed_cifar10_fast_t2", "--data", str(data), "--seeds", "1"]
        found.append(("training", 170, [*record, "--out", f"{out}/training.jsonl"]))
    return found


def ranks(count: int, out: Path, tiny: bool) -> list[str]:
    """A training by one process, or by two, which exchange tensors of one GPU by gloo."""
    shorter = ["--set", "data.limit=600", "--set", "run.device=cpu"] if tiny else []
    training = ["surgrad", "train", "--out", f"{out}/ranks-{count}", "--set", "optim.epochs=1", *shorter]
    return ["torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m", *training]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_all", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="where CIFAR-10 is")
    parser.add_argument("--tiny", action="store_true", help="on the CPU, to check that it runs")
    parser.add_argument("--only", nargs="+", metavar="PART", help="some parts, where a call may not take so long")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    planned = parts(given.out.resolve(), given.data, given.tiny)
    names = [name for name, *_ in planned]
    if not set(given.only or ()) <= set(names):
        parser.error(f"unknown part in {given.only}; there are {names}")
    planned = [part for part in planned if part[0] in (given.only or names)]
    failed = [name for name, limit, words in planned if not _run(given.out, name, limit, words)]
    _compare_ranks(given.out)
    if failed:
        sys.exit(f"these parts failed or were cut off: {', '.join(failed)}; their logs are in {given.out}")


def _run(out: Path, name: str, limit: int, words: list[str]) -> bool:
    """Run a part; whether it came to its end without an error."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    began = time.monotonic()
    with (out / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
            _end(process)
    end = "was cut off" if code is None else "is done" if code == 0 else f"ended with code {code}"
    print(f"{name} {end} after {time.monotonic() - began:.0f} s: {out / name}.log", flush=True)
    return code == 0


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it started, which would disturb the next part."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)  # torchrun then ends its processes, which are in other groups
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _compare_ranks(out: Path) -> None:
    """Write what one process and two found, and how far the two losses are apart, where both came to their end."""
    ends = [read_rows(out / f"ranks-{count}" / "metrics.jsonl")[-1:] for count in (1, 2)]
    if not all(ends):
        return
    losses = [rows[0]["train_loss"] for rows in ends]
    found = {
        "train_loss": losses,
        "apart": abs(losses[1] / losses[0] - 1),
        "seconds": [rows[0]["train_seconds"] for rows in ends],
    }
    write_json(out / "ranks.json", found)
    print(f"the training loss of two processes is that of one within {found['apart']:.1e}", flush=True)


if __name__ == "__main__":
    main()
