"""Operations and energy of a network: additions where inputs are spikes, multiplications where they are numbers."""

from collections.abc import Iterable
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from surgrad.errors import BadValue
from surgrad.hooks import forward_hooks
from surgrad.measure.layers import unscaled
from surgrad.models import CurrentBlock, MembraneBlock, PreActivationBlock, SpikeBlock, SpikingNetwork
from surgrad.neurons import neurons
from surgrad.norm import NormNeuron
from surgrad.padding import Padded, count_samples, only_valid, padded

MAC = 4.6
AC = 0.9
"""Picojoules of a 32-bit multiply-accumulate operation, and of an accumulate operation, at 45 nm (Horowitz 2014)."""
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@dataclass(frozen=True)
class Accounting:
    """How operations are counted; the defaults are those of Li et al. 2021 (Dspike).

    Attributes:
        stem_every_step: count the layer that sees the image T times, although it is computed once.
        counts_as_macs: multiply by inputs that are whole numbers above 1, such as sums of spikes. Otherwise their
            weights are added that number of times.
        fractions_as_acs: add for each spike in fractional inputs, such as averages of spikes, as if the averaging were
            part of the weights. Otherwise they are multiplied.
        without_head: do not count the last layer with weights, in the ANN neither.
        residuals: count the additions of shortcuts.
        updates: count the decay (a MAC) and the comparison (an AC) of every neuron at every time step.
    """

    stem_every_step: bool = False
    counts_as_macs: bool = False
    fractions_as_acs: bool = False
    without_head: bool = False
    residuals: bool = False
    updates: bool = False


@dataclass
class LayerEnergy:
    """Operations for one image in one layer with weights, or in one group that `Accounting` adds.

    Attributes:
        layer: path of the layer, or the name of the group.
        connections: multiplications in one pass of the same layer in an ANN.
        passes: how often the layer runs.
        inputs: "image" (the inputs of the first layer, unless they are events), "spikes" (0 or one size, with any
            sign: an addition or subtraction of weights scaled by the size), "counts" or "fractions".
        rate: mean size of the inputs (spikes per input and time step; a sum of spikes counts each of them).
        spikes: the same, but fractions in units of the smallest one: for averages over four spikes, four times the
            rate.
        macs: multiplications with accumulation.
        acs: additions.
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
        """Picojoules."""
        return MAC * self.macs + AC * self.acs


@dataclass(frozen=True)
class Energy:
    """Energy of the operations for one image. Memory traffic, which often costs more on hardware, is not counted.

    Args:
        layers: the counts of each layer with weights, from input to output.
        steps: time steps T.
        images: the number of images that were counted.
        firing_rates: by module path of the neurons, spikes per neuron and time step.
    """

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
        """Picojoules of one pass of the same network with real numbers instead of spikes."""
        return MAC * sum(layer.connections for layer in self.layers)

    @property
    def ratio(self) -> float:
        """`total` divided by `ann`."""
        return self.total / self.ann

    def record(self) -> dict[str, Any]:
        """The counts as JSON can hold them."""
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
def energy(
    model: nn.Module,
    batches: Iterable[Tensor | Padded],
    accounting: Accounting | None = None,
    *,
    steps: int | None = None,
) -> Energy:
    """Count the operations of a network in evaluation mode, at the spike rates that occur.

        E = 4.6·(MACs of layers with numbers as inputs) + 0.9·Σ rate·passes·connections (layers with spikes as inputs)

    (Li et al. 2021; Horowitz 2014). The network is unchanged afterwards.

    A kernel at the border of an image is counted whole, as in the papers, although some of its weights meet padding: on
    images of 8×8 pixels this counts up to a fifth too much.

    Args:
        model: the network, of any kind: layers with weights, and neurons of surgrad.
        batches: batches of images [N, C, H, W] or of recordings [T, N, C, H, W]; of sequences of different lengths,
            `surgrad.padding.Padded`, of which no padded step is counted, except in layers that are called once a step.
        accounting: how to count.
        steps: the time steps that the network makes of one of its inputs. Where it is not given, a `SpikingNetwork`
            says it itself, and the inputs of any other network are sequences [T, N, ...].

    Raises:
        BadValue: there is no image, or the number of steps is below 1.

    Example:
        >>> from surgrad.models import small_cnn
        >>> found = energy(small_cnn(width_multiplier=0.1), [torch.rand(2, 1, 8, 8)])
        >>> found.images, found.steps, found.ann > 0
        (2, 4, True)
    """
    if steps is not None and steps < 1:
        raise BadValue(f"steps must be at least 1, got {steps}")
    tally = _Tally(model)
    training = model.training
    model.eval()
    try:
        with tally.counting():
            for batch in batches:
                if not isinstance(batch, Tensor | Padded):
                    raise BadValue(f"a batch is a {type(batch).__name__}; give tensors, or Padded(sequences, lengths)")
                images, lengths = batch if isinstance(batch, Padded) else (batch, None)
                tally.images += images.shape[0 if _is_static(model, images, steps) else 1]
                tally.steps = _steps_of(model, images, steps)
                tally.least_passes = float(tally.steps) if _is_static(model, images, steps) else 0.0
                with nullcontext() if lengths is None else padded(lengths):
                    model(images)
    finally:
        model.train(training)
    if not tally.images:
        raise BadValue("no image was given; give one or more, to measure the spike rates")
    return tally.result(accounting or Accounting())


def _is_static(model: nn.Module, images: Tensor, steps: int | None) -> bool:
    """Whether a batch has no time axis."""
    return not model.is_sequence(images) if isinstance(model, SpikingNetwork) else steps is not None


def _steps_of(model: nn.Module, images: Tensor, steps: int | None) -> int:
    if steps is not None:
        return steps
    return model.time_steps(images) if isinstance(model, SpikingNetwork) else len(images)


class _Tally:
    """Sums over the images, by path of the module."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.images = 0
        self.steps = 1
        self.least_passes = 0.0  # of a layer that sees a static image, if it is counted in every step
        self.shapes: dict[str, tuple[float, float]] = {}  # (connections for one row of inputs, number of rows)
        self.inputs: dict[str, list[float]] = {}  # sum of sizes; number; those not 0 or 1; those not whole
        self.sizes: dict[str, tuple[float, float]] = {}  # smallest and largest size above 0
        self.spikes: dict[str, list[float]] = {}  # sum; number
        self.added = 0.0
        self.before_spikes: set[str] = set()  # layers that numbers reach, and no spike

    def counting(self) -> ExitStack:
        """Within it, every forward pass of the network is counted."""
        modules = dict(self.model.named_modules())
        firing = neurons(self.model)
        weighted = {name: module for name, module in modules.items() if isinstance(module, WEIGHTED)}
        others = {name: module for name, module in modules.items() if name not in weighted and name not in firing}
        pairs = {name: module for name, module in others.items() if isinstance(module, NormNeuron)}
        blocks = {name: module for name, module in others.items() if _adds_shortcut(module)}
        with ExitStack() as stack:
            stack.enter_context(forward_hooks(weighted.items(), self._count_inputs))
            stack.enter_context(forward_hooks(firing.items(), self._count_spikes))
            stack.enter_context(forward_hooks(pairs.items(), self._count_summand))
            stack.enter_context(forward_hooks(blocks.items(), self._count_addition))
            return stack.pop_all()

    def _count_inputs(self, name: str, module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        linear = isinstance(module, nn.Linear)
        flattened = not linear or inputs[0].ndim == 2
        if not self.spikes:
            self.before_spikes.add(name)
        x = _kept(inputs[0].abs(), self.steps if flattened else None)
        per_row = module.weight.numel() if linear else prod(output.shape[1:]) * prod(module.weight.shape[1:])
        rows = x.numel() / module.in_features if linear else len(x)
        self.shapes[name] = (per_row, self.shapes.get(name, (0.0, 0.0))[1] + rows)
        other = (x != 0) & (x != 1)
        fractional = x != x.round()
        _accumulate(self.inputs, name, (x.double().sum(), x.numel(), other.sum(), fractional.sum()))
        least = torch.where(x > 0, x, torch.inf).min().item()
        most = x.max().item()
        before = self.sizes.get(name, (least, most))
        self.sizes[name] = (min(least, before[0]), max(most, before[1]))

    def _count_spikes(self, name: str, neuron: nn.Module, _: Any, output: Tensor) -> None:
        spikes = only_valid(unscaled(output, neuron))
        _accumulate(self.spikes, name, (spikes.double().sum(), spikes.numel()))

    def _count_summand(self, _: str, __: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if len(inputs) > 1 and inputs[1] is not None:
            self.added += only_valid(output).numel()

    def _count_addition(self, _: str, __: nn.Module, ___: Any, output: Tensor) -> None:
        self.added += only_valid(output).numel()

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
        total, count, other, fractional = self.inputs[name]
        passes = rows / self.images
        least, most = self.sizes[name]
        kind = "spikes" if least >= most else "fractions" if fractional else "counts" if other else "spikes"
        if (first or name in self.before_spikes) and kind != "spikes":
            kind = "image"
        if kind == "image" and accounting.stem_every_step:
            passes = max(passes, self.least_passes)
        rate = total / count / (least if kind == "spikes" else 1)
        spikes = rate / least if kind == "fractions" else rate
        numbers = {"image": True, "counts": accounting.counts_as_macs, "fractions": not accounting.fractions_as_acs}
        multiplied = numbers.get(kind, False)
        operations = passes * per_row
        macs = operations if multiplied else 0.0
        acs = 0.0 if multiplied else operations * spikes
        return LayerEnergy(name, per_row, passes, kind, rate, spikes, macs, acs)


def _kept(x: Tensor, steps: int | None) -> Tensor:
    """The inputs of a layer, [T·N, ...] with T = `steps`, or [T, N, ...], without those of padded steps. A layer that
    is called with other inputs, as once a step, keeps all."""
    samples = count_samples()
    if samples is None or (steps is not None and len(x) != steps * samples):
        return x
    return only_valid(x if steps is None else x.unflatten(0, (steps, -1)))[0]


def _adds_shortcut(module: nn.Module) -> bool:
    """Whether the output of a block is a sum with its shortcut."""
    if isinstance(module, MembraneBlock | PreActivationBlock | CurrentBlock):
        return True
    return isinstance(module, SpikeBlock) and module.connect == "add"


def _accumulate(into: dict[str, list[float]], name: str, found: Iterable[Any]) -> None:
    values = [float(value) for value in found]
    into[name] = [a + b for a, b in zip(into.get(name, [0.0] * len(values)), values, strict=True)]
