"""The controllers under contract and the small network that they adapt, for tests in one process and in two."""

import gc
from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from surgrad import LIF, PerStep
from surgrad.adapt import CONTROLLERS, LSG, Adapter, Clip, Every, Fixed, Schedule
from surgrad.losses import cross_entropy
from surgrad.neurons import neurons
from surgrad.norm import TDBN

STEPS = 6
OPTIONS = {
    "esg": {"low": 0.3, "target": "exact", "period": 1, "warmup": 0.0},
    "dspike": {"samples": 4, "min_reliability": -1.0},
    "dgs": {"iterations": 2, "delta": 0.5},
    "share": {"share": 0.3, "period": 3},
}
"""Settings of controllers that would not act, or take long, in so short a training by default."""


def halving(progress):
    return 1.0 - 0.5 * progress


CASES = {name: partial(CONTROLLERS.build, name, OPTIONS.get(name)) for name in CONTROLLERS} | {
    "esg, global": lambda: CONTROLLERS.build("esg", {"low": 0.3, "high": 0.4, "period": 2, "scope": "global"}),
    "dspike by layer": lambda: CONTROLLERS.build("dspike", {**OPTIONS["dspike"], "scope": "layer"}),
    "fixed width": lambda: Fixed(0.7),
    "schedule by a function": lambda: Schedule(function=halving),
    "a function": lambda: lambda context: dict.fromkeys(context.neurons, torch.tensor(halving(context.progress))),
    "clip": lambda: Clip(LSG(), 0.5, 1.01),
    "every": lambda: Every(3, Schedule(function=halving)),
}


def network(seed=0, neuron=LIF):
    """Two layers of neurons, with norms and dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(
        PerStep(nn.Linear(6, 16)),
        TDBN(16),
        neuron(train_decay=True),
        PerStep(nn.Linear(16, 16), nn.Dropout(0.2)),
        TDBN(16),
        neuron(train_decay=True),
        PerStep(nn.Linear(16, 3)),
    )


def batches(seed=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        yield (torch.randn(3, 32, 6, generator=generator), torch.randint(0, 3, (32,), generator=generator))


def adapter(model, controller):
    return Adapter(model, controller, loss=cross_entropy, steps=STEPS, steps_per_epoch=STEPS // 2)


def train(model, adapt, data):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for batch in data:
        if adapt is not None:
            adapt.step(batch)
        loss = cross_entropy(model(batch[0]), batch[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def widths(model):
    return {name: neuron.surrogate.width.clone() for name, neuron in neurons(model).items()}


def of_rank(rank, folder):
    """Train every case as one of two ranks, on data of this rank, by DistributedDataParallel; save the widths."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save({name: _in_parallel(make, seed=1 + rank) for name, make in CASES.items()}, f"{folder}/{rank}.pt")
    gc.collect()  # a DistributedDataParallel that outlives its group may never end: it waits for it, holding the GIL
    dist.destroy_process_group()


def _in_parallel(make, seed):
    model = network()
    parallel = DistributedDataParallel(model)
    data = list(batches(seed))
    train(parallel, adapter(parallel, make()), data[:4])  # the first epoch, and the start of the second
    return widths(model)
