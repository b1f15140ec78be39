"""What a converted network is worth after so many steps, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgrad.report import files, plots
from surgrad.report.palette import Palette, light
from surgrad.report.read import Run, read_run
from surgrad.report.svg import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (5.6, 3.6)


def write_conversion(record: dict[str, Any], out: Path, beside: Sequence[Path] = ()) -> Path:
    """Draws accuracy against T, with the ANN's as a line and directly trained runs as points, into the .png `out`.

    record: what `surgrad.train.convert_run` returns. beside: run folders of finished trainings."""
    from matplotlib.figure import Figure

    palette = light()
    with drawing(**{"font.size": 9.5}):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        plots.frame(axes, plots.Measure("", "Test accuracy after T steps, %", ""), palette)
        _draw(axes, record, [read_run(Path(run)) for run in beside], palette)
        return files.replace(
            out, lambda path: figure.savefig(path, dpi=110, facecolor="white", metadata={"Software": None})
        )


def _draw(axes: Axes, record: dict[str, Any], trained: Sequence[Run], palette: Palette) -> None:
    accuracy = [100 * share for share in record["accuracy"]]
    axes.axhline(
        100 * record["ann_accuracy"],
        color=palette.muted,
        linestyle="--",
        linewidth=1,
        label=f"the ANN: {100 * record['ann_accuracy']:.2f} %",
    )
    axes.plot(range(1, len(accuracy) + 1), accuracy, color=palette.run(0), label="converted")
    for place, run in enumerate(trained, 1):
        last = 100 * run.metrics[-1]["test_accuracy"]
        axes.plot(
            [run.recipe["model"]["steps"]], [last], "o", color=palette.run(place), label=f"{run.name}: {last:.2f} %"
        )
    axes.set_xscale("log")
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if t <= len(accuracy)]
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel("time steps T", color=palette.muted)
    axes.legend(frameon=False, labelcolor=palette.ink)
