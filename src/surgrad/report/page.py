"""The HTML page of one or several runs."""

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgrad.errors import BadValue
from surgrad.report import compare, output, plots, words
from surgrad.report.palette import DEPTHS, RUNS, depth_step, stand_ins, theme, variables
from surgrad.report.read import Run, read_run
from surgrad.report.recording import EXAMPLE
from surgrad.report.svg import FONT, drawing, inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (5.2, 3.2)
"""Inches of a plot; small, so that its letters are readable on a phone."""
SHOWN = ("format", "summary", "source", "deviations")
"""Recipe keys that the list of settings leaves out: the top of the page shows them."""
FEW_LAYERS = 8
"""Up to this number of layers, the colour key names each."""


LARGEST_EXAMPLE = 2**24
"""Bytes of the picture of a recording."""


@dataclass(frozen=True)
class Plot:
    """An SVG element (trusted: matplotlib escaped its text), and a text on how to read it."""

    svg: str
    reading: str


@dataclass(frozen=True)
class Layer:
    """One row of the per-layer table."""

    name: str
    step: int
    start: str
    width: str
    decay: str
    threshold: str
    firing_rate: str
    share: str
    filled: float
    """The share in per cent, for the bar next to it."""


def write_report(runs: Sequence[Path], out: Path) -> Path:
    """Write one self-contained HTML page about run folders.

    Args:
        runs: the folders; of several runs the page also has a comparison.
        out: the page.

    Returns:
        `out`.

    Raises:
        CheckpointError: one of `runs` is not a run folder.
        BadValue: there is no run, or `out` cannot be written.
    """
    if not runs:
        raise BadValue("there is no run to report on; give at least one run folder")
    found = [read_run(Path(run)) for run in runs]
    names = compare.labels(found)
    return write_page(
        "page.html",
        out,
        title=found[0].name if len(found) == 1 else f"{len(found)} runs compared",
        colours=RUNS,
        few_layers=FEW_LAYERS,
        comparison=_comparison(found) if len(found) > 1 else None,
        runs=[
            _section(run, name, place, alone=len(found) == 1)
            for place, (run, name) in enumerate(zip(found, names, strict=True))
        ],
    )


def write_page(template: str, out: Path, **values: Any) -> Path:
    """Fill one of the templates in this folder, with the colours of both themes, and write the page to `out`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    themes = {name: list(zip(variables(), theme(name), strict=True)) for name in ("light", "dark")}
    text = environment.get_template(template).render(themes=themes, depths=DEPTHS, **values)
    return output.replace(Path(out), lambda path: path.write_text(text, encoding="utf-8", newline="\n"))


def _comparison(runs: list[Run]) -> dict[str, Any]:
    names = compare.labels(runs)
    both = "Solid: test; thin dashes: train. "
    return {
        "names": names,
        "lines": compare.lines(runs),
        "averaged": any(math.isfinite(run.last("test_accuracy_average")) for run in runs),
        "held_out": any(math.isfinite(run.last("holdout_accuracy")) for run in runs),
        "chosen_on_test": any(not run.held_out for run in runs),
        "groups": compare.groups(runs),
        "differences": compare.differences(runs),
        "plots": [
            _plot(
                f"all-{measure.key}",
                f"{measure.title} of every run over epochs",
                both + measure.reading,
                partial(plots.overlay, runs=runs, names=names, measure=measure, palette=stand_ins()),
            )
            for measure in (plots.ACCURACY, plots.LOSS)
        ],
    }


def _section(run: Run, name: str, place: int, alone: bool) -> dict[str, Any]:
    """The values of the template for one run; the curves only where the comparison does not show them."""
    return {
        "name": name,
        "place": place,
        "summary": run.setting("summary"),
        "source": run.setting("source"),
        "deviations": run.setting("deviations"),
        "headline": words.headline(run),
        "remarks": words.remarks(run),
        "curves": [_curve(run, measure, place) for measure in (plots.ACCURACY, plots.LOSS)] if alone else [],
        "decisions": _decisions(run, place),
        "layered": [_layered(run, measure, place) for measure in plots.LAYERED if _recorded(run, measure.key)],
        "timed": _timed(run, place),
        "example": _example(run),
        "absent": [measure.title for measure in plots.LAYERED if not _recorded(run, measure.key)],
        "layers": [_layer(run, layer, step, len(run.layers)) for step, layer in enumerate(run.layers)],
        "last_epoch": max((row["epoch"] for row in run.widths), default=0),
        "recipe": words.sections({key: value for key, value in run.recipe.items() if key not in SHOWN}),
        "env": words.settings(run.env),
    }


def _curve(run: Run, measure: plots.Measure, place: int) -> Plot:
    title = f"{measure.title} of {run.name} on train and test data over epochs"
    return _plot(
        f"r{place}-{measure.key}", title, measure.reading, lambda axes: plots.curves(axes, run, measure, stand_ins())
    )


def _layered(run: Run, measure: plots.Measure, place: int) -> Plot:
    constant = plots.constant(run, measure.key)
    shown = words.percent(constant or 0) if measure.fraction else words.plain(constant)
    reading = measure.reading if constant is None else f"{measure.reading} Here it stays at {shown} in every layer."
    title = f"{measure.title} of each layer of {run.name} over epochs"
    return _plot(
        f"r{place}-{measure.key}", title, reading, lambda axes: plots.per_layer(axes, run, measure, stand_ins())
    )


def _timed(run: Run, place: int) -> list[Plot]:
    """Firing rates over time, where there is more than one time step."""
    if not any(len(plots.rates_of(run, layer)) > 1 for layer in run.layers):
        return []
    title = f"{plots.RATES.title} of each layer of {run.name}"
    return [_plot(f"r{place}-rates", title, plots.RATES.reading, lambda axes: plots.over_time(axes, run, stand_ins()))]


def _example(run: Run) -> str | None:
    """The picture of a recording in the run folder, as a data URL."""
    path = run.folder / EXAMPLE
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_EXAMPLE:
            return None  # it may lead out of the run folder, or never end
        picture = path.read_bytes()
    except OSError:
        return None
    if not picture.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")


def _decisions(run: Run, place: int) -> list[Plot]:
    """The measurements on which the controller based its widths, if it wrote any."""
    first = run.decisions[0] if run.decisions else {}
    if "group" in first:
        return [_decision(run, place, measure, plots.searched) for measure in plots.SEARCHED]
    return [_decision(run, place, measure, plots.steered) for measure in plots.STEERED if measure.key in first]


def _decision(run: Run, place: int, measure: plots.Measure, draw: Callable[..., None]) -> Plot:
    def draw_framed(axes: "Axes") -> None:
        plots.frame(axes, measure, stand_ins())
        draw(axes, [run], measure.key, stand_ins())

    title = f"{measure.title} of {run.name}, as its controller measured it"
    return _plot(f"r{place}-decision-{measure.key}", title, measure.reading, draw_framed)


def _recorded(run: Run, key: str) -> bool:
    return any(row.get(key) is not None for row in run.widths)


def _plot(key: str, title: str, reading: str, draw: Callable[["Axes"], None]) -> Plot:
    return plot(key, title, reading, lambda figure: draw(figure.add_axes((0.095, 0.145, 0.885, 0.74))))


def plot(
    key: str, title: str, reading: str, draw: Callable[["Figure"], None], size: tuple[float, float] = SIZE
) -> Plot:
    """Draw a figure of `size` inches for a page; `key` makes its ids unique there."""
    from markupsafe import Markup
    from matplotlib.figure import Figure

    with drawing(**FONT):
        figure = Figure(figsize=size)
        draw(figure)
        return Plot(Markup(inline(figure, key, title)), reading)


def _layer(run: Run, layer: str, place: int, count: int) -> Layer:
    first, last = run.layer_rows(layer)
    share = words.number(last.get("share"))
    return Layer(
        name=layer,
        step=depth_step(place, count),
        start=words.plain(first.get("width")),
        width=words.plain(last.get("width")),
        decay=words.plain(last.get("decay")),
        threshold=words.plain(last.get("threshold")),
        firing_rate=words.percent(words.number(last.get("firing_rate"))),
        share=words.percent(share),
        filled=round(min(max(100 * share, 0), 100), 1) if math.isfinite(share) else 0.0,
    )
