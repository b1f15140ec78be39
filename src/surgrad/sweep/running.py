"""Training what a sweep holds, on this machine or on a cluster."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from surgrad.errors import BadValue, Interrupted, SurgradError
from surgrad.sweep.jobs import Job

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def train_all(
    queue: Sequence[Job],
    *,
    workers: int = 1,
    data: Path | None = None,
    address: str | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Train what is not done. Ctrl-C stops every training of this machine after its step; the same command goes on.

    workers: trainings at a time, which share the cores. address: of a Ray cluster whose machines all see the folder, by
    the same path; what runs there when the sweep is stopped is lost up to its last checkpoint."""
    left = [job for job in queue if not job.done]
    say(f"{len(queue)} trainings, {len(queue) - len(left)} of them done")
    if not left:
        return
    start = _on_ray(address, data) if address else _here(workers, data)
    began = time.monotonic()
    failed = []
    with start as submit:
        for number, (job, fault) in enumerate(submit(left), 1):
            spent = time.monotonic() - began
            rest = spent / number * (len(left) - number)
            fault = fault or ("" if job.done else f"its metrics did not come to {job.folder}")
            if fault:
                failed.append(f"{job.folder.name}: {fault}")
            outcome = fault or f"{100 * job.metrics[-1]['test_accuracy']:.2f} %"
            say(f"{number}/{len(left)}  {job.folder.name}  {outcome}  {rest / 60:.0f} min left")
    if failed:
        raise SurgradError(
            f"{len(failed)} of {len(left)} trainings failed; the others are done, and the same command "
            f"tries these again. {'; '.join(failed)}"
        )


class _here:  # noqa: N801
    """Trainings in processes of this machine."""

    def __init__(self, workers: int, data: Path | None):
        if workers < 1:
            raise BadValue(f"{workers} workers train nothing; give 1 or more")
        self.workers = workers
        self.data = data
        self.running: set[subprocess.Popen] = set()
        self.stopped = False
        self.lock = threading.RLock()  # a second signal may come while the first is served

    def __enter__(self) -> Callable[[Sequence[Job]], Iterable[tuple[Job, str]]]:
        self.pool = ThreadPoolExecutor(self.workers)
        self.before = {number: signal.signal(number, self._stop) for number in SIGNALS}
        return self._submit

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _stop(self, *_: object) -> None:
        with self.lock:
            self.stopped = True
            for process in self.running:
                process.send_signal(signal.SIGINT)

    def _submit(self, left: Sequence[Job]) -> Iterable[tuple[Job, str]]:
        futures = {self.pool.submit(self._train, job): job for job in left}
        for future in as_completed(futures):
            fault = future.result()
            if self.stopped:
                continue
            yield futures[future], fault
        if self.stopped:
            raise Interrupted("stopped; every training is saved, and the same command goes on from there")

    def _train(self, job: Job) -> str:
        """Train in a process of its own; returns what went wrong, or nothing."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = max(1, cores // self.workers)
        job.folder.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", "surgrad", *job.words(self.data)]
        env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        with (job.folder / "log.txt").open("a") as log:
            with self.lock:
                if self.stopped:
                    return "not begun"
                process = subprocess.Popen(
                    words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env, start_new_session=True
                )
                self.running.add(process)
            code = process.wait()
            with self.lock:
                self.running.discard(process)
        return "" if code == 0 else f"exit status {code}; see {job.folder / 'log.txt'}"


class _on_ray:  # noqa: N801
    """Trainings on a Ray cluster, one a CPU bundle of its own."""

    def __init__(self, address: str, data: Path | None):
        try:
            import ray
        except ImportError as error:
            raise BadValue("a Ray cluster needs the package ray; pip install 'surgrad[cluster]'") from error
        self.ray = ray
        self.address = address
        self.data = data

    def __enter__(self) -> Callable[[Sequence[Job]], Iterable[tuple[Job, str]]]:
        host, _, port = self.address.rpartition("/")[2].rpartition(":")
        try:
            if host and port.isdigit():  # asked by ourselves, since Ray waits for minutes
                socket.create_connection((host, int(port)), 10).close()
            self.ray.init(address=self.address, ignore_reinit_error=True, logging_level="ERROR")
        except (OSError, ValueError) as error:
            raise BadValue(f"no Ray cluster at '{self.address}' ({error}); give the address of its head") from error
        return self._submit

    def __exit__(self, *_: object) -> None:
        self.ray.shutdown()

    def _submit(self, left: Sequence[Job]) -> Iterable[tuple[Job, str]]:
        def work(words: list[str]) -> str:
            command = [sys.executable, "-m", "surgrad", *words]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["failed"])[-1]

        remote = self.ray.remote(work)
        waiting = {remote.remote(job.words(self.data)): job for job in left}
        while waiting:
            ready, _ = self.ray.wait([*waiting], num_returns=1)
            job = waiting.pop(ready[0])
            try:
                yield job, self.ray.get(ready[0])
            except Exception as error:  # whatever a worker died of: the others go on
                yield job, f"{type(error).__name__}: {error}"
