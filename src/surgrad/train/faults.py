"""Where a number went bad: the first layer whose output is not finite."""

from typing import Any

import torch
from torch import Tensor, nn

from surgrad.adapt.probe import Batch


def locate_nonfinite(model: nn.Module, batch: Batch) -> str:
    """A sentence that names the first parameter, else the first layer of a forward pass, that is not finite; else
    the first parameter whose gradient is not."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"parameter '{name}' is not finite"
    layer = _first_layer(model, batch)
    if layer is not None:
        return f"the first values that are not finite come out of layer '{layer}'"
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            return f"the gradient of '{name}' is not finite"
    return "every layer's output and gradient is finite, so it is the loss itself"


def _first_layer(model: nn.Module, batch: Batch) -> str | None:
    found: list[str] = []

    def hook(name: str) -> Any:
        def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not torch.isfinite(output).all():
                found.append(name)

        return look

    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(hook(name)) for name, module in leaves]
    try:
        with torch.no_grad():
            model.forward(batch[0])  # past the hooks of the model itself: this is no training step
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None
