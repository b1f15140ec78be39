"""The tables of a sweep: means and standard deviations over seeds, and differences seed by seed."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from surgrad.errors import CheckpointError
from surgrad.files import read_json, replace_file
from surgrad.report import read_run, write_costs, write_scores
from surgrad.sweep.jobs import Entry, Job

T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t at 97.5 % for 1 to 10 degrees of freedom f. For more, 1.96 + 2.4/(f - 0.9) is exact to 0.2 %."""


@dataclass(frozen=True)
class Sample:
    """Numbers, their mean and its uncertainty."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        return mean(self.values) if self.values else math.nan

    @property
    def sd(self) -> float:
        """Sample standard deviation; nan for fewer than two numbers."""
        return stdev(self.values) if self.n > 1 else math.nan

    @property
    def interval(self) -> float:
        """Half of the 95 % confidence interval of the mean, by Student's t; nan for fewer than two numbers."""
        t = T_95[self.n - 2] if 2 <= self.n <= len(T_95) + 1 else 1.96 + 2.4 / (self.n - 1.9)
        return t * self.sd / math.sqrt(self.n) if self.n > 1 else math.nan

    @property
    def record(self) -> dict[str, float | int | None]:
        """Mean, standard deviation and interval as JSON can hold them."""
        numbers = {"mean": self.mean, "sd": self.sd, "interval_95": self.interval}
        return {"n": self.n} | {key: x if math.isfinite(x) else None for key, x in numbers.items()}

    def words(self, sign: str = "") -> tuple[str, str]:
        """Mean ± sd, and the interval, in per cent."""
        spread = f" ± {100 * self.sd:.2f}" if self.n > 1 else ""
        low = 100 * (self.mean - self.interval)
        high = 100 * (self.mean + self.interval)
        return (
            f"{100 * self.mean:{sign}.2f}{spread}" if self.n else "–",
            f"{low:{sign}.2f} to {high:{sign}.2f}" if self.n > 1 else "–",
        )


def paired(scores: Mapping[int, float], others: Mapping[int, float]) -> Sample:
    """The differences of scores by seed, for the seeds that both have."""
    return Sample((*(score - others[seed] for seed, score in scores.items() if seed in others),))


@dataclass(frozen=True)
class Line:
    """The results of an entry.

    Attributes:
        entry: the entry.
        scores: by seed, the test accuracy of the final epoch of finished trainings, in [0, 1].
        minutes: mean cost of a training.
        steps: time steps T.
        curves: of each seed, the minutes of training up to each epoch, and the test accuracy after it.
        on_cpu: whether minutes are of processor time, which other work on the machine lengthens less than the clock's:
            where all finished trainings of the sweep counted it.
    """

    entry: Entry
    scores: dict[int, float]
    minutes: float = math.nan
    steps: int = 0
    curves: tuple[tuple[tuple[float, float], ...], ...] = ()
    on_cpu: bool = False

    @property
    def sample(self) -> Sample:
        return Sample((*self.scores.values(),))

    def minus(self, other: "Line") -> Sample:
        """The differences to another entry, for the seeds that both have.

        Trainings with the same seed see images in the same order, and start with the same weights if their networks
        are the same.
        """
        return paired(self.scores, other.scores)


def outcome(queue: Sequence[Job]) -> list[Line]:
    """The results of each entry, in the given order."""
    finished = [job for job in queue if job.done]
    on_cpu = bool(finished) and all(map(_counts_processor_time, finished))
    found = []
    for entry in dict.fromkeys(job.entry for job in queue):
        done = [job for job in finished if job.entry == entry]
        if not done:
            found.append(Line(entry, {}, on_cpu=on_cpu))
            continue
        last = {job.seed: job.metrics[-1] for job in done}
        scores = {seed: row["test_accuracy"] for seed, row in last.items()}
        steps = read_run(done[0].folder).setting("model.steps", 0)
        curves = (*(_curve(job, on_cpu) for job in done),)
        minutes = mean(points[-1][0] for points in curves)
        found.append(Line(entry, scores, minutes, steps, curves, on_cpu))
    return found


def _counts_processor_time(job: Job) -> bool:
    """Whether `cpu_seconds` is all of a training's work: that of one process on a CPU, without others that read for it.

    Not where env.json, which says so, is missing.
    """
    try:
        env = read_json(job.folder / "env.json")
        workers = read_json(job.folder / "recipe.json")["data"].get("workers", 0)
    except (FileNotFoundError, CheckpointError):
        return False
    first = env.get("device")
    devices = {first, *(start.get("device", first) for start in env.get("resumed", ()))}
    alone = env.get("ranks", 1) == 1 and workers == 0
    return alone and devices == {"cpu"} and all("cpu_seconds" in row for row in job.metrics)


def _curve(job: Job, on_cpu: bool) -> tuple[tuple[float, float], ...]:
    cost = "cpu_seconds" if on_cpu else "train_seconds"
    return (*((row[cost] / 60, row["test_accuracy"]) for row in job.metrics),)


def compared(lines: Sequence[Line]) -> list[tuple[str, str, Sample]]:
    """(label, label of the other entry, differences) for every pair in `Entry.against`."""
    by_label = {line.entry.label: line for line in lines}
    return [(line.entry.label, other, line.minus(by_label[other])) for line in lines for other in line.entry.against]


def table_of(lines: Sequence[Line]) -> str:
    """A Markdown table of the results, then the differences between entries.

    A line has mean ± sd over seeds of the final epoch's test accuracy, its 95 % interval, n and the minutes of a
    training: of processor time where all were trained on CPUs.

    Args:
        lines: the results, as of `outcome`.
    """
    text = ["| run | test accuracy, % | 95 % interval of the mean | n | cost of a run |", "|---|---|---|---|---|"]
    for line in lines:
        cost = f"{line.minutes:.1f}{' CPU' * line.on_cpu} min" if line.scores else "–"
        text.append(f"| {' | '.join([line.entry.label, *line.sample.words(), str(len(line.scores)), cost])} |")
    differences = compared(lines)
    if differences:
        text += ["", "| run | minus | points, seed by seed | 95 % interval of the mean | n |", "|---|---|---|---|---|"]
    for label, other, sample in differences:
        text.append(f"| {' | '.join([label, other, *sample.words('+'), str(sample.n)])} |")
    return "\n".join(text)


def write_table(lines: Sequence[Line], out: Path) -> Path:
    """Write table.md, table.json and the pictures table.png and cost.png (accuracy against the time of training).

    Args:
        lines: the results, as of `outcome`.
        out: the folder.

    Returns:
        The path of table.md.
    """
    runs = [
        {
            "label": line.entry.label,
            "recipe": line.entry.recipe,
            "set": line.entry.settings,
            "test_accuracies": line.scores,
            **line.sample.record,
            "minutes": line.minutes if line.scores else None,
            "processor_time": line.on_cpu,
        }
        for line in lines
    ]
    differences = [
        {"label": label, "minus": other, "values": sample.values, **sample.record}
        for label, other, sample in compared(lines)
    ]
    record = {"runs": runs, "differences": differences}
    write_scores(
        [(line.entry.label, line.steps, [*line.scores.values()]) for line in lines if line.scores], out / "table.png"
    )
    curves = [(line.entry.label, line.curves) for line in lines if line.curves]
    write_costs(curves, out / "cost.png", on_cpu=bool(lines) and lines[0].on_cpu)
    replace_file(
        out / "table.json", lambda path: path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    )
    return replace_file(out / "table.md", lambda path: path.write_text(table_of(lines) + "\n", encoding="utf-8"))
