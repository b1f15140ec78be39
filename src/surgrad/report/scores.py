"""What several trainings of each of several recipes came to, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from surgrad.report import files, plots
from surgrad.report.palette import light
from surgrad.report.svg import drawing

Row = tuple[str, int, Sequence[float]]
"""A label, time steps T, and the test accuracy of each seed, in [0, 1]."""


def write_scores(rows: Sequence[Row], out: Path) -> Path:
    """Draws a line a row into the .png `out`: every seed as a ring, their mean as a bar; a colour for each T."""
    from matplotlib.figure import Figure

    palette = light()
    kinds = sorted({steps for _, steps, _ in rows})
    with drawing(**{"font.size": 9.5}):
        figure = Figure(figsize=(6.4, 0.9 + 0.26 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        plots.frame(axes, plots.Measure("", "Test accuracy of the final epoch, %", ""), palette)
        for place, steps in enumerate(kinds):
            own = [(at, scores) for at, (_, count, scores) in enumerate(rows) if count == steps]
            dots = [(100 * score, at) for at, scores in own for score in scores]
            axes.plot(*zip(*dots, strict=True), "o", color=palette.run(place), markerfacecolor="none", markersize=5)
            axes.plot(
                [100 * mean(scores) for _, scores in own],
                [at for at, _ in own],
                "|",
                color=palette.run(place),
                markersize=12,
                markeredgewidth=2.5,
                label=f"T = {steps}",
            )
        axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
        axes.tick_params(axis="y", colors=palette.ink)
        axes.invert_yaxis()
        axes.set_xlabel("ring: a seed; bar: their mean", color=palette.muted)
        if len(kinds) > 1:
            axes.legend(frameon=False, labelcolor=palette.ink)
        return files.replace(
            out, lambda path: figure.savefig(path, dpi=110, facecolor="white", metadata={"Software": None})
        )
