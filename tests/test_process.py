"""How the command's process waits and allocates."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import resource
from surgrad import process
process.tune()
import torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)  # 64 MB: 16,384 small pages, 32 huge ones
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(sum(faults() for _ in range(5)))
"""
HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def run(program, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("THP_", "GOMP_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=clean | environment
    )
    return done.stdout.strip()


@pytest.mark.skipif(not HUGE.exists() or "[madvise]" not in HUGE.read_text(), reason="huge pages are not on request")
def test_large_tensors_come_in_huge_pages():
    assert int(run(FAULTS)) < 5000
    assert int(run(FAULTS, THP_MEM_ALLOC_ENABLE="0")) > 50_000  # the environment's choice stays


@pytest.mark.parametrize(
    ("given", "count"), [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_threads_spin_shortly_unless_the_environment_says_otherwise(given, count):
    program = "import os; from surgrad import process; process.tune(); print(os.environ.get('GOMP_SPINCOUNT'))"
    assert run(program, **given) == count


ENDING = """
import atexit, os, sys
from surgrad import cli

class Held:  # by the interpreter until it ends, as the last tensor of an exchange
    def __del__(self):
        os.abort()

sys.modules["held"] = Held()
atexit.register(print, "at exit")
sys.stdout.write("shown, ")
cli.program()
"""


@pytest.mark.parametrize(("words", "status"), [(["list"], 0), (["report", "none"], 2)], ids=["well", "error"])
def test_a_rank_ends_without_the_interpreters_end(words, status):
    environment = os.environ | {"TORCHELASTIC_RUN_ID": "one"}
    command = [sys.executable, "-c", ENDING, *words]
    alone = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert alone.returncode == -signal.SIGABRT
    rank = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert rank.returncode == status
    assert rank.stdout.startswith("shown, ")
    assert rank.stdout.endswith("at exit\n")
