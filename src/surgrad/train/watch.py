"""A watch over the processes of a training: one that has stopped ends, and says where it is."""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from surgrad import ranks

GRACE = 10.0
"""Seconds between the message of a process and its end, in which the others write theirs."""


class Watch:
    """Ends this process where `alive` is not called for a while, after it has printed the stack of every thread.

    Args:
        seconds: between two calls of `alive`.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._seen = time.monotonic()
        self._done = threading.Event()

    def alive(self) -> None:
        """Note that the training goes forward."""
        self._seen = time.monotonic()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it, a thread watches."""
        thread = threading.Thread(target=self._look, name="surgrad watch", daemon=True)
        self.alive()
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def _look(self) -> None:
        while not self._done.wait(self.seconds / 20):
            if time.monotonic() - self._seen > self.seconds:
                self._end()

    def _end(self) -> None:
        own = ranks.place()
        sys.stderr.write(
            f"surgrad: rank {own.rank} of {own.count} has finished no step for {self.seconds:g} s (run.timeout); its "
            "threads are here:\n"
        )
        sys.stderr.flush()
        faulthandler.dump_traceback(sys.stderr)
        if not self._done.wait(GRACE):
            os._exit(1)
