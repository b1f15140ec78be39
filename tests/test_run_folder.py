"""What docs/run_folders.md promises, each sentence tested by breaking it."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from surgrad import cli
from surgrad.errors import BadValue, CheckpointError, Interrupted
from surgrad.train import checkpoint, evaluate_run, train
from surgrad.train.events import Observer
from surgrad.train.run_folder import FILES, claimed, recipe_of

HERE = Path(__file__).parent
EVERY_CALL = "open write fsync rename unlink mkdir flock"
FAULTS = (
    ("fresh", errno.EIO, EVERY_CALL, 40),
    ("fresh", errno.ENOLCK, "flock", 1),
    ("resumed", errno.EIO, EVERY_CALL, 40),
    ("resumed", errno.ENOSPC, "open write fsync rename mkdir", 40),
    ("resumed", errno.EACCES, "open rename unlink mkdir", 20),
    ("resumed", errno.ENOLCK, "flock", 1),
)
"""The training, the error, the calls that give it, and how many of them there are at least."""


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def run(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


class Stopper(Observer):
    def step_begins(self, loop, batch):
        if loop.step_number == 5:
            loop.stop()


@pytest.fixture
def stopped(tiny, tmp_path):
    """The folder of a training that was stopped in its second epoch."""
    with pytest.raises(Interrupted):
        train(tiny(), tmp_path / "stopped", observers=[Stopper()])
    return tmp_path / "stopped"


OUTLIVED = """
import os, signal, sys, time
from pathlib import Path
from surgrad.train.run_folder import claimed

with claimed(Path(sys.argv[1]), True, print):
    child = os.fork()
    if child == 0:
        time.sleep(600)
    print(child, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_worker_that_outlives_a_killed_training_leaves_its_folder(tmp_path):
    """As those that read data do for a while: torchrun may start the training again at once."""
    training = subprocess.Popen([sys.executable, "-c", OUTLIVED, tmp_path], stdout=subprocess.PIPE, text=True)
    assert training.stdout is not None
    worker = int(training.stdout.readline())
    assert training.wait() == -signal.SIGKILL
    try:
        os.kill(worker, 0)  # it lives
        with claimed(tmp_path, True, print) as continues:
            assert not continues
    finally:
        os.kill(worker, signal.SIGKILL)


# every system call


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("g++")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    words = [compiler, "-x", "c", "-shared", "-fPIC", "-O1", str(HERE / "faults.c"), "-o", str(library), "-ldl"]
    subprocess.run(words, check=True)
    return library


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "code", "calls", "least"), FAULTS, ids=[f"{kind}-{errno.errorcode[n]}" for kind, n, *_ in FAULTS]
)
def test_any_system_call_may_fail(kind, code, calls, least, faults, tmp_path):
    """At most the steps since the last checkpoint are lost, and never a finished file. Missing locks stop nothing."""
    done = subprocess.run(
        [sys.executable, HERE / "run_with_faults.py", tmp_path, kind, str(code), calls],
        env={**os.environ, "LD_PRELOAD": str(faults), "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) >= least
    assert all(record["seen"] > record["number"] for record in found)
    assert [record for record in found if record["wrong"]] == []
    said = [record["said"] for record in found if record["said"]]
    assert [text for text in said if text.startswith("not an error of surgrad")] == []
    if code == errno.ENOLCK:
        assert not said
    else:
        assert len(said) > len(found) / 2  # faults do show


# what is written to, and when


def test_a_run_is_not_written_to_without_resume(run, tiny, tmp_path):
    """Nor is what is left of one: the state of the optimiser is often removed to save room."""
    for removed in ((), ("last.pt", "previous.pt"), ("recipe.json",), ("last.safetensors", "best.safetensors")):
        for name in removed:
            (run / name).unlink(missing_ok=True)
        before = contents(run)
        with pytest.raises(CheckpointError, match="choose another --out"):
            train(tiny(), run)
        assert contents(run) == before


def test_a_pruned_run_is_not_written_to_with_resume_either(run, tiny):
    for name in ("last.pt", "previous.pt"):
        (run / name).unlink()
    before = contents(run)
    with pytest.raises(CheckpointError, match=r"holds the log of a run without its checkpoint \(last.pt\)"):
        train(tiny(), run, resume=True)
    assert contents(run) == before


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("resume", [False, True])
def test_files_of_other_programs_are_not_replaced(name, resume, tiny, tmp_path):
    (tmp_path / name).write_text('{"epochs": 3}\n')
    with pytest.raises(CheckpointError, match=f"holds {name}, which no training of surgrad wrote"):
        train(tiny(), tmp_path, resume=resume)
    assert contents(tmp_path) == {name: b'{"epochs": 3}\n'}


def test_other_files_may_be_there(tiny, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    train(tiny("optim.epochs=1"), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_that_could_not_be_used_is_not_left_behind(tiny, tmp_path):
    with pytest.raises(BadValue):
        train(tiny("data.batch=100000"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_of_an_interrupted_first_save_are_kept_aside(tiny, run):
    held = (run / "last.safetensors").read_bytes()
    for path in run.iterdir():
        if path.name not in ("recipe.json", "last.safetensors"):
            path.unlink()
    train(tiny(), run, resume=True)
    assert (run / "last.safetensors.unused1").read_bytes() == held


@pytest.mark.parametrize("words", [["train", "--out", ""], ["report", "x", "--out", ""], ["eval", ""]])
def test_an_empty_path_is_refused(words, capsys, tmp_path, monkeypatch):
    """As from --out "$OUT" where OUT is not set: it would be the current folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.main(words)
    assert "an empty path; give a file or a folder (the current folder is .)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# two trainings


def test_the_folder_is_checked_under_its_lock(tiny, tmp_path):
    """Of two starts at once one trains, and the other finds a locked or a finished run, whichever is first."""
    said = []

    def start():
        try:
            train(tiny("optim.epochs=1"), tmp_path / "run")
        except CheckpointError as error:
            said.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 2
    assert all("another training is writing" in text or "already holds a run" in text for text in said)
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_no_obstacle(code, tmp_path, monkeypatch):
    def flock(handle, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    said = []
    with claimed(tmp_path / "run", False, said.append) as continues:
        assert not continues
    assert said == [
        f"the file system of {tmp_path / 'run'} has no locks: see to it that no other training writes there"
    ]


# reading


def unreadable(monkeypatch, name, code):
    """Reading a file of that name fails, as on a network drive that does not answer."""
    real = Path.read_bytes

    def read_bytes(path):
        if path.name == name:
            raise OSError(code, os.strerror(code), str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE, errno.EMFILE], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["last.pt", "last.safetensors", "metrics.jsonl"])
def test_what_cannot_be_read_now_is_not_replaced(stopped, tiny, monkeypatch, code, name):
    before = contents(stopped)
    with monkeypatch.context() as patch:
        unreadable(patch, name, code)
        with pytest.raises(CheckpointError, match=rf"{name} cannot be read now .* it stays as it is"):
            train(tiny(), stopped, resume=True)
    after = contents(stopped)
    if name == "metrics.jsonl":  # read last, when the new start is already noted
        after["env.json"] = before["env.json"]
    assert after == before
    train(tiny(), stopped, resume=True)


def test_no_memory_to_read_a_checkpoint_is_no_damage(stopped, monkeypatch):
    before = contents(stopped)

    def read_bytes(path):
        raise MemoryError

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(CheckpointError, match=r"cannot be read now \(out of memory\)"):
        checkpoint.load(stopped, pytest.fail)
    monkeypatch.undo()
    assert contents(stopped) == before


@pytest.mark.parametrize("name", ["last.pt", "last.safetensors"])
def test_what_is_damaged_is_kept_beside(stopped, tiny, name):
    damaged = (stopped / name).read_bytes()[:-7]
    (stopped / name).write_bytes(damaged)
    said = []
    checkpoint.load(stopped, said.append)
    assert len(said) == 1
    assert said[0].endswith(f"What is damaged is kept as {name}.damaged1")
    assert (stopped / f"{name}.damaged1").read_bytes() == damaged
    assert checkpoint.load(stopped, pytest.fail)[1]["progress"]["epoch"] == 1


def test_a_state_that_this_torch_cannot_read_is_no_damage(stopped, monkeypatch):
    before = contents(stopped)

    def load(*args, **options):
        raise RuntimeError("PytorchStreamReader: unknown version")

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(CheckpointError, match=r"last.pt is complete and cannot be read by torch"):
        checkpoint.load(stopped, pytest.fail)
    assert contents(stopped) == before


def test_readers_find_weights_while_a_training_saves(stopped, tiny):
    """Between two renames neither name may hold a whole pair; a reader looks again."""
    model_of = checkpoint.load_weights(stopped, "last", pytest.fail)

    class Holder(torch.nn.Module):
        def state_dict(self, *args, **options):
            return model_of

    state = checkpoint.load(stopped, pytest.fail)[1]
    done = threading.Event()

    def save():
        while not done.is_set():
            checkpoint.save(stopped, Holder(), state)

    writer = threading.Thread(target=save)
    writer.start()
    try:
        for _ in range(60):
            checkpoint.load_weights(stopped, "last", pytest.fail)
    finally:
        done.set()
        writer.join()


# recipe and weights belong together


def test_an_edited_recipe_is_refused(stopped, tiny):
    path = stopped / "recipe.json"
    path.write_text(path.read_text().replace('"lr": 0.15', '"lr": 0.3'))
    edited = recipe_of(stopped)
    assert edited.optim.lr == 0.3
    before = contents(stopped)
    with pytest.raises(
        CheckpointError, match=r"made by another recipe .* these settings differ: optim.lr: 0.15 -> 0.3"
    ):
        train(edited, stopped, resume=True)
    after = contents(stopped)
    assert {name: after[name] for name in before} == before


def test_words_of_a_recipe_may_be_edited(stopped, tiny):
    train(replace(tiny(), summary="another", source="other words", published=0.5), stopped, resume=True)


def altered(run, change):
    weights = load_file(run / "last.safetensors")
    change(weights)
    for name in ("last.pt", "previous.pt"):
        (run / name).unlink()
    save_file(weights, run / "last.safetensors")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda held: held.pop("stem.0.0.weight"), "'stem.0.0.weight' is missing"),
        (lambda held: held.update(more=torch.ones(2)), "'more' is in no layer of the network"),
        (
            lambda held: held.update({"stem.0.0.weight": torch.ones(3)}),
            r"is float32 \[3\] and the network's is float32",
        ),
        (
            lambda held: held.update({"stem.0.0.weight": held["stem.0.0.weight"].half()}),
            "is float16 .* and the network's is float32",
        ),
        (lambda held: held["stem.0.0.weight"].fill_(torch.nan), "'stem.0.0.weight' is not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(run, change, fault):
    altered(run, change)
    with pytest.raises(CheckpointError, match=f"do not fit the network of its recipe.json: .*{fault}"):
        evaluate_run(run)


def test_checkpoints_of_the_former_layout_are_read(stopped, tiny):
    """They were torch files around the bytes of another, with its digest."""
    import hashlib
    import io

    state = checkpoint.load(stopped, pytest.fail)[1]
    del state["recipe"]
    inner = io.BytesIO()
    torch.save(state, inner)
    raw = inner.getvalue()
    outer = {
        "digest": hashlib.sha256(raw).hexdigest(),
        "state": torch.frombuffer(bytearray(raw), dtype=torch.uint8),
    }
    torch.save(outer, stopped / "last.pt")
    train(tiny(), stopped, resume=True)
