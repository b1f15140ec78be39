"""Performance targets of surgrad, compared with the measurements. Each target is computed from the records alone."""

from collections.abc import Callable
from statistics import median
from typing import Any

from bench.peers import LOOP, NOTHING, OURS, SJ, SJ_COMPILED
from bench.timing import ratio

Records = dict[str, dict[str, Any]]
Rows = list[dict[str, Any]]


Cases = dict[tuple, dict[str, list[float]]]
"""Seconds of every round, by case and contender."""


def cases(rows: Rows, *keys: str) -> Cases:
    """Group the times by case; a case is one value of each key."""
    found: Cases = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), {})[row["name"]] = row["times"]
    return found


def _layer(records: Records) -> Cases:
    return cases(records["layer"]["rows"], "T", "elements", "dtype")


def _step(records: Records) -> Cases:
    return cases(records["step"]["rows"], "network", "dtype")


def _times(rows: Cases, begins: str, contains: str = "") -> list[float]:
    """Return by which factor the fastest contender of this name is slower than ours, in every case that has one."""
    found = []
    for times in rows.values():
        chosen = [mine for name, mine in times.items() if name.startswith(begins) and contains in name]
        if chosen:
            found.append(min(ratio(mine, times[OURS]) for mine in chosen))
    return found


def _fp32(rows: Cases) -> Cases:
    return {case: times for case, times in rows.items() if case[-1] == "fp32"}


def _eager(records: Records) -> list[float]:
    return [ratio(times[SJ], times[OURS]) for times in _fp32(_layer(records)).values() if SJ in times]


def _halved(records: Records) -> list[float]:
    rows = _layer(records)
    twins = {case: (*case[:-1], "bf16") for case in _fp32(rows)}
    return [median(rows[case][OURS]) / median(rows[twin][OURS]) for case, twin in twins.items() if twin in rows]


def _over_nothing(records: Records) -> list[float]:
    return [1 / ratio(times[NOTHING], times[OURS]) for times in _step(records).values()]


def _memory(what: Callable[[str], bool]) -> Callable[[Records], list[float]]:
    def shares(records: Records) -> list[float]:
        saved: dict[tuple, dict[str, float]] = {}
        for row in records["memory"]["rows"]:
            if what(row["what"]) and row["T"] >= 4:
                saved.setdefault((row["what"], row["T"], row["dtype"]), {})[row["name"]] = row["saved"]
        return [of[OURS] / of[SJ] for of in saved.values() if SJ in of]

    return shares


def _first(records: Records) -> list[float]:
    return [1000 * records["layer"]["first_calls"][OURS]]


# part, target, direction, bound, function that measures every case; the worst case counts
_TARGETS: tuple[tuple[str, str, str, float, Callable[[Records], list[float]]], ...] = (
    ("layer", f"layer, fp32: times faster than {SJ}", ">=", 6.0, _eager),
    ("layer", f"layer: times faster than {SJ_COMPILED}", ">=", 1.0, lambda r: _times(_layer(r), SJ_COMPILED)),
    ("layer", "layer: bf16 times faster than our fp32", ">=", 1.7, _halved),
    ("step", "step: times as long as without a neuron", "<=", 1.10, _over_nothing),
    ("step", "the same, where norm and neuron are fused", "<=", 1.0, _over_nothing),
    ("step", "step: times faster than SpikingJelly's best", ">=", 1.9, lambda r: _times(_step(r), "SpikingJelly")),
    ("step", "step: times faster than a compiled loop", ">=", 1.25, lambda r: _times(_step(r), LOOP, "compiled")),
    ("memory", f"layer: saved bytes, share of {SJ}'s (T >= 4)", "<=", 0.6, _memory(lambda what: what == "layer")),
    ("memory", f"step: saved bytes, share of {SJ}'s", "<=", 0.6, _memory(lambda what: what != "layer")),
    ("layer", "layer: first call of a process, ms", "<=", 50.0, _first),
)


def outcome(records: Records) -> list[list[str]]:
    """Return one line per target: target, bound, worst and best measured case, met or missed."""
    lines = []
    for part, words, way, bound, measure in _TARGETS:
        found = measure(records) if part in records else []
        if not found:
            lines.append([words, f"{way} {bound:g}", "–", "–", "not measured"])
            continue
        worst, best = (min(found), max(found)) if way == ">=" else (max(found), min(found))
        met = worst >= bound if way == ">=" else worst <= bound
        lines.append([words, f"{way} {bound:g}", f"{worst:.3g}", f"{best:.3g}", "met" if met else "missed"])
    return lines
