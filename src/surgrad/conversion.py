"""From a trained ReLU network to a spiking one, without training.

    ann = resnet20(neuron=nn.ReLU, norm=BatchNorm, steps=1)     # trained as any network
    snn = convert(ann, batches)                                 # ReLUs become integrate-and-fire neurons
    accuracies = accuracy_over_time(snn, test, 350)             # what it is worth after 1, 2, 3 ... steps

Each neuron's threshold is the largest activation, or a percentile of the activations, of the ReLU whose place it takes;
Sengupta et al. 2019 take the largest weighted input of spikes in its stead, layer by layer. Its spikes are as large as
its threshold, so that weights, norms and the additions of residual networks stay as they are (Hu et al. 2021 scale the
shortcuts to the same end). Norms work as in evaluation;
`surgrad.norm.fold` takes them into the convolutions.
"""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from surgrad.errors import BadValue
from surgrad.models import SpikingNetwork, in_chunks
from surgrad.neurons import ConvertedIF, whole_sequences
from surgrad.surrogate import Surrogate

Batch = tuple[Tensor, Tensor]


def convert(network: SpikingNetwork, batches: Iterable[Batch], *, percentile: float = 99.9, steps: int = 100,
            shift: float = 0.5) -> SpikingNetwork:  # fmt: skip
    """A copy of a network of ReLUs with `ConvertedIF` neurons in their places, in evaluation mode.

    batches: images that the thresholds are balanced on. percentile: of the activations of each batch, averaged over the
    batches, in (0, 100]; 100: their maximum over all. steps: T of the copy. shift: see `ConvertedIF`."""
    if not 0 < percentile <= 100:
        raise BadValue(f"percentile {percentile} is none; give a number above 0, at most 100")
    found = copy.deepcopy(network).eval()
    units = {name: module for name, module in found.named_modules() if isinstance(module, nn.ReLU)}
    if not units:
        raise BadValue("this network has no nn.ReLU to convert; build it with neuron=nn.ReLU, and train it")
    if any(isinstance(module, nn.MaxPool2d) for module in found.modules()):
        raise BadValue("this network takes maxima of several neurons, which spikes do not average to; use a network "
                       "with average pooling")  # fmt: skip
    _check_whole_time(found)
    levels = balanced(found, units, batches, percentile)
    for name, level in levels.items():
        parent, _, attribute = name.rpartition(".")
        neuron = ConvertedIF(threshold=level, shift=shift, surrogate=Surrogate("rect", 1.0))
        setattr(found.get_submodule(parent), attribute, neuron.to(next(found.parameters()).device).eval())
    found.steps = steps
    return found


@torch.no_grad()
def balanced(network: SpikingNetwork, units: dict[str, nn.ReLU], batches: Iterable[Batch],
             percentile: float) -> dict[str, float]:  # fmt: skip
    """The percentile of the activations of each unit."""
    seen: dict[str, list[float]] = {name: [] for name in units}
    hooks = [
        unit.register_forward_hook(lambda _m, _i, out, name=name: seen[name].append(_percentile(out, percentile)))
        for name, unit in units.items()
    ]
    try:
        for images, _ in batches:
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    levels = {name: max(found) if percentile == 100 else sum(found) / len(found) for name, found in seen.items()}
    for name, level in levels.items():
        if not level > 0:
            raise BadValue(f"the {percentile:g}th percentile of '{name}' is {level:g}, so nothing of it would be left; "
                           "give a higher percentile, or other images")  # fmt: skip
    return levels


def _percentile(values: Tensor, percentile: float) -> float:
    flat = values.flatten().float()
    return flat.kthvalue(max(1, round(percentile / 100 * flat.numel()))).values.item()


@torch.no_grad()
def accuracy_over_time(network: SpikingNetwork, batches: Iterable[Batch], steps: int, *,
                       chunk: int = 10) -> list[float]:  # fmt: skip
    """The accuracy, in [0, 1], of the time-averaged output after 1, 2, ..., `steps` steps, of static images.

    Computed `chunk` steps at a time, each going on from the last one's potentials, so that memory does not grow with
    the steps."""
    if steps < 1 or chunk < 1:
        raise BadValue(f"{steps} steps, {chunk} at a time: give 1 or more of both")
    right, total = torch.zeros(steps, dtype=torch.int64), 0
    training, last = network.training, network.last_step
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
    for name, module in whole_sequences(network).items():
        raise BadValue(f"'{name}', a {type(module).__name__}, is made for a number of steps, and time has no end here; "
                       "use a norm and neurons that are the same in every step")  # fmt: skip


def _right_over_time(network: SpikingNetwork, images: Tensor, labels: Tensor, steps: int, chunk: int) -> Tensor:
    sums = in_chunks(network, images, steps, chunk).cumsum(0)
    return (sums.argmax(2) == labels).sum(1).cpu()
