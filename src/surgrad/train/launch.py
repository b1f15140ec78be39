"""Trainings of several processes, which torchrun starts: the process group and the device of each."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from surgrad.errors import BadValue

MEETING = timedelta(minutes=30)
"""How long a process waits for the others to begin."""
EXCHANGE = timedelta(hours=2)
"""How long it waits for them in one exchange. A training has its own limit, run.timeout."""


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Within it, the processes that torchrun started exchange tensors; a process that it did not start has no others.

    On GPUs by NCCL, one GPU for each process; by gloo on CPUs, and where a machine has fewer GPUs than processes.

    Args:
        device: of the training, as `run.device`.

    Raises:
        BadValue: torch cannot exchange tensors, or torchrun's variables are incomplete.
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
    alone_on_gpu = gpus >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    store, rank, count = next(dist.rendezvous("env://", timeout=MEETING))
    # a group that torchrun starts again may meet in the same store, and must not read the addresses of the one before
    attempt = dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
    backend = "cpu:gloo,cuda:nccl" if gpus and alone_on_gpu else "gloo"
    dist.init_process_group(backend, store=attempt, rank=rank, world_size=count, timeout=EXCHANGE)
    try:
        yield
        dist.barrier()  # a process that ends early would break the connections of the others
    finally:
        dist.destroy_process_group()


def _number(name: str) -> int:
    if name not in os.environ:
        raise BadValue(
            f"WORLD_SIZE asks for several processes, and {name} is not set; start them by torchrun --nproc-per-node N "
            "-m surgrad train ..."
        )
    return int(os.environ[name])
