"""The page of a diagnosis (`surgrad.measure.Diagnosis.record`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgrad.criteria import RELIABLE_COSINE
from surgrad.report import plots, words
from surgrad.report.histograms import density, normal_density
from surgrad.report.page import Plot, plot, write_page
from surgrad.report.palette import depth_step, stand_ins
from surgrad.report.read import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Layer = dict[str, Any]
COLUMNS = (
    "Width",
    "Calibrated",
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
COLUMNS_OF_HISTOGRAMS = 4
SHOWN = (-3.0, 5.0)
"""The range of potentials in the histograms, in units of the threshold."""


def write_diagnosis(record: dict[str, Any], out: Path, run: Run | None = None) -> Path:
    """Write the page of a diagnosis.

    Args:
        record: `Diagnosis.record`, with two entries more: "name", the heading, and "about", the sentence below it.
        out: the page.
        run: also draw the widths and decays over this run's training.

    Returns:
        `out`.
    """
    layers = record["layers"]
    return write_page(
        "diagnosis.html",
        out,
        title=record["name"],
        subtitle=record["about"],
        findings=[finding["sentence"] for finding in record["findings"]],
        potentials=_potentials(layers),
        plots=[*_bars(layers), *(_over_training(run) if run is not None else [])],
        columns=COLUMNS,
        rows=[
            {"layer": layer["layer"], "step": depth_step(place, len(layers)), "cells": _cells(layer)}
            for place, layer in enumerate(layers)
        ],
        compared=compared(record["first_weights"]),
        reliable=RELIABLE_COSINE,
    )


def compared(first: dict[str, float]) -> str:
    """The comparison of the first weights' surrogate gradient with their finite-difference gradient, in sentences."""
    text = (
        "First weights of the network: the cosine between the surrogate gradient and the finite-difference gradient is "
        f"{first['cosine']:.2f}. {words.percent(first['zeros'])} of the finite differences are exactly zero. The "
        f"reliability (the cosine between the finite-difference gradients of the batch's two halves) is "
        f"{first['reliability']:.2f}"
    )
    if first["reliability"] >= RELIABLE_COSINE:
        return f"{text}, which is enough for a conclusion."
    return f"{text}, below {RELIABLE_COSINE}: too low for a conclusion from the cosine. Use more images."


def _cells(layer: Layer) -> list[str]:
    def share(key: str) -> str:
        return words.percent(words.number(layer[key]), 1)

    gradient = layer["gradient"]
    finite = layer["finite_differences"] or {}
    return [
        words.plain(layer["width"]),
        words.plain(layer.get("calibrated")),
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
    down = math.ceil(len(layers) / COLUMNS_OF_HISTOGRAMS)

    def draw(figure: Figure) -> None:
        for place, layer in enumerate(layers):
            left = place % COLUMNS_OF_HISTOGRAMS / COLUMNS_OF_HISTOGRAMS
            bottom = 1 - (place // COLUMNS_OF_HISTOGRAMS + 1) / down
            axes = figure.add_axes((left + 0.012, bottom + 0.24 / down, 0.95 / COLUMNS_OF_HISTOGRAMS, 0.62 / down))
            _histogram(axes, layer, place)

    reading = (
        "The membrane potentials of each layer before the reset, in units of the threshold. The dashed line is the "
        "threshold. Only neurons within the shaded interval get a gradient. Where most of the curve is outside, the "
        "layer hardly learns. Where all of it is inside, the gradient does not distinguish neurons near a spike from "
        "others."
    )
    return plot("potentials", "Histogram of the potentials of each layer", reading, draw, (10.4, 1.9 * down))


def _histogram(axes: Axes, layer: Layer, place: int) -> None:
    palette = stand_ins()
    edges, measured = density(layer["histogram"], joined=4)
    window = layer["half_width"]
    axes.axvspan(1 - window, 1 + window, color=palette.train, alpha=0.16, linewidth=0)
    axes.stairs(measured, edges, color=palette.test, linewidth=1.3, fill=False, baseline=0)
    spread = layer["predicted"]
    xs = [SHOWN[0] + (SHOWN[1] - SHOWN[0]) * n / 80 for n in range(81)]
    ys = [normal_density(x, spread) for x in xs]
    axes.plot(xs, ys, color=palette.mark, linewidth=1)
    axes.axvline(1, color=palette.ink, linewidth=0.8, linestyle="--")
    inside = [d for d, edge in zip(measured, edges, strict=False) if SHOWN[0] <= edge < SHOWN[1]]
    axes.set_xlim(*SHOWN)
    axes.set_ylim(0, 1.15 * max(max(ys), *sorted(inside)[:-1]))  # one peak, as silent inputs make it, may be cut off
    axes.set_title(f"{place + 1}: {layer['layer']}", loc="left", fontsize="small", color=palette.ink, pad=4)
    axes.set_yticks([])
    axes.tick_params(colors=palette.muted, length=0, labelsize=7.5)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(palette.grid)


def _bars(layers: list[Layer]) -> list[Plot]:
    """Plots of shares, gradients, firing rates and spreads by layer."""
    kinds: tuple[tuple[str, str, str, bool, tuple[tuple[str, str], ...]], ...] = (
        (
            "share",
            "Neurons with a gradient, %",
            "The share of potentials within the surrogate's window, by layer (Lian et al. 2023, Fig. 5), and within "
            "its effective half-width (χ). Both are the same for a rectangle.",
            True,
            (("share", "in window"), ("chi", "χ")),
        ),
        (
            "gradient",
            "Gradient of the weights",
            "Root mean square over the weights before each layer, on a logarithmic scale. A rising or falling line "
            "is a gradient that vanishes or explodes with depth.",
            False,
            (("gradient", "gradient"),),
        ),
        (
            "firing",
            "Firing, %",
            "How often the neurons spike, and the share of them that never or always spike in this batch.",
            True,
            (("firing_rate", "firing rate"), ("dead", "never"), ("saturated", "always")),
        ),
        (
            "spread",
            "Spread of the potentials",
            "Their standard deviation in units of the threshold: as measured, with reset, and by Theorem 1 of Lian et "
            "al. 2023, without reset.",
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
    reading = "LSG computes the width from the decay by this function: α = 2·v_th·f(β) (Lian et al. 2023, Fig. 6)."
    spread = plots.Measure("spread", "f(β) = √(1 + β²)", reading)
    rows = tuple({**row, "spread": (1 + words.number(row.get("decay")) ** 2) ** 0.5} for row in run.widths)
    shown = Run(run.folder, run.recipe, run.env, run.metrics, rows)

    def draw(measure: plots.Measure) -> Callable[[Figure], None]:
        return lambda figure: plots.per_layer(figure.add_axes((0.095, 0.145, 0.885, 0.74)), shown, measure, stand_ins())

    return [plot(measure.key + "-over", measure.title, measure.reading, draw(measure)) for measure in (spread, decay)]
