"""Plots of the records."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator, ScalarFormatter

from bench import peers
from bench.layer import COPY, FLOOR, elements
from bench.tables import grouped

Rows = list[dict[str, Any]]

# Colour and marker of each contender, the same in every plot; variants of one library have similar colours.
STYLES = {
    peers.OURS: ("#d62728", "o"),
    peers.TRAINED: ("#ff7f6e", "o"),
    peers.REFERENCE: ("#8c1c13", "x"),
    peers.SJ: ("#1f77b4", "s"),
    peers.SJ_COMPILED: ("#6baed6", "s"),
    f"{peers.SJ}, network compiled": ("#08306b", "s"),
    "SpikingJelly PLIF": ("#17becf", "D"),
    "snnTorch Leaky": ("#2ca02c", "^"),
    "Norse LIFBox": ("#9467bd", "v"),
    "Sinabs LIF": ("#bcbd22", "P"),
    peers.PACKED: ("#e7969c", "o"),
    peers.PLAIN: ("#e377c2", "o"),
    "SpikingJelly PLIF, compiled": ("#9edae5", "D"),
    "snnTorch Leaky, compiled": ("#98df8a", "^"),
    "Norse LIFBox, compiled": ("#c5b0d5", "v"),
    "Sinabs LIF, compiled": ("#dbdb8d", "P"),
    peers.LOOP: ("#ff7f0e", "*"),
    peers.LOOP_COMPILED: ("#fdae6b", "*"),
    f"{peers.LOOP}, network compiled": ("#a63603", "*"),
    "indexing loop": ("#8c564b", "X"),
    peers.NOTHING: ("#444444", "_"),
    COPY: ("#999999", "_"),
}
KINDS = ("#1f77b4", "#2ca02c", "#d62728", "#bbbbbb")


def _colour(name: str) -> str:
    return STYLES.get(name, ("#000000", "."))[0]


def _marker(name: str) -> str:
    return STYLES.get(name, ("#000000", "."))[1]


def _spread(rows: Rows) -> list[list[float]]:
    """Return the distances from the median to the lower and the upper quartile, in ms."""
    down = [(row["median"] - row["lower"]) * 1e3 for row in rows]
    return [down, [(row["upper"] - row["median"]) * 1e3 for row in rows]]


def layer(record: dict[str, Any]) -> Figure:
    """Plot time over configurations, one panel per precision, with the byte floor."""
    panels = grouped(record["rows"], "dtype")
    figure, axes = plt.subplots(1, len(panels), figsize=(6.5 * len(panels), 5.5), sharey=True, squeeze=False)
    for ax, ((dtype,), rows) in zip(axes[0], panels.items(), strict=True):
        places = {case: place for place, case in enumerate(grouped(rows, "T", "elements"))}
        for number, ((name,), mine) in enumerate(grouped(rows, "name").items()):
            xs = [places[row["T"], row["elements"]] + (number - 6) * 0.04 for row in mine]  # side by side
            if name == COPY:
                ax.plot(list(places.values()), [FLOOR * row["median"] * 1e3 for row in mine], "k--", label="byte floor")
                continue
            ax.errorbar(
                xs,
                [row["median"] * 1e3 for row in mine],
                _spread(mine),
                label=name,
                color=_colour(name),
                marker=_marker(name),
                markersize=6,
                linewidth=1,
                capsize=2,
            )
        ax.set_xticks(range(len(places)), [f"T = {t}\n{elements(n // 65536)}" for t, n in places])
        ax.set(
            title=f"LIF layer, forward + backward, {dtype}", yscale="log", xlabel="time steps, elements per time step"
        )
        plain_log(ax)
    axes[0][0].set_ylabel("median time and quartiles, ms")
    drawn = {label: handle for ax in axes[0] for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    axes[0][-1].legend(drawn.values(), drawn.keys(), fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def step(record: dict[str, Any]) -> Figure:
    """Plot a bar for every contender, one panel per network and precision; a line marks the step without neurons."""
    panels = grouped(record["rows"], "network", "dtype")
    figure, axes = plt.subplots(len(panels), 1, figsize=(8, 4.2 * len(panels)), squeeze=False)
    for ax, ((network, dtype), rows) in zip(axes[:, 0], panels.items(), strict=True):
        rows = sorted(rows, key=lambda row: -row["median"])
        names = [row["name"] for row in rows]
        bars = ax.barh(
            names,
            [row["median"] * 1e3 for row in rows],
            xerr=_spread(rows),
            capsize=2,
            color=[_colour(name) for name in names],
        )
        ax.bar_label(bars, [f"{row['median'] * 1e3:.4g}" for row in rows], padding=4, fontsize=8)
        floor = next(row["median"] for row in rows if row["name"] == peers.NOTHING)
        ax.axvline(floor * 1e3, color="k", linestyle="--", linewidth=1)
        size = f"width {rows[0]['width']:g}, T = {rows[0]['T']}, batch {rows[0]['batch']}"
        ax.set(title=f"Step of SGD, {network} ({size}), {dtype}; dashed: without neurons", xlabel="ms")
        ax.margins(x=0.1)
        ax.grid(alpha=0.3, axis="x")
    return figure


def split(record: dict[str, Any]) -> Figure:
    """Plot stacked bars of the time of our training step by kind of operation."""
    splits = record["splits"]
    names = [f"{s['network']}, {s['dtype']}" for s in splits]
    figure, ax = plt.subplots(figsize=(8, 1.5 + 0.6 * len(names)))
    left = [0.0] * len(names)
    for colour, kind in zip(KINDS, splits[0]["seconds"], strict=True):
        ms = [s["seconds"][kind] * 1e3 for s in splits]
        ax.barh(names, ms, left=left, color=colour, label=kind)
        left = [a + b for a, b in zip(left, ms, strict=True)]
    ax.set(
        title=f"Where a step of {peers.OURS} spends its time (fused norm and neuron count as neuron)",
        xlabel="self time under the profiler, ms",
    )
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def memory(record: dict[str, Any]) -> Figure:
    """Plot saved bytes per neuron and time step: the layer over T, the network as bars; one row per precision."""
    found = grouped(record["rows"], "dtype")
    figure, axes = plt.subplots(len(found), 2, figsize=(15, 4.5 * len(found)), squeeze=False)
    for (ax, bars), ((dtype,), rows) in zip(axes, found.items(), strict=True):
        for (name,), mine in grouped([row for row in rows if row["what"] == "layer"], "name").items():
            ax.plot(
                [row["T"] for row in mine],
                [row["saved_per_neuron_step"] for row in mine],
                label=name,
                color=_colour(name),
                marker=_marker(name),
            )
        _log_log(ax, "T", "saved for backward, bytes per neuron and time step", f"LIF layer, {dtype}")
        ax.set(yscale="linear", ylim=(0, None))  # linear: the bytes do not span decades
        ax.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
        nets = sorted((row for row in rows if row["what"] != "layer"), key=lambda row: -row["saved"])
        names = [row["name"] for row in nets]
        bars.barh(names, [row["saved"] / 2**20 for row in nets], color=[_colour(name) for name in names])
        bars.set(title=f"Step of {nets[0]['what']}, {dtype}", xlabel="saved for backward, MiB")
        bars.grid(alpha=0.3, axis="x")
    return figure


def scaling(record: dict[str, Any]) -> Figure:
    """Plot time over T and width, log-log, with the exponent in the legend."""
    panels = grouped(record["rows"], "what", "axis")
    fitted = {(e["what"], e["axis"], e["name"]): e["exponent"] for e in record["exponents"]}
    figure, axes = plt.subplots(2, 2, figsize=(11, 8.5))
    for ax, ((what, axis), rows) in zip(axes.flat, panels.items(), strict=False):  # fewer panels if the run was aborted
        for (name,), mine in grouped(rows, "name").items():
            ax.plot(
                [row["value"] for row in mine],
                [row["median"] * 1e3 for row in mine],
                color=_colour(name),
                marker=_marker(name),
                label=_fitted(name, fitted.get((what, axis, name))),
            )
        _log_log(ax, "T" if axis == "T" else "width multiplier", "median time, ms", f"{what} over {axis}, fp32")
        ax.legend(fontsize=8)
    return figure


def _fitted(name: str, exponent: float | None) -> str:
    return name if exponent is None else f"{name}: exponent {exponent:.2f}"


def _log_log(ax: Axes, x: str, y: str, title: str) -> None:
    ax.set(xscale="log", yscale="log", xlabel=x, ylabel=y, title=title)
    ax.set_xticks(sorted({value for line in ax.get_lines() for value in line.get_xdata()}))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_locator(NullLocator())
    plain_log(ax)


def plain_log(ax: Axes) -> None:
    """Label the vertical axis with 1, 2, 5, 10 instead of powers."""
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(alpha=0.3, which="both")


PICTURES: dict[str, dict[str, Callable[[dict[str, Any]], Figure]]] = {
    "layer": {"layer": layer},
    "step": {"step": step, "step_split": split},
    "memory": {"memory": memory},
    "scaling": {"scaling": scaling},
}


def draw(part: str, record: dict[str, Any], save: Callable[[str, Callable[[Path], object]], object]) -> None:
    """Draw every plot of a part. save: takes the name of a file and the function that writes it."""
    for name, make in PICTURES.get(part, {}).items():
        figure = make(record)
        figure.tight_layout()
        save(f"{name}.png", partial(figure.savefig, dpi=130, bbox_inches="tight"))
        plt.close(figure)
