"""`python scripts/start_anywhere.py [--add DIR]`: the tables and the picture of records/start_anywhere.

Each folder there is a task, a sweep of sweeps/start_anywhere_TASK.toml, with recipe.json, metrics.jsonl and env.json of
each run. With --add, copies these files of finished runs from DIR/TASK/LABEL-seedN first. Then writes bars.md, and
accuracy over χ* as docs/shares.png.
"""

import argparse
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from surgrad.criteria import GOOD_SHARE
from surgrad.files import read_rows, replace_file
from surgrad.report.pictures import write_plot
from surgrad.sweep.table import Sample, paired

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "records" / "start_anywhere"
FILES = ("recipe.json", "metrics.jsonl", "env.json")
TASKS = {
    "fashion": "Fashion-MNIST, 6,000 images, small CNN, T = 4",
    "cifar10": "CIFAR-10, small ResNet-19, T = 2",
    "vgg": "CIFAR-10, VGG-11 without norms, T = 2",
    "nmnist": "N-MNIST, small CNN, T = 10",
    "rows": "MNIST row by row, two LIF layers, T = 28",
    "t32": "Fashion-MNIST, small CNN, T = 32",
}
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
        for task in TASKS:
            add(given.add / task, RECORDS / task)
    tasks = [Task(name, scores_of(RECORDS / name)) for name in TASKS]
    tasks = [task for task in tasks if task.ours in task.scores]
    replace_file(RECORDS / "bars.md", lambda path: path.write_text(bars(tasks) + "\n", encoding="utf-8"))
    draw(tasks, ROOT / "docs" / "shares.png")
    print(bars(tasks))


def add(source: Path, to: Path) -> None:
    """Copy the logs of finished runs."""
    for run in sorted(source.glob("*-seed*")):
        rows = read_rows(run / "metrics.jsonl")
        if rows and rows[-1]["epoch"] == rows[-1]["epochs"]:
            (to / run.name).mkdir(parents=True, exist_ok=True)
            for name in FILES:
                shutil.copyfile(run / name, to / run.name / name)


def scores_of(folder: Path) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for run in sorted(folder.glob("*-seed*")):
        label, _, seed = run.name.rpartition("-seed")
        found.setdefault(label, {})[int(seed)] = read_rows(run / "metrics.jsonl")[-1]["test_accuracy"]
    return found


def bars(tasks: Sequence[Task]) -> str:
    """The tables, in Markdown."""
    parts = [
        "Test accuracy of the final epoch, %; mean ± sd over seeds; differences by seed with 95 % intervals. Made by "
        "`python scripts/start_anywhere.py`.",
        table(
            ["task", "share", "best fixed width", "its accuracy", "share minus best fixed", "n"], map(against, tasks)
        ),
        table(["task", *(f"width {w:g}" for w in WIDTHS)], map(fixed, tasks)),
        table(["task", *(f"χ* {s:g}" for s in SHARES)], map(over_shares, tasks)),
        table(["task", "starts", "worst minus best start"], map(starts, tasks)),
        table(["task", *SHAPES, "range under share", "range under fixed widths"], map(over_shapes, tasks)),
    ]
    return "\n\n".join(parts)


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
        f"{difference.words('+')[0]} ({difference.words('+')[1]})",
        str(difference.n),
    ]


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
    def ours(shape: str) -> Sample:
        names = (f"share_{shape}", *(f"share_{shape}_{start}" for start in SHAPE_STARTS), task.ours * (shape == "rect"))
        return next((task.sample(name) for name in names if name in task.scores), Sample(()))

    under_share = [ours(shape) for shape in SHAPES]
    under_fixed = [task.sample(f"fixed_{shape}_{start}") for shape in SHAPES for start in SHAPE_STARTS]
    return [TASKS[task.name], *(sample.words()[0] for sample in under_share), spread(under_share), spread(under_fixed)]


def spread(samples: Sequence[Sample]) -> str:
    means = [sample.mean for sample in samples if sample.n]
    return f"{100 * (max(means) - min(means)):.2f}" if means else "–"


def table(columns: Sequence[str], rows: Iterator[list[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]
    return "\n".join(lines)


def draw(tasks: Sequence[Task], out: Path) -> None:
    """Accuracy over χ*, less that of the best share, one line a task."""
    swept = [task for task in tasks if len(task.labelled("chi_")) > 2]

    def lines(axes, palette) -> None:
        for place, task in enumerate(swept):
            known = [share for share in SHARES if f"chi_{share:g}" in task.scores]
            values = [100 * task.sample(f"chi_{share:g}").mean for share in known]
            shown = [value - max(values) for value in values]
            axes.plot(known, shown, "o-", color=palette.run(place), label=TASKS[task.name], markersize=5)
        axes.set_ylim(-10, 0.5)
        axes.set_xlabel("χ*, the share of the potentials that receive a gradient", color=palette.muted)
        axes.legend(frameon=False, labelcolor=palette.ink)

    write_plot(out, "Test accuracy, points below the best share", lines, (6.4, 3.6))


if __name__ == "__main__":
    main()
