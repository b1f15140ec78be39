"""Texts about numbers and runs."""

import json
import math
from collections.abc import Iterator
from typing import Any

from surgrad.config.flat import flattened
from surgrad.criteria import NARROW_SHARE, SILENT_RATE
from surgrad.report.read import Run, number

NONE = "–"
"""Stands for a value that is missing."""


def percent(fraction: float, digits: int = 2) -> str:
    r"""A fraction in per cent, with a space that does not break.

    >>> percent(0.9441)
    '94.41\xa0%'
    """
    return f"{100 * fraction:.{digits}f}\N{NO-BREAK SPACE}%" if math.isfinite(fraction) else NONE


def plain(value: object, digits: int = 3) -> str:
    """A measured number with `digits` decimals."""
    given = number(value)
    return f"{given:.{digits}f}" if math.isfinite(given) else NONE


def duration(seconds: float) -> str:
    """A time span in its two largest units.

    >>> duration(140), duration(11100), duration(8.25)
    ('2 min 20 s', '3 h 05 min', '8.2 s')
    """
    if not math.isfinite(seconds):
        return NONE
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def epochs_of(run: Run) -> str:
    """Finished and planned epochs, such as '9 of 9'."""
    return f"{run.done} of {run.planned}" if run.planned is not None else str(run.done)


def label(run: Run) -> str:
    """Recipe and seed of a run."""
    return f"{run.name}, seed {run.seed}" if run.seed is not None else run.name


def headline(run: Run) -> str:
    """The outcome of a run in one sentence, which also says how the best epoch was chosen."""
    return "; ".join([_outcome(run), *_average(run), *_best(run), *_published(run)]) + "."


def _outcome(run: Run) -> str:
    final = run.final
    if not run.metrics:
        planned = f": 0 of {run.planned} planned" if run.planned is not None else ""
        return f"No epoch has finished{planned}"
    state = "final epoch" if run.finished else "unfinished"
    spent = f", {duration(run.train_seconds)} of training" if math.isfinite(run.train_seconds) else ""
    if final is None:
        return f"No test accuracy was measured; {epochs_of(run)} epochs ({state}){spent}"
    if final[0] != run.done:
        last = f"last tested at epoch {final[0]}; {epochs_of(run)} epochs ({state})"
        return f"{percent(final[1])} test accuracy, {last}{spent}"
    return f"{percent(final[1])} test accuracy after {epochs_of(run)} epochs ({state}){spent}"


def _average(run: Run) -> Iterator[str]:
    average = run.last("test_accuracy_average")
    if math.isfinite(average):
        yield f"averaged weights: {percent(average)}"


def _best(run: Run) -> Iterator[str]:
    if run.best is None or run.best == run.final:
        return
    epoch, accuracy = run.best
    how = "chosen on held-out images" if run.held_out else "chosen on the test set, so not a fair figure"
    yield f"best epoch {epoch}: {percent(accuracy)} ({how})"


def _published(run: Run) -> Iterator[str]:
    if math.isfinite(run.published):
        yield f"published: {percent(run.published)}"


def remarks(run: Run) -> list[str]:
    """What a reader of the page should know before using the plots."""
    found = []
    if not run.finished:
        found.append(f"This run is unfinished: {epochs_of(run)} epochs. The page shows what there is.")
    found += [f"After epoch {alarm['epoch']}: {alarm['sentence']}" for alarm in run.alarms]
    found += run.remarks
    epochs, losses = run.curve("train_loss")
    broken = [
        epoch
        for epoch, row, loss in zip(epochs, run.metrics, losses, strict=True)
        if row.get("train_loss") is not None and not math.isfinite(loss)
    ]
    if broken:
        found.append(f"The train loss is not a finite number from epoch {broken[0]} on: the training diverged.")
    last = {layer: run.layer_rows(layer)[1] for layer in run.layers}
    silent = [layer for layer, row in last.items() if number(row.get("firing_rate")) < SILENT_RATE]
    found += _listed(silent, f"Nearly silent at the end (firing rate below {percent(SILENT_RATE, 1)})")
    narrow = [layer for layer, row in last.items() if number(row.get("chi", row.get("share"))) < NARROW_SHARE]
    found += _listed(
        narrow, f"Hardly any gradient at the end (for less than {percent(NARROW_SHARE, 0)} of the neurons)"
    )
    return found


def _listed(layers: list[str], text: str) -> Iterator[str]:
    if layers:
        yield f"{text}: {', '.join(layers)}."


def value_text(value: object) -> str:
    """A setting as JSON, without quotes around text."""
    if value is None:
        return NONE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def settings(tree: dict[str, Any]) -> dict[str, str]:
    """Nested settings as dotted keys with texts.

    >>> settings({"optim": {"lr": 0.1}})
    {'optim.lr': '0.1'}
    """
    return {path: value_text(value) for path, value in flattened(tree).items()}


def sections(tree: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """Settings by top-level key; single settings come first, under 'general'."""
    parts = {key: value for key, value in tree.items() if isinstance(value, dict) and value}
    single = {key: value for key, value in tree.items() if key not in parts}
    general = [("general", settings(single))] if single else []
    return general + [(key, settings(value)) for key, value in parts.items()]
