"""`torchrun -m surgrad train`: real processes, real kills."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from surgrad.files import read_rows
from surgrad.train import evaluate_run

pytestmark = pytest.mark.slow
TINY = ("data.limit=64", "data.batch=16", "model.width_multiplier=0.125", "model.steps=2", "run.precision=fp32")


def words(out, *settings, count=2, options=(), epochs=3):
    sets = [word for setting in (*TINY, f"optim.epochs={epochs}", *settings) for word in ("--set", setting)]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count), "--standalone"]
    return [*launcher, *options, "-m", "surgrad", "train", "--out", str(out), *sets]


def run(*given, **options):
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(words(*given, **options), capture_output=True, text=True, timeout=300, env=env)


def weights(out):
    return {name: value.tolist() for name, value in load_file(Path(out) / "last.safetensors").items()}


def told(result):
    return [line for line in result.stderr.splitlines() if line.startswith("surgrad: ")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training of two processes that nobody disturbs."""
    out = tmp_path_factory.mktemp("whole") / "run"
    result = run(out)
    assert result.returncode == 0, result.stderr
    return out, result


def test_one_process_shows_and_writes(whole):
    out, result = whole
    assert result.stdout.count("run folder:") == 2  # before and after
    assert result.stdout.count("epoch   3/3") == 1
    assert [row["epoch"] for row in read_rows(out / "metrics.jsonl")] == [1, 2, 3]
    assert json.loads((out / "env.json").read_text())["ranks"] == 2
    assert (out / "report.html").exists()


def test_the_end_is_that_of_one_process(whole, tmp_path):
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    alone = words(tmp_path / "one")
    alone = [sys.executable, *alone[alone.index("surgrad") - 1 :]]
    subprocess.run(alone, check=True, capture_output=True, timeout=300, env=env)
    ours, other = (read_rows(out / "metrics.jsonl")[-1] for out in (whole[0], tmp_path / "one"))
    assert ours["train_loss"] == pytest.approx(other["train_loss"], rel=0.02)
    assert ours["step"] == other["step"]


def ranks_of(launcher):
    """The processes of a torchrun, by rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            values = dict(pair.split("=", 1) for pair in (folder / "environ").read_text().split("\0") if "=" in pair)
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError, UnicodeDecodeError):
            continue
        if parent == launcher and "RANK" in values:
            found[int(values["RANK"])] = int(folder.name)
    return found


def wait_for(condition):
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the processes in /proc")
def test_a_killed_rank_leaves_no_trace(whole, tmp_path):
    """torchrun starts all of them again, and --resume continues: the weights are the same, bit for bit."""
    out = tmp_path / "run"
    command = [*words(out, options=("--max-restarts", "1")), "--resume"]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: len(read_rows(out / "metrics.jsonl")) >= 1)
        os.kill(ranks_of(process.pid)[0], signal.SIGKILL)  # the one that writes
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 0, said
    finally:
        process.kill()
    assert len(read_rows(out / "metrics.jsonl")) == 3
    assert len(json.loads((out / "env.json").read_text())["resumed"]) == 1
    assert weights(out) == weights(whole[0])
    assert "surgrad: " not in said, "torchrun ends the others before they say whom they lost"
    assert "Traceback" not in said


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the processes in /proc")
def test_one_of_four_ranks_is_killed(tmp_path):
    """At a moment that is not chosen, while a controller has counted a part of its period."""
    options = ("adapt.name=esg", "adapt.period=3")
    whole = run(tmp_path / "whole", *options, count=4, epochs=2)
    assert whole.returncode == 0, whole.stderr
    out = tmp_path / "run"
    command = [*words(out, *options, count=4, epochs=2, options=("--max-restarts", "1")), "--resume"]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: len(read_rows(out / "metrics.jsonl")) >= 1)
        os.kill(ranks_of(process.pid)[3], signal.SIGKILL)
        said = process.communicate(timeout=240)[1]
        assert process.returncode == 0, said
    finally:
        process.kill()
    assert [row["epoch"] for row in read_rows(out / "metrics.jsonl")] == [1, 2]
    assert len(json.loads((out / "env.json").read_text())["resumed"]) == 1
    assert weights(out) == weights(tmp_path / "whole")


def test_an_interrupted_training_continues(whole, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        words(out, "optim.epochs=3"), env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: len(read_rows(out / "metrics.jsonl")) >= 1)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert said.count("surgrad: stopped at epoch") == 1
    assert len(read_rows(out / "metrics.jsonl")) < 3
    again = subprocess.run(
        [*words(out), "--resume"], capture_output=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert again.returncode == 0
    assert weights(out) == weights(whole[0])


def test_an_error_of_all_is_told_once(tmp_path):
    result = run(tmp_path / "run", "data.batch=1")
    assert result.returncode != 0
    assert told(result) == [
        "surgrad: data.batch = 1 cannot be shared by 2 processes; give at least one for each"
    ]  # fmt: skip
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


ONE_FAILS = """
import os
from dataclasses import replace
from surgrad.config import Part
from surgrad.errors import DataError
from surgrad.losses import LOSSES, cross_entropy
from surgrad.recipes import find_recipe

calls = []

def fail_on_one(output, labels):
    calls.append(1)
    if len(calls) == 6 and os.environ["RANK"] == "1":
        raise DataError("this picture is torn; replace it")
    return cross_entropy(output, labels)

LOSSES.add("failing", fail_on_one)

def recipe():
    return replace(find_recipe(), loss=Part("failing"))
"""


def test_an_error_of_one_rank_is_one_message_that_names_it(tmp_path):
    """The others lose it in an exchange, and torchrun ends them before they say so."""
    (tmp_path / "failing.py").write_text(ONE_FAILS)
    command = words(tmp_path / "run")
    command.insert(command.index("train") + 1, f"{tmp_path / 'failing.py'}:recipe")
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert result.returncode != 0
    assert told(result) == ["surgrad: rank 1 of 2: this picture is torn; replace it"]


def test_norms_by_rank(tmp_path, whole):
    """Each rank's own statistics, as most repositories have them, are another training. Those of the first are saved,
    and all evaluate with them."""
    result = run(tmp_path / "run", "run.sync_norms=false")
    assert result.returncode == 0, result.stderr
    assert weights(tmp_path / "run") != weights(whole[0])
    last = read_rows(tmp_path / "run" / "metrics.jsonl")[-1]
    found = evaluate_run(tmp_path / "run", which="last")
    assert found["test_accuracy"] == last["test_accuracy"]
    assert found["test_loss"] == pytest.approx(last["test_loss"], rel=1e-6)


STUCK = """
import os, time
from dataclasses import replace
from surgrad.config import Part
from surgrad.losses import LOSSES, cross_entropy
from surgrad.recipes import find_recipe

calls = []

def wait_for_ever(output, labels):
    calls.append(1)
    if len(calls) == 6 and os.environ["RANK"] == "1":
        time.sleep(10000)
    return cross_entropy(output, labels)

LOSSES.add("stuck", wait_for_ever)

def recipe():
    return replace(find_recipe(), loss=Part("stuck"))
"""


def test_a_process_that_hangs_ends_and_every_one_says_where_it_is(tmp_path):
    """In a bounded time; the other process waits for it in an exchange."""
    (tmp_path / "stuck.py").write_text(STUCK)
    command = words(tmp_path / "run", "run.timeout=4")
    command.insert(command.index("train") + 1, f"{tmp_path / 'stuck.py'}:recipe")
    began = time.monotonic()
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert result.returncode != 0
    assert time.monotonic() - began < 90
    for rank in range(2):
        assert f"surgrad: rank {rank} of 2 has finished no step for 4 s (run.timeout)" in result.stderr
    assert "in wait_for_ever" in result.stderr
    assert "in all_reduce" in result.stderr
