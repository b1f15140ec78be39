"""Networks, batches and training steps that several benchmarks measure."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.peers import OverTime, Peer


@dataclass(frozen=True)
class Setup:
    """A network and its batch of static images, shown for T time steps.

    width: the width multiplier. few: measure only the contenders that the targets name, and in bf16 not SpikingJelly's
    compiled networks, which take minutes to compile.
    """

    network: str
    width: float
    steps: int = 4
    batch: int = 8
    image: int = 32
    few: bool = False


RESNET18 = Setup("resnet18", 1.0)
SETUPS = (RESNET18, Setup("resnet19", 1.0, few=True))
QUICK = (Setup("resnet18", 0.125, batch=2, image=16),)


def network_of(setup: Setup, peer: Peer) -> nn.Module:
    """Build the network with a contender's neuron, on the CPU."""
    network = build(setup, peer.layer)
    network.pack_spikes = peer.packed
    return network


def build(setup: Setup, neuron: Callable[[], nn.Module], device: str = "cpu") -> nn.Module:
    """Build the network with this neuron, in channels_last; the weights do not depend on the neuron."""
    from surgrad import models

    torch.manual_seed(0)
    network = getattr(models, setup.network)(steps=setup.steps, neuron=neuron, width_multiplier=setup.width)
    return network.to(device, memory_format=torch.channels_last)


def batch_of(setup: Setup, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Return random images in channels_last, and labels."""
    random = torch.Generator().manual_seed(1)
    images = torch.randn(setup.batch, 3, setup.image, setup.image, generator=random)
    labels = torch.randint(10, (setup.batch,), generator=random)
    return images.to(device, memory_format=torch.channels_last), labels.to(device)


def autocast(dtype: str, device: str = "cpu") -> AbstractContextManager:
    """Return the context of a precision: autocast for bf16."""
    return torch.autocast(device, torch.bfloat16, enabled=dtype == "bf16")


def forward(network: Callable[[Tensor], Tensor], batch: tuple[Tensor, Tensor], dtype: str) -> Tensor:
    """Return the loss: cross-entropy of the output averaged over time."""
    images, labels = batch
    with autocast(dtype, images.device.type):
        return F.cross_entropy(network(images).float().mean(0), labels)


def sgd_step(network: nn.Module, batch: tuple[Tensor, Tensor], dtype: str, whole: bool = False) -> Callable[[], Tensor]:
    """Return a call of one training step: forward, backward, update. whole: compile the network without its resets."""
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    stateful = [module for module in network.modules() if isinstance(module, OverTime)]
    run: Callable[[Tensor], Tensor] = network
    if whole:
        for module in stateful:
            module.forward = module.run  # type: ignore[method-assign]
        run = torch.compile(network, dynamic=False)

    def step() -> Tensor:
        if whole:
            for module in stateful:
                module.reset()
        optimiser.zero_grad()
        loss = forward(run, batch, dtype)
        loss.backward()
        optimiser.step()
        return loss

    return step
