"""Started by test_run_folder.py with faults.c preloaded: a training whose system calls fail, one in each repetition.

    run_with_faults.py FOLDER fresh|resumed ERRNO CALLS

Every repetition runs in a forked process. It begins a training of two epochs, or continues one that was stopped within
its second one. Of the calls named in CALLS on files of its folder, number k fails. Then it checks what the folder has,
continues without faults, and compares the end with that of a training without any. Prints a line of JSON for each one.
"""

import ctypes
import json
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import conftest
import torch

from surgrad.config import Recipe, set_fields
from surgrad.data import load
from surgrad.errors import Interrupted, SurgradError
from surgrad.files import read_json, read_rows
from surgrad.recipes import find_recipe
from surgrad.train import checkpoint, train
from surgrad.train.events import Observer
from surgrad.train.progress import Lines

LIBRARY = ctypes.CDLL(None)
RECIPE: Recipe = set_fields(find_recipe(), (*conftest.TINY, "model.name=mlp", "data.limit=64", "optim.epochs=2"))
DATA = load("fashion_mnist_small")
FINISHED = ("recipe.json", "env.json", "model.json")


class Stopper(Observer):
    """Stops the training within its second epoch."""

    def step_begins(self, loop, batch):
        if loop.at.epoch == 1:
            loop.stop()


class Silent(Lines):
    def say(self, *_):
        pass

    finish = start = advance = say


def run(out, *observers):
    train(RECIPE, out, data=DATA, resume=True, show=Silent(2), observers=observers)


def set_faults(folder, number, code, calls=""):
    ctypes.c_long.in_dll(LIBRARY, "fault_seen").value = 0
    ctypes.c_long.in_dll(LIBRARY, "fault_at").value = number
    ctypes.c_int.in_dll(LIBRARY, "fault_errno").value = code
    (ctypes.c_char * 256).in_dll(LIBRARY, "fault_calls").value = f" {calls} ".encode()
    (ctypes.c_char * 4096).in_dll(LIBRARY, "fault_folder").value = os.fsencode(folder)


def calls_seen():
    return ctypes.c_long.in_dll(LIBRARY, "fault_seen").value


def end_of(out):
    """What must be equal at the end: the weights, and the rows without times."""
    rows = [{k: v for k, v in row.items() if "second" not in k} for row in read_rows(out / "metrics.jsonl")]
    return (out / "last.safetensors").read_bytes(), (out / "best.safetensors").read_bytes(), rows


def checked(out, before):
    """What is wrong with a folder after a fault: nothing that was finished may be lost."""
    wrong = []
    if before is None:
        return wrong
    for name in FINISHED:
        if not isinstance(read_json(out / name), dict):
            wrong.append(f"{name} is not whole")
    position = checkpoint.load(out, wrong.append)[1]["progress"]
    if (position["epoch"], position["batch"]) < before:
        wrong.append(f"the checkpoint is of {position}")
    if [row["epoch"] for row in read_rows(out / "metrics.jsonl")][:1] != [1]:
        wrong.append("the row of epoch 1 is gone")
    return wrong


def attempt(base, out, number, code, calls, expected):
    """One repetition, in this process; returns its record."""
    before = None
    if base is not None:
        shutil.copytree(base, out)
        position = checkpoint.load(out, print)[1]["progress"]
        before = (position["epoch"], position["batch"])
    set_faults(out, number, code, calls)
    said = None
    try:
        run(out)
    except SurgradError as error:
        said = str(error)
    except BaseException as error:
        said = f"not an error of surgrad: {error!r}"
    seen = calls_seen()
    set_faults("", -1, 0)
    wrong = checked(out, before)
    run(out)
    if end_of(out) != expected:
        wrong.append("the end is another one")
    wrong += [f"{path.name} is left" for path in out.iterdir() if ".tmp" in path.name]
    return {"number": number, "seen": seen, "said": said, "wrong": wrong}


def forked(*given):
    """`attempt` in a forked process, whose folder is removed afterwards."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            record = attempt(*given)
        except BaseException as error:
            record = {"number": given[2], "seen": 0, "said": None, "wrong": [repr(error)]}
        os.write(writing, json.dumps(record).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        record = json.loads(file.read())
    os.waitpid(process, 0)
    shutil.rmtree(given[1], ignore_errors=True)
    return record


def main(folder, kind, code, calls):
    torch.set_num_threads(1)
    run(folder / "whole")
    expected = end_of(folder / "whole")
    base = None
    if kind == "resumed":
        base = folder / "base"
        with suppress(Interrupted):
            run(base, Stopper())
    total = forked(base, folder / "run", -1, code, calls, expected)["seen"]
    for number in range(total):
        print(json.dumps(forked(base, folder / "run", number, code, calls, expected)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
