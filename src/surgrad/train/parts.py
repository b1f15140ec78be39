"""The objects of a training."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from surgrad.adapt import Adapter
from surgrad.adapt.probe import Loss
from surgrad.config.recipe import Recipe
from surgrad.data.source import Batches
from surgrad.gradients import Gradient
from surgrad.models import SpikingNetwork
from surgrad.optim import Schedule
from surgrad.train.events import Observer
from surgrad.train.inputs import InputSpec


@dataclass
class Parts:
    """The objects that the loop uses. `model` holds the weights; `forward` is the model, or its compiled form."""

    recipe: Recipe
    model: SpikingNetwork
    forward: nn.Module
    loss: Loss
    penalty: Callable[[float], Tensor | float]
    """Of the progress of the training in [0, 1]; added to the loss."""
    gradient: Gradient
    optimizers: list[torch.optim.Optimizer]
    schedule: Schedule
    adapter: Adapter
    batches: Batches
    inputs: InputSpec
    device: torch.device
    bf16: bool
    graph: bool
    """Whether the gradient is found by a CUDA graph (`surgrad.train.cuda_graph`)."""
    average: Observer | None
    """An average of the weights (`surgrad.train.average`)."""
