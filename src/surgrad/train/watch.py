"""A watch over the processes of a training: one that has stopped ends, and says where it is."""

import faulthandler
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from surgrad import process, ranks

EVERY = 1.0
"""Seconds after which a watch looks again, so that all processes print their stacks at about the same time."""
GRACE = 10.0
"""Seconds between the message of a process and its end, in which the others write theirs."""


class Watch:
    """Ends this process where `surgrad.process.alive` is not called for a while, and prints every thread's stack.

    Args:
        seconds: between two calls of `alive`.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._done = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it, a thread watches."""
        thread = threading.Thread(target=self._look, name="surgrad watch", daemon=True)
        process.alive()
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def _look(self) -> None:
        while not self._done.wait(min(self.seconds / 20, EVERY)):
            if process.seconds_since_alive() > self.seconds:
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
