"""How the command's process waits and allocates."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from surgrad import process
process.tune()
import torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)  # 64 MB, 16,384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(30):  # until glibc's caches of small blocks are full of what the alignment leaves over
    faults()
print(sum(faults() for _ in range(5)))
"""


def run(program, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "THP_", "GOMP_", "OMP_"))}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                          env=clean | environment)  # fmt: skip
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="an option of glibc")
def test_freed_memory_serves_the_next_tensor():
    assert int(run(FAULTS)) < 100
    assert int(run(FAULTS, MALLOC_TRIM_THRESHOLD_="1000000")) > 150  # the environment's choice stays


@pytest.mark.parametrize(("given", "count"), [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"),
                                              ({"OMP_WAIT_POLICY": "active"}, "None")])  # fmt: skip
def test_threads_wait_shortly_unless_told_otherwise(given, count):
    program = "import os; from surgrad import process; process.tune(); print(os.environ.get('GOMP_SPINCOUNT'))"
    assert run(program, **given) == count
