"""The plots of a run; each function draws into the given axes in the given colours."""

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

FEW_EPOCHS = 15
"""Up to this number of epochs, each gets a dot."""
FEW_LAYERS = 6
"""Up to this number of layers, a legend names all; else the first and the last."""
DASHES = ("-", "-.", ":")


@dataclass(frozen=True)
class Measure:
    """A quantity measured per epoch, and how to read its plot."""

    key: str
    title: str
    reading: str
    fraction: bool = False
    """Whether it is shown in per cent, from zero."""


ACCURACY = Measure(
    "accuracy",
    "Accuracy",
    "The share of images that are classified correctly. A growing gap between train and test is overfitting.",
    fraction=True,
)
LOSS = Measure(
    "loss",
    "Loss",
    "Lower is better. A test loss that rises while the train loss falls is overfitting.",
)
RATES = Measure(
    "rates",
    "Firing rate over time",
    "How often a neuron of the layer spikes at each time step, on the first test batch after the last epoch. Where it "
    "falls to 0 %, later time steps carry no information.",
    fraction=True,
)
LAYERED = (
    Measure(
        "width",
        "Width of the surrogate gradient",
        "How far around the threshold the surrogate gradient of a layer reaches. A falling line is a gradient that "
        "gets narrower.",
    ),
    Measure(
        "share",
        "Gradient-available share",
        "The share of a layer's neurons whose membrane potential is where the surrogate gradient is available. "
        "Near 0 %, a layer hardly learns.",
        fraction=True,
    ),
    Measure(
        "firing_rate",
        "Firing rate",
        "How often a neuron of the layer spikes per time step, on average. Near 0 %, a layer is silent.",
        fraction=True,
    ),
    Measure(
        "decay",
        "Decay of the membrane potential",
        "The fraction of its potential that a neuron keeps from one time step to the next. A value near 1 is a long "
        "memory.",
    ),
)

SEARCHED = (
    Measure(
        "temperature",
        "Temperature b",
        "The temperature chosen at the start of each epoch. It stays where no other one has a larger cosine, and where "
        "the finite-difference gradient is not reliable.",
    ),
    Measure(
        "cosine",
        "Cosine with the finite-difference gradient",
        "The cosine between the best surrogate gradient and the finite-difference gradient. Dotted: the reliability, "
        "which is the cosine between the finite-difference gradients of the batch's two halves. Where it is low, they "
        "are noise, and the temperature stays.",
    ),
)
STEERED = (
    Measure(
        "chi",
        "χ of each layer",
        "The share of a layer's potentials within the half-width. The controller keeps it in its range.",
    ),
    Measure(
        "half_width",
        "Half-width of each layer, thresholds",
        "How far around the threshold the gradient of a layer reaches. It gets wider where χ is too low.",
    ),
    Measure(
        "temperature", "Temperature b of each layer", "The candidate whose step of the weights reduced the loss most."
    ),
)
"""The measurements of a layer that a controller writes, by their key in a row."""
SINGLE = (
    ("train", "train_{}", "train"),
    ("holdout", "holdout_{}", "held out"),
    ("test", "test_{}", "test"),
    ("average", "test_{}_average", "test, averaged weights"),
)
"""The curves of one run: their role, the key of a metric, and the label."""


def curves(axes: Axes, run: Run, measure: Measure, palette: Palette) -> None:
    """Train and test curves of one run (of held-out images and averaged weights too, where there are any), and the
    published accuracy."""
    frame(axes, measure, palette)
    styles = {
        "train": (palette.train, "--"),
        "holdout": (palette.run(2), "-."),
        "test": (palette.test, "-"),
        "average": (palette.test, ":"),
    }
    for role, key, label in SINGLE:
        colour, dash = styles[role]
        _line(axes, _scaled(run.curve(key.format(measure.key)), measure), colour, dash=dash, tip=label, label=label)
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
    """The test curve (solid) and the train curve (thin, dashed) of every run, one colour per run."""
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
    elif max(seen) - min(seen) < 1e-9:  # else rounding would look like a slope
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
    """A layer's firing rate at each time step, as recorded last; empty where it was not recorded."""
    found = run.layer_rows(layer)[1].get("rates")
    return [number(rate) for rate in found] if isinstance(found, list) else []


def searched(axes: Axes, runs: Sequence[Run], key: str, palette: Palette) -> None:
    """Temperatures or cosines of every run, at each search; one line per stage or layer where these have their own."""
    for place, run in enumerate(runs):
        colour = palette.run(place)
        for group in dict.fromkeys(row["group"] for row in run.decisions):
            rows = [row for row in run.decisions if row["group"] == group]
            epochs = [row["epoch"] for row in rows]
            name = f"seed {run.seed}" if group == "all" else f"{group}, seed {run.seed}"
            if key == "temperature":
                axes.plot(epochs, [row["temperature"] for row in rows], "o-", color=colour, markersize=3, label=name)
                continue
            best = [max(row["cosines"].values()) for row in rows]
            axes.plot(epochs, best, "o-", color=colour, markersize=3, label=f"best, {name}")
            axes.plot(epochs, [row["reliability"] for row in rows], ":", color=colour, label=f"reliability, {name}")
    whole_numbers(axes)
    axes.legend(frameon=False, labelcolor=palette.ink)


def steered(axes: Axes, runs: Sequence[Run], key: str, palette: Palette) -> None:
    """A measurement that a controller wrote of each layer, over the steps."""
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
    """A line at the published accuracy, where all runs have the same."""
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
    """Set title, grid and colours of the axes."""
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
    """The value of a measure that is the same in every layer and epoch; None where it changes or was not recorded."""
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
    dots = len(x) <= (2 if thin else FEW_EPOCHS) and not faint
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
    """Put ticks at whole epochs (or layers), and at round values."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))


def _nothing(axes: Axes, text: str, palette: Palette) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=palette.muted)
