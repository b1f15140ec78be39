"""Pictures as files: of a run, of a sweep's table, of a conversion; and the function that draws any single plot."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from surgrad.config.flat import differing, flattened
from surgrad.errors import BadValue
from surgrad.report import output, plots, words
from surgrad.report.palette import DEPTHS, RUNS, Palette, light
from surgrad.report.read import Run, read_run
from surgrad.report.svg import FONT, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (5.6, 3.6)
"""Width and height of a single plot, in inches."""
OVERVIEW = (12, 4.2)
LONGEST_NAME = 44
"""Letters of a name that fit next to the outcome."""
TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

STEPS = "model.steps"
"""The setting of T."""

Row = tuple[str, int, Sequence[float]]
"""A label, time steps T, and the test accuracy of each seed, in [0, 1]."""
CostRow = tuple[str, Sequence[Sequence[tuple[float, float]]]]
"""A label, and for each seed and epoch the minutes of training so far and the test accuracy, in [0, 1]."""
LINES = ("-", "--", ":")
"""Of more rows than there are colours."""


def write_plot(out: Path, title: str, draw: Callable[[Axes, Palette], None], size: tuple[float, float] = SIZE) -> Path:
    """Write one plot with a title and a grid to the .png file `out`.

    Args:
        out: the file; it is replaced as a whole, or not at all.
        title: what the vertical axis shows.
        draw: called with the axes and the colours.
        size: width and height in inches.

    Returns:
        `out`.
    """
    from matplotlib.figure import Figure

    palette = light()
    with drawing(**FONT):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        plots.frame(axes, plots.Measure("", title, ""), palette)
        draw(axes, palette)
        return _save(figure, out, dpi=110)


def _save(figure: Figure, out: Path, dpi: int) -> Path:
    """Write a figure without the date or the version of matplotlib, so that the same figure gives the same bytes."""
    metadata = {"Date": None} if out.suffix.lower() == ".svg" else {"Software": None}
    return output.replace(out, lambda path: figure.savefig(path, dpi=dpi, facecolor="white", metadata=metadata))


def overview_picture(run: Path, out: Path) -> Path:
    """Draw accuracy, widths and gradient-available share of a run.

    Args:
        run: the run folder.
        out: the picture, a .png or .svg file.

    Returns:
        `out`.

    Raises:
        BadValue: for a picture with another ending.
        CheckpointError: for a folder that is not a run folder.
    """
    out = Path(out)
    if out.suffix.lower() not in (".png", ".svg"):
        raise BadValue(f"{out.name}: a picture is written as .png or .svg; give a name with one of these endings")
    found = read_run(run)
    # Letters as outlines: a page that shows the picture may not have its fonts.
    with drawing(**{"font.size": 10, "svg.fonttype": "path"}):
        return _save(_overview(found, light()), out, dpi=100)


def _overview(run: Run, palette: Palette) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=OVERVIEW)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1))
    figure.subplots_adjust(left=0.042, right=0.925, top=0.8, bottom=0.13, wspace=0.2)
    plots.curves(left, run, plots.ACCURACY, palette)
    width, share = plots.LAYERED[:2]
    plots.per_layer(middle, run, width, palette)
    plots.per_layer(right, run, share, palette)
    name = run.name if len(run.name) <= LONGEST_NAME else run.name[: LONGEST_NAME - 1] + "…"
    figure.text(0.042, 0.925, name, fontsize=14, fontweight="bold", color=palette.ink)
    outcome = words.headline(run).split(";")[0].rstrip(".")
    figure.text(0.925, 0.925, outcome, fontsize=11, color=palette.muted, ha="right")
    if len(run.layers) > 1:
        _depth_bar(figure.add_axes((0.945, 0.13, 0.012, 0.67)), run, palette)
    return figure


def _depth_bar(axes: Axes, run: Run, palette: Palette) -> None:
    """The layers' colours from input (bottom) to output (top)."""
    for step in range(DEPTHS):
        axes.axhspan(step, step + 1, color=palette.depths[step], linewidth=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, DEPTHS)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks([0.5, DEPTHS - 0.5], ["first", "last"])
    axes.tick_params(colors=palette.muted, length=0, pad=4)
    axes.set_title(f"{len(run.layers)} layers", fontsize="small", color=palette.muted, pad=8)
    for spine in axes.spines.values():
        spine.set_visible(False)


def write_scores(
    rows: Sequence[Row], out: Path, title: str = "Test accuracy of the final epoch, %", kind: str = "T"
) -> Path:
    """Draw one line per row into the .png file `out`: a ring for every seed, a bar for their mean, a colour for each T.

    Args:
        rows: (label, time steps or another number, accuracy of each seed in [0, 1]) of several recipes.
        out: the picture.
        title: what is shown.
        kind: what the number is, for the legend.

    Returns:
        `out`.
    """
    size = (6.4, 0.9 + 0.26 * len(rows))
    return write_plot(out, title, lambda axes, palette: _scores(axes, palette, rows, kind), size)


def _scores(axes: Axes, palette: Palette, rows: Sequence[Row], kind: str) -> None:
    kinds = sorted({steps for _, steps, _ in rows})
    for place, steps in enumerate(kinds):
        lines = [(at, scores) for at, (_, count, scores) in enumerate(rows) if count == steps]
        dots = [(100 * score, at) for at, scores in lines for score in scores]
        axes.plot(*zip(*dots, strict=True), "o", color=palette.run(place), markerfacecolor="none", markersize=5)
        axes.plot(
            [100 * mean(scores) for _, scores in lines],
            [at for at, _ in lines],
            "|",
            color=palette.run(place),
            markersize=12,
            markeredgewidth=2.5,
            label=f"{kind} = {steps}",
        )
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    axes.tick_params(axis="y", colors=palette.ink)
    axes.invert_yaxis()
    axes.set_xlabel("ring: one seed; bar: mean of the seeds", color=palette.muted)
    if len(kinds) > 1:
        axes.legend(frameon=False, labelcolor=palette.ink)


def write_costs(rows: Sequence[CostRow], out: Path, *, on_cpu: bool = False) -> Path:
    """Draw test accuracy against the time of training into the .png file `out`.

    A line goes through the mean time and the mean accuracy of each epoch. So methods are compared at equal cost, and
    not at equal epochs.

    Args:
        rows: (label, and of each seed the minutes of training up to each epoch and the accuracy after it, in [0, 1]).
        out: the picture.
        on_cpu: whether the minutes are of processor time.

    Returns:
        `out`.
    """
    size = (7.2, max(3.6, 0.8 + 0.19 * len(rows)))
    cost = "minutes of processor time" if on_cpu else "minutes of training"
    return write_plot(out, "Test accuracy, %", lambda axes, palette: _costs(axes, palette, rows, cost), size)


def _costs(axes: Axes, palette: Palette, rows: Sequence[CostRow], cost: str) -> None:
    for place, (label, seeds) in enumerate(rows):
        epochs = [list(zip(*points, strict=True)) for points in zip(*seeds, strict=False)]
        minutes = [mean(spent) for spent, _ in epochs]
        accuracy = [100 * mean(scores) for _, scores in epochs]
        style = LINES[place // RUNS % len(LINES)]
        axes.plot(minutes, accuracy, style, color=palette.run(place), marker="o", markersize=3, label=label)
    axes.set_xlabel(f"{cost}, mean over seeds; a point is an epoch", color=palette.muted)
    axes.legend(frameon=False, labelcolor=palette.ink, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))


def write_conversion(record: dict[str, Any], out: Path, compared: Sequence[Path] = ()) -> Path:
    """Draw the accuracy of a converted network against T into the .png file `out`, with that of the ANN as a line.

    Args:
        record: what `surgrad.train.convert_run` returns.
        out: the picture.
        compared: run folders of directly trained networks. Those that differ in T and seed alone are one line, with the
            mean and standard deviation over seeds.

    Returns:
        `out`.
    """
    trained = [read_run(Path(run)) for run in compared]
    return write_plot(
        out, "Test accuracy after T steps, %", lambda axes, palette: _conversion(axes, palette, record, trained)
    )


def _by_method(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that differ in T and seed alone."""
    methods: dict[str, list[Run]] = {}
    for run in runs:
        settings = {path: value for path, value in flattened(run.recipe).items() if path not in ("seed", STEPS)}
        methods.setdefault(json.dumps(settings, sort_keys=True), []).append(run)
    return list(methods.values())


def _labels(methods: Sequence[Sequence[Run]]) -> list[str]:
    """The recipe of each method, with the parts, or else settings, in which it differs from others of that recipe."""
    names = [runs[0].name for runs in methods]
    differences = differing([runs[0].recipe for runs in methods])
    settings = {path: values for path, values in differences.items() if path not in ("seed", STEPS)}
    parts = {path: values for path, values in settings.items() if path.endswith(".name")} or settings
    own = [", ".join(f"{path} = {values[place]}" for path, values in parts.items()) for place in range(len(methods))]
    return [
        f"{name}, {text}" if names.count(name) > 1 and text else name for name, text in zip(names, own, strict=True)
    ]


def _over_time(axes: Axes, runs: Sequence[Run], label: str, color: str) -> None:
    """The final accuracy of a method's runs against T."""
    scores: dict[int, list[float]] = {}
    for run in runs:
        scores.setdefault(run.setting(STEPS), []).append(100 * run.last("test_accuracy"))
    steps = sorted(scores)
    means = [mean(scores[t]) for t in steps]
    spreads = [stdev(scores[t]) if len(scores[t]) > 1 else 0.0 for t in steps]
    text = f"{label}: {means[0]:.2f} %" if len(steps) == 1 else label
    axes.errorbar(steps, means, spreads, marker="o", color=color, capsize=3, label=text)


def _conversion(axes: Axes, palette: Palette, record: dict[str, Any], trained: Sequence[Run]) -> None:
    accuracy = [100 * share for share in record["accuracy"]]
    ann = 100 * record["ann_accuracy"]
    axes.axhline(ann, color=palette.muted, linestyle="--", linewidth=1, label=f"the ANN: {ann:.2f} %")
    axes.plot(range(1, len(accuracy) + 1), accuracy, color=palette.run(0), label="converted")
    methods = _by_method(trained)
    for place, (runs, label) in enumerate(zip(methods, _labels(methods), strict=True), 1):
        _over_time(axes, runs, label, palette.run(place))
    axes.set_xscale("log")
    ticks = [t for t in TICKS if t <= len(accuracy)]
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel("time steps T", color=palette.muted)
    axes.legend(frameon=False, labelcolor=palette.ink)
