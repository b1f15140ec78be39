"""Parts for surgrad from outside the package.

Installed (`pip install docs/examples/own_parts`), they are found by their names, through the entry point in
pyproject.toml:

    surgrad train stripes_t4
    surgrad train lsg_fashion_small_t4 --set neuron.name=soft_floor --set neuron.floor=-0.5

Without an installation, the file itself is enough:

    surgrad train docs/examples/own_parts/own_parts.py:stripes_t4
"""

from typing import Annotated

import torch
from torch import Tensor, nn

from surgrad.adapt import CONTROLLERS, Controller, StepContext
from surgrad.config import DataConfig, ModelConfig, NeuronConfig, OptimConfig, Part, Recipe
from surgrad.config.values import Count, Fraction, Positive, Range
from surgrad.data import DATASETS, ArraySource
from surgrad.models import MODELS, SpikingNetwork, make_neuron
from surgrad.models.blocks import NeuronFactory, NormFactory, conv, linear, lsg_neuron, pooled_head
from surgrad.neurons import NEURONS, SteppedNeuron
from surgrad.norm import TDBN, NormNeuron
from surgrad.recipes import recipe
from surgrad.surrogates import Surrogate, SurrogateFunction


class SoftFloor(SteppedNeuron):
    """A LIF whose potential after the reset stays above a floor: v = max(v, floor).

    Options of a recipe are the keywords here, with their types, ranges and defaults.
    """

    def __init__(
        self,
        decay: Fraction = 0.2,
        *,
        threshold: Positive = 0.5,
        floor: Annotated[float, Range(-10, 0)] = -1.0,
        surrogate: Surrogate | SurrogateFunction | str = "rect",
        channels: int | None = None,
        carry: bool = False,
    ):
        super().__init__(decay, threshold=threshold, surrogate=surrogate, channels=channels, carry=carry)
        self.floor = floor

    def next_state(self, state: Tensor | None, current: Tensor, u: Tensor, fired: Tensor, threshold: Tensor) -> Tensor:
        return super().next_state(state, current, u, fired, threshold).clamp(min=self.floor)


class HalfThreshold(Controller):
    """Widths of half a threshold, shrinking by `shrink` from epoch to epoch."""

    def __init__(self, shrink: Fraction = 0.9):
        self.shrink = shrink

    def __call__(self, context: StepContext) -> dict[str, Tensor]:
        factor = 0.5 * self.shrink**context.epoch
        return {name: factor * neuron.threshold for name, neuron in context.neurons.items()}


def two_layers(
    classes: int = 2,
    *,
    in_channels: int = 1,
    steps: int = 4,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    hidden: Count = 8,
) -> SpikingNetwork:
    """Two convolutions of `hidden` channels, global average, linear."""
    stem = conv(in_channels, hidden)
    fire = NormNeuron(norm(hidden), make_neuron(neuron, hidden))
    body = nn.Sequential(conv(hidden, hidden), NormNeuron(norm(hidden), make_neuron(neuron, hidden)))
    head = nn.Sequential(pooled_head(), linear(hidden, classes))
    return SpikingNetwork(stem, fire, body, head, steps)


def stripes(*, noise: Fraction = 0.1) -> ArraySource:
    """Horizontal and vertical stripes in noise: 256 images to train on and 64 to test on, 12×12 pixels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(320) % 2
    rows = (torch.arange(12) % 2).float().expand(320, 1, 12, 12)
    clean = torch.where(labels.view(-1, 1, 1, 1) == 0, rows, rows.transpose(2, 3))
    images = (255 * (clean * (1 - noise) + noise * torch.rand(clean.shape, generator=generator))).to(torch.uint8)
    return ArraySource(
        train=(images[:256], labels[:256]), test=(images[256:], labels[256:]), classes=("vertical", "horizontal")
    )


NEURONS.add("soft_floor", SoftFloor)
CONTROLLERS.add("half_threshold", HalfThreshold)
MODELS.add("two_layers", two_layers)
DATASETS.add("stripes", stripes)


@recipe
def stripes_t4() -> Recipe:
    """Everything here in one training of a few seconds."""
    return Recipe(
        name="stripes_t4",
        summary="stripes, two layers, T=4",
        data=DataConfig("stripes", batch=32, noise=0.2),
        model=ModelConfig("two_layers", steps=4, hidden=8),
        neuron=NeuronConfig("soft_floor", floor=-0.5),
        adapt=Part("half_threshold", shrink=0.8),
        optim=OptimConfig("adam", epochs=3, lr=0.01),
    )
