"""`python scripts/start_anywhere.py [--add DIR]`: the tables and the picture of records/start_anywhere.

Each TASK.jsonl there holds the finished runs of sweeps/start_anywhere_TASK.toml, one a line: the run's name, its
recipe.json and env.json, and the rows of its metrics.jsonl. With --add, takes those of DIR/TASK/LABEL-seedN first, in
place of earlier ones of the same names. Then writes bars.md, and accuracy over χ* as docs/shares.png.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from surgrad.criteria import GOOD_SHARE
from surgrad.files import read_json, read_rows, replace_file
from surgrad.report.pictures import write_plot
from surgrad.sweep.table import Sample, paired

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "records" / "start_anywhere"
TASKS = {
    "fashion": "Fashion-MNIST, 6,000 images, small CNN, T = 4",
    "cifar10": "CIFAR-10, small ResNet-19, T = 2",
    "vgg": "CIFAR-10, VGG-11 without norms, T = 2",
    "nmnist": "N-MNIST, small CNN, T = 10",
    "rows": "MNIST row by row, two LIF layers, T = 28",
    "t32": "Fashion-MNIST, small CNN, T = 32",
}
DEPTH = "depth"
"""The runs of sweeps/shapes_in_depth.toml."""
SHAPES = ("rect", "atan", "fast_sigmoid", "dspike", "triangle")
SHAPE_STARTS = ("0.1", "2")
"""The widths with which every surrogate function was trained: 0.2 and 4 thresholds."""


@dataclass(frozen=True)
class Task:
    """The test accuracies of a task's final epochs, by label and seed."""

    name: str
    scores: dict[str, dict[int, float]]

    def sample(self, label: str) -> Sample:
        return Sample((*self.scores.get(label, {}).values(),))

    def minus(self, label: str, other: str) -> Sample:
        """Differences, seed by seed."""
        return paired(self.scores.get(label, {}), self.scores.get(other, {}))

    def labelled(self, start: str) -> list[str]:
        return [label for label in self.scores if label.startswith(start)]

    @property
    def ours(self) -> str:
        """The label of the controller's default."""
        return f"chi_{GOOD_SHARE:g}"

    @property
    def best_fixed(self) -> str:
        """The fixed width with the best mean over the seeds."""
        return max(self.labelled("fixed_rect_"), key=lambda label: self.sample(label).mean)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--add", type=Path, metavar="DIR", help="copy finished runs from here first")
    given = parser.parse_args()
    if given.add:
        for task in (*TASKS, DEPTH):
            add(given.add / task, RECORDS / f"{task}.jsonl")
    tasks = [Task(name, scores_of(RECORDS / f"{name}.jsonl")) for name in TASKS]
    tasks = [task for task in tasks if task.ours in task.scores]
    replace_file(RECORDS / "bars.md", lambda path: path.write_text(bars(tasks) + "\n", encoding="utf-8"))
    draw(tasks, ROOT / "docs" / "shares.png")
    print(bars(tasks))


def add(source: Path, to: Path) -> None:
    """Add the finished runs of a sweep to the file of its task."""
    runs = {row["run"]: row for row in read_rows(to)}
    for folder in source.glob("*-seed*"):
        metrics = read_rows(folder / "metrics.jsonl")
        if metrics and metrics[-1]["epoch"] == metrics[-1]["epochs"]:
            read = {name: read_json(folder / f"{name}.json") for name in ("recipe", "env")}
            runs[folder.name] = {"run": folder.name, **read, "metrics": metrics}
    if runs:
        lines = [json.dumps(runs[name], ensure_ascii=False) + "\n" for name in sorted(runs)]
        replace_file(to, lambda path: path.write_text("".join(lines), encoding="utf-8"))


def scores_of(runs: Path) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for row in read_rows(runs):
        label, _, seed = row["run"].rpartition("-seed")
        found.setdefault(label, {})[int(seed)] = row["metrics"][-1]["test_accuracy"]
    return found


def bars(tasks: Sequence[Task]) -> str:
    """The tables, in Markdown."""
    depth = Task(DEPTH, scores_of(RECORDS / f"{DEPTH}.jsonl"))
    parts = [
        "Test accuracy of the final epoch, %; mean ± sd over seeds; differences by seed with 95 % intervals. Made by "
        "`python scripts/start_anywhere.py`.",
        table(
            ["task", "share", "best fixed width", "its accuracy", "share minus best fixed", "n"], map(against, tasks)
        ),
        table(["task", *(f"width {w:g}" for w in WIDTHS)], map(fixed, tasks)),
        table(["task", *(f"χ* {s:g}" for s in SHARES)], map(over_shares, tasks)),
        table(["task", "starts", "worst minus best start"], map(starts, tasks)),
        table(
            ["task", *SHAPES, "range", *(f"range at width {start}" for start in SHAPE_STARTS)], map(over_shapes, tasks)
        ),
        table(
            ["task", "a width for each channel, minus one for the layer", "n", "for each time step", "n"],
            map(finer, tasks),
        ),
        table(["layers, function", *(f"width {w:g}" for w in DEPTH_WIDTHS), "share"], in_depth(depth)),
    ]
    return "\n\n".join(parts)


DEPTH_WIDTHS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
WIDTHS = (0.025, 0.1, 0.25, 0.5, 1, 2, 10)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)


def against(task: Task) -> list[str]:
    best = task.best_fixed
    difference = task.minus(task.ours, best)
    return [
        TASKS[task.name],
        task.sample(task.ours).words()[0],
        best.removeprefix("fixed_rect_"),
        task.sample(best).words()[0],
        with_interval(difference),
        str(difference.n),
    ]


def with_interval(difference: Sample) -> str:
    size, interval = difference.words("+")
    return size if interval == "–" else f"{size} ({interval})"


def fixed(task: Task) -> list[str]:
    return [TASKS[task.name], *(task.sample(f"fixed_rect_{w:g}").words()[0] for w in WIDTHS)]


def over_shares(task: Task) -> list[str]:
    return [TASKS[task.name], *(task.sample(f"chi_{s:g}").words()[0] for s in SHARES)]


def starts(task: Task) -> list[str]:
    """The same seed from every start."""
    labels = [task.ours, *task.labelled("start_"), *task.labelled("share_rect_")]
    found = [task.scores[label][0] for label in labels if 0 in task.scores[label]]
    return [TASKS[task.name], str(len(found)), f"{100 * (min(found) - max(found)):.2f}"]


def over_shapes(task: Task) -> list[str]:
    """Accuracies of the first seed: under the share, whatever the start, and the range of those with a fixed width."""

    def first(*labels: str) -> float | None:
        return next((task.scores[label][0] for label in labels if 0 in task.scores.get(label, {})), None)

    ours = [
        first(f"share_{shape}", *(f"share_{shape}_{start}" for start in SHAPE_STARTS), task.ours * (shape == "rect"))
        for shape in SHAPES
    ]
    fixed = [[first(f"fixed_{shape}_{start}") for shape in SHAPES] for start in SHAPE_STARTS]
    return [TASKS[task.name], *map(percent, ours), spread(ours), *map(spread, fixed)]


def finer(task: Task) -> list[str]:
    """Widths of channels and of time steps, against one for the layer."""
    found = [TASKS[task.name]]
    for label in ("channels", "steps"):
        difference = task.minus(label, task.ours)
        found += [with_interval(difference) if difference.n else "–", str(difference.n)]
    return found


def in_depth(task: Task) -> Iterator[list[str]]:
    """Networks of 3 and 10 layers: each function at fixed widths, and under the share."""
    for case in sorted(label.removeprefix("share_") for label in task.labelled("share_")):
        fixed = [task.scores[f"fixed_{case}_{width:g}"][0] for width in DEPTH_WIDTHS]
        yield [case.replace("_", ", ", 1), *map(percent, fixed), percent(task.scores[f"share_{case}"][0])]


def percent(accuracy: float | None) -> str:
    return "–" if accuracy is None else f"{100 * accuracy:.2f}"


def spread(accuracies: Sequence[float | None]) -> str:
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    return percent(max(known) - min(known) if len(known) == len(accuracies) else None)


def table(columns: Sequence[str], rows: Iterator[list[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]
    return "\n".join(lines)


def draw(tasks: Sequence[Task], out: Path) -> None:
    """Accuracy over χ*, less that of the best share, one line a task."""
    swept = [task for task in tasks if len(task.labelled("chi_")) == len(SHARES)]

    def lines(axes, palette) -> None:
        for place, task in enumerate(swept):
            known = [task.scores[f"chi_{share:g}"] for share in SHARES]
            seeds = set.intersection(*map(set, known))
            values = [100 * mean(scores[seed] for seed in seeds) for scores in known]
            shown = [value - max(values) for value in values]
            axes.plot(SHARES, shown, "o-", color=palette.run(place), label=TASKS[task.name], markersize=5)
        axes.set_ylim(-10, 0.5)
        axes.set_xlabel("χ*, the share of the potentials that receive a gradient", color=palette.muted)
        axes.legend(frameon=False, labelcolor=palette.ink, loc="upper left", bbox_to_anchor=(1, 1))

    write_plot(out, "Test accuracy, points below the best share", lines, (9.2, 3.6))


if __name__ == "__main__":
    main()
