"""The table of a sweep: mean and spread over seeds."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from surgrad.files import replace_file
from surgrad.sweep.jobs import Job

T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t at 97.5 % for 1 to 10 degrees of freedom f; beyond, 1.96 + 2.4/(f - 0.9) is within 0.2 %."""


@dataclass(frozen=True)
class Line:
    """An entry's outcome: final test accuracies of its finished seeds, in [0, 1]."""

    label: str
    recipe: str
    settings: tuple[str, ...]
    accuracies: tuple[float, ...]
    seeds: tuple[int, ...]
    minutes: float

    @property
    def mean(self) -> float:
        return mean(self.accuracies) if self.accuracies else math.nan

    @property
    def sd(self) -> float:
        """Of the sample; nan of fewer than two."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else math.nan

    @property
    def interval(self) -> float:
        """Half of the 95 % confidence interval of the mean, by Student's t; nan of fewer than two."""
        n = len(self.accuracies)
        t = T_95[n - 2] if 2 <= n <= len(T_95) + 1 else 1.96 + 2.4 / (n - 1.9)
        return t * self.sd / math.sqrt(n) if n > 1 else math.nan


def outcome(queue: Sequence[Job]) -> list[Line]:
    """A line an entry, in the order given."""
    found = []
    for entry in dict.fromkeys(job.entry for job in queue):
        done = [job for job in queue if job.entry == entry and job.done]
        rows = [job.metrics[-1] for job in done]
        minutes = mean(row["train_seconds"] for row in rows) / 60 if rows else math.nan
        found.append(Line(entry.label, entry.recipe, entry.settings, tuple(row["test_accuracy"] for row in rows),
                          tuple(job.seed for job in done), minutes))  # fmt: skip
    return found


def table_of(lines: Sequence[Line]) -> str:
    """Markdown: mean ± sd over seeds of the final epoch's test accuracy, its 95 % interval, n."""
    text = ["| run | test accuracy, % | 95 % interval of the mean | n | min a run |", "|---|---|---|---|---|"]
    for line in lines:
        spread = f" ± {100 * line.sd:.2f}" if line.sd == line.sd else ""
        low, high = 100 * (line.mean - line.interval), 100 * (line.mean + line.interval)
        interval = f"{low:.2f} to {high:.2f}" if line.interval == line.interval else "–"
        shown = f"{100 * line.mean:.2f}{spread}" if line.accuracies else "–"
        minutes = f"{line.minutes:.1f}" if line.accuracies else "–"
        text.append(f"| {line.label} | {shown} | {interval} | {len(line.accuracies)} | {minutes} |")
    return "\n".join(text)


def write_table(lines: Sequence[Line], out: Path) -> Path:
    """table.md and table.json in the folder `out`; returns the first."""
    record = [{"label": line.label, "recipe": line.recipe, "set": line.settings, "seeds": line.seeds,
               "test_accuracies": line.accuracies, "mean": _number(line.mean), "sd": _number(line.sd),
               "interval_95": _number(line.interval), "minutes": _number(line.minutes)} for line in lines]  # fmt: skip
    replace_file(out / "table.json", lambda path: path.write_text(json.dumps(record, indent=1) + "\n"))
    return replace_file(out / "table.md", lambda path: path.write_text(table_of(lines) + "\n"))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
