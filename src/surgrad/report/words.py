"""Numbers and runs in words."""

import json
import math
from collections.abc import Iterator
from typing import Any

from surgrad.report.read import Run, number

NONE = "–"
SILENT = 0.001
"""A layer that fires less than this passes hardly anything on."""
STARVED = 0.01
"""A layer with less gradient-available share than this hardly learns."""


def percent(fraction: float, digits: int = 2) -> str:
    r"""A fraction in per cent, kept on one line.

    >>> percent(0.9441)
    '94.41\xa0%'
    """
    return f"{100 * fraction:.{digits}f}\N{NO-BREAK SPACE}%" if math.isfinite(fraction) else NONE


def plain(value: object, digits: int = 3) -> str:
    """A measured number with the digits worth reading, the same in every row of a column."""
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
    """How far the run came, such as '9 of 9'."""
    return f"{run.done} of {run.planned}" if run.planned is not None else str(run.done)


def label(run: Run) -> str:
    """What tells a run from others of its page."""
    return f"{run.name}, seed {run.seed}" if run.seed is not None else run.name


def headline(run: Run) -> str:
    """The run's outcome in one sentence, saying which figure is fair."""
    return "; ".join([_outcome(run), *_best(run), *_published(run)]) + "."


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


def _best(run: Run) -> Iterator[str]:
    if run.best is None or run.best == run.final:
        return
    epoch, accuracy = run.best
    yield f"best epoch {epoch}: {percent(accuracy)} (chosen on the test set, so not a fair figure)"


def _published(run: Run) -> Iterator[str]:
    if math.isfinite(run.published):
        yield f"published: {percent(run.published)}"


def remarks(run: Run) -> list[str]:
    """What a reader should know before trusting the plots."""
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
        found.append(f"The train loss is not a finite number from epoch {broken[0]} on: training diverged.")
    found += _weak(run, "firing_rate", SILENT, "Nearly silent at the end (firing rate below 0.1 %)")
    found += _weak(run, "share", STARVED, "Hardly any gradient at the end (available to less than 1 % of neurons)")
    return found


def _weak(run: Run, key: str, limit: float, text: str) -> Iterator[str]:
    names = [layer for layer in run.layers if number(run.layer_rows(layer)[1].get(key)) < limit]
    if names:
        yield f"{text}: {', '.join(names)}."


def value_text(value: object) -> str:
    """A setting as its JSON, without the quotes around plain text."""
    if value is None:
        return NONE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted keys.

    >>> flat({"optim": {"lr": 0.1}})
    {'optim.lr': '0.1'}
    """
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value_text(value)
    return found


def sections(tree: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """Settings by top-level key; those that are no group of their own come first, under 'general'."""
    own = {key: value for key, value in tree.items() if not (isinstance(value, dict) and value)}
    groups = [(key, flat(value)) for key, value in tree.items() if isinstance(value, dict) and value]
    return ([("general", flat(own))] if own else []) + groups
