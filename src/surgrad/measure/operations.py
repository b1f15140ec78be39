"""What a network computes, and what that costs: additions where spikes come in, multiplications where numbers do."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from surgrad.errors import BadValue
from surgrad.measure.layers import unscaled
from surgrad.models import MembraneBlock, PreActivationBlock, SpikeBlock, SpikingNetwork
from surgrad.neurons import neurons
from surgrad.norm import NormNeuron

MAC = 4.6
AC = 0.9
"""Picojoules of a 32-bit multiplication with addition, and of an addition, at 45 nm (Horowitz 2014)."""
COUNTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@dataclass(frozen=True)
class Accounting:
    """What counts as what; the defaults are those of Li et al. 2021 (Dspike).

    stem_every_step: count the layer that sees the image T times, although it is computed once.
    counts_as_macs: multiply by inputs that are whole numbers above 1, such as sums of spikes; else each is added as
        often as it says.
    fractions_as_acs: add fractional inputs, such as averages of spikes, spike for spike, as if the averaging were
        folded into the weights; else multiply by them.
    without_head: leave the last layer with weights out, of the ANN too.
    residuals: count the additions of shortcuts. updates: count the neurons' own decay (a MAC) and comparison (an AC) at
        every step.
    """

    stem_every_step: bool = False
    counts_as_macs: bool = False
    fractions_as_acs: bool = False
    without_head: bool = False
    residuals: bool = False
    updates: bool = False


@dataclass
class LayerEnergy:
    """One layer with weights, or what `Accounting` adds, for one image.

    connections: multiplications of one pass of the same layer in an ANN. passes: how often it runs. inputs: "image"
    (the first layer's, unless it sees events), "spikes" (of one size, up or down: an addition or subtraction of weights
    that have it in them), "counts" or "fractions". rate: their mean size (spikes per input and step, sums with their
    multiplicity). spikes: the same in units of the smallest that occurs, where they are fractions: of averages over
    four spikes, four times the rate. macs, acs: operations; energy: in picojoules.
    """

    layer: str
    connections: float
    passes: float
    inputs: str
    rate: float
    spikes: float
    macs: float
    acs: float

    @property
    def energy(self) -> float:
        return MAC * self.macs + AC * self.acs


@dataclass(frozen=True)
class Energy:
    """Operation energy of one image: memory traffic, which often costs more on real hardware, is not in it."""

    layers: list[LayerEnergy]
    steps: int
    images: int
    firing_rates: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Picojoules of the spiking network."""
        return sum(layer.energy for layer in self.layers)

    @property
    def ann(self) -> float:
        """Picojoules of one pass of the same network with numbers in place of spikes."""
        return MAC * sum(layer.connections for layer in self.layers)

    @property
    def ratio(self) -> float:
        return self.total / self.ann

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        layers = [{**asdict(layer), "energy": layer.energy} for layer in self.layers]
        return {
            "steps": self.steps,
            "images": self.images,
            "total_picojoules": self.total,
            "ann_picojoules": self.ann,
            "ratio": self.ratio,
            "firing_rates": self.firing_rates,
            "layers": layers,
        }


@torch.no_grad()
def energy(model: SpikingNetwork, batches: Iterable[Tensor], accounting: Accounting | None = None) -> Energy:
    """Count what the model does with those images (batches of them), in evaluation, by the rates that occur.

        E = 4.6·(MACs of what sees numbers) + 0.9·Σ rate·passes·connections of what sees spikes

    (Li et al. 2021; Horowitz 2014). The model, a `surgrad.models.SpikingNetwork`, is left as it was."""
    tally = _Tally(model)
    training = model.training
    model.eval()
    try:
        with tally.listening():
            for images in batches:
                tally.images += images.shape[images.ndim % 2]  # [T, N, ...] or [N, C, H, W]
                tally.steps = len(images) if images.ndim % 2 else model.steps
                model(images)
    finally:
        model.train(training)
    if not tally.images:
        raise BadValue("no image was given, so there is no rate to count by; give one or more")
    return tally.result(accounting or Accounting())


class _Tally:
    """Sums over the images, by module path."""

    def __init__(self, model: SpikingNetwork):
        self.model = model
        self.images = 0
        self.steps = 1
        self.shapes: dict[str, tuple[float, float]] = {}  # (connections of one row, rows)
        self.inputs: dict[str, list[float]] = {}  # of sizes: sum, number, not 0 or 1, not whole
        self.sizes: dict[str, tuple[float, float]] = {}  # smallest and largest but 0
        self.spikes: dict[str, list[float]] = {}  # sum, all
        self.added = 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        firing = neurons(self.model)
        handles = []
        for name, module in self.model.named_modules():
            if isinstance(module, COUNTED):
                handles.append(module.register_forward_hook(self._weighed(name)))
            elif name in firing:
                handles.append(module.register_forward_hook(self._fired(name)))
            elif isinstance(module, NormNeuron):
                handles.append(module.register_forward_hook(self._summed))
            elif isinstance(module, MembraneBlock | PreActivationBlock) or _adds(module):
                handles.append(module.register_forward_hook(lambda _, __, out: self._add(out)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _weighed(self, name: str) -> Any:
        def note(module: Any, inputs: tuple[Tensor, ...], out: Tensor) -> None:
            x = inputs[0].abs()
            flat = isinstance(module, nn.Linear)
            per_row = module.weight.numel() if flat else prod(out.shape[1:]) * prod(module.weight.shape[1:])
            rows = x.numel() / module.in_features if flat else len(x)
            self.shapes[name] = (per_row, self.shapes.get(name, (0.0, 0.0))[1] + rows)
            beyond = (x != 0) & (x != 1)
            fractional = x != x.round()
            _accumulate(self.inputs, name, (x.double().sum(), x.numel(), beyond.sum(), fractional.sum()))
            least = torch.where(x > 0, x, torch.inf).min().item()
            most = x.max().item()
            before = self.sizes.get(name, (least, most))
            self.sizes[name] = (min(least, before[0]), max(most, before[1]))

        return note

    def _fired(self, name: str) -> Any:
        return lambda own, __, out: _accumulate(self.spikes, name, (unscaled(out, own).double().sum(), out.numel()))

    def _summed(self, _: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        if len(inputs) > 1 and inputs[1] is not None:
            self._add(out)

    def _add(self, out: Tensor) -> None:
        self.added += out.numel()

    def result(self, accounting: Accounting) -> Energy:
        layers = [self._layer(name, place == 0, accounting) for place, name in enumerate(self.shapes)]
        if accounting.without_head:
            layers = layers[:-1]
        units = sum(count for _, count in self.spikes.values()) / self.images
        if accounting.residuals:
            layers.append(LayerEnergy("shortcuts", 0, 1, "counts", 0, 0, 0, self.added / self.images))
        if accounting.updates:
            layers.append(LayerEnergy("neurons", 0, 1, "counts", 0, 0, units, units))
        rates = {name: total / count for name, (total, count) in self.spikes.items()}
        return Energy(layers, self.steps, self.images, rates)

    def _layer(self, name: str, first: bool, accounting: Accounting) -> LayerEnergy:
        per_row, rows = self.shapes[name]
        total, count, beyond, fractional = self.inputs[name]
        passes = rows / self.images
        least, most = self.sizes[name]
        kind = "spikes" if least >= most else "fractions" if fractional else "counts" if beyond else "spikes"
        if first and kind != "spikes":
            kind = "image"
        if first and accounting.stem_every_step:
            passes = max(passes, float(self.steps))
        rate = total / count / (least if kind == "spikes" else 1)
        spikes = rate / least if kind == "fractions" else rate
        numbers = {"image": True, "counts": accounting.counts_as_macs, "fractions": not accounting.fractions_as_acs}
        done = passes * per_row
        macs, acs = (done, 0.0) if numbers.get(kind, False) else (0.0, done * spikes)
        return LayerEnergy(name, per_row, passes, kind, rate, spikes, macs, acs)


def _adds(module: nn.Module) -> bool:
    return isinstance(module, SpikeBlock) and module.connect == "add"


def _accumulate(into: dict[str, list[float]], name: str, found: Iterable[Any]) -> None:
    values = [float(value) for value in found]
    into[name] = [a + b for a, b in zip(into.get(name, [0.0] * len(values)), values, strict=True)]
