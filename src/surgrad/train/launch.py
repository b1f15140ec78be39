"""Trainings of several processes, which torchrun starts: the process group and the device of each."""

from __future__ import annotations  # a build of torch without torch.distributed has no Store

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
import torch.distributed as dist

from surgrad import ranks
from surgrad.errors import BadValue, LostRank, SurgradError
from surgrad.train.watch import watching

MEETING = timedelta(minutes=30)
"""How long a process waits for the others to begin."""
EXCHANGE = timedelta(hours=3)
"""How long it waits for them in one exchange. A watch (`surgrad.train.watch`) ends it before, and says where it is."""


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Within it, the processes that torchrun started exchange tensors; a process that it did not start has no others.

    On GPUs by NCCL, one GPU for each process; by gloo on CPUs, and where a machine has fewer GPUs than processes.

    Args:
        device: of the training, as `run.device`.

    Raises:
        BadValue: torch cannot exchange tensors, or torchrun's variables are incomplete.
        LostRank: the other processes do not begin within `MEETING`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    if not dist.is_available():
        raise BadValue("WORLD_SIZE asks for several processes, and this build of torch has no torch.distributed")
    local = _number("LOCAL_RANK")
    gpus = 0 if device == "cpu" else torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(local % gpus)
    own = ranks.Place(_number("RANK"), _number("WORLD_SIZE"))
    with watching(own):
        _begin_together(own, has_gpu=gpus > 0 and gpus >= int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        try:
            with _ending_together():
                yield
        finally:
            dist.destroy_process_group()


@contextmanager
def _ending_together() -> Iterator[None]:
    try:
        yield
    except SurgradError as error:
        if error.of_all_ranks:
            _wait_for_all()
        raise
    _wait_for_all()


def _wait_for_all() -> None:
    """Wait until all processes have ended their work, such as the report of the first: torchrun ends all of them where
    one fails. What has ended otherwise needs no waiting for, and torchrun says why."""
    with ranks.joined(), suppress(LostRank), ranks.exchanging():
        dist.barrier()


def _begin_together(own: ranks.Place, has_gpu: bool) -> None:
    """Create the process group: of NCCL, where every process has a GPU that no other one uses."""
    rank, count = own.rank, own.count
    try:
        store = _store(rank)
        group = dist.PrefixStore(group_name(store, rank, count), store)
        backend = "cpu:gloo,cuda:nccl" if all_say(group, rank, count, has_gpu) else "gloo"
        dist.init_process_group(backend, store=group, rank=rank, world_size=count, timeout=EXCHANGE)
    except RuntimeError as error:  # of torch's stores and backends
        raise LostRank(
            f"rank {rank} of {count} did not meet the others at {os.environ.get('MASTER_ADDR')}:"
            f"{os.environ.get('MASTER_PORT')} ({str(error).splitlines()[0]}); one of them has ended, or the machines "
            "do not reach each other"
        ) from error


def _store(rank: int) -> dist.Store:
    """Numbers and words that all processes read and write: those of torchrun, or of rank 0."""
    has_one = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return dist.TCPStore(
        _variable("MASTER_ADDR"),
        _number("MASTER_PORT"),
        is_master=rank == 0 and not has_one,
        timeout=MEETING,
        multi_tenant=True,
    )


def group_name(store: dist.Store, rank: int, count: int) -> str:
    """A name that the processes of this start have in common, and those of an earlier one did not have.

    The store of a group that torchrun starts again may still hold the addresses of the one before. torchrun's count of
    starts differs between machines, as that of one that has replaced another. So rank 0 makes the name, and each other
    rank gets it in answer to a word that is new as well.

    Args:
        store: is shared by all processes, and by earlier ones that have ended.
        rank: of this process.
        count: of processes.
    """
    own = uuid.uuid4().hex
    if rank:
        store.set(f"call/{rank}", own)
        name = store.get(f"answer/{own}").decode()
        store.set(f"heard/{name}/{rank}", "")
        return name
    until = time.monotonic() + MEETING.total_seconds()
    for other in range(1, count):
        while not store.check([f"heard/{own}/{other}"]):
            if time.monotonic() > until:
                raise dist.DistStoreError(f"rank {other} did not come within {MEETING}")
            if store.check([f"call/{other}"]):
                store.set(f"answer/{store.get(f'call/{other}').decode()}", own)
            time.sleep(0.01)
    return own


def all_say(store: dist.Store, rank: int, count: int, yes: bool) -> bool:
    """Whether all processes say yes."""
    store.set(f"yes/{rank}", str(int(yes)))
    return all(answer == b"1" for answer in store.multi_get([f"yes/{number}" for number in range(count)]))


def _variable(name: str) -> str:
    if name not in os.environ:
        raise BadValue(
            f"WORLD_SIZE asks for several processes, and {name} is not set; start them by torchrun --nproc-per-node N "
            "-m surgrad train ..."
        )
    return os.environ[name]


def _number(name: str) -> int:
    return int(_variable(name))
