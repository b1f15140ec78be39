"""One wide picture of a run, for a README."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from surgrad.errors import BadValue
from surgrad.report import files, plots, words
from surgrad.report.palette import DEPTHS, Palette, light
from surgrad.report.read import Run, read_run
from surgrad.report.svg import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (12, 4.2)
"""Inches, at 100 dots each."""
LONG = 44
"""Letters of a name that fit beside the outcome."""


def overview_picture(run: Path, out: Path) -> Path:
    """Draws accuracy, widths and gradient-available share of the run folder `run` into the .png or .svg file `out`."""
    out = Path(out)
    if out.suffix.lower() not in (".png", ".svg"):
        raise BadValue(f"{out.name}: a picture is written as .png or .svg; give a name with one of these endings")
    found = read_run(run)
    # Letters as shapes: a picture shown on a foreign page cannot rely on its fonts.
    with drawing(**{"font.size": 10, "svg.fonttype": "path"}):
        figure = _overview(found, light())
        metadata = {"Date": None} if out.suffix.lower() == ".svg" else {"Software": None}
        return files.replace(out, lambda path: figure.savefig(path, dpi=100, facecolor="white", metadata=metadata))


def _overview(run: Run, palette: Palette) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1))
    figure.subplots_adjust(left=0.042, right=0.925, top=0.8, bottom=0.13, wspace=0.2)
    plots.curves(left, run, plots.ACCURACY, palette)
    width, share = plots.LAYERED[:2]
    plots.per_layer(middle, run, width, palette)
    plots.per_layer(right, run, share, palette)
    name = run.name if len(run.name) <= LONG else run.name[: LONG - 1] + "…"
    figure.text(0.042, 0.925, name, fontsize=14, fontweight="bold", color=palette.ink)
    said = words.headline(run).split(";")[0].rstrip(".")
    figure.text(0.925, 0.925, said, fontsize=11, color=palette.muted, ha="right")
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
