"""`python -m bench [layer step scaling memory levels] [--quick] [--out DIR]`: measure; print tables, write JSON and
plots."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench import layer, levels, memory, plots, scaling, step, tables
from bench.check import agreements, records
from bench.machine import machine, words
from bench.options import Options
from bench.peers import installed, missing
from bench.timing import Effort, empty_compilation_cache
from surgrad.files import replace_file

# Each yields what it has found so far. In this order: measuring the memory changes how the process allocates.
PARTS = {
    "layer": layer.run,
    "step": step.run,
    "scaling": scaling.run,
    "memory": memory.run,
    "levels": levels.run,
}
QUICK = Effort(rounds=2, budget=1.0, least=1)


def main() -> None:
    """Run the command, with an empty compilation cache."""
    given = _arguments()
    with empty_compilation_cache():
        _measure(given)


def _measure(given: Any) -> None:
    effort = QUICK if given.quick else Effort(given.rounds, given.budget)
    options = Options(given.quick, effort)
    place = given.out / "quick" if given.quick else given.out
    place.mkdir(parents=True, exist_ok=True)
    here = machine()
    print(words(here))
    for name in missing():
        print(f"not measured, its package is not installed: {name}")
    options.say("comparing the spikes of all contenders")
    peers = {n: p for n, p in installed().items() if not (given.quick and p.compiled)}
    common = {"machine": here, "quick": given.quick, "effort": asdict(effort), "agreement": records(agreements(peers))}
    print(tables.agreement(common["agreement"]), flush=True)
    for part in (name for name in PARTS if name in given.parts):
        torch._dynamo.reset()
        record = common
        for measured in PARTS[part](options):  # saved after every comparison, in case the run is aborted
            record = {**common, **measured}
            _save(place, f"{part}.json", lambda path, record=record: path.write_text(json.dumps(record, indent=1)))
        print(f"\n{tables.PARTS[part](record)}", flush=True)
        plots.draw(part, record, lambda name, write: _save(place, name, write))
    found = {part: json.loads(path.read_text()) for part in PARTS if (path := place / f"{part}.json").exists()}
    _save(place, "README.md", lambda path: path.write_text(tables.page(found)))
    print(f"\n{tables.targets(found)}\n\nRaw times, tables and plots: {place}")


def _arguments() -> Any:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmark surgrad against other libraries.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"parts to measure: {', '.join(PARTS)}; default: all")
    parser.add_argument(
        "--quick", action="store_true", help="small inputs, to check that everything runs; writes to OUT/quick"
    )
    parser.add_argument("--out", type=Path, default=Path("records/bench"), help="default: %(default)s")
    parser.add_argument(
        "--rounds", type=int, default=Effort.rounds, help="largest number of rounds (default: %(default)s)"
    )
    parser.add_argument(
        "--budget", type=float, default=Effort.budget, help="seconds per comparison (default: %(default)s)"
    )
    given = parser.parse_args()
    given.parts = given.parts or list(PARTS)
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"unknown part: {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    return given


def _save(place: Path, name: str, write: Callable[[Path], object]) -> None:
    replace_file(place / name, write)


if __name__ == "__main__":
    main()
