"""Optimisers and the learning rate's course."""

import math

import torch
from torch import nn

from surgrad.config.recipe import OptimConfig
from surgrad.errors import BadValue
from surgrad.neurons import neurons
from surgrad.optim.muon import Muon

OPTIMIZERS = ("sgd", "adam", "adamw", "muon")


def build_optimizers(model: nn.Module, config: OptimConfig) -> list[torch.optim.Optimizer]:
    """The network's optimiser, and Adam at `neuron_lr` for the neurons' own parameters where there are any; with Muon,
    which trains the convolutions, Adam has all the rest. But for Muon, each is one pass over all its parameters
    (torch's "fused")."""
    if config.nesterov and config.momentum == 0:
        raise BadValue("optim.nesterov needs momentum; give optim.momentum above 0, or optim.nesterov=false")
    if config.drops is not None:
        drops(config.drops)  # refused here if it cannot be read
        if config.period is not None:
            raise BadValue("optim.drops and optim.period are both given, and a rate follows one of them; give one")
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
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=True)
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.lr, betas=(config.momentum, 0.999), fused=True)


def rate(step: int, per_epoch: int, config: OptimConfig) -> float:
    """Share of the peak learning rate at a step: linear over the warm-up's epochs, then what `drops` says, or a cosine
    to 0 at the end, or after `period` epochs, and up again."""
    warmup = config.warmup * per_epoch
    if step < warmup:
        return (step + 1) / warmup if step + 1 < warmup else 1.0
    if config.drops is not None:
        return [share for epoch, share in ((0.0, 1.0), *drops(config.drops)) if step >= epoch * per_epoch][-1]
    period = (config.period or config.epochs - config.warmup) * per_epoch
    return (1 + math.cos(math.pi * (step - warmup) / period)) / 2


def drops(text: str) -> list[tuple[float, float]]:
    """(epoch, share of the peak from then on) of "40:0.1, 80:0.01", in order."""
    try:
        pairs = [(float(epoch), float(share)) for epoch, share in (part.split(":") for part in text.split(","))]
    except ValueError:
        pairs = []
    epochs = [epoch for epoch, _ in pairs]
    if not pairs or epochs != sorted(set(epochs)) or not all(epoch > 0 and share > 0 for epoch, share in pairs):
        raise BadValue(
            f"optim.drops = '{text}' cannot be read; give rising epochs and shares of the rate, as in 40:0.1,80:0.01"
        )
    return pairs


def set_rate(optimizers: list[torch.optim.Optimizer], share: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * share
