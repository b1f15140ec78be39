"""Where a value became infinite or NaN: the first layer whose output is not finite."""

from typing import Any

import torch
from torch import Tensor, nn

from surgrad import ranks
from surgrad.adapt.probe import Batch
from surgrad.hooks import forward_hooks

LARGE = 1e15
"""Numbers whose squares, summed over a network, may exceed the largest float32."""


def locate_nonfinite(model: nn.Module, batch: Batch) -> str:
    """A sentence that names the first parameter that is not finite; else the first layer of a forward pass whose output
    is not; else the first parameter whose gradient is not, or whose gradient is so large that its norm is not."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"parameter '{name}' is not finite"
    layers = ranks.gathered_objects(_first_layer(model, batch))
    found = [(*layer, rank) for rank, layer in enumerate(layers) if layer is not None]
    if found:  # of several ranks in the first such layer: a norm behind it gives them to the others
        _, layer, rank = min(found)
        where = f", on rank {rank}" if ranks.several() else ""
        return f"the first values that are not finite are the output of layer '{layer}'{where}"
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            return f"the gradient of '{name}' is not finite"
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    largest = {name: gradient.abs().max().item() for name, gradient in gradients.items() if gradient.numel()}
    name = max(largest, key=largest.__getitem__, default="")
    if name and largest[name] > LARGE:
        return f"the gradient of '{name}' reaches {largest[name]:.0e}, and its square is not finite"
    return "every layer's output and gradient is finite, so only the loss is not"


def _first_layer(model: nn.Module, batch: Batch) -> tuple[int, str] | None:
    """Its number in the order of the forward pass, and its name."""
    outputs: list[tuple[int, str, bool]] = []

    def look(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        finite = not isinstance(output, Tensor) or bool(torch.isfinite(output).all())
        outputs.append((len(outputs), name, finite))

    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    with forward_hooks(leaves, look), torch.no_grad():
        model.forward(batch[0])  # without the model's own hooks: this is not a training step
    return next(((number, name) for number, name, finite in outputs if not finite), None)
