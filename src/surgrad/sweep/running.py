"""Running the trainings of a sweep, on this machine or on a cluster."""

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from surgrad.errors import BadValue, Interrupted, SurgradError
from surgrad.process import PARENT, cores
from surgrad.sweep.jobs import Job
from surgrad.sweep.remote import MARK, Outcome, train_here, unpack

Submit = Callable[[Sequence[Job]], Iterable[tuple[Job, str]]]
"""Starts trainings; yields each with what went wrong (empty: nothing) when it has ended."""


@dataclass(frozen=True)
class Share:
    """What a training has of a machine of a cluster.

    Attributes:
        cpus: cores, above 0.
        gpus: GPUs, at most 1, as 0.5 for two trainings on one.
        retries: how often a training is begun again whose machine was lost.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    retries: int = 3

    def __post_init__(self) -> None:
        if self.cpus <= 0 or self.gpus < 0 or self.retries < 0:
            raise BadValue(
                f"a training cannot have {self.cpus:g} cores, {self.gpus:g} GPUs and {self.retries} retries; give more "
                "than 0 cores, and 0 or more of the others"
            )
        if self.gpus > 1:
            raise BadValue(
                f"a training of a sweep is one process, and {self.gpus:g} GPUs would leave all but one idle; give at "
                "most 1, and train by torchrun what needs more"
            )


WHOLE_CORE = Share()
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def train_all(
    queue: Sequence[Job],
    *,
    workers: int = 1,
    data: Path | None = None,
    address: str | None = None,
    share: Share = WHOLE_CORE,
    say: Callable[[str], None] = print,
    after: Callable[[], object] = lambda: None,
) -> None:
    """Train all jobs that are not done.

    Ctrl-C stops every training on this machine after its current step; called again, it continues them.

    Args:
        queue: see `jobs_of`.
        workers: the number of trainings at a time; they share the cores.
        data: where the data sets are; on all machines of a cluster under the same path.
        address: the address of a Ray cluster. A machine that sees the run folders trains in them; another one returns
            its files at the end of a training. A training whose machine is lost is begun again, and continues from its
            last checkpoint where the folders are shared.
        share: what a training has of a machine of the cluster.
        say: called with every line of progress.
        after: called after each training, as to write a table of those that are done.

    Raises:
        SurgradError: some trainings failed; the others are done.
        Interrupted: it was stopped; everything is saved.
    """
    waiting = [job for job in queue if not job.done]
    for job in waiting:
        make_folder(job.folder)
    say(f"trainings: {len(queue)}, done: {len(queue) - len(waiting)}")
    if not waiting:
        return
    backend = _RayTrainings(address, data, share) if address else _LocalTrainings(workers, data)
    began = time.monotonic()
    failed = []
    with backend as submit:
        for number, (job, fault) in enumerate(submit(waiting), 1):
            spent = time.monotonic() - began
            rest = spent / number * (len(waiting) - number)
            fault = fault or ("" if job.done else f"there are no metrics in {job.folder}")
            if fault:
                failed.append(f"{job.folder.name}: {fault}")
            outcome = fault or f"{100 * job.metrics[-1]['test_accuracy']:.2f} %"
            say(f"{number}/{len(waiting)}  {job.folder.name}  {outcome}  {rest / 60:.0f} min left")
            after()
    if failed:
        raise SurgradError(
            f"{len(failed)} of {len(waiting)} trainings failed, and the others are done; the same command tries the "
            f"failed ones again. {'; '.join(failed)}"
        )


def make_folder(folder: Path) -> None:
    """Create the folder of a training.

    Raises:
        BadValue: where it cannot be created or written in.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.txt").open("a").close()
    except OSError as error:
        raise BadValue(f"{folder} cannot hold a training ({error.strerror}); choose another --out") from error


class _LocalTrainings:
    """Trainings in processes on this machine."""

    def __init__(self, workers: int, data: Path | None):
        if workers < 1:
            raise BadValue(f"the number of workers must be 1 or more, got {workers}")
        self.workers = workers
        self.data = data
        self.running: set[subprocess.Popen] = set()
        self.stopped = False
        self.pipe = os.pipe()  # its end tells the trainings that this process has ended, however it did
        self.lock = threading.RLock()  # a second signal may come during the handler of the first

    def __enter__(self) -> Submit:
        self.pool = ThreadPoolExecutor(self.workers)
        self.before = {number: signal.signal(number, self._stop) for number in SIGNALS}
        return self._submit

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)
        for number, handler in self.before.items():
            signal.signal(number, handler)
        for end in self.pipe:
            os.close(end)

    def _stop(self, *_: object) -> None:
        with self.lock:
            self.stopped = True
            for process in self.running:
                process.send_signal(signal.SIGINT)

    def _submit(self, queue: Sequence[Job]) -> Iterable[tuple[Job, str]]:
        futures = {self.pool.submit(self._train, job): job for job in queue}
        for future in as_completed(futures):
            fault = future.result()
            if self.stopped:
                continue
            yield futures[future], fault
        if self.stopped:
            raise Interrupted("stopped; every training is saved, and the same command continues them")

    def _train(self, job: Job) -> str:
        """Train in a separate process; returns what went wrong, or an empty text."""
        threads = max(1, cores() // self.workers)
        words = [sys.executable, "-m", "surgrad", *job.words(self.data), "--out", str(job.folder), "--resume"]
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), PARENT: str(self.pipe[0])}
        with (job.folder / "log.txt").open("a") as log:
            with self.lock:
                if self.stopped:
                    return "not started"
                process = subprocess.Popen(
                    words,
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    env=env,
                    start_new_session=True,
                    pass_fds=self.pipe[:1],
                )
                self.running.add(process)
            code = process.wait()
            with self.lock:
                self.running.discard(process)
        return "" if code == 0 else f"exit status {code}; see {job.folder / 'log.txt'}"


class _RayTrainings:
    """Trainings on a Ray cluster, one task each."""

    def __init__(self, address: str, data: Path | None, share: Share):
        try:
            import ray
        except ImportError as error:
            raise BadValue("a Ray cluster needs the package ray; pip install 'surgrad[cluster]'") from error
        self.ray = ray
        self.address = address
        self.data = data
        self.share = share
        self.token = secrets.token_hex(8)

    def __enter__(self) -> Submit:
        host, _, port = self.address.rpartition("/")[2].rpartition(":")
        try:
            if host and port.isdigit():  # checked here, because Ray waits for minutes
                socket.create_connection((host, int(port)), 10).close()
            self.ray.init(address=self.address, ignore_reinit_error=True, logging_level=logging.ERROR)
        except (OSError, ValueError) as error:
            raise BadValue(
                f"no Ray cluster at '{self.address}' ({error}); give the address of its head node"
            ) from error
        return self._submit

    def __exit__(self, *_: object) -> None:
        self.ray.shutdown()

    def _submit(self, queue: Sequence[Job]) -> Iterable[tuple[Job, str]]:
        share = self.share
        remote = self.ray.remote(num_cpus=share.cpus, num_gpus=share.gpus, max_retries=share.retries)(train_here)
        running = {}
        for job in queue:
            (job.folder / MARK).write_text(self.token)
            running[remote.remote(job.words(self.data), str(job.folder), self.token, share.cpus)] = job
        while running:
            ready, _ = self.ray.wait([*running], num_returns=1)
            job = running.pop(ready[0])
            try:
                yield job, self._received(job, self.ray.get(ready[0]))
            except Exception as error:  # the other trainings continue, whatever ended this one
                yield job, f"{type(error).__name__}: {error}"

    @staticmethod
    def _received(job: Job, outcome: Outcome) -> str:
        """Keep the files of a training; what went wrong with it."""
        if outcome.files:
            unpack(outcome.files, job.folder)
        (job.folder / MARK).unlink(missing_ok=True)
        return outcome.fault
