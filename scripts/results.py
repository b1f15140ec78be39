"""`python scripts/results.py`: what is claimed, computed again from the logs under records/.

Writes docs/results.md, and the same tables into records/README.md, between two comments. To add a claim, add a line to
ACCURACIES, a comparison or MEASURED. A place is a folder name below records/ without its -seedN, or FILE.jsonl#LABEL.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from surgrad.files import read_json, read_rows, replace_file
from surgrad.sweep.table import Sample, paired

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "records"
PAGE = ROOT / "docs" / "results.md"
BEGIN, END = "<!-- by scripts/results.py -->\n", "<!-- end -->"


@dataclass(frozen=True)
class Accuracy:
    """Test accuracy of the final epoch, over seeds. repeat: the training of seed 0, or the sweep that holds all."""

    what: str
    place: str
    repeat: str


@dataclass(frozen=True)
class Difference:
    """Points between two rows, seed by seed. claimed: what a paper has, in points, and where."""

    what: str
    place: str
    minus: str
    claimed: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Comparison:
    """Differences between trainings of one network with one budget. repeat: the command that trains all of them."""

    setting: str
    repeat: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Measured:
    """A speed or a size. figure: from the content of the log, the text that is claimed."""

    what: str
    log: str
    figure: Callable[[Any], str]
    repeat: str


SMALL = "small ResNet, CIFAR-10, T=2, 15 epochs"
EIGHTH = "ResNet-19 with an eighth of its channels, CIFAR-10, T=2"
CHANCE = 0.1
"""Test accuracy of a network that has learned nothing, on CIFAR-10."""


def sweep(name: str, options: str) -> str:
    return f"surgrad sweep sweeps/{name}.toml --data DIR --out OUT/{name} {options}"


def of_recipe(name: str) -> str:
    return f"surgrad train {name} --data DIR"


ACCURACIES = (
    Accuracy("LSG, small CNN, 6,000 images of Fashion-MNIST, T=4", "lsg_fashion_small_t4", "surgrad train"),
    Accuracy(f"LSG, {SMALL}", "lsg_cifar10_small_t2", of_recipe("lsg_cifar10_small_t2")),
    Accuracy(f"fixed width 1, {SMALL}", "fixed_cifar10_small_t2", of_recipe("fixed_cifar10_small_t2")),
    Accuracy("LSG, 1,000 recordings of N-MNIST, T=10", "lsg_nmnist_small_t10", of_recipe("lsg_nmnist_small_t10")),
    Accuracy(
        f"`share`, {EIGHTH}, 10 epochs",
        "start_anywhere/cifar10.jsonl#chi_0.3",
        sweep("start_anywhere_cifar10", "--seeds 1"),
    ),
)
TABLE_1, TABLE_2 = "Lian et al. 2023, Table 1", "Lian et al. 2023, Table 2"
LSG = Comparison(
    SMALL,
    of_recipe("lsg_cifar10_small_t2"),
    (Difference("LSG minus fixed width 1", "lsg_cifar10_small_t2", "fixed_cifar10_small_t2", 1.73, TABLE_1),),
)
ADAPTIVE = Comparison(
    f"{EIGHTH}, 20,000 images for 5 epochs",
    sweep("adaptive_cifar10", "--seeds 2"),
    (
        Difference("LSG minus fixed width 1", "adaptive/lsg", "adaptive/width_1", 1.73, TABLE_1),
        Difference("LSG minus a trained decay", "adaptive/lsg", "adaptive/trained_decay", 1.25, TABLE_1),
        Difference("a trained decay minus a fixed one", "adaptive/trained_decay", "adaptive/width_1", 0.48, TABLE_1),
        *(
            Difference(f"width {width} minus width 1", f"adaptive/width_{width}", "adaptive/width_1", claimed, TABLE_2)
            for width, claimed in (("0.5", -0.56), ("2.5", -2.0), ("5", -31.14), ("10", -61.86))
        ),
        Difference("Dspike minus fixed width 1", "adaptive/dspike", "adaptive/width_1"),
        Difference("χ steered (`esg`) minus fixed width 1", "adaptive/chi", "adaptive/width_1"),
    ),
)
EVIDENCE = {
    "cifar10": (
        ("LSG minus fixed width 1", "lsg", "width_1", 1.73, TABLE_1),
        ("LSG minus a trained decay", "lsg", "decay", 1.25, TABLE_1),
        ("a trained decay minus a fixed one", "decay", "width_1", 0.48, TABLE_1),
        ("`share` minus fixed width 1", "share", "width_1", None, ""),
        ("`share` minus LSG", "share", "lsg", None, ""),
        ("width 0.5 minus width 1", "width_0.5", "width_1", -0.56, TABLE_2),
        ("width 2 minus width 1", "width_2", "width_1", None, ""),
        ("Dspike minus fixed width 1", "dspike", "width_1", None, ""),
        ("ESG minus fixed width 1", "esg", "width_1", None, ""),
        ("TET minus the mean output's loss", "tet", "width_1", None, ""),
        ("TET with `share` minus TET", "tet_share", "tet", None, ""),
        ("TET with `share` minus `share`", "tet_share", "share", None, ""),
        ("ASGL minus fixed width 1", "asgl", "width_1", None, ""),
        ("`share` and a trained decay minus a trained decay", "share_decay", "decay", None, ""),
        ("`share` and a trained decay minus LSG", "share_decay", "lsg", None, ""),
        ("`share` and a trained decay minus `share`", "share_decay", "share", None, ""),
    ),
    "cifar100": (
        ("LSG minus fixed width 1", "lsg", "width_1", 2.35, TABLE_1),
        ("`share` minus fixed width 1", "share", "width_1", None, ""),
        ("`share` minus LSG", "share", "lsg", None, ""),
    ),
}
"""The differences of the plans for two cores, sweeps/evidence_small_DATA.toml: (what, label, minus, claim, source)."""


def planned(data: str) -> Comparison:
    """Those differences of a plan for which seeds have been trained."""
    folder = f"evidence/small_{data}"
    found = (
        Difference(what, f"{folder}/{label}", f"{folder}/{minus}", claimed, source)
        for what, label, minus, claimed, source in EVIDENCE[data]
    )
    return Comparison(
        f"small ResNet with half its channels, {data.upper().replace('R', 'R-')}, T=2, 15 epochs",
        sweep(f"evidence_small_{data}", "--workers 2"),
        tuple(claim for claim in found if scores(claim.place).keys() & scores(claim.minus).keys()),
    )


METHODS = Comparison(
    f"{EIGHTH}, 12,800 images for 4 epochs; the claims are differences between papers",
    sweep("methods_cifar10", "--seeds 2"),
    tuple(
        Difference(f"{name} minus STBP-tdBN", f"methods/{place}_t2", "methods/tdbn_t2", claimed, source)
        for name, place, claimed, source in (
            ("TET", "tet", 1.82, "Deng et al. 2022"),
            ("TEBN", "tebn", 2.23, "Duan et al. 2022"),
            ("IM-Loss", "imloss", 1.51, "Guo et al. 2022a"),
            ("RecDis-SNN", "recdis", 1.30, "Guo et al. 2022b"),
            ("LSG", "lsg", 2.07, "Lian et al. 2023"),
        )
    ),
)
LATENCY = Comparison(
    "6,000 images of Fashion-MNIST, small CNN that pools by means, T=1 to 8",
    sweep("low_latency_fashion", "--seeds 3"),
    (
        *(
            Difference(f"`share` minus LSG, T={steps}", f"low_latency/share_{steps}", f"low_latency/lsg_{steps}")
            for steps in (1, 2, 4, 6, 8)
        ),
        *(
            Difference(f"{name}, T=8 minus T=1", f"low_latency/{place}_8", f"low_latency/{place}_1")
            for name, place in (("`share`", "share"), ("LSG", "lsg"))
        ),
    ),
)
NORMS = "scaling/norms.jsonl"
OWN_NORMS = Comparison(
    "Statistics of each process's share in place of the whole batch's; 6,000 images of Fashion-MNIST, small CNN, T=4, "
    "batch 60",
    "torchrun --standalone --nproc-per-node 4 -m surgrad train --set run.sync_norms=false",
    (
        Difference("two processes with own statistics minus shared ones", f"{NORMS}#own_2", f"{NORMS}#shared"),
        Difference("four processes with own statistics minus shared ones", f"{NORMS}#own_4", f"{NORMS}#shared"),
    ),
)
TASKS = {
    "fashion": "6,000 images of Fashion-MNIST, small CNN, T=4",
    "cifar10": f"{EIGHTH}, 10 epochs",
    "vgg": "VGG-11 with an eighth of its channels and no norms, CIFAR-10, T=2, 6 epochs",
    "nmnist": "1,000 recordings of N-MNIST, T=10",
    "rows": "MNIST row by row, two LIF layers, T=28",
    "t32": "6,000 images of Fashion-MNIST, small CNN with half its channels, T=32, 3 epochs",
}


def against_fixed(task: str) -> tuple[Difference, ...]:
    """`share` minus width 1, and minus the fixed width that is best on this task's own accuracies, if it is another."""
    file = f"start_anywhere/{task}.jsonl"
    labels = {row["run"].rpartition("-seed")[0] for row in read_rows(RECORDS / file)}
    fixed = [f"{file}#{label}" for label in labels if label.startswith("fixed_rect_")]
    best = max(fixed, key=lambda place: Sample((*scores(place).values(),)).mean)
    ours, plain, number = f"{file}#chi_0.3", f"{file}#fixed_rect_1", best.rpartition("_")[2]
    chosen = f"minus width {number}, the best of {len(fixed)}"
    if best == plain:
        return (Difference(f"{TASKS[task]}: {chosen}", ours, plain),)
    return (
        Difference(f"{TASKS[task]}: minus width 1", ours, plain),
        Difference(f"the same, {chosen}", ours, best),
    )


def comparisons() -> tuple[Comparison, ...]:
    """All of them."""
    share = Comparison(
        f"`share` minus fixed widths; rectangles; TASK is {', '.join(TASKS)}, in this order",
        sweep("start_anywhere_TASK", "--seeds 1"),
        (*chain.from_iterable(map(against_fixed, TASKS)),),
    )
    plans = (plan for plan in map(planned, EVIDENCE) if plan.differences)
    return (*plans, LSG, ADAPTIVE, METHODS, share, LATENCY, OWN_NORMS)


def rounds(record: dict[str, Any], *keys: str) -> dict[tuple[Any, ...], dict[str, list[float]]]:
    """The times of each contender, by case: a value of each key."""
    found: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    for row in record["rows"]:
        found.setdefault(tuple(row[key] for key in keys), {})[row["name"]] = row["times"]
    return found


def ratio(times: Sequence[float], ours: Sequence[float]) -> float:
    """The median, over the rounds that both have, of the time by ours."""
    return median(mine / our for mine, our in zip(times, ours, strict=False))


def layer_ratios(record: dict[str, Any], name: str, dtype: str) -> str:
    """The time of a contender by ours, over all sizes of a layer that it was measured at."""
    cases = rounds(record, "T", "elements", "dtype")
    chosen = [times for case, times in cases.items() if case[-1] == dtype and name in times]
    found = [ratio(times[name], times["surgrad"]) for times in chosen]
    return f"{min(found):.1f} to {max(found):.1f} times our time"


def step_ratio(record: dict[str, Any], name: str, network: str, dtype: str) -> str:
    times = rounds(record, "network", "dtype")[network, dtype]
    return f"{ratio(times[name], times['surgrad']):.2f} times our time"


THEIRS = "SpikingJelly, mixed precision"


def gpu_step(record: dict[str, Any], name: str, graph: bool) -> dict[str, Any]:
    (row,) = (row for row in record[name]["step"] if row["graph"] is graph)
    return dict(row)


def gpu_ratio(record: dict[str, Any]) -> str:
    ours, theirs = gpu_step(record, "surgrad", True), gpu_step(record, THEIRS, False)
    times = theirs["median_ms"], ours["median_ms"]
    return f"{times[0] / times[1]:.2f} times our time ({times[0]:.1f} and {times[1]:.1f} ms)"


def gpu_memory(record: dict[str, Any], ours: str) -> str:
    peaks = [gpu_step(record, name, False)["peak_mib"] for name in (ours, THEIRS)]
    return f"{peaks[0] / peaks[1]:.2f} of SpikingJelly's ({peaks[0]:,} of {peaks[1]:,} MiB)"


def two_processes(rows: Sequence[dict[str, Any]], what: str, way: str) -> str:
    """The rate of two processes by twice that of one."""
    rates = {
        name: median(row["images_per_second"] for row in rows if row.get("what") == what and row["way"] == name)
        for name in (way, "one, 1 thread")
    }
    return f"{rates[way] / rates['one, 1 thread'] / 2:.0%} of twice that of one"


def folder_reading(record: dict[str, Any]) -> str:
    """Workers that read for one training, by as many processes that only decode and cut images."""
    cores = record["machine"]["cores"]
    speeds = {
        (row["what"], row.get("workers", row["processes"])): median(row["images_per_second"]) for row in record["rows"]
    }
    ours, alone = speeds["image_folder", cores], speeds["decoding alone", cores]
    return f"{ours:.0f} images/s, {ours / alone:.0%} of the rate of {cores} processes that only decode"


def searched(rows: Sequence[dict[str, Any]]) -> str:
    """The time of a search by two processes, by that of one."""
    seconds = {
        name: median(row["epoch_seconds"] for row in rows if row.get("what") == "search" and row["way"] == name)
        for name in ("two, shared norms", "one, 1 thread")
    }
    return f"{seconds['two, shared norms'] / seconds['one, 1 thread']:.2f} of the time of one"


LAYER, STEP, GPU, SCALING = "bench/layer.json", "bench/step.json", "gpu/h200-third/gpu.json", "scaling/two_cores.jsonl"
RANKS = "python -m bench.ranks --data DIR"
MEASURED = (
    *(
        Measured(
            f"a layer, fp32, two CPU cores, all sizes: {name}",
            LAYER,
            partial(layer_ratios, name=name, dtype="fp32"),
            "make bench WHAT=layer",
        )
        for name in ("SpikingJelly LIF", "SpikingJelly LIF, compiled", "plain loop, compiled")
    ),
    *(
        Measured(
            f"training step of ResNet-18, T=4, batch 8, {dtype}, two CPU cores: {name}",
            STEP,
            partial(step_ratio, name=name, network="resnet18", dtype=dtype),
            "make bench WHAT=step",
        )
        for dtype in ("fp32", "bf16")
        for name in ("SpikingJelly LIF", "SpikingJelly LIF, network compiled", "plain loop, network compiled")
    ),
    Measured(
        "training step of ResNet-19, T=4, batch 128, bf16, one H200: SpikingJelly, mixed precision, without a CUDA "
        "graph, which its kernels refuse; ours with one",
        GPU,
        gpu_ratio,
        "make gpu OUT=DIR",
    ),
    *(
        Measured(
            f"peak memory of that step, both without a graph: {ours}",
            GPU,
            partial(gpu_memory, ours=ours),
            "make gpu OUT=DIR",
        )
        for ours in ("surgrad", "surgrad, spikes as bits")
    ),
    *(
        Measured(
            f"{network}, {norms} norms, two cores: throughput of two processes of one thread",
            SCALING,
            partial(two_processes, what=network, way=f"two, {norms} norms"),
            RANKS,
        )
        for network in ("small_resnet", "resnet19")
        for norms in ("shared", "own")
    ),
    Measured("a search of `dspike` by two processes", SCALING, searched, RANKS),
    Measured("images from folders, two workers", "reader.json", folder_reading, "python -m bench.reader --data DIR"),
)


def environments(place: str) -> list[dict[str, Any]]:
    """What env.json says of the trainings of a place."""
    file, _, label = place.partition("#")
    if label:
        return [row["env"] for row in read_rows(RECORDS / file) if row["run"].rpartition("-seed")[0] == label]
    return [read_json(path) for path in sorted(RECORDS.glob(f"{file}-seed[0-9]*/env.json"))]


def scores(place: str) -> dict[int, float]:
    """The test accuracies of the final epoch of whole trainings, by seed."""
    file, _, label = place.partition("#")
    if label:
        runs = [(row["run"], row["metrics"]) for row in read_rows(RECORDS / file)]
        return {
            int(run.rpartition("-seed")[2]): last(run, rows)
            for run, rows in runs
            if run.rpartition("-seed")[0] == label
        }
    found = sorted(RECORDS.glob(f"{file}-seed[0-9]*/metrics.jsonl"))
    return {int(path.parent.name.rpartition("-seed")[2]): last(path.parent.name, read_rows(path)) for path in found}


def last(what: str, rows: Sequence[dict[str, Any]]) -> float:
    """The test accuracy of the final epoch of a training, which errors call `what`."""
    row = rows[-1]
    if row["epoch"] != row["epochs"]:
        raise ValueError(f"{what} ended in epoch {row['epoch']} of {row['epochs']}; only whole trainings are claimed")
    return float(row["test_accuracy"])


def verdict(found: Sample, claimed: float | None, base: float = 1.0) -> str:
    """What the interval of a difference says of a claim.

    Args:
        found: the differences, in [-1, 1].
        claimed: in points; None: there is no claim.
        base: mean accuracy of what is subtracted: nothing falls below chance.
    """
    if claimed is None:
        return "–"
    if base + claimed / 100 < CHANCE:
        return "no network here can fall that far"
    if found.n < 3:
        return f"{('one seed decides', 'two seeds decide')[found.n - 1]} nothing"
    low, high = 100 * (found.mean - found.interval), 100 * (found.mean + found.interval)
    zero = low <= 0 <= high
    if low <= claimed <= high:
        return f"includes the claim{', and zero' if zero else ''}"
    opposite = high < 0 < claimed or claimed < 0 < low
    return f"excludes the claim{', includes zero' if zero else ', with the other sign' if opposite else ''}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def link(log: str, base: str) -> str:
    """A log below records/ (of trainings in folders, that of seed 0) as a link from a page."""
    file = log.partition("#")[0]
    there = file if Path(RECORDS, file).exists() else f"{file}-seed0"
    return f"[{log.rpartition('/')[2]}]({base}{there})"


def accuracies(base: str) -> str:
    rows = []
    for claim in ACCURACIES:
        found = Sample((*scores(claim.place).values(),))
        figure, interval = found.words()
        rows.append([claim.what, figure, interval, str(found.n), link(claim.place, base), f"`{claim.repeat}`"])
    return table(["test accuracy of", "%", "95 % interval", "seeds", "logs", "to repeat"], rows)


def differences(base: str) -> str:
    parts = (f"**{each.setting}** (`{each.repeat}`). {made(each)}\n\n{compared(each, base)}" for each in comparisons())
    return "\n\n".join(parts)


def made(comparison: Comparison) -> str:
    """On what the trainings of a comparison ran, in which precision, and at which commits."""
    places = dict.fromkeys(place for claim in comparison.differences for place in (claim.place, claim.minus))
    found: dict[str, set[str]] = {}
    for env in chain.from_iterable(map(environments, places)):
        where = f"{env['processor']}, {env['precision']}"
        found.setdefault(where, set()).add(env["commit"][:7] + "*" * env["dirty"])
    lines = (f"{where}: {', '.join(sorted(commits))}" for where, commits in found.items())
    return f"Trained on {'; '.join(lines)}."


def compared(comparison: Comparison, base: str) -> str:
    rows = []
    for claim in comparison.differences:
        others = scores(claim.minus)
        found = paired(scores(claim.place), others)
        figure, interval = found.words("+")
        claimed = "–" if claim.claimed is None else f"{claim.claimed:+.2f} ({claim.source})"
        judged = verdict(found, claim.claimed, Sample((*others.values(),)).mean)
        logs = f"{link(claim.place, base)}, {link(claim.minus, base)}"
        rows.append([claim.what, figure, interval, str(found.n), claimed, judged, logs])
    return table(["", "points", "95 % interval", "seeds", "a paper's claim", "our interval", "logs"], rows)


def measured(base: str) -> str:
    rows = []
    for claim in MEASURED:
        path = RECORDS / claim.log
        content = read_rows(path) if path.suffix == ".jsonl" else json.loads(path.read_text())
        rows.append([claim.what, claim.figure(content), link(claim.log, base), f"`{claim.repeat}`"])
    return table(["what", "figure", "log", "to repeat"], rows)


def tables(base: str) -> str:
    """All claims, with links to the logs from a page whose way to records/ is `base`."""
    parts = {"Accuracy": accuracies, "Differences between methods": differences, "Speed and memory": measured}
    return "\n\n".join(f"## {title}\n\n{part(base)}" for title, part in parts.items())


HEAD = """# What we find, next to what papers claim

This page is made from the logs under [records/](../records/README.md) by `python scripts/results.py`, and a test
compares both. Accuracies are of the final epoch, mean ± standard deviation over seeds. Differences are taken seed by
seed: both trainings see the same images in the same order. An interval is the 95 % interval of the mean by Student's
t, which takes differences for normal. It covers the seeds, and not the error of a small test set: 1,000 images of
Fashion-MNIST, 100 recordings of N-MNIST (where three equal differences of one recording give an interval without
length). With two seeds its length is very unreliable. No interval is corrected for the number of comparisons.

The papers' networks are ResNet-19 of 12.6 million parameters, trained for hundreds of epochs; LSG's paper has 92.68 %
with width 1. The trainings here are far smaller and shorter, and end at 87 % at most. **An interval that includes a
claim does not confirm it at the paper's size, and one that excludes it does not refute it there.** A comparison above
90 % is planned ([evidence](../records/evidence/README.md)).

The best fixed width of a task was chosen on the accuracies that are compared here, and the share χ* = 0.3 on those of
three of the tasks (Fashion-MNIST at T=4, VGG-11, MNIST row by row); the intervals do not include this choice. Some
fixed widths have one seed. `share` keeps the decay at 0.2, LSG trains it.

"Trained on" names processor or GPU, precision and commits; * marks trainings with changes that were not committed yet,
whose code is that of a commit soon after it. To repeat a row, check that commit out and run the command; where a
sweep's file gives a number of seeds, it comes before --seeds.
"""


def page() -> str:
    return f"{HEAD}\n{tables('../records/')}\n"


def with_tables(readme: str) -> str:
    """The page of the records with its tables as the logs have them."""
    filled = f"{BEGIN}\n{tables('')}\n\n{END}"
    return re.sub(re.escape(BEGIN) + ".*" + re.escape(END), lambda _: filled, readme, flags=re.DOTALL)


def main() -> None:
    """The command."""
    readme = RECORDS / "README.md"
    text = with_tables(readme.read_text(encoding="utf-8"))
    replace_file(readme, lambda path: path.write_text(text, encoding="utf-8"))
    replace_file(PAGE, lambda path: path.write_text(page(), encoding="utf-8"))
    count = sum(len(each.differences) for each in comparisons())
    print(f"{len(ACCURACIES)} accuracies, {count} differences, {len(MEASURED)} measurements")


if __name__ == "__main__":
    main()
