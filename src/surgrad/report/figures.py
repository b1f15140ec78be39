"""The figures of the papers, drawn from our runs.

Lian et al. 2023 (LSG): Table 2 as a curve, Table 1 as curves, Fig. 3 (potentials and Theorem 1), Fig. 5 (shares),
Fig. 6 (f(β)), Fig. 7 (β). Li et al. 2021 (Dspike): the family, and its temperature over the training. ESG: χ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from surgrad.errors import BadValue
from surgrad.report import plots
from surgrad.report.compare import differences
from surgrad.report.histograms import density, normal_density
from surgrad.report.palette import Palette
from surgrad.report.pictures import write_plot
from surgrad.report.read import Run, number, read_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAYERS = (2, 6, 10, 16)
"""The layers in Figs. 6 and 7 of LSG."""
TEMPERATURES = (0.2, 1.0, 3.0, 5.0, 20.0)
PARTS = ("adapt", "neuron", "surrogate")
"""The parts of a recipe that decide the widths, in which the runs of a figure may differ."""

Draw = Callable[["Axes", Palette], None]


@dataclass(frozen=True)
class Found:
    """Runs by the controller of their widths: each a list over seeds."""

    fixed: dict[float, list[Run]]
    """By width."""
    decay: list[Run]
    """Fixed widths, trained decays."""
    lsg: list[Run]
    dspike: list[Run]
    esg: list[Run]


def write_figures(runs: Sequence[Path], out: Path) -> list[Path]:
    """Draw every figure for which the runs have data.

    Args:
        runs: run folders.
        out: the folder of the pictures (.png).

    Returns:
        The pictures.

    Raises:
        BadValue: where the runs do not have the data of any figure, or cannot be compared.
        CheckpointError: for a folder that is not a run folder.
    """
    found = _by_controller([read_run(Path(run)) for run in runs])
    drawn = [*_lsg(found), *_dspike(found), *_chi(found)]
    if len(drawn) < 2:  # the family of Dspike needs no run
        raise BadValue("these runs do not have the data of any figure; give finished runs of `surgrad sweep`")
    return [write_plot(Path(out) / f"{name}.png", title, draw) for name, title, draw in drawn]


def _by_controller(runs: Iterable[Run]) -> Found:
    found = Found({}, [], [], [], [])
    finished = [run for run in runs if run.finished]
    _check_comparable(finished)
    for run in finished:
        controller = run.setting("adapt.name")
        if controller in ("lsg", "dspike", "esg"):
            getattr(found, controller).append(run)
        elif controller == "fixed" and _is_rectangle(run):
            width = run.setting("adapt.width") or run.setting("surrogate.width", 1.0)
            if not run.setting("neuron.train_decay", False):
                found.fixed.setdefault(width, []).append(run)
            elif width == 1:
                found.decay.append(run)
    return found


def _is_rectangle(run: Run) -> bool:
    """Whether the widths are those of a rectangle and are not trained."""
    names = (run.setting("surrogate.name", "rect"), run.setting("neuron.name", "lif"))
    return names == ("rect", "lif") and not run.setting("surrogate.learn", False)


def _check_comparable(runs: Sequence[Run]) -> None:
    """Refuse runs that differ in more than their widths: a mean over them would describe none of them."""
    differing = [key for key in differences(list(runs)) if key.split(".")[0] not in PARTS]
    if differing:
        raise BadValue(
            f"these runs differ in {', '.join(differing)}, and a figure compares runs that differ only in "
            f"{', '.join(PARTS)}; give the runs of one sweep"
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
        for name, title, function in (
            ("lsg_figure_6", "f(β) = √(1 + β²)", lambda b: math.sqrt(1 + b * b)),
            ("lsg_figure_7", "Decay β", lambda b: b),
        ):
            yield name, title, partial(_decays, runs=runs, function=function)


def _dspike(found: Found) -> Iterable[tuple[str, str, Draw]]:
    yield "dspike_family", "Dspike: slope at threshold 0.5", _family
    if found.dspike:
        for measure in plots.SEARCHED:
            yield (
                f"dspike_{measure.key}",
                measure.title,
                _draw_searched(found.dspike, measure.key),
            )


def _chi(found: Found) -> Iterable[tuple[str, str, Draw]]:
    for run in found.esg[:1]:
        for measure in plots.STEERED:
            if any(measure.key in row for row in run.decisions):
                yield (
                    f"steered_{measure.key}",
                    f"{measure.title} (seed {run.seed})",
                    _draw_steered(run, measure.key),
                )


def _draw_searched(runs: Sequence[Run], key: str) -> Draw:
    return lambda axes, palette: plots.searched(axes, runs, key, palette)


def _draw_steered(run: Run, key: str) -> Draw:
    return lambda axes, palette: plots.steered(axes, [run], key, palette)


def _by_width(axes: Axes, palette: Palette, found: Found) -> None:
    """Mean and standard deviation over seeds; LSG and the trained decay as horizontal lines."""
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
    """A measure of each layer at the end of training: mean and range over seeds."""
    for (label, runs), colour in zip(groups.items(), (palette.train, palette.mark, palette.test), strict=True):
        if runs:
            layers = range(1, len(runs[0].layers) + 1)
            last = [[number(run.layer_rows(layer)[1].get(key)) * scale for layer in run.layers] for run in runs]
            _banded(axes, layers, last, "o-", color=colour, markersize=4, label=f"{label} (n = {len(runs)})")
    axes.set_xlabel("layer", color=palette.muted)
    plots.whole_numbers(axes)
    axes.legend(frameon=False, labelcolor=palette.ink)


def _banded(axes: Axes, xs: Sequence[float], curves: Sequence[Sequence[float]], *style: str, **options: Any) -> None:
    """Draw the mean of several curves, and shade their range."""
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
    """The numbers of the layers that a figure shows: those of the paper, or, in a smaller network, layers at the same
    relative depths."""
    if layers >= LAYERS[-1]:
        return list(LAYERS)
    return sorted({math.ceil(layers * place / LAYERS[-1]) for place in LAYERS})


def _potentials(axes: Axes, palette: Palette, runs: Sequence[Run]) -> None:
    """Histograms of all seeds at the end of training, and the normal distribution of Theorem 1 for the decays there."""
    shown = _shown(len(runs[0].layers))
    for order, place in enumerate(shown):
        rows = [run.layer_rows(layer)[1] for run in runs for layer in run.layers[place - 1 : place]]
        counts = [sum(column) for column in zip(*(row["histogram"] for row in rows), strict=True)]
        edges, measured = density(counts)
        colour = palette.depth(order, len(shown))
        axes.stairs(measured, edges, color=colour, label=f"layer {place}")
        sd = mean(number(row["predicted"]) for row in rows)
        middles = [(low + high) / 2 for low, high in pairwise(edges)]
        normal = [normal_density(u, sd) for u in middles]
        label = "N(0, 1 + β²)" if order == len(shown) - 1 else None
        axes.plot(middles, normal, "--", color=colour, linewidth=1, label=label)
    axes.axvline(1, color=palette.muted, linewidth=0.8, linestyle=":")
    axes.set(xlim=(-4, 5), xlabel="potential before the reset, in units of the threshold (dotted)")
    axes.legend(frameon=False, labelcolor=palette.ink)


def _spread(axes: Axes, palette: Palette, runs: Sequence[Run]) -> None:
    """Spread at the start and at the end of training, and by Theorem 1 for the decays at the end."""
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


def _decays(axes: Axes, palette: Palette, runs: Sequence[Run], function: Callable[[float], float]) -> None:
    shown = _shown(len(runs[0].layers))
    for order, place in enumerate(shown):
        curves = [run.layer_curve(run.layers[place - 1], "decay") for run in runs]
        _banded(
            axes,
            curves[0][0],
            [[function(value) for value in values] for _, values in curves],
            color=palette.depth(order, len(shown)),
            label=f"layer {place}",
        )
    axes.set_xlabel("epoch", color=palette.muted)
    plots.whole_numbers(axes)
    axes.legend(frameon=False, labelcolor=palette.ink)


def _family(axes: Axes, palette: Palette) -> None:
    """The slope of Dspike at threshold 0.5, where temperature b is width 1/b. Only this figure needs torch."""
    import torch

    from surgrad.surrogates import find_surrogate

    dspike = find_surrogate("dspike")
    potentials = torch.linspace(-0.25, 1.25, 601, dtype=torch.float64)
    for place, b in enumerate(TEMPERATURES):
        slope = dspike.slope(potentials - 0.5, torch.tensor(1 / b, dtype=torch.float64))
        colour = palette.depth(place, len(TEMPERATURES))
        axes.plot(potentials.tolist(), slope.tolist(), color=colour, label=f"b = {b:g}")
    axes.set_xlabel("membrane potential", color=palette.muted)
    axes.legend(frameon=False, labelcolor=palette.ink)
