"""Tables of the records, in Markdown."""

from typing import Any

from bench import machine
from bench.layer import COPY, FLOOR
from bench.peers import OURS
from bench.targets import Records, outcome
from bench.timing import ratio

Rows = list[dict[str, Any]]


def table(head: list[str], lines: list[list[str]]) -> str:
    """Format a Markdown table with aligned columns."""
    cells = [head, *lines]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    rule = "| " + " | ".join("-" * width for width in widths) + " |"
    drawn = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in cells]
    return "\n".join([drawn[0], rule, *drawn[1:]])


def timed(rows: Rows, floor: bool = False) -> str:
    """Format median, quartiles, rounds and ratio to ours of the contenders of one case, the fastest first."""
    ours = next(row["times"] for row in rows if row["name"] == OURS)
    lines = []
    if floor:
        copy = next(row for row in rows if row["name"] == COPY)
        share = FLOOR * ratio(copy["times"], ours)
        lines.append(["byte floor, 2.5 copies", *_milliseconds(FLOOR * copy["median"]), "", "", f"{share:.2f}", ""])
    for row in sorted(rows, key=lambda row: row["median"]):
        spread = "measured once" if row["once"] else f"{row['lower'] * 1e3:.4g}–{row['upper'] * 1e3:.4g}"
        share = f"{ratio(row['times'], ours):.2f}"
        lines.append(
            [row["name"], *_milliseconds(row["median"]), spread, str(len(row["times"])), share, row.get("note", "")]
        )
    return table(["contender", "median ms", "quartiles", "rounds", "× ours", "note"], lines)


def _milliseconds(seconds: float) -> list[str]:
    return [f"{seconds * 1e3:.4g}"]


def grouped(rows: Rows, *keys: str) -> dict[tuple, Rows]:
    """Group rows by the values of some keys."""
    found: dict[tuple, Rows] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def layer(record: dict[str, Any]) -> str:
    """Format every configuration, then the first calls."""
    parts = []
    for (steps, count, dtype), rows in grouped(record["rows"], "T", "elements", "dtype").items():
        copy = next(row["median"] for row in rows if row["name"] == COPY)
        speed = 2 * steps * count * (4 if dtype == "fp32" else 2) / copy / 1e9
        bytes_moved = 20 if dtype == "fp32" else 10
        title = f"### Layer, forward + backward: T = {steps}, {count:,} elements per time step, {dtype}"
        parts += [
            title,
            f"Copy of the input: {speed:.1f} GB/s; floor: {bytes_moved} bytes per element and time step.",
            timed(rows, floor=True),
        ]
    calls = [[name, f"{seconds * 1e3:.4g}"] for name, seconds in record["first_calls"].items()]
    parts += ["### First call in a new process", table(["contender", "ms"], calls)]
    return "\n\n".join([*parts, *(f"Not measured: {words}." for words in record["skipped"])])


def step(record: dict[str, Any]) -> str:
    """Format every network and precision, and our training step by kind of operation."""
    parts = []
    for (network, width, steps, batch, dtype), rows in grouped(
        record["rows"], "network", "width", "T", "batch", "dtype"
    ).items():
        title = f"### Step of SGD: {network}, width {width:g}, T = {steps}, batch {batch}, {dtype}, channels_last"
        parts += [title, timed(rows)]
    lines = [
        [f"{s['network']}, {s['dtype']}", *(f"{seconds * 1e3:.4g}" for seconds in s["seconds"].values())]
        for s in record["splits"]
    ]
    head = ["ms, under the profiler", *record["splits"][0]["seconds"]]
    return "\n\n".join([*parts, "### Time of our step by kind of operation", table(head, lines)])


def memory(record: dict[str, Any]) -> str:
    """Format the saved bytes per neuron and time step over T, and the memory at the largest T."""
    parts = []
    for (what, dtype), rows in grouped(record["rows"], "what", "dtype").items():
        steps = sorted({row["T"] for row in rows})
        by_name = grouped(rows, "name")
        lines = []
        for (name,), mine in by_name.items():
            saved = {row["T"]: f"{row['saved_per_neuron_step']:.2f}" for row in mine}
            last = mine[-1]
            grown = [f"{last[key] / 2**20:.1f}" for key in ("saved", "resident", "peak")]
            lines.append([name, *(saved.get(t, "–") for t in steps), *grown])
        head = ["contender", *(f"T = {t}" for t in steps), "saved MiB", "resident MiB", "peak MiB"]
        words = f"### Alive after the forward pass: {what}, {dtype}: bytes per neuron and time step; MiB at the last T"
        parts += [words, table(head, lines)]
    return "\n\n".join(parts)


def scaling(record: dict[str, Any]) -> str:
    """Format the medians along every axis, with the exponent."""
    parts = []
    fitted = {(e["what"], e["axis"], e["name"]): e["exponent"] for e in record["exponents"]}
    for (what, axis), rows in grouped(record["rows"], "what", "axis").items():
        values = sorted({row["value"] for row in rows})
        lines = [
            [name, *(f"{row['median'] * 1e3:.4g}" for row in mine), _fit(fitted.get((what, axis, name)))]
            for (name,), mine in grouped(rows, "name").items()
        ]
        head = ["ms", *(f"{axis} = {value:g}" for value in values), "exponent"]
        parts += [f"### Growth of {what} with {axis}, fp32", table(head, lines)]
    return "\n\n".join(parts)


def _fit(exponent: float | None) -> str:
    return "–" if exponent is None else f"{exponent:.2f}"  # a single point, if the measurement was aborted


def levels(record: dict[str, Any]) -> str:
    """Format the time of a step and its memory, for every level of saving memory, and their ratios to the first."""
    parts = []
    for (steps,), rows in grouped(record["rows"], "T").items():
        first = rows[0]
        lines = [
            [
                row["name"],
                f"{row['median']:.3g}",
                f"{row['median'] / first['median']:.2f}",
                f"{row['peak'] / 2**20:.0f}",
                f"{row['peak'] / first['peak']:.2f}",
            ]
            for row in rows
        ]
        head = ["level", "s a step", "of the first", "peak MiB", "of the first"]
        parts += [f"### A step of ResNet-19, T = {steps}, {first['dtype']}", table(head, lines)]
    return "\n\n".join(parts)


PARTS = {"layer": layer, "step": step, "scaling": scaling, "memory": memory, "levels": levels}


def agreement(found: list[dict[str, Any]]) -> str:
    """Format the agreement of all contenders with ours."""
    lines = [[a["name"], a["dtype"], a["verdict"], f"{a['gradient']:.1e}"] for a in found]
    return table(["contender", "", "spikes compared with ours", "distance of the gradient"], lines)


def targets(records: Records) -> str:
    """Format the targets and the results."""
    return table(["target", "bound", "worst case", "best case", ""], outcome(records))


def page(records: Records) -> str:
    """Format the whole page: targets first, then each part with the machine it was measured on."""
    how = "Medians of interleaved rounds, ratios within a round; raw times in the JSON files of this folder."
    parts = ["# Benchmarks", how, "## Targets", targets(records)]
    for name, show in PARTS.items():
        if name in records:
            record = records[name]
            quick = ["**A quick run: the figures mean nothing.**"] if record["quick"] else []
            parts += [f"## {name.capitalize()}", *quick, machine.words(record["machine"]), show(record)]
    found = next(iter(records.values()))["agreement"]
    parts += ["## Agreement of the contenders", agreement(found)]
    return "\n\n".join(parts) + "\n"
