"""`torchrun -m surgrad train`: real processes, real kills."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from surgrad.files import read_rows
from surgrad.train import evaluate_run

pytestmark = pytest.mark.slow
ENV = os.environ | {"OMP_NUM_THREADS": "1"}
EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
TINY = ("data.limit=64", "data.batch=16", "model.width_multiplier=0.125", "model.steps=2", "run.precision=fp32")


def words(out, *settings, count=2, options=(), epochs=3):
    sets = [word for setting in (*TINY, f"optim.epochs={epochs}", *settings) for word in ("--set", setting)]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count), "--standalone"]
    logs = ["--log-dir", f"{out}.logs"]  # of torchrun, which leaves them
    return [*launcher, *logs, *options, "-m", "surgrad", "train", "--out", str(out), *sets]


def run(*given, **options):
    return finished(words(*given, **options))


def finished(command):
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=ENV)


def by_file(path, text, *given, **options):
    """The words of a training by the function `recipe` of a file with this text."""
    path.write_text(text)
    found = words(*given, **options)
    found.insert(found.index("train") + 1, f"{path}:recipe")
    return found


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
    alone = words(tmp_path / "one")
    alone = [sys.executable, *alone[alone.index("surgrad") - 1 :]]
    subprocess.run(alone, check=True, capture_output=True, timeout=300, env=ENV)
    ours, other = (read_rows(out / "metrics.jsonl")[-1] for out in (whole[0], tmp_path / "one"))
    assert ours["train_loss"] == pytest.approx(other["train_loss"], rel=0.02)
    assert ours["step"] == other["step"]


def wait_for(condition):
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


KILLED = """
import json, os, signal
from pathlib import Path
import surgrad.adapt.probe
import surgrad.train.loop
from surgrad.recipes import find_recipe
from surgrad.train.loop import Loop

HERE = Path(__file__).parent
PLAN = json.loads((HERE / "plan.json").read_text())

def moment(name):
    mark = HERE / f"{name} is over"
    if PLAN.get(name, [None])[0] != int(os.environ["RANK"]) or mark.exists():
        return
    mark.touch()
    if PLAN[name][1] == "machine":  # torchrun is lost too
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)

def with_moment(function, name, counted=1, last=""):
    calls = []
    def killed(*given, **options):
        if str(given[-1]).endswith(last):
            calls.append(1)
            if len(calls) >= counted:
                moment(name)
        return function(*given, **options)
    return killed

Loop._find_part = with_moment(Loop._find_part, "step", counted=6)
surgrad.train.loop.evaluate = with_moment(surgrad.train.loop.evaluate, "evaluation", counted=2)
surgrad.adapt.probe.Probe._run = with_moment(surgrad.adapt.probe.Probe._run, "search", counted=3)
# the weights have their new name, the state has not; the first is saved before the first step
os.replace = with_moment(os.replace, "checkpoint", counted=2, last="last.pt")

def recipe():
    return find_recipe()
"""


def command(folder, plan, *given, **options):
    """A training whose processes kill themselves, once each: by moment, the rank, and "process" or "machine"."""
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(plan))
    return [*by_file(folder / "killed.py", KILLED, folder / "run", *given, **options), "--resume"]


def ended(process, timeout=240):
    """What a process prints as errors until it ends, which must be well."""
    try:
        said = process.communicate(timeout=timeout)[1]
    finally:
        process.kill()
    assert process.returncode == 0, said
    return said


PLANS = {
    2: (
        ("adapt.name=dspike", "surrogate.name=dspike"),
        {"search": (1, "process"), "checkpoint": (0, "process"), "evaluation": (1, "process")},
    ),
    # after a part of a period has been counted
    4: (("adapt.name=esg", "adapt.period=4"), {"step": (3, "process")}),
}
"""By the number of ranks, the settings, and who is killed when."""


@pytest.mark.parametrize("count", PLANS)
def test_killed_ranks_leave_no_trace(count, tmp_path):
    """torchrun starts all of them again, and --resume continues: the weights are the same, bit for bit."""
    settings, plan = PLANS[count]
    whole = subprocess.Popen(
        command(tmp_path / "whole", {}, *settings, count=count), env=ENV, stderr=subprocess.PIPE, text=True
    )
    ended(whole)
    killed = command(tmp_path / "killed", plan, *settings, count=count, options=("--max-restarts", "3"))
    said = ended(subprocess.Popen(killed, env=ENV, stderr=subprocess.PIPE, text=True))
    over = {path.name for path in (tmp_path / "killed").glob("* is over")}
    assert over == {f"{moment} is over" for moment in plan}
    assert [row["epoch"] for row in read_rows(tmp_path / "killed" / "run" / "metrics.jsonl")] == [1, 2, 3]
    assert weights(tmp_path / "killed" / "run") == weights(tmp_path / "whole" / "run")
    assert "surgrad: " not in said, "torchrun ends the others before they say whom they lost"
    assert "Traceback" not in said


def machine(port, given, **variables):
    """A torchrun of one process, as on one of two machines that meet at a port of this one."""
    place = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1")
    at = given.index("--standalone")
    there = [*given[:at], "--nnodes", "2", *place, "--rdzv-id", "one", *given[at + 1 :]]
    return subprocess.Popen(there, env=ENV | variables, stderr=subprocess.PIPE, text=True)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_a_killed_rank_of_two_machines(whole, tmp_path):
    """Only the torchrun of that one counts another start."""
    port = free_port()
    given = command(tmp_path / "run", {"step": (1, "process")}, count=1, options=("--max-restarts", "1"))
    machines = [machine(port, given) for _ in range(2)]
    for process in machines:
        ended(process)
    assert (tmp_path / "run" / "step is over").exists()
    assert weights(tmp_path / "run" / "run") == weights(whole[0])


def test_a_lost_machine_is_replaced(whole, tmp_path):
    """torchrun itself does not replace one without this variable."""
    port = free_port()
    given = command(tmp_path / "run", {"step": (1, "machine")}, count=1, options=("--max-restarts", "1"))
    variables = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    first = machine(port, given, **variables)
    wait_for(lambda: listens(port))  # it has the port, and must not be the one that is lost
    second = machine(port, given, **variables)
    second.communicate(timeout=120)
    assert second.returncode == -signal.SIGKILL
    third = machine(port, given, **variables)
    for process in (first, third):
        ended(process)
    assert weights(tmp_path / "run" / "run") == weights(whole[0])


SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
for _ in $(seq "$SLURM_NNODES"); do "$@" & all+=($!); done
for one in "${all[@]}"; do wait "$one" || exit 1; done
"""


def test_the_example_for_slurm(whole, tmp_path):
    """Slurm's commands are stand-ins, which start two machines on this one."""
    for name, text in {"srun": SRUN, "scontrol": "#!/bin/bash\necho localhost; echo other\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    variables = {
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SLURM_JOB_NODELIST": "machine[1-2]",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_NNODES": "2",
        "SLURM_CPUS_PER_TASK": "1",
    }
    given = words(tmp_path / "run")
    script = ["bash", str(EXAMPLES / "slurm.sh"), "lsg_fashion_small_t4", *given[given.index("--out") :]]
    ended(subprocess.Popen(script, env=ENV | variables, stderr=subprocess.PIPE, text=True))
    assert weights(tmp_path / "run") == weights(whole[0])


def listens(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def test_an_interrupted_training_continues(whole, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(words(out, "optim.epochs=3"), env=ENV, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(read_rows(out / "metrics.jsonl")) >= 1)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert said.count("surgrad: stopped at epoch") == 1
    assert len(read_rows(out / "metrics.jsonl")) < 3
    again = subprocess.run([*words(out), "--resume"], capture_output=True, timeout=300, env=ENV)
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
from surgrad.errors import DataError
from surgrad.recipes import find_recipe
from surgrad.train.loop import Loop

calls = []
plain = Loop._find_part

def fail_on_one(*given):
    calls.append(1)
    if len(calls) == 6 and os.environ["RANK"] == "1":
        raise DataError("this picture is torn; replace it")
    return plain(*given)

Loop._find_part = fail_on_one

def recipe():
    return find_recipe()
"""


def test_an_error_of_one_rank_is_one_message_that_names_it(tmp_path):
    """The others lose it in an exchange, and torchrun ends them before they say so."""
    result = finished(by_file(tmp_path / "failing.py", ONE_FAILS, tmp_path / "run"))
    assert result.returncode != 0
    assert told(result) == ["surgrad: rank 1 of 2: this picture is torn; replace it"]


SLOW_PAGE = """
import time
from surgrad.cli import training
from surgrad.recipes import find_recipe

plain = training.write_page
training.write_page = lambda *given: (time.sleep(2), plain(*given))[1]

def recipe():
    return find_recipe()
"""


def test_a_training_that_cannot_go_on_says_so_and_has_its_report(tmp_path):
    """The other process ends before the first one has written it."""
    result = finished(by_file(tmp_path / "slow.py", SLOW_PAGE, tmp_path / "run", "optim.lr=1e30"))
    assert result.returncode != 0
    (said,) = told(result)
    assert re.match(r"surgrad: the (loss|gradient) is \S+ at step ", said)
    assert (tmp_path / "run" / "report.html").exists()


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
from surgrad.recipes import find_recipe
from surgrad.train import watch
from surgrad.train.loop import Loop

watch.GRACE = 3.0

def wait_for_ever():
    if os.environ["RANK"] == "1":
        time.sleep(10000)

calls = []
plain = Loop._find_part

def sixth_waits(*given):
    calls.append(1)
    if len(calls) == 6:
        wait_for_ever()
    return plain(*given)

Loop._find_part = sixth_waits

def recipe():
    if not STUCK_IN_STEP:
        watch._limit = watch.Limit(4.0, "has not begun its first step, after a test's limit")
        wait_for_ever()
    return find_recipe()
"""


HANGS = {
    "in a step": ("STUCK_IN_STEP = True", "has finished no step for 4 s (run.timeout)"),
    "before the first step": ("STUCK_IN_STEP = False", "has not begun its first step, after a test's limit"),
}


@pytest.mark.parametrize("when", HANGS)
def test_a_process_that_hangs_ends_and_every_one_says_where_it_is(tmp_path, when):
    """In a bounded time; the other process waits for it in an exchange."""
    where, said = HANGS[when]
    began = time.monotonic()
    result = finished(by_file(tmp_path / "stuck.py", f"{where}\n{STUCK}", tmp_path / "run", "run.timeout=4"))
    assert result.returncode != 0
    assert time.monotonic() - began < 90
    for rank in range(2):
        assert f"surgrad: rank {rank} of 2 {said}" in result.stderr
    assert "in wait_for_ever" in result.stderr
    assert "in all_reduce" in result.stderr or "in all_gather_object" in result.stderr
