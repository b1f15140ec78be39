"""Interleaved timing: every contender once per round, in a new order each round, so that other load on the machine
affects all of them equally."""

import gc
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

CACHE = "TORCHINDUCTOR_CACHE_DIR"
SLOW = 20.0  # seconds; a slower contender is measured once
FAR = 12.0  # times the fastest (a copy, for a layer); a slower contender is measured in the fewest rounds


@dataclass
class Samples:
    """first: seconds of the first call, compilation included. times: of the measured calls. once: too slow for more."""

    first: float
    times: list[float] = field(default_factory=list)
    once: bool = False


@dataclass(frozen=True)
class Effort:
    """How long to measure: at most `rounds` rounds, about `budget` seconds per comparison, at least `least` rounds."""

    rounds: int = 15
    budget: float = 60.0
    least: int = 3


def interleave(
    calls: dict[str, Callable[[], object]], effort: Effort, compiling: Iterable[str] = ()
) -> dict[str, Samples]:
    """Return the times of every call, by name.

    Each is called once for its first call and once to warm up. A call slower than SLOW in the warm-up (or in the first
    call, unless it compiles there) is not called again. A call FAR behind the fastest is measured `effort.least` times.

    Args:
        calls: what to time, by name.
        effort: how long to measure.
        compiling: names whose first call compiles.
    """
    samples = {name: Samples(_seconds(call)) for name, call in calls.items()}
    warm = {}
    for name, call in calls.items():
        hopeless = samples[name].first > SLOW and name not in compiling
        warm[name] = samples[name].first if hopeless else _seconds(call)
        if warm[name] > SLOW:
            samples[name].times = [warm[name]]
            samples[name].once = True
    names = [name for name in calls if not samples[name].once]
    close = [name for name in names if warm[name] <= FAR * min(warm.values())]
    order = random.Random(0)
    for number in range(_rounds(effort, sum(warm[name] for name in close)) if names else 0):
        gc.collect()
        turn = names if number < effort.least else close
        for name in order.sample(turn, len(turn)):
            samples[name].times.append(_seconds(calls[name]))
    return samples


def _rounds(effort: Effort, one: float) -> int:
    return min(effort.rounds, max(effort.least, int(effort.budget / max(one, 1e-9))))


def _seconds(call: Callable[[], object]) -> float:
    gc.disable()
    try:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    finally:
        gc.enable()


@contextmanager
def empty_compilation_cache() -> Iterator[None]:
    """Give torch.compile an empty cache, for this process and those it starts; otherwise the time of a first call
    depends on what an earlier or aborted run has left in the cache."""
    before = os.environ.get(CACHE)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ[CACHE] = folder
        try:
            yield
        finally:
            os.environ.pop(CACHE) if before is None else os.environ.update({CACHE: before})


def quartiles(times: list[float]) -> tuple[float, float, float]:
    """Return lower quartile, median and upper quartile."""
    if len(times) == 1:
        return times[0], times[0], times[0]
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    return low, middle, high


def ratio(times: list[float], ours: list[float]) -> float:
    """Return the ratio of the times to ours: the median over the rounds in which both were measured."""
    return statistics.median(mine / our for mine, our in zip(times, ours, strict=False))


def rows(samples: dict[str, Samples], **common: Any) -> list[dict[str, Any]]:
    """Return one row per contender: the common values, the raw times and their quartiles."""
    found = []
    for name, sample in samples.items():
        low, middle, high = quartiles(sample.times)
        found.append({**common, "name": name, "median": middle, "lower": low, "upper": high, **asdict(sample)})
    return found
