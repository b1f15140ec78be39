"""The plots of a run; each draws into axes it is given, in the colours it is given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from surgrad.report.palette import RUNS, Palette
from surgrad.report.read import Curve, Run, number
from surgrad.report.svg import TIP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 15
"""Up to so many epochs each one gets a dot."""
FEW_LAYERS = 6
"""Of more, a legend names the first and the last."""
DASHES = ("-", "-.", ":")


@dataclass(frozen=True)
class Measure:
    """Something measured per epoch, and how to read its plot."""

    key: str
    title: str
    reading: str
    fraction: bool = False
    """Shown in per cent, from zero."""


ACCURACY = Measure(
    "accuracy",
    "Accuracy",
    "The share of images classified rightly; a growing gap between train and test is overfitting.",
    fraction=True,
)
LOSS = Measure(
    "loss",
    "Loss",
    "Lower is better; a test loss that rises while the train loss falls is overfitting.",
)
RATES = Measure(
    "rates",
    "Firing rate over time",
    "How often a neuron of the layer spikes at each time step, on the first test batch after the last epoch; where it "
    "falls to 0 %, later steps tell nothing.",
    fraction=True,
)
LAYERED = (
    Measure(
        "width",
        "Width of the surrogate gradient",
        "How far around the threshold a layer's surrogate gradient reaches; a falling line is a gradient that narrows.",
    ),
    Measure(
        "share",
        "Gradient-available share",
        "The share of a layer's neurons whose membrane potential lies where the surrogate gradient is available; "
        "near 0 % a layer hardly learns.",
        fraction=True,
    ),
    Measure(
        "firing_rate",
        "Firing rate",
        "How often a neuron of the layer spikes per time step, on average; near 0 % a layer is silent.",
        fraction=True,
    ),
    Measure(
        "decay",
        "Decay of the membrane potential",
        "The part of its potential that a neuron keeps from one time step to the next; nearer 1 is a longer memory.",
    ),
)

SEARCHED = (
    Measure(
        "temperature",
        "Temperature b",
        "What a search chose at the start of each epoch; flat where none pointed better, or none is reliable.",
    ),
    Measure(
        "cosine",
        "Cosine with the finite-difference gradient",
        "How nearly the best surrogate gradient points where finite differences do; dotted how nearly those of the "
        "batch's two halves do: where that is low they are noise, and the temperature stays.",
    ),
)
STEERED = (
    Measure("chi", "χ of each layer", "The share of a layer's potentials within the half-width, which is steered."),
    Measure(
        "half_width",
        "Half-width of each layer, thresholds",
        "How far around the threshold a layer's gradient reaches; it widens where χ is too low.",
    ),
    Measure("temperature", "Temperature b of each layer", "The candidate whose step of the weights served best."),
)
"""What a controller writes down of a layer, by its key in a row."""


def curves(axes: Axes, run: Run, measure: Measure, palette: Palette) -> None:
    """Train and test of one run, and the published accuracy where there is one."""
    frame(axes, measure, palette)
    for part, colour, dash in (("train", palette.train, "--"), ("test", palette.test, "-")):
        x, y = run.curve(f"{part}_{measure.key}")
        _line(axes, _scaled((x, y), measure), colour, dash=dash, tip=part, label=part)
    if measure is ACCURACY:
        published(axes, [run], palette)
    whole_numbers(axes)
    if run.metrics:
        axes.legend(
            loc="lower right" if measure is ACCURACY else "upper right",
            frameon=False,
            labelcolor=palette.ink,
            fontsize="small",
        )
    else:
        _nothing(axes, "no epoch has finished", palette)


def overlay(axes: Axes, runs: Sequence[Run], names: Sequence[str], measure: Measure, palette: Palette) -> None:
    """Every run's test (solid) and train (faint) curves, one colour per run."""
    frame(axes, measure, palette)
    for place, (run, name) in enumerate(zip(runs, names, strict=True)):
        colour = palette.run(place)
        dash = DASHES[place // RUNS % len(DASHES)]
        train, test = (run.curve(f"{part}_{measure.key}") for part in ("train", "test"))
        _line(axes, _scaled(train, measure), colour, dash="--", tip=f"{name}: train", faint=True)
        _line(axes, _scaled(test, measure), colour, dash=dash, tip=f"{name}: test")
    if measure is ACCURACY:
        published(axes, runs, palette)
    whole_numbers(axes)
    if not any(run.metrics for run in runs):
        _nothing(axes, "no epoch has finished", palette)


def per_layer(axes: Axes, run: Run, measure: Measure, palette: Palette) -> None:
    """One line per layer, coloured from input to output."""
    frame(axes, measure, palette)
    seen: list[float] = []
    for place, layer in enumerate(run.layers):
        x, y = _scaled(run.layer_curve(layer, measure.key), measure)
        seen += [value for value in y if math.isfinite(value)]
        _line(axes, (x, y), palette.depth(place, len(run.layers)), tip=layer, thin=True)
    if not seen:
        _nothing(axes, "nothing was recorded", palette)
    elif measure.fraction:
        axes.set_ylim(0, min(max(max(seen) * 1.08, 1), 103))
    elif max(seen) - min(seen) < 1e-9:  # else the axis would blow rounding up to a slope
        around = abs(max(seen)) or 1.0
        axes.set_ylim(max(seen) - around / 2, max(seen) + around / 2)
    whole_numbers(axes)


def over_time(axes: Axes, run: Run, palette: Palette) -> None:
    """The firing rate of each layer at each time step, after the last epoch."""
    frame(axes, RATES, palette)
    axes.set_xlabel("time step", color=palette.muted)
    for place, layer in enumerate(run.layers):
        rates = rates_of(run, layer)
        _line(
            axes,
            (list(range(1, len(rates) + 1)), [100 * rate for rate in rates]),
            palette.depth(place, len(run.layers)),
            tip=layer,
            thin=True,
        )
    axes.set_ylim(bottom=0)
    whole_numbers(axes)


def rates_of(run: Run, layer: str) -> list[float]:
    """A layer's firing rate at each step, as last recorded; empty where it was not."""
    found = run.layer_rows(layer)[1].get("rates")
    return [number(rate) for rate in found] if isinstance(found, list) else []


def searched(axes: Axes, runs: Sequence[Run], key: str, palette: Palette) -> None:
    """Of every run, at each search; of a search by stage or layer a line each."""
    for place, run in enumerate(runs):
        colour = palette.run(place)
        for group in dict.fromkeys(row["group"] for row in run.decisions):
            rows = [row for row in run.decisions if row["group"] == group]
            epochs = [row["epoch"] for row in rows]
            of = f"seed {run.seed}" if group == "all" else f"{group}, seed {run.seed}"
            if key == "temperature":
                axes.plot(epochs, [row["temperature"] for row in rows], "o-", color=colour, markersize=3, label=of)
                continue
            best = [max(row["cosines"].values()) for row in rows]
            axes.plot(epochs, best, "o-", color=colour, markersize=3, label=f"best, {of}")
            axes.plot(epochs, [row["reliability"] for row in rows], ":", color=colour, label=f"reliability, {of}")
    whole_numbers(axes)
    axes.legend(frameon=False, labelcolor=palette.ink)


def steered(axes: Axes, runs: Sequence[Run], key: str, palette: Palette) -> None:
    """What a controller wrote down of each layer, over the steps."""
    for run in runs:
        lines: dict[str, list[tuple[int, float]]] = {}
        for row in run.decisions:
            lines.setdefault(row["layer"], []).append((row["step"], row[key]))
        for place, (layer, points) in enumerate(lines.items()):
            colour = palette.depth(place, len(lines))
            label = layer if len(lines) <= FEW_LAYERS or place in (0, len(lines) - 1) else None
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.1, gid=TIP + layer, label=label)
    axes.set_xlabel("step", color=palette.muted)
    axes.legend(frameon=False, labelcolor=palette.ink)


def published(axes: Axes, runs: Sequence[Run], palette: Palette) -> None:
    """A line at the published accuracy, where the runs agree on one."""
    values = {run.published for run in runs}
    value = values.pop()
    if values or not math.isfinite(value):
        return
    axes.axhline(100 * value, color=palette.mark, linewidth=1, linestyle=(0, (1, 2)))
    axes.annotate(
        f"published {100 * value:.2f} %",
        (0, 100 * value),
        xycoords=("axes fraction", "data"),
        xytext=(4, 3),
        textcoords="offset points",
        color=palette.mark,
        fontsize="small",
    )


def frame(axes: Axes, measure: Measure, palette: Palette) -> None:
    """Title, grid and axis colours."""
    unit = ", %" if measure.fraction else ""
    axes.set_title(measure.title + unit, loc="left", color=palette.ink, fontsize="medium", fontweight="bold", pad=8)
    axes.set_xlabel("epoch", color=palette.muted)
    axes.tick_params(colors=palette.muted, length=0, pad=5)
    axes.grid(color=palette.grid, linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(palette.grid)


def constant(run: Run, key: str) -> float | None:
    """The one value a measure has in every layer and epoch, None where it moves or was not recorded."""
    values = {value for layer in run.layers for value in run.layer_curve(layer, key)[1] if math.isfinite(value)}
    return values.pop() if len(values) == 1 else None


def _scaled(curve: Curve, measure: Measure) -> Curve:
    x, y = curve
    return x, [100 * value for value in y] if measure.fraction else y


def _line(
    axes: Axes,
    curve: Curve,
    colour: str,
    *,
    dash: str = "-",
    tip: str,
    label: str | None = None,
    faint: bool = False,
    thin: bool = False,
) -> None:
    x, y = curve
    if not any(math.isfinite(value) for value in y):
        return
    dots = len(x) <= (2 if thin else FEW) and not faint
    axes.plot(
        x,
        y,
        dash,
        color=colour,
        linewidth=1.3 if thin else 0.9 if faint else 1.9,
        alpha=0.65 if faint else None,
        marker="o" if dots else None,
        markersize=3.5,
        label=label,
        gid=TIP + tip,
    )


def whole_numbers(axes: Axes) -> None:
    """Ticks at whole epochs, or layers, and at round values."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))


def _nothing(axes: Axes, text: str, palette: Palette) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=palette.muted)
