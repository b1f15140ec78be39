"""What a person sees while a network trains."""

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from surgrad.process import silence

QUIET_SECONDS = 30.0
"""Between two lines of progress where the output is not a terminal."""


class Progress(Protocol):
    """Shows a training to a person.

    `start`: an epoch begins or continues. `advance`: a batch is done. `finish`: an epoch is done. `say`: a sentence.
    `close`: the training is over.
    """

    def start(self, epoch: int, batches: int, done: int) -> None: ...
    def advance(self, images: int, loss: float) -> None: ...
    def finish(self, row: dict[str, Any]) -> None: ...
    def say(self, text: str) -> None: ...
    def close(self) -> None: ...


class Silent:
    """Shows nothing: of several processes, one shows the training."""

    def start(self, epoch: int, batches: int, done: int) -> None: ...
    def advance(self, images: int, loss: float) -> None: ...
    def finish(self, row: dict[str, Any]) -> None: ...
    def say(self, text: str) -> None: ...
    def close(self) -> None: ...


def progress(epochs: int, interactive: bool | None = None) -> Progress:
    """A live bar on a terminal; elsewhere a line every half minute."""
    if sys.stdout.isatty() if interactive is None else interactive:
        return Bar(epochs)
    return Lines(epochs)


def summary(row: dict[str, Any]) -> str:
    """One line about a finished epoch, from its row of metrics.jsonl."""
    return (
        f"epoch {row['epoch']:>3}/{row['epochs']}  loss {row['train_loss']:.4f}  "
        f"train {100 * row['train_accuracy']:5.2f} %  test {100 * row['test_accuracy']:5.2f} %  "
        f"{row['images_per_second']:,.0f} images/s  {clock(row['epoch_seconds'])}"
    )


def clock(seconds: float) -> str:
    """mm:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def counting(what: str) -> Callable[[int, int], None]:
    """A function of (done, total) that prints how much is done and how long the rest will take: on a terminal in one
    line that is overwritten, elsewhere in a new line every half minute.

    Args:
        what: the things counted, as in "images".
    """
    began = time.monotonic()
    spoken = began
    live = sys.stdout.isatty()

    def show(done: int, total: int) -> None:
        nonlocal spoken
        now = time.monotonic()
        if now - spoken < (0.2 if live else QUIET_SECONDS) and not (live and done == total):
            return
        spoken = now
        text = f"{done:,}/{total:,} {what}  {clock((now - began) / done * (total - done))} left"
        end = "" if live and done < total else "\n"
        print(("\r\x1b[K" if live else "") + text, end=end, flush=True)

    return show


def say_on_stderr(text: str) -> None:
    """Print a sentence to the standard error output."""
    print(text, file=sys.stderr)


class Pace:
    """Images per second of this epoch, and the remaining time of the whole training."""

    def __init__(self, epochs: int):
        self.epochs = epochs

    def start(self, epoch: int, batches: int, done: int) -> None:
        self.epoch = epoch
        self.batches = batches
        self.done = done
        self.first = done
        self.images = 0
        self.since = time.monotonic()

    def advance(self, images: int) -> None:
        self.done += 1
        self.images += images

    @property
    def speed(self) -> float:
        return self.images / max(time.monotonic() - self.since, 1e-9)

    @property
    def left(self) -> float:
        per_batch = (time.monotonic() - self.since) / max(self.done - self.first, 1)
        return per_batch * ((self.epochs - self.epoch) * self.batches - self.done)


class Lines:
    """Plain lines, for logs."""

    def __init__(self, epochs: int):
        self._pace = Pace(epochs)
        self._spoken = time.monotonic()

    def start(self, epoch: int, batches: int, done: int) -> None:
        self._pace.start(epoch, batches, done)

    def advance(self, images: int, loss: float) -> None:
        pace = self._pace
        pace.advance(images)
        if time.monotonic() - self._spoken > QUIET_SECONDS:
            self._spoken = time.monotonic()
            self.say(
                f"epoch {pace.epoch + 1:>3}/{pace.epochs}  batch {pace.done}/{pace.batches}  loss {loss:.4f}  "
                f"{pace.speed:,.0f} images/s  {clock(pace.left)} left"
            )

    def finish(self, row: dict[str, Any]) -> None:
        self._spoken = time.monotonic()
        self.say(summary(row))

    def say(self, text: str) -> None:
        try:
            print(text, flush=True)
        except BrokenPipeError:  # a training goes further than the program that reads its output
            silence(sys.stdout)

    def close(self) -> None:
        pass


class Bar:
    """A live bar, by rich."""

    def __init__(self, epochs: int):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._pace = Pace(epochs)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            transient=True,
        )
        self._task = self._bar.add_task("", note="")

    def start(self, epoch: int, batches: int, done: int) -> None:
        self._pace.start(epoch, batches, done)
        self._bar.start()  # only now: an error before must not leave the terminal without a cursor
        self._bar.reset(self._task, total=batches, completed=done, description=f"epoch {epoch + 1}/{self._pace.epochs}")

    def advance(self, images: int, loss: float) -> None:
        self._pace.advance(images)
        note = f"loss {loss:.3f}  {self._pace.speed:,.0f} images/s  {clock(self._pace.left)} left"
        self._bar.update(self._task, completed=self._pace.done, note=note)

    def finish(self, row: dict[str, Any]) -> None:
        self.say(summary(row))

    def say(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._bar.stop()
