"""The kernels compiled for a GPU, on a machine without one, against the committed table."""

import json
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
