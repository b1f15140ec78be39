"""Conversion of a trained ReLU network to a spiking network, without training.

    ann = resnet20(neuron=nn.ReLU, norm=BatchNorm, steps=1)     # trained as any network
    snn = convert(ann, batches)                                 # ReLUs become integrate-and-fire neurons
    accuracies = accuracy_over_time(snn, test, 350)             # accuracy after T = 1, 2, 3, ...

    snn = convert(mine, batches)                                # any network of plain torch layers and ReLUs

The threshold of each neuron is the largest activation, or a percentile of the activations, of the ReLU that it
replaces. (Sengupta et al. 2019 use the largest weighted input of spikes, layer by layer.) Its spikes are as large as
its threshold, so that weights, norms and the additions of residual networks stay unchanged; Hu et al. 2021 scale the
shortcuts for the same purpose. Norms work as in evaluation; `surgrad.norm.fold` merges them into the convolutions.

Any neuron with a threshold can replace the ReLUs, as a start for its training (Rathi and Roy 2021, Diet-SNN):

    snn = convert(ann, batches, percentile=99.7, steps=5, neuron=lambda level: DietLIF(0.9, threshold=level))

Where its spikes are 1, the weights after it are multiplied by the threshold. This works in chains of layers, and not
with shortcuts.
"""

import copy
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.pooling import _AdaptiveMaxPoolNd as _AdaptiveMaxPool
from torch.nn.modules.pooling import _MaxPoolNd as _MaxPool

from surgrad.config.registry import Registry
from surgrad.config.values import Positive
from surgrad.errors import BadValue
from surgrad.hooks import forward_hooks
from surgrad.models import SpikingNetwork, in_chunks
from surgrad.neurons import ConvertedIF, Neuron, needs_whole_sequence
from surgrad.surrogates import Surrogate
from surgrad.tracing import over_time

Batch = tuple[Tensor, Tensor]


def convert(
    network: nn.Module,
    batches: Iterable[Batch],
    *,
    percentile: float = 99.9,
    steps: int = 100,
    shift: float = 0.5,
    scale: float = 1.0,
    neuron: Callable[[float], Neuron] | None = None,
) -> SpikingNetwork:
    """Copy a network of ReLUs, with spiking neurons in their place, in evaluation mode.

    Args:
        network: the trained network: a `SpikingNetwork` with `nn.ReLU` in the place of neurons, or any network of plain
            torch layers that torch.fx can trace (`surgrad.tracing`).
        batches: (images, labels) from which the thresholds are computed; labels are not used.
        percentile: of the activations of each batch, averaged over the batches, in (0, 100]; 100 is the maximum over
            all batches.
        steps: T of the copy.
        shift: see `ConvertedIF`.
        scale: a factor of all thresholds (Rathi and Roy 2021).
        neuron: makes another neuron than `ConvertedIF` from a threshold. Where its spikes are 1, the weights after it
            are multiplied by the threshold before `scale`, so that a lower threshold means more spikes.

    Raises:
        BadValue: an option is out of range, or the network cannot be converted.

    Example:
        >>> import torch
        >>> from surgrad.models.resnet import cifar_resnet
        >>> network = cifar_resnet(in_channels=1, neuron=torch.nn.ReLU, count=1)
        >>> batch = torch.rand(4, 1, 16, 16), torch.zeros(4, dtype=torch.int64)
        >>> spiking = convert(network, [batch], steps=8)
        >>> spiking(batch[0]).shape
        torch.Size([8, 4, 10])
    """
    if not scale > 0:
        raise BadValue(f"scale must be positive, got {scale}")
    if not 0 < percentile <= 100:
        raise BadValue(f"percentile must be above 0 and at most 100, got {percentile}")
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        raise BadValue("there is no batch to compute thresholds from; give one or more")
    copied = copy.deepcopy(network).eval()
    found = copied if isinstance(copied, SpikingNetwork) else over_time(copied, first[0].ndim - 1)
    units = _units(found)
    levels = activation_levels(found, units, chain([first], batches), percentile)
    neuron = neuron or partial(_converted, shift)
    made = {name: neuron(scale * level) for name, level in levels.items()}
    _scale_weights(found, {units[name]: levels[name] for name in units if made[name].amplitude is None}, first[0])
    for name, unit in made.items():
        parent, _, attribute = name.rpartition(".")
        setattr(found.get_submodule(parent), attribute, unit.to(next(found.parameters()).device).eval())
    found.steps = steps
    return found


NONLINEAR = tuple(
    kind
    for name in torch.nn.modules.activation.__all__
    if isinstance(kind := getattr(nn, name), type) and kind not in (nn.ReLU, nn.MultiheadAttention)
)
"""Activations that no neuron replaces."""


def _units(network: SpikingNetwork) -> dict[str, nn.ReLU]:
    """The ReLUs of a network by path; an error where it cannot be converted."""
    units = {name: module for name, module in network.named_modules() if isinstance(module, nn.ReLU)}
    if not units:
        raise BadValue("this network has no nn.ReLU to convert; build it with neuron=nn.ReLU, and train it")
    for name, module in network.named_modules():
        if type(module) in NONLINEAR:
            raise BadValue(
                f"'{name}' ({type(module).__name__}) is not a ReLU and would stay as it is; train the network with "
                "nn.ReLU"
            )
    if any(isinstance(module, _MaxPool | _AdaptiveMaxPool) for module in network.modules()):
        raise BadValue(
            "this network takes maxima of several neurons, which spikes do not average to; use a network "
            "with average pooling"
        )
    _check_streaming(network)
    return units


def _converted(shift: float, threshold: float) -> ConvertedIF:
    return ConvertedIF(threshold=threshold, shift=shift, surrogate=Surrogate("rect", 1.0))


@torch.no_grad()
def _scale_weights(network: SpikingNetwork, levels: dict[nn.Module, float], images: Tensor) -> None:
    """Multiply the weights after each of those units by its level, so that spikes of 1 have the effect of the unit's
    activations divided by the level; an error where that changes the network's output."""
    if not levels:
        return
    order: list[nn.Module] = []
    with forward_hooks(
        [(name, m) for name, m in network.named_modules() if m in levels or _is_weighted(m)],
        lambda name, module, inputs, output: order.append(module),
    ):
        before = network(images)
    size = 1.0
    for module in order:
        if module in levels:
            size = levels[module]
        else:
            module.get_parameter("weight").mul_(size)
            size = 1.0
    units = [(name, module) for name, module in network.named_modules() if module in levels]
    with forward_hooks(units, lambda name, module, inputs, output: output / levels[module]):
        after = network(images)
    if not torch.allclose(before, after, rtol=1e-3, atol=1e-3 * before.abs().max().item()):
        raise BadValue(
            "with spikes of 1, the weights after each neuron must be multiplied by its threshold, and in this network "
            "that is not possible (a shortcut passes the neuron, for example, or the weights are standardised); "
            "convert a chain of layers such as vgg16, or to neurons whose spikes are as large as their threshold"
        )


def _is_weighted(module: nn.Module) -> bool:
    """Whether a module is a convolution, a linear layer or another one with a weight of two or more dimensions."""
    return getattr(getattr(module, "weight", None), "ndim", 0) > 1


@torch.no_grad()
def activation_levels(
    network: SpikingNetwork, units: dict[str, nn.ReLU], batches: Iterable[Batch], percentile: float
) -> dict[str, float]:
    """The percentile of the activations of each unit, averaged over the batches; with 100, the maximum over all.

    Args:
        network: the network of ReLUs, in evaluation mode.
        units: its ReLUs by path.
        batches: (images, labels); labels are not used.
        percentile: in (0, 100].

    Raises:
        BadValue: the percentile of a unit is 0.
    """
    seen: dict[str, list[float]] = {name: [] for name in units}

    def record(name: str, unit: nn.ReLU, inputs: Any, output: Tensor) -> None:
        seen[name].append(_percentile(output, percentile))

    with forward_hooks(units.items(), record):
        for images, _ in batches:
            network(images)
    idle = [name for name, found in seen.items() if not found]
    if idle:
        raise BadValue(f"'{idle[0]}' was not called, so it has no threshold; remove it from the network")
    levels = {name: max(found) if percentile == 100 else sum(found) / len(found) for name, found in seen.items()}
    for name, level in levels.items():
        if not level > 0:
            raise BadValue(
                f"the {percentile:g}th percentile of '{name}' is {level:g}, so its threshold would be zero; "
                "give a higher percentile, or other images"
            )
    return levels


def _percentile(values: Tensor, percentile: float) -> float:
    flat = values.flatten().float()
    return flat.kthvalue(max(1, round(percentile / 100 * flat.numel()))).values.item()


@torch.no_grad()
def accuracy_over_time(
    network: SpikingNetwork, batches: Iterable[Batch], steps: int, *, chunk: int = 10
) -> list[float]:
    """The accuracy, in [0, 1], of the time-averaged output after 1, 2, ..., `steps` time steps.

    Args:
        network: the network.
        batches: static images and their labels.
        steps: the largest T.
        chunk: the number of time steps of one call; memory grows with it, and not with `steps`.

    Raises:
        BadValue: `steps` or `chunk` is below 1, or a module needs the whole sequence in one call.
    """
    if steps < 1 or chunk < 1:
        raise BadValue(f"steps and chunk must be at least 1, got {steps} and {chunk}")
    right = torch.zeros(steps, dtype=torch.int64)
    total = 0
    training = network.training
    last = network.last_step
    network.eval()
    _check_streaming(network)
    try:
        network.last_step = False
        for images, labels in batches:
            right += _right_over_time(network, images, labels, steps, chunk)
            total += len(labels)
    finally:
        network.train(training)
        network.last_step = last
    return (right.double() / max(total, 1)).tolist()


def _check_streaming(network: SpikingNetwork) -> None:
    """Refuse modules that cannot continue from where a chunk of time steps ended."""
    for name, module in needs_whole_sequence(network).items():
        raise BadValue(
            f"'{name}', a {type(module).__name__}, is made for a fixed number of time steps, and a converted network "
            "runs for any number; use a norm and neurons that are the same in every step"
        )


def _right_over_time(network: SpikingNetwork, images: Tensor, labels: Tensor, steps: int, chunk: int) -> Tensor:
    """How many samples are classified correctly after each time step, [steps]."""
    sums = in_chunks(network, images, steps, chunk).cumsum(0)
    return (sums.argmax(2) == labels).sum(1).cpu()


def relu(threshold: Positive = 0.5) -> nn.ReLU:
    """A ReLU in the place of a neuron, for an ANN that will be converted.

    Args:
        threshold: of the neurons after the conversion, in units of potential; tdBN scales by it.
    """
    return nn.ReLU()


UNITS: Registry[Callable[..., nn.Module]] = Registry("neuron", {"relu": relu})
"""Units of an ANN, which a recipe may name in the place of a neuron."""
