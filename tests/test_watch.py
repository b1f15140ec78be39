"""The watch over the processes of a training."""

import os
import subprocess
import sys
import threading

import pytest

from surgrad import process
from surgrad.ranks import Place
from surgrad.train import watch

SECOND = Place(1, 2)


@pytest.fixture
def ends(monkeypatch):
    """The exit codes with which the watch has ended this process."""
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(watch, "GRACE", 2.0)
    return codes


def test_a_process_without_a_sign_of_life_ends(ends, capfd):
    with watch.watching(SECOND), watch.limited(watch.of_steps(0.2)):
        until_told(capfd, "surgrad: rank 1 of 2 has finished no step for 0.2 s (run.timeout); its threads are here:")
        wait(lambda: ends)
    assert ends[0] == 1


def test_one_that_goes_forward_again_does_not(ends, monkeypatch):
    """As where it waited for another one."""
    over = threading.Event()
    monkeypatch.setattr(process, "_alive", 0.0)
    threading.Timer(0.05, process.alive).start()
    watch._end(SECOND, watch.of_steps(10.0), over)
    assert ends == []


def test_signs_of_life_keep_it(ends):
    with watch.watching(SECOND), watch.limited(watch.of_steps(2.0)):
        for _ in process.with_signs_of_life(range(60)):
            threading.Event().wait(0.05)
    assert ends == []


def test_one_that_is_alone_is_not_watched():
    with watch.watching(Place(0, 1)):
        assert "surgrad watch" not in {thread.name for thread in threading.enumerate()}


STOPPED = """
import ctypes
from surgrad.ranks import Place
from surgrad.train import watch
watch.GRACE = 0.5
watch.EVERY = 0.1
with watch.watching(Place(1, 2)), watch.limited(watch.of_steps(1.0)):
    __import__("time").sleep(0.5)
    ctypes.PyDLL(None).sleep(5)
    __import__("time").sleep(0.5)
"""


def test_a_call_that_lets_no_thread_run_says_where_it_is():
    """The other processes end meanwhile, and torchrun ends this one. Where it goes forward again, it is left alone."""
    found = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True, timeout=50, check=False)
    assert found.returncode == 0
    assert "Timeout" in found.stderr
    assert 'File "<string>", line 9' in found.stderr
    assert "surgrad: " not in found.stderr


def until_told(capfd, text):
    said = []
    wait(lambda: said.append(capfd.readouterr().err) or text in "".join(said))


def wait(condition):
    for _ in range(500):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("nothing in 5 seconds")
