"""The page of a diagnosis (`surgrad.measure.Diagnosis.record`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgrad.report import files, plots, words
from surgrad.report.page import Plot, environment, plot
from surgrad.report.palette import DEPTHS, depth_step, stand_ins, theme, variables
from surgrad.report.read import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Layer = dict[str, Any]
COLUMNS = (
    "Width",
    "Decay",
    "In window",
    "χ",
    "χ by weight",
    "Gradient",
    "Firing rate",
    "Never",
    "Always",
    "Mean",
    "Spread",
    "Theorem 1",
    "Cosine",
    "Reliability",
)
ACROSS = 4
"""Histograms side by side."""
SHOWN = (-3.0, 5.0)
"""Potentials drawn, in thresholds."""


def write_diagnosis(record: dict[str, Any], out: Path, run: Run | None = None) -> Path:
    """Write the page to `out`, and return that. record: also "name" and "about", a heading and the sentence below it.
    run: whose widths and decays over the training are drawn too."""
    layers = record["layers"]
    text = (
        environment()
        .get_template("diagnosis.html")
        .render(
            title=record["name"],
            subtitle=record["about"],
            themes={name: list(zip(variables(), theme(name), strict=True)) for name in ("light", "dark")},
            depths=DEPTHS,
            findings=[finding["sentence"] for finding in record["findings"]],
            potentials=_potentials(layers),
            plots=[*_bars(layers), *(_over_training(run) if run is not None else [])],
            columns=COLUMNS,
            rows=[
                {"layer": layer["layer"], "step": depth_step(place, len(layers)), "cells": _cells(layer)}
                for place, layer in enumerate(layers)
            ],
            compared=compared(record["first_weights"]),
        )
    )
    return files.replace(Path(out), lambda path: path.write_text(text, encoding="utf-8", newline="\n"))


def compared(first: dict[str, float]) -> str:
    """What the finite-difference gradient of the first weights says, in a sentence."""
    reliable = first["reliability"] >= 0.3
    verdict = (
        f"the surrogate gradient of the first weights has the cosine {first['cosine']:.2f} with it"
        if reliable
        else f"so nothing follows from its cosine with the surrogate gradient, {first['cosine']:.2f}"
    )
    zeros = words.percent(first["zeros"])
    return (
        f"The finite-difference gradients of the batch's two halves have the cosine {first['reliability']:.2f}, "
        f"which is {'enough' if reliable else 'too little'} to judge by; {verdict}. {zeros} of its entries are "
        "exactly zero."
    )


def _cells(layer: Layer) -> list[str]:
    def share(key: str) -> str:
        return words.percent(words.number(layer[key]), 1)

    gradient = layer["gradient"]
    finite = layer["finite_differences"] or {}
    return [
        words.plain(layer["width"]),
        words.plain(layer["decay"]),
        share("share"),
        share("chi"),
        share("chi_weights"),
        words.NONE if gradient is None else f"{gradient:.1e}",
        share("firing_rate"),
        share("dead"),
        share("saturated"),
        words.plain(layer["mean"]),
        words.plain(layer["spread"]),
        words.plain(layer["predicted"]),
        words.plain(finite.get("cosine")),
        words.plain(finite.get("reliability")),
    ]


def _potentials(layers: list[Layer]) -> Plot:
    """A small histogram for every layer."""
    down = math.ceil(len(layers) / ACROSS)

    def draw(figure: Figure) -> None:
        for place, layer in enumerate(layers):
            left = place % ACROSS / ACROSS
            bottom = 1 - (place // ACROSS + 1) / down
            axes = figure.add_axes((left + 0.012, bottom + 0.24 / down, 0.95 / ACROSS, 0.62 / down))
            _histogram(axes, layer, place)

    reading = (
        "The membrane potentials of each layer before the reset, in thresholds; the dashed line is the "
        "threshold. Only neurons within the shaded window get a gradient: where most of the curve lies outside "
        "it, the layer hardly learns; where it covers all, the gradient no longer says who is near a "
        "spike."
    )
    return plot("potentials", "Histogram of the potentials of each layer", reading, draw, (10.4, 1.9 * down))


def _histogram(axes: Axes, layer: Layer, place: int) -> None:
    palette = stand_ins()
    counts = layer["histogram"]
    bins = len(counts)
    total = max(sum(counts), 1)
    per = bins // 16  # the histogram reaches 8 thresholds to both sides
    joined = [sum(counts[at : at + 4]) for at in range(0, bins, 4)]
    edges = [1 + (4 * at - bins / 2) / per for at in range(len(joined) + 1)]
    density = [count * per / 4 / total for count in joined]
    window = layer["half_width"]
    axes.axvspan(1 - window, 1 + window, color=palette.train, alpha=0.16, linewidth=0)
    axes.stairs(density, edges, color=palette.test, linewidth=1.3, fill=False, baseline=0)
    spread = layer["predicted"]
    xs = [SHOWN[0] + (SHOWN[1] - SHOWN[0]) * n / 80 for n in range(81)]
    ys = [math.exp(-((x / spread) ** 2) / 2) / (spread * math.sqrt(2 * math.pi)) for x in xs]
    axes.plot(xs, ys, color=palette.mark, linewidth=1)
    axes.axvline(1, color=palette.ink, linewidth=0.8, linestyle="--")
    inside = [d for d, edge in zip(density, edges, strict=False) if SHOWN[0] <= edge < SHOWN[1]]
    axes.set_xlim(*SHOWN)
    axes.set_ylim(0, 1.15 * max(max(ys), *sorted(inside)[:-1]))  # a spike of one bin, as of silent inputs, may leave it
    axes.set_title(f"{place + 1}: {layer['layer']}", loc="left", fontsize="small", color=palette.ink, pad=4)
    axes.set_yticks([])
    axes.tick_params(colors=palette.muted, length=0, labelsize=7.5)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(palette.grid)


def _bars(layers: list[Layer]) -> list[Plot]:
    """Shares, gradients and firing of every layer."""
    kinds: tuple[tuple[str, str, str, bool, tuple[tuple[str, str], ...]], ...] = (
        (
            "share",
            "Neurons with a gradient, %",
            "The share of potentials within the window, by layer (Lian et al. "
            "2023, Fig. 5), and of those within the effective half-width (χ); the same for a rectangle.",
            True,
            (("share", "in window"), ("chi", "χ")),
        ),
        (
            "gradient",
            "Gradient of the weights",
            "Root mean square over the weights before each layer, on a logarithmic "
            "scale: a slope is a gradient that vanishes or explodes with depth.",
            False,
            (("gradient", "gradient"),),
        ),
        (
            "firing",
            "Firing, %",
            "How often the neurons spike, and how many of them never or always do in this batch.",
            True,
            (("firing_rate", "firing rate"), ("dead", "never"), ("saturated", "always")),
        ),
        (
            "spread",
            "Spread of the potentials",
            "Their standard deviation in thresholds, measured (with reset), and by "
            "Theorem 1 of Lian et al. 2023 (without).",
            False,
            (("spread", "measured"), ("predicted", "Theorem 1")),
        ),
    )
    return [
        plot(key, title, reading, _by_layer(title, layers, per_cent, keys, log=key == "gradient"))
        for key, title, reading, per_cent, keys in kinds
    ]


def _by_layer(
    title: str, layers: list[Layer], per_cent: bool, keys: tuple[tuple[str, str], ...], *, log: bool
) -> Callable[[Figure], None]:
    def draw(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        palette = stand_ins()
        axes = figure.add_axes((0.11, 0.145, 0.865, 0.74))
        plots.frame(axes, plots.Measure("", title, ""), palette)
        axes.set_xlabel("layer", color=palette.muted)
        colours = (palette.test, palette.train, palette.mark)
        for (key, label), colour in zip(keys, colours, strict=False):
            values = [words.number(layer[key]) * (100 if per_cent else 1) for layer in layers]
            axes.plot(range(1, len(layers) + 1), values, "o-", color=colour, markersize=4, linewidth=1.4, label=label)
        if log and any(words.number(layer[keys[0][0]]) > 0 for layer in layers):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0e}")
            axes.yaxis.set_minor_formatter(lambda *_: "")
            axes.tick_params(which="minor", length=0)
        elif per_cent:
            axes.set_ylim(-2, 102)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        if len(keys) > 1:
            axes.legend(frameon=False, labelcolor=palette.ink, fontsize="small")

    return draw


def _over_training(run: Run) -> list[Plot]:
    """f(β) = √(1 + β²) and β of each layer over the epochs (Lian et al. 2023, Figs. 6 and 7)."""
    decay = next(measure for measure in plots.LAYERED if measure.key == "decay")
    reading = "By which LSG's width follows the decay: α = 2·v_th·f(β) (Lian et al. 2023, Fig. 6)."
    spread = plots.Measure("spread", "f(β) = √(1 + β²)", reading)
    rows = tuple({**row, "spread": (1 + words.number(row.get("decay")) ** 2) ** 0.5} for row in run.widths)
    shown = Run(run.folder, run.recipe, run.env, run.metrics, rows)

    def draw(measure: plots.Measure) -> Callable[[Figure], None]:
        return lambda figure: plots.per_layer(figure.add_axes((0.095, 0.145, 0.885, 0.74)), shown, measure, stand_ins())

    return [plot(measure.key + "-over", measure.title, measure.reading, draw(measure)) for measure in (spread, decay)]
