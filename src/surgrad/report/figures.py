"""The papers' figures, drawn anew from runs of ours.

Lian et al. 2023 (LSG): Table 2 as a curve, Table 1 as curves, Fig. 3 (potentials beside Theorem 1), Fig. 5 (shares),
Fig. 6 (f(β)), Fig. 7 (β). Li et al. 2021 (Dspike): the family, and its temperature over the training. Steered χ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from surgrad.errors import BadValue
from surgrad.report import files, plots
from surgrad.report.compare import differences
from surgrad.report.palette import Palette, light
from surgrad.report.read import Run, number, read_run
from surgrad.report.svg import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (5.6, 3.6)
LAYERS = (2, 6, 10, 16)
"""Layers that LSG's Figs. 6 and 7 show."""
TEMPERATURES = (0.2, 1.0, 3.0, 5.0, 20.0)

Draw = Callable[..., None]
"""Into axes, with a keyword `palette`."""


@dataclass(frozen=True)
class Found:
    """Runs by what decided their widths: each a list over seeds."""

    fixed: dict[float, list[Run]]
    decay: list[Run]
    lsg: list[Run]
    searched: list[Run]
    steered: list[Run]


def write_figures(runs: Sequence[Path], out: Path) -> list[Path]:
    """Every figure that these run folders have the data for, as PNG in the folder `out`; returns the files."""
    found = _sorted([read_run(Path(run)) for run in runs])
    drawn = [*_lsg(found), *_dspike(found), *_chi(found)]
    if len(drawn) < 2:  # the family of Dspike needs no run
        raise BadValue("these runs have the data for no figure; give finished runs of `surgrad sweep`")
    return [_picture(Path(out) / f"{name}.png", title, draw) for name, title, draw in drawn]


def _sorted(runs: Iterable[Run]) -> Found:
    found = Found({}, [], [], [], [])
    finished = [run for run in runs if run.finished]
    _check_alike(finished)
    for run in finished:
        adapt = run.recipe.get("adapt", {})
        neuron = run.recipe.get("neuron", {})
        controller = adapt.get("controller")
        rectangle = neuron.get("shape") == "rect" and neuron.get("name") == "lif"
        if controller == "follow" and adapt.get("rule") in (None, "lsg"):
            found.lsg.append(run)
        elif controller == "search":
            found.searched.append(run)
        elif controller == "steer":
            found.steered.append(run)
        elif controller == "fixed" and rectangle and not neuron.get("learn_width"):
            width = adapt.get("width") or neuron.get("width")
            if not neuron.get("train_decay"):
                found.fixed.setdefault(width, []).append(run)
            elif width == 1:
                found.decay.append(run)
    return found


def _check_alike(runs: Sequence[Run]) -> None:
    """Refuse runs that differ in more than what writes their widths: a mean over them would describe none."""
    differing = [key for key in differences(list(runs)) if key.split(".")[0] not in ("adapt", "neuron")]
    if differing:
        raise BadValue(
            f"these runs differ in {', '.join(differing)}, and a figure compares runs that differ in neuron "
            "and adapt alone; give the runs of one sweep"
        )


def _lsg(found: Found) -> Iterable[tuple[str, str, Draw]]:
    if len(found.fixed) > 1:
        yield "lsg_table_2", "Accuracy against the width, %", lambda axes, palette: _by_width(axes, palette, found)
    groups = {"fixed, width 1": found.fixed.get(1.0, []), "trained decay, width 1": found.decay, "LSG": found.lsg}
    if found.lsg and len([runs for runs in groups.values() if runs]) > 1:
        yield "lsg_table_1", "Test accuracy, %", lambda axes, palette: _over_epochs(axes, palette, groups)
        yield (
            "lsg_figure_5",
            "Neurons in the gradient-available interval, %",
            lambda axes, palette: _last_by_layer(axes, palette, groups, "share", 100),
        )
    if found.lsg:
        runs = found.lsg
        yield "lsg_figure_3", "Density of the potentials, and Theorem 1", partial(_potentials, runs=runs)
        yield "lsg_figure_3_spread", "Spread of the potentials, thresholds", partial(_spread, runs=runs)
        for name, title, turn in (
            ("lsg_figure_6", "f(β) = √(1 + β²)", lambda b: math.sqrt(1 + b * b)),
            ("lsg_figure_7", "Decay β", lambda b: b),
        ):
            yield name, title, partial(_decays, runs=runs, turn=turn)


def _dspike(found: Found) -> Iterable[tuple[str, str, Draw]]:
    yield "dspike_family", "Dspike: slope at threshold 0.5", _family
    if found.searched:
        for measure in plots.SEARCHED:
            yield (
                f"dspike_{measure.key}",
                measure.title,
                partial(plots.searched, runs=found.searched, key=measure.key),
            )


def _chi(found: Found) -> Iterable[tuple[str, str, Draw]]:
    for run in found.steered[:1]:
        for measure in plots.STEERED:
            if any(measure.key in row for row in run.decisions):
                yield (
                    f"steered_{measure.key}",
                    f"{measure.title} (seed {run.seed})",
                    partial(plots.steered, runs=[run], key=measure.key),
                )


def _by_width(axes: Axes, palette: Palette, found: Found) -> None:
    """Mean and standard deviation over seeds; LSG and the trained decay as lines across."""
    widths = sorted(found.fixed)
    means, spreads = zip(*(_spread_of(found.fixed[width]) for width in widths), strict=True)
    axes.errorbar(widths, means, yerr=spreads, fmt="o-", color=palette.test, capsize=3, label="fixed width (mean ± sd)")
    for runs, label, colour in (
        (found.decay, "trained decay, width 1", palette.train),
        (found.lsg, "LSG", palette.mark),
    ):
        if runs:
            middle, spread = _spread_of(runs)
            axes.axhline(middle, color=colour, linewidth=1.4, label=label)
            axes.axhspan(middle - spread, middle + spread, color=colour, alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    axes.set_xticks(widths, [f"{width:g}" for width in widths])
    axes.minorticks_off()
    axes.set_xlabel("width of the rectangle", color=palette.muted)
    axes.legend(frameon=False, labelcolor=palette.ink)


def _spread_of(runs: Sequence[Run]) -> tuple[float, float]:
    scores = [100 * run.final[1] for run in runs if run.final]
    return mean(scores), stdev(scores) if len(scores) > 1 else 0.0


def _over_epochs(axes: Axes, palette: Palette, groups: dict[str, list[Run]]) -> None:
    """Mean and range over seeds."""
    for (label, runs), colour in zip(groups.items(), (palette.train, palette.mark, palette.test), strict=True):
        curves = [[100 * score for _, score in run.scored()] for run in runs]
        if not curves:
            continue
        count = min(map(len, curves))
        _banded(
            axes,
            range(1, count + 1),
            [curve[:count] for curve in curves],
            color=colour,
            label=f"{label} (n = {len(curves)})",
        )
    axes.set_xlabel("epoch", color=palette.muted)
    plots.whole_numbers(axes)
    axes.legend(frameon=False, labelcolor=palette.ink)


def _last_by_layer(axes: Axes, palette: Palette, groups: dict[str, list[Run]], key: str, scale: float) -> None:
    """A measure of each layer at the end of the training: mean and range over seeds."""
    for (label, runs), colour in zip(groups.items(), (palette.train, palette.mark, palette.test), strict=True):
        if runs:
            layers = range(1, len(runs[0].layers) + 1)
            last = [[number(run.layer_rows(layer)[1].get(key)) * scale for layer in run.layers] for run in runs]
            _banded(axes, layers, last, "o-", color=colour, markersize=4, label=f"{label} (n = {len(runs)})")
    axes.set_xlabel("layer", color=palette.muted)
    plots.whole_numbers(axes)
    axes.legend(frameon=False, labelcolor=palette.ink)


def _banded(axes: Axes, xs: Sequence[float], curves: Sequence[Sequence[float]], *style: str, **options: Any) -> None:
    """The mean of the seeds' curves, their range shaded."""
    at = [*zip(*curves, strict=True)]
    axes.plot(xs, [mean(values) for values in at], *style, **options)
    axes.fill_between(
        xs,
        [min(values) for values in at],
        [max(values) for values in at],
        color=options["color"],
        alpha=0.15,
        linewidth=0,
    )


def _shown(layers: int) -> list[int]:
    """The numbers of the layers that a figure shows: the paper's, or in a smaller network as many, evenly spread."""
    if layers >= LAYERS[-1]:
        return list(LAYERS)
    return sorted({math.ceil(layers * place / LAYERS[-1]) for place in LAYERS})


def _potentials(axes: Axes, palette: Palette, runs: Sequence[Run]) -> None:
    """Histograms at the end of the training, of all seeds together, and Theorem 1's normal with the decays of then."""
    shown = _shown(len(runs[0].layers))
    for order, place in enumerate(shown):
        rows = [run.layer_rows(layer)[1] for run in runs for layer in run.layers[place - 1 : place]]
        counts = [sum(column) for column in zip(*(row["histogram"] for row in rows), strict=True)]
        per = len(counts) // 16  # bins to a threshold: the histogram reaches 8 to both sides of it
        us = [1 + (n + 0.5 - len(counts) // 2) / per for n in range(len(counts))]
        colour = palette.depth(order, len(shown))
        total = sum(counts)
        axes.stairs(
            [per * count / total for count in counts],
            [u - 0.5 / per for u in us] + [us[-1] + 0.5 / per],
            color=colour,
            label=f"layer {place}",
        )
        sd = mean(number(row["predicted"]) for row in rows)
        normal = [math.exp(-((u / sd) ** 2) / 2) / (sd * math.sqrt(2 * math.pi)) for u in us]
        axes.plot(
            us, normal, "--", color=colour, linewidth=1, label="N(0, 1 + β²)" if order == len(shown) - 1 else None
        )
    axes.axvline(1, color=palette.muted, linewidth=0.8, linestyle=":")
    axes.set(xlim=(-4, 5), xlabel="potential before the reset, thresholds (dotted: the threshold)")
    axes.legend(frameon=False, labelcolor=palette.ink)


def _spread(axes: Axes, palette: Palette, runs: Sequence[Run]) -> None:
    """Measured at the start and at the end of the training, and by Theorem 1 with the decays of the end."""
    layers = range(1, len(runs[0].layers) + 1)
    kinds = (
        ("before training", 0, "spread", palette.train),
        ("at the end", 1, "spread", palette.test),
        ("Theorem 1, at the end", 1, "predicted", palette.mark),
    )
    for label, which, key, colour in kinds:
        values = [[number(run.layer_rows(layer)[which].get(key)) for layer in run.layers] for run in runs]
        _banded(axes, layers, values, "o-", color=colour, markersize=4, label=label)
    axes.set_xlabel(f"layer (n = {len(runs)})", color=palette.muted)
    plots.whole_numbers(axes)
    axes.legend(frameon=False, labelcolor=palette.ink)


def _decays(axes: Axes, palette: Palette, runs: Sequence[Run], turn: Callable[[float], float]) -> None:
    shown = _shown(len(runs[0].layers))
    for order, place in enumerate(shown):
        curves = [run.layer_curve(run.layers[place - 1], "decay") for run in runs]
        _banded(
            axes,
            curves[0][0],
            [[turn(value) for value in values] for _, values in curves],
            color=palette.depth(order, len(shown)),
            label=f"layer {place}",
        )
    axes.set_xlabel("epoch", color=palette.muted)
    plots.whole_numbers(axes)
    axes.legend(frameon=False, labelcolor=palette.ink)


def _family(axes: Axes, palette: Palette) -> None:
    """b·(1 - tanh²(b·(u - ½)))/(2·tanh(b/2)) on 0 <= u <= 1."""
    us = [-0.25 + 1.5 * n / 600 for n in range(601)]
    for place, b in enumerate(TEMPERATURES):
        ys = [b * (1 - math.tanh(b * (u - 0.5)) ** 2) / (2 * math.tanh(b / 2)) if 0 <= u <= 1 else 0.0 for u in us]
        axes.plot(us, ys, color=palette.depth(place, len(TEMPERATURES)), label=f"b = {b:g}")
    axes.set_xlabel("membrane potential", color=palette.muted)
    axes.legend(frameon=False, labelcolor=palette.ink)


def _picture(out: Path, title: str, draw: Draw) -> Path:
    from matplotlib.figure import Figure

    palette = light()
    with drawing(**{"font.size": 9.5}):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        plots.frame(axes, plots.Measure("", title, ""), palette)
        draw(axes, palette=palette)
        return files.replace(
            out, lambda path: figure.savefig(path, dpi=110, facecolor="white", metadata={"Software": None})
        )
