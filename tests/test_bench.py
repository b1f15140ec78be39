"""The benchmark's arithmetic and pages, with contenders that take no time."""

import dataclasses
import importlib
import itertools
import json
import math
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

import bench
from bench import gpu_all, ideas, record, tables, timing
from bench.peers import NOTHING, OURS, SJ
from bench.scaling import exponents
from bench.targets import outcome
from surgrad.config import set_fields
from surgrad.data import ImageData
from surgrad.data.base import Split
from surgrad.files import read_rows
from surgrad.recipes import find_recipe
from surgrad.sweep.table import Sample

ROOT = Path(__file__).parents[1]


def test_ratios_are_taken_within_a_round():
    assert timing.ratio([2.0, 30.0, 6.0], [1.0, 10.0, 2.0]) == 3.0
    assert timing.ratio([2.0], [1.0, 100.0]) == 2.0  # as many rounds as both have


def test_contenders_far_behind_are_measured_in_the_fewest_rounds(monkeypatch: pytest.MonkeyPatch):
    clock = itertools.count()
    seconds = {"ours": 1, "near": 5, "far": 15, "hopeless": 30}
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def takes(name: str) -> None:
        next(clock)
        now[0] += seconds[name]

    calls = {name: lambda name=name: takes(name) for name in seconds}
    found = timing.interleave(calls, timing.Effort(rounds=7, budget=1000, least=2))
    assert {name: len(sample.times) for name, sample in found.items()} == {
        "ours": 7,
        "near": 7,
        "far": 2,
        "hopeless": 1,
    }
    assert found["hopeless"].once
    assert next(clock) == 2 * 3 + 1 + 7 + 7 + 2
    short = timing.interleave({"ours": calls["ours"]}, timing.Effort(rounds=7, budget=3.0, least=2))
    assert len(short["ours"].times) == 3


def layer_row(name: str, times: list[float], dtype: str = "fp32") -> dict:
    return {
        "T": 4,
        "elements": 1,
        "dtype": dtype,
        "name": name,
        "times": times,
        "median": sorted(times)[len(times) // 2],
        "lower": min(times),
        "upper": max(times),
        "once": False,
    }


def test_a_record_is_the_mean_of_its_seeds():
    rows = [
        {"accuracy": 0.94, "accuracy_with_flips": 0.95, "seconds": 20.0},
        {"accuracy": 0.942, "accuracy_with_flips": 0.95, "seconds": 21.0},
    ]
    assert record.summary(rows) == (
        "2 trainings: accuracy 94.10 ± 0.14 %, accuracy_with_flips 95.00 ± 0.00 %, seconds 20.50 ± 0.71 s"
    )


@pytest.fixture
def few_images():
    made = torch.Generator().manual_seed(0)
    images = torch.randint(256, (48, 3, 32, 32), dtype=torch.uint8, generator=made)
    split = Split(images, torch.arange(48) % 10)
    return ImageData("cifar10", split, split.first(16), tuple("abcdefghij"), (0.5,) * 3, (0.25,) * 3)


def test_the_easiest_images_are_dropped(few_images, monkeypatch):
    monkeypatch.setattr(ideas, "_run", lambda *_: (None, None))
    monkeypatch.setattr(ideas, "losses_of", lambda parts, data: torch.arange(48) % 8)
    kept = ideas.hardest(few_images, 0.5, None).train
    assert torch.equal(kept.labels, few_images.train.only([i for i in range(48) if i % 8 > 3]).labels)


@pytest.mark.parametrize("name", [name for name, idea in ideas.IDEAS.items() if idea.keeps < 1 or not idea.whitens])
def test_an_idea_is_trained(few_images, name, monkeypatch):
    small = ("model.width_multiplier=0.0625", "optim.epochs=1", "data.batch=16")
    monkeypatch.setattr(ideas, "PROXY", ())
    idea = dataclasses.replace(ideas.IDEAS[name], settings=())
    row = ideas.trained(idea, set_fields(find_recipe(ideas.RECIPE), small), few_images)
    assert row.keys() == {"seed", "accuracy", "accuracy_with_flips", "accuracy_of_average", "cpu_seconds"}
    assert row["cpu_seconds"] > 0


def test_ideas_are_compared_seed_by_seed():
    def row(idea, seed, accuracy):
        others = {"accuracy_with_flips": accuracy + 0.01, "accuracy_of_average": accuracy, "cpu_seconds": 10}
        return {"idea": idea, "seed": seed, "accuracy": accuracy, **others}

    other = list(ideas.IDEAS)[1]
    found = ideas.shown([row(ideas.BASE, 0, 0.5), row(ideas.BASE, 1, 0.7), row(other, 1, 0.6)]).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found[2:]]
    assert cells == [
        [ideas.BASE, "60.00", "", "", "2", "10", ""],
        ["weight average", "60.00", "+0.00 ± 0.00", "+0.00 to +0.00", "2", "10", "not shown to help"],
        ["mirrored images in the test too", "61.00", "+1.00 ± 0.00", "+1.00 to +1.00", "2", "10", "worth adding"],
        [other, "60.00", "-10.00", "–", "1", "10", "kept, not shown to help"],
    ]


@pytest.mark.parametrize(
    ("values", "added", "left_out"),
    [
        ((0.010, 0.011), "worth adding", "better left out"),
        ((-0.010, -0.011), "harmful", "kept"),
        ((-0.01, 0.01), "not shown to help", "kept, not shown to help"),
    ],
)
def test_the_verdict_on_an_idea(values, added, left_out):
    assert ideas.verdict(Sample(values), adds=True) == added
    assert ideas.verdict(Sample(values), adds=False) == left_out


def test_the_ideas_of_the_docs_are_those_of_the_log():
    rows = read_rows(ROOT / "records" / "speed" / "ideas.jsonl")
    assert ideas.shown(rows) in (ROOT / "docs" / "records.md").read_text()
    assert all(len({row["seed"] for row in rows if row.get("idea") == name}) >= 3 for name in ideas.IDEAS)


def test_a_part_that_fails_or_hangs_stops_no_other(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name, limit, code in (("good", 20, "0"), ("bad", 20, "3"), ("slow", 1, "__import__('time').sleep(9)")):
        (tmp_path / f"{name}_part.py").write_text(f"import sys; print('began', flush=True); sys.exit({code})")
        assert gpu_all._run(tmp_path, name, limit, [f"{name}_part"]) == (name == "good")
        assert (tmp_path / f"{name}.log").read_text() == "began\n"


def test_a_part_that_is_cut_off_leaves_no_process(tmp_path, monkeypatch):
    """Also none that its processes started, and none that does not listen."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(gpu_all, "GRACE", 0.2)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    (tmp_path / "started.py").write_text(
        "import subprocess, sys\n"
        f"inner = subprocess.Popen([sys.executable, '-c', {deaf!r}], stdout=subprocess.PIPE)\n"
        "inner.stdout.readline()\nprint(inner.pid, flush=True)\ninner.wait()\n"
    )
    assert not gpu_all._run(tmp_path, "cut", 2, ["started"])
    inner = Path("/proc", (tmp_path / "cut.log").read_text().strip(), "stat")
    deadline = time.monotonic() + 20  # to die takes a moment
    with suppress(FileNotFoundError):
        while inner.read_text().split()[2] != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_all_parts_take_a_quarter_of_an_hour(tmp_path):
    limits = {name: limit for name, limit, _ in gpu_all.parts(tmp_path, tmp_path, tiny=False)}
    assert sum(limits.values()) <= 900
    assert limits["tests"] + limits["kernels"] <= 270


def test_parts_can_be_chosen(tmp_path, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(gpu_all, "_run", lambda out, name, limit, words: ran.append(name) or True)
    monkeypatch.setattr(sys, "argv", ["gpu_all", "--out", str(tmp_path), "--only", "loop", "tests"])
    gpu_all.main()
    assert ran == ["tests", "loop"]
    monkeypatch.setattr(sys, "argv", ["gpu_all", "--out", str(tmp_path), "--only", "lop"])
    with pytest.raises(SystemExit):
        gpu_all.main()
    assert "unknown part in ['lop']; there are ['tests', 'kernels', 'step'" in capsys.readouterr().err


def test_one_process_and_two_are_compared(tmp_path, capsys):
    for count, loss in ((1, 0.5), (2, 0.51)):
        (tmp_path / f"ranks-{count}").mkdir()
        row = {"train_loss": loss, "train_seconds": count}
        (tmp_path / f"ranks-{count}" / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    gpu_all._compare_ranks(tmp_path)
    found = json.loads((tmp_path / "ranks.json").read_text())
    assert found == {"train_loss": [0.5, 0.51], "apart": pytest.approx(0.02), "seconds": [1, 2]}
    (tmp_path / "ranks-2" / "metrics.jsonl").write_text("")
    (tmp_path / "ranks.json").unlink()
    gpu_all._compare_ranks(tmp_path)
    assert not (tmp_path / "ranks.json").exists()


def test_a_target_is_judged_by_its_worst_case():
    rows = [
        layer_row(OURS, [1.0, 1.0]),
        layer_row(SJ, [7.0, 7.0]),
        layer_row(OURS, [0.5, 0.5], "bf16"),
        layer_row(SJ, [1.0, 1.0], "bf16"),
    ]
    step = [
        {"network": network, "dtype": "fp32", "name": name, "times": times}
        for network, times in (("a", [9.0, 9.9]), ("b", [10.5, 11.55]))
        for name, times in ((NOTHING, [10.0, 11.0]), (OURS, times))
    ]
    lines = {
        line[0]: line[1:]
        for line in outcome({"layer": {"rows": rows, "first_calls": {OURS: 0.003}}, "step": {"rows": step}})
    }
    assert lines[f"layer, fp32: times faster than {SJ}"] == [">= 6", "7", "7", "met"]
    assert lines["layer: bf16 times faster than our fp32"] == [">= 1.7", "2", "2", "met"]
    assert lines["layer: first call of a process, ms"] == ["<= 50", "3", "3", "met"]
    assert lines["step: times as long as without a neuron"] == ["<= 1.1", "1.05", "0.9", "met"]
    assert lines["the same, where norm and neuron are fused"] == ["<= 1", "1.05", "0.9", "missed"]
    assert lines[f"layer: saved bytes, share of {SJ}'s (T >= 4)"] == ["<= 0.6", "–", "–", "not measured"]


def test_growth_is_the_slope_of_logarithms():
    rows = [
        {"what": "layer", "axis": "T", "name": name, "value": value, "median": 3 * value**power}
        for name, power in (("even", 1.0), ("square", 2.0))
        for value in (1, 2, 8)
    ]
    found = {row["name"]: row["exponent"] for row in exponents(rows)}
    assert math.isclose(found["even"], 1)
    assert math.isclose(found["square"], 2)


def test_what_was_broken_off_is_shown_all_the_same():
    rows = [{"what": "layer", "axis": "T", "name": "surgrad", "value": 1, "median": 0.001}]
    page = tables.scaling({"rows": rows, "exponents": exponents(rows)})
    assert "| surgrad | 1     | –        |" in page


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(bench.__file__).parent.glob("[a-z]*.py")))
def test_every_benchmark_imports(name: str):
    """Also those for CUDA, which run on few machines."""
    importlib.import_module(f"bench.{name}")


def test_operations_copies_and_waits_of_a_step_are_seen():
    """A view is none, and what an operation consists of on a CPU counts once."""
    pytest.importorskip("triton")
    from bench.host_steps import FROM_HOST, operations

    x = torch.rand(4, 3, 8, 8)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        y = functional.conv2d(x.bfloat16(), torch.full((2, 3, 3, 3), 0.5, dtype=torch.bfloat16)) + torch.tensor(2.0)
        torch._foreach_mul_([y.flatten(), y.view(-1)], 2.0)
        assert y.sum().item() > 0
    found = operations(profiled.events())
    assert found.pop(FROM_HOST) == 1
    assert found.pop("aten::_local_scalar_dense") == 1
    names = ("_to_copy", "full", "convolution", "add", "_foreach_mul_", "sum")
    assert found == {f"aten::{name}": 1 for name in names}
