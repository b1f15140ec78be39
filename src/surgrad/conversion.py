"""From a trained ReLU network to a spiking one, without training.

    ann = resnet20(neuron=nn.ReLU, norm=BatchNorm, steps=1)     # trained as any network
    snn = convert(ann, batches)                                 # ReLUs become integrate-and-fire neurons
    accuracies = accuracy_over_time(snn, test, 350)             # what it is worth after 1, 2, 3 ... steps

Each neuron's threshold is the largest activation, or a percentile of the activations, of the ReLU whose place it takes;
Sengupta et al. 2019 take the largest weighted input of spikes in its stead, layer by layer. Its spikes are as large as
its threshold, so that weights, norms and the additions of residual networks stay as they are (Hu et al. 2021 scale the
shortcuts to the same end). Norms work as in evaluation;
`surgrad.norm.fold` takes them into the convolutions.

Any neuron with a threshold can take the place, as a start for its training (Rathi and Roy 2021, Diet-SNN):

    snn = convert(ann, batches, percentile=99.7, steps=5, neuron=lambda level: DietLIF(0.9, threshold=level))

Where its spikes are 1, the weights behind it take their size, which chains of layers allow and shortcuts do not.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from surgrad.errors import BadValue
from surgrad.models import SpikingNetwork, in_chunks
from surgrad.neurons import ConvertedIF, Neuron, needs_whole_sequence
from surgrad.surrogates import Surrogate

Batch = tuple[Tensor, Tensor]


def convert(
    network: SpikingNetwork,
    batches: Iterable[Batch],
    *,
    percentile: float = 99.9,
    steps: int = 100,
    shift: float = 0.5,
    scale: float = 1.0,
    neuron: Callable[[float], Neuron] | None = None,
) -> SpikingNetwork:
    """A copy of a network of ReLUs with `ConvertedIF` neurons in their places, in evaluation mode.

    batches: images that the thresholds are balanced on. percentile: of the activations of each batch, averaged over the
    batches, in (0, 100]; 100: their maximum over all. steps: T of the copy. shift: see `ConvertedIF`. scale: what
    thresholds are multiplied by (Rathi and Roy 2021). neuron: makes another neuron of a threshold; where its spikes are
    1, weights behind it are multiplied by the threshold before `scale`, so that a lower one means more spikes."""
    if not scale > 0:
        raise BadValue(f"scale {scale} leaves no threshold; give a positive number")
    if not 0 < percentile <= 100:
        raise BadValue(f"percentile {percentile} is none; give a number above 0, at most 100")
    found = copy.deepcopy(network).eval()
    units = {name: module for name, module in found.named_modules() if isinstance(module, nn.ReLU)}
    if not units:
        raise BadValue("this network has no nn.ReLU to convert; build it with neuron=nn.ReLU, and train it")
    if any(isinstance(module, nn.MaxPool2d) for module in found.modules()):
        raise BadValue(
            "this network takes maxima of several neurons, which spikes do not average to; use a network "
            "with average pooling"
        )
    _check_whole_time(found)
    batches = iter(batches)
    some = next(batches, None)
    if some is None:
        raise BadValue("there is no batch to balance thresholds on; give one or more")
    levels = balanced(found, units, chain([some], batches), percentile)
    neuron = neuron or partial(_converted, shift)
    made = {name: neuron(scale * level) for name, level in levels.items()}
    _take_size(found, {units[name]: levels[name] for name in units if made[name].amplitude is None}, some[0])
    for name, unit in made.items():
        parent, _, attribute = name.rpartition(".")
        setattr(found.get_submodule(parent), attribute, unit.to(next(found.parameters()).device).eval())
    found.steps = steps
    return found


def _converted(shift: float, threshold: float) -> ConvertedIF:
    return ConvertedIF(threshold=threshold, shift=shift, surrogate=Surrogate("rect", 1.0))


@torch.no_grad()
def _take_size(network: SpikingNetwork, levels: dict[nn.Module, float], images: Tensor) -> None:
    """Multiply the weights behind each of those units by its level, so that activations divided by it do as before."""
    if not levels:
        return
    order: list[nn.Module] = []
    layers = [m for m in network.modules() if m in levels or getattr(getattr(m, "weight", None), "ndim", 0) > 1]
    with _hooked(layers, lambda module, _, out: order.append(module)):
        before = network(images)
    size = 1.0
    for module in order:
        if module in levels:
            size = levels[module]
        else:
            module.weight.mul_(size)  # type: ignore[operator]  # all of these have weights
            size = 1.0
    with _hooked(levels, lambda module, _, out: out / levels[module]):
        after = network(images)
    if not torch.allclose(before, after, rtol=1e-3, atol=1e-3 * before.abs().max().item()):
        raise BadValue(
            "spikes of 1 in place of these activations ask the weights behind each neuron to take its "
            "threshold, and here they cannot (a shortcut goes past them, say, or they are standardised); "
            "convert a chain of layers such as vgg16, or to neurons of other spikes"
        )


@contextmanager
def _hooked(modules: Iterable[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    """While it lasts, that hook after each forward pass of those modules."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def balanced(
    network: SpikingNetwork, units: dict[str, nn.ReLU], batches: Iterable[Batch], percentile: float
) -> dict[str, float]:
    """The percentile of the activations of each unit."""
    seen: dict[str, list[float]] = {name: [] for name in units}
    names = {unit: name for name, unit in units.items()}
    with _hooked(names, lambda unit, _, out: seen[names[unit]].append(_percentile(out, percentile))):
        for images, _ in batches:
            network(images)
    levels = {name: max(found) if percentile == 100 else sum(found) / len(found) for name, found in seen.items()}
    for name, level in levels.items():
        if not level > 0:
            raise BadValue(
                f"the {percentile:g}th percentile of '{name}' is {level:g}, so nothing of it would be left; "
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
    """The accuracy, in [0, 1], of the time-averaged output after 1, 2, ..., `steps` steps, of static images.

    Computed `chunk` steps at a time, each going on from the last one's potentials, so that memory does not grow with
    the steps."""
    if steps < 1 or chunk < 1:
        raise BadValue(f"{steps} steps, {chunk} at a time: give 1 or more of both")
    right = torch.zeros(steps, dtype=torch.int64)
    total = 0
    training = network.training
    last = network.last_step
    network.eval()
    _check_whole_time(network)
    try:
        network.last_step = False
        for images, labels in batches:
            right += _right_over_time(network, images, labels, steps, chunk)
            total += len(labels)
    finally:
        network.train(training)
        network.last_step = last
    return (right.double() / max(total, 1)).tolist()


def _check_whole_time(network: SpikingNetwork) -> None:
    """Refuse what cannot go on from where a chunk of steps ended."""
    for name, module in needs_whole_sequence(network).items():
        raise BadValue(
            f"'{name}', a {type(module).__name__}, is made for a number of steps, and time has no end here; "
            "use a norm and neurons that are the same in every step"
        )


def _right_over_time(network: SpikingNetwork, images: Tensor, labels: Tensor, steps: int, chunk: int) -> Tensor:
    sums = in_chunks(network, images, steps, chunk).cumsum(0)
    return (sums.argmax(2) == labels).sum(1).cpu()
