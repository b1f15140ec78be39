"""Interleaved timing: every contender once a round, in a new order each round, so that whatever else the machine does
falls on all of them alike."""

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
SLOW = 20.0  # seconds: what takes longer is measured once
FAR = 12.0  # times the fastest (a copy, for a layer): what takes longer is measured in the fewest rounds


@dataclass
class Samples:
    """first: seconds of the first call, compilation included. times: of the measured calls. once: too slow for more."""

    first: float
    times: list[float] = field(default_factory=list)
    once: bool = False


@dataclass(frozen=True)
class Effort:
    """How long to measure: at most `rounds` rounds and about `budget` seconds a comparison, but at least `least`."""

    rounds: int = 15
    budget: float = 60.0
    least: int = 3


def interleave(
    calls: dict[str, Callable[[], object]], effort: Effort, compiling: Iterable[str] = ()
) -> dict[str, Samples]:
    """Times of every call by name. Each is called once for its first call and once to warm up; what is slower than SLOW
    in the warm-up (in the first call, unless it compiles there) is not called again, and what is FAR behind the fastest
    only `effort.least` times."""
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
def compiling_anew() -> Iterator[None]:
    """Give torch.compile an empty cache, for this process and those that it starts: else a first call costs what an
    earlier run, or one that was broken off in the middle of a file, has left."""
    before = os.environ.get(CACHE)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ[CACHE] = folder
        try:
            yield
        finally:
            os.environ.pop(CACHE) if before is None else os.environ.update({CACHE: before})


def quartiles(times: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(times) == 1:
        return times[0], times[0], times[0]
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    return low, middle, high


def ratio(times: list[float], ours: list[float]) -> float:
    """By how much they are longer than ours: the median over the rounds that both were measured in."""
    return statistics.median(mine / our for mine, our in zip(times, ours, strict=False))


def rows(samples: dict[str, Samples], **common: Any) -> list[dict[str, Any]]:
    """One record a contender: what they share, the raw times, and their quartiles."""
    found = []
    for name, sample in samples.items():
        low, middle, high = quartiles(sample.times)
        found.append({**common, "name": name, "median": middle, "lower": low, "upper": high, **asdict(sample)})
    return found
