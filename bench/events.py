"""`python -m bench.events [--recordings DIR] [--out FILE] [--quick]`: the speed of reading and slicing event files, of
the cache of frames, of augmentation, and of training on them.
"""

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.machine import machine, words
from bench.tables import table
from surgrad.config.recipe import derive
from surgrad.data import DATASETS
from surgrad.data.events import read, suffix
from surgrad.files import replace_file
from surgrad.recipes import find_recipe
from surgrad.train.building import build
from surgrad.train.loop import Loop
from surgrad.train.progress import Lines

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from event_files import WRITERS, some_events  # the writers are the tests'

RECIPE = "lsg_cifar10dvs_vggsnn_t10"
EVENTS_A_RECORDING = 200_000
CLASSES = 10
"""About the mean of CIFAR10-DVS, and its number of classes."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.events", description=__doc__)
    parser.add_argument("--out", type=Path, help="also write the record here, as JSON")
    parser.add_argument(
        "--recordings",
        type=Path,
        help="folder of recordings of 128×128, rewritten in the format of CIFAR10-DVS; by default random events",
    )
    parser.add_argument("--quick", action="store_true", help="few events, to check that everything works")
    given = parser.parse_args()
    count, each = (20_000, 2_000) if given.quick else (4_000_000, EVENTS_A_RECORDING)
    with tempfile.TemporaryDirectory() as folder:
        record = {
            "machine": machine(),
            "events": count,
            "readers": readers(Path(folder), count),
            "pipeline": pipeline(Path(folder), each, given.recordings),
        }
    print(f"{words(record['machine'])}\n\n{shown(record)}")
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(given.out, lambda path: path.write_text(json.dumps(record, indent=1) + "\n"))


def readers(folder: Path, count: int) -> dict[str, list[float]]:
    """Seconds of processor time to read a file of `count` events in every format, including decoders in processes."""
    events = some_events(count, 128, 120, end=2**22)
    found = {}
    for name, (write, ending) in WRITERS.items():
        path = folder / f"{name}{ending}"
        if name in ("aedat3", "aedat4"):
            write(path, events, packet=4096)
        else:
            write(path, events)
        found[name] = timed(lambda path=path: read(path), 5)
        path.unlink()
    return found


def pipeline(folder: Path, each: int, recordings: Path | None) -> dict[str, Any]:
    """Seconds of every stage from files of CIFAR10-DVS's format and statistics to a training step."""
    sources = sorted(path for path in recordings.rglob("*") if suffix(path)) if recordings else []
    counts = []
    for label in range(CLASSES):
        place = folder / "cifar10_dvs" / f"class{label}"
        place.mkdir(parents=True)
        whole = read(sources[label % len(sources)], sensor=(128, 128), sort=True) if sources else None
        for number in (*range(20), *range(900, 905)):
            events = moving(each, 1000 * label + number) if whole is None else part_of(whole, number % 900)
            WRITERS["aedat2"][0](place / f"c_{number}.aedat", events)
            counts.append(len(events))
    source = DATASETS.build("cifar10_dvs", {"side": 48, "flip": True, "roll": 5, "workers": 0}, root=folder)
    cache = source.frame_cache(10)
    view = source.view
    paths = [Path(path) for path in source.data.train.paths]
    found: dict[str, Any] = {
        "recordings": len(paths),
        "events": round(sum(counts) / len(counts)),
        "real": bool(sources),
    }
    found["read"] = timed(lambda: [read(path) for path in paths], 3)
    found["read and slice"] = timed(lambda: [cache.slicing.apply(path) for path in paths], 3)
    shutil.rmtree(cache.folder, ignore_errors=True)
    found["read, slice and keep"] = timed(lambda: [cache.frames(path) for path in paths], 1)
    found["from the cache"] = timed(lambda: [cache.frames(path) for path in paths], 5)
    kept = [cache.frames(path) for path in paths[:50]]
    found["normalise, 48×48, flip and roll"] = timed(lambda: [view.augmented(view.plain(one), (0,)) for one in kept], 3)
    found["kept bytes a recording"] = sum(cache.place(path).stat().st_size for path in paths) / len(paths)
    found["step"] = steps(folder)
    return found


def steps(folder: Path) -> dict[str, Any]:
    """Seconds of training steps of the recipe at batch 32, and of waiting for their batches."""
    recipe = derive(find_recipe(RECIPE), data={"batch": 32, "workers": 1})
    parts = build(recipe, folder)
    with tempfile.TemporaryDirectory() as out:
        loop = Loop(parts, recipe.optim, Path(out), Lines(1))
        parts.model.train()
        waits = []
        works = []
        batches = parts.batches.train(0)
        for _ in range(5):
            start = time.perf_counter()
            batch = next(batches)
            middle = time.perf_counter()
            loop.train_step(batch)
            waits.append(middle - start)
            works.append(time.perf_counter() - middle)
    return {"batch": 32, "wait": waits[1:], "work": works[1:]}


def part_of(events: NDArray, number: int) -> NDArray:
    """1.3 s of a real recording, as long as CIFAR10-DVS's, from `number` · 6 ms after its start."""
    t = events["t"] - events["t"][0] - 6000 * number
    return events[np.searchsorted(t, 0) : np.searchsorted(t, 1_300_000)]


def moving(count: int, seed: int) -> NDArray:
    """A recording as in CIFAR10-DVS: 1.3 s of a moving picture, so that events are along edges and in bursts."""
    rng = np.random.default_rng(seed)
    events = some_events(count, 128, 128, seed, end=1_300_000)
    centre = 64 + 30 * np.sin(events["t"] / 200_000 + rng.uniform(0, 6))
    events["x"] = np.clip(rng.normal(centre, 12), 0, 127)
    events["y"] = np.clip(rng.normal(64, 25, len(events)), 0, 127)
    return events


def timed(call: Callable[[], object], rounds: int) -> list[float]:
    """Processor time of each call, including the processes that it starts and ends."""
    found = []
    for _ in range(rounds):
        start = processor()
        call()
        found.append(processor() - start)
    return found


def processor() -> float:
    """Processor time in seconds of this process and of the processes that it has ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def shown(record: dict[str, Any]) -> str:
    """Two tables."""
    lines = [[name, f"{record['events'] / median(seconds) / 1e6:.0f}"] for name, seconds in record["readers"].items()]
    made = record["pipeline"]
    parts = []
    for name, seconds in made.items():
        if isinstance(seconds, list):
            number = 50 if name.startswith("normalise") else made["recordings"]
            each = median(seconds) / min(number, made["recordings"])
            parts.append([name, f"{1e3 * each:.2f}", f"{10 / each:.0f}"])
    step = made["step"]
    each = (median(step["wait"]) + median(step["work"])) / step["batch"]
    parts.append([f"training step, batch {step['batch']}", f"{1e3 * each:.0f}", f"{10 / each:.0f}"])
    waits, works = (1e3 * median(step[name]) for name in ("wait", "work"))
    kept = made["kept bytes a recording"] / 1024
    kind = "Real recordings" if made["real"] else "Recordings"
    return (
        f"{table(['format', 'million events a second'], lines)}\n\n{kind} of {made['events']:,} events, ten "
        f"frames of 128×128 ({kept:.0f} KiB kept of each):\n\n"
        f"{table(['part', 'ms a recording', 'frames a second'], parts)}\n\nA step waits {waits:.0f} ms for its "
        f"batch and takes {works:.0f}."
    )


if __name__ == "__main__":
    main()
