"""The kernels compiled for a GPU, on a machine without one, against the committed table."""

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECORD = json.loads((ROOT / "records" / "gpu" / "compiled.json").read_text())


def triton_version() -> str | None:
    try:
        return version("triton")
    except PackageNotFoundError:
        return None


STEPS = json.loads((ROOT / "records" / "gpu" / "steps.json").read_text())
MOST_KERNELS = 12
"""Which a training compiles, for want of a reason for more."""
BUILD = """
import sys, torch
from surgrad.config import set_fields
from surgrad.data import ArraySource
from surgrad.recipes import find_recipe
from surgrad.train.precompiling import precompile
images = (torch.rand(128, 3, 32, 32), torch.arange(128) % 10)
recipe = set_fields(find_recipe(sys.argv[1]), ("data.batch=128", "run.graph=on"))
print(len({id(launch.compiled) for launch in precompile(recipe, 90, ArraySource(images, images))}))
"""


@pytest.mark.skipif(triton_version() is None, reason="triton is not installed")
@pytest.mark.parametrize("recipe", ["lsg_cifar10_resnet19_t2", "fixed_cifar10_fast_t2"])
def test_a_training_compiles_few_kernels(recipe, tmp_path):
    """Whatever the sizes of its layers are."""
    done = python("-c", BUILD, recipe, cache=tmp_path)
    assert 5 < int(done.stdout) <= MOST_KERNELS


@pytest.mark.skipif(triton_version() is None, reason="triton is not installed")
def test_kernels_are_compiled_ahead_once(tmp_path):
    """The command writes a cache in which the next process finds all kernels."""
    words = ("-m", "surgrad", "kernels", "lsg_fashion_small_t4", "--arch", "90", "--out", str(tmp_path / "kernels"))
    first = python(*words, cache=tmp_path / "unused")
    assert " kernels for sm_90 in " in first.stdout
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "kernels").rglob("*.cubin")}
    assert len(written) > 5
    again = python(*words, cache=tmp_path / "unused")
    assert again.stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "kernels").rglob("*.cubin")} == written
    assert not (tmp_path / "unused").exists()


@pytest.mark.skipif(
    (triton_version(), version("torch")) != (STEPS["triton"], STEPS["torch"]),
    reason=f"the counts are of torch {STEPS['torch']} and triton {STEPS['triton']}",
)
def test_what_a_step_asks_of_the_host_is_as_recorded(tmp_path):
    """Launches, operations, copies and waits of whole training steps: the host copies nothing, and never waits."""
    found = tmp_path / "steps.json"
    python("-m", "bench.host_steps", "--out", str(found), cache=tmp_path / "cache")
    assert json.loads(found.read_text())["steps"] == STEPS["steps"]
    for counts in STEPS["steps"].values():
        assert counts["copies from the host"] == counts["waits"] == counts["waits in an evaluation"] == 0


def python(*words, cache):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "TRITON_CACHE_DIR": str(cache)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def test_no_recorded_kernel_keeps_much_in_memory():
    assert {row["arch"] for row in RECORD["kernels"]} == {80, 90, 100}
    assert max(row["stack"] for row in RECORD["kernels"]) <= 8


@pytest.mark.skipif(triton_version() is None, reason="triton is not installed")
def test_the_table_has_a_layer_for_every_kind_of_recipe(tmp_path):
    listed = python("scripts/check_cuda.py", "--list", cache=tmp_path).stdout.splitlines()
    assert {row["layer"] for row in RECORD["kernels"]} == set(listed)


@pytest.mark.skipif(triton_version() != RECORD["triton"], reason=f"the table is of triton {RECORD['triton']}")
def test_kernels_compile_as_recorded():
    """No error, no registers in memory, accesses of 16 bytes, every element counted once; and the table is up to date:
    `make cuda-check` writes it again."""
    done = subprocess.run(
        [sys.executable, "scripts/check_cuda.py", "--arch", "90", "--short", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    recorded = {(row["layer"], row["kernel"], row["arch"]): row for row in RECORD["kernels"]}
    found = json.loads(done.stdout)["kernels"]
    assert len(found) > 20
    for row in found:
        assert row == recorded[row["layer"], row["kernel"], row["arch"]]
