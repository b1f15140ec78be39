"""A watch over the processes of a training: one that has stopped ends, and says where it is."""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from surgrad import process
from surgrad.ranks import Place

EVERY = 1.0
"""Seconds after which a watch looks again, so that all processes print their stacks at about the same time."""
GRACE = 10.0
"""Seconds between the message of a process and its end, in which the others write theirs."""


@dataclass(frozen=True)
class Limit:
    """How long a process may go without a sign of life (`surgrad.process.alive`).

    Attributes:
        seconds: how long.
        what: the end of the sentence "rank 1 of 4 ..." that is printed then.
    """

    seconds: float
    what: str


PREPARATION = Limit(7200.0, "has made no progress for 2 hours, before its first step or after its last")
"""Before the first step and after the last. A process may wait that long for another that downloads or cuts data."""

_limit = PREPARATION
_watched = False


@contextmanager
def watching(place: Place) -> Iterator[None]:
    """Within it, a thread ends this process, with every thread's stack, where it shows no sign of life for longer than
    the limit. Within another watch, and of one process that is alone, it does nothing.

    Args:
        place: that of this process.
    """
    global _watched
    if _watched or place.count == 1:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_look, args=(place, done), name="surgrad watch", daemon=True)
    process.alive()
    _watched = True
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        _watched = False


@contextmanager
def limited(limit: Limit) -> Iterator[None]:
    """Within it, a watch has another limit."""
    global _limit
    before = _limit
    process.alive()
    _limit = limit
    try:
        yield
    finally:
        process.alive()
        _limit = before


def of_steps(seconds: float) -> Limit:
    """The limit of a training's steps, evaluations and searches.

    Args:
        seconds: run.timeout.
    """
    return Limit(seconds, f"has finished no step for {seconds:g} s (run.timeout)")


def _look(place: Place, done: threading.Event) -> None:
    looked = time.monotonic()
    while not done.wait(min(_limit.seconds / 20, EVERY)):
        limit = _limit
        since = time.monotonic() - looked
        looked = time.monotonic()
        if since > limit.seconds / 2:
            process.alive()  # this thread could not run either: the whole process was stopped, and continues
        # prints the stacks where a call lets no other thread of Python run; the other processes end meanwhile
        faulthandler.dump_traceback_later(limit.seconds + 2 * GRACE)
        if process.seconds_since_alive() > limit.seconds:
            _end(place, limit, done)
    faulthandler.cancel_dump_traceback_later()


def _end(place: Place, limit: Limit, done: threading.Event) -> None:
    """Say where this process is, and end it unless it goes forward again meanwhile."""
    sys.stderr.write(f"surgrad: rank {place.rank} of {place.count} {limit.what}; its threads are here:\n")
    sys.stderr.flush()
    faulthandler.dump_traceback(sys.stderr)
    if not done.wait(GRACE) and process.seconds_since_alive() > limit.seconds:
        os._exit(1)
