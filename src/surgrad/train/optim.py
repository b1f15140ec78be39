"""Optimisers and the learning rate's course."""

import math

import torch
from torch import nn

from surgrad.errors import BadValue
from surgrad.neurons import neurons
from surgrad.train.muon import Muon
from surgrad.train.recipe import OptimConfig

OPTIMIZERS = ("sgd", "adam", "adamw", "muon")


def build_optimizers(model: nn.Module, config: OptimConfig) -> list[torch.optim.Optimizer]:
    """The network's optimiser, and Adam at `neuron_lr` for the neurons' own parameters where there are any; with Muon,
    which trains the convolutions, Adam has all the rest. But for Muon, each is one pass over all its parameters
    (torch's "fused")."""
    if config.nesterov and config.momentum == 0:
        raise BadValue("optim.nesterov needs momentum; give optim.momentum above 0, or optim.nesterov=false")
    own = {id(p): p for neuron in neurons(model).values() for p in neuron.parameters()}
    network = [p for p in model.parameters() if id(p) not in own]
    if config.name == "muon":
        own |= {id(p): p for p in network if p.ndim <= 2}
        network = [p for p in network if p.ndim > 2]
    optimizers = [_network_optimizer(network, config)]
    if own:
        optimizers.append(torch.optim.Adam(list(own.values()), lr=config.neuron_lr, fused=True))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def _network_optimizer(parameters: list[nn.Parameter], config: OptimConfig) -> torch.optim.Optimizer:
    if config.name == "muon":
        if not parameters:
            raise BadValue('optim.name = "muon" trains convolutions, and this network has none; give "sgd" or "adamw"')
        return Muon(parameters, lr=config.lr, momentum=config.momentum)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov,
                               fused=True)  # fmt: skip
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.lr, betas=(config.momentum, 0.999), fused=True)


def rate(step: int, steps: int, warmup: float, period: float | None = None) -> float:
    """Share of the peak learning rate at a step: linear over the warm-up's steps, then cosine to 0 at the last, or
    after `period` steps, and up again."""
    if step < warmup:
        return (step + 1) / warmup if step + 1 < warmup else 1.0
    return (1 + math.cos(math.pi * (step - warmup) / (period or steps - warmup))) / 2


def set_rate(optimizers: list[torch.optim.Optimizer], share: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * share
