"""What-if questions about one batch, asked without a trace."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from surgrad.adapt.ranks import over_ranks
from surgrad.errors import BadValue, unknown

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Any, Any], Tensor]
_STATE = ("potential", "membrane", "watch")  # what a neuron holds outside its buffers


class Probe:
    """Answers what the loss of this batch would be with other parameters or widths (`torch.func.functional_call` on
    cloned buffers). It never writes the model, its normalisation statistics, its neurons' state or the random
    numbers; every question sees the same random numbers. Autocast is off and the loss is summed in float64, since
    differences of losses drown in bfloat16. With several ranks every answer is the mean over them.

    Normalisation acts as in the coming forward pass: by batch statistics in training, by running ones in evaluation.
    """

    def __init__(self, model: nn.Module, loss: Loss, batch: Batch):
        self._model, self._loss, self._batch = model, loss, batch
        self._parameters = dict(model.named_parameters())

    def loss(self, over: Mapping[str, Tensor] | None = None) -> Tensor:
        """The loss, 0-d float64, with the parameters or buffers named in `over` replaced."""
        with torch.no_grad():
            return over_ranks(self._evaluate(over or {}), mean=True)

    def grad(self, parameter: str, widths: Mapping[str, Tensor] | None = None) -> Tensor:
        """The surrogate gradient of the loss with respect to a parameter, of its shape and dtype, with other widths,
        given by neuron."""
        value = self._parameter(parameter).detach().clone().requires_grad_()
        over = {f"{name}.surrogate.width": width for name, width in (widths or {}).items()}
        with torch.enable_grad():
            (grad,) = torch.autograd.grad(self._evaluate({**over, parameter: value}), value)
        return over_ranks(grad, mean=True)

    def difference(self, parameter: str, eps: float, coordinates: Sequence[int] | None = None) -> Tensor:
        """The finite-difference gradient (Li et al. 2021, Dspike): [L(w + ε·e_i) - L(w - ε·e_i)]/(2ε) for each of
        the `coordinates` (flat indices; all by default) of a parameter, hard spikes forward -> [len], float64."""
        if not eps > 0:
            raise BadValue(f"eps {eps} is not a finite difference; give a positive step in units of the parameter")
        value = self._parameter(parameter).detach()
        where = range(value.numel()) if coordinates is None else coordinates
        out = torch.stack([self._along(parameter, value, i, eps) for i in where])
        if not out.any():
            raise BadValue(
                f"every finite difference of '{parameter}' at eps = {eps:g} is zero: it does not move the loss (as a "
                "bias before a normalisation does not), or no spike flips; give another parameter or a larger eps"
            )
        return out

    def membranes(self) -> dict[str, Tensor]:
        """Every neuron's membrane histogram (`surgrad.kernels.lif`) on this batch, by module path, of this rank."""
        with torch.no_grad(), _untouched(self._model, self._batch[0].device):
            watched: dict[str, Any] = {name: m for name, m in self._model.named_modules() if hasattr(m, "watch")}
            for module in watched.values():
                module.watch = True
            self._output({})
            return {name: module.membrane for name, module in watched.items()}

    def _along(self, parameter: str, value: Tensor, index: int, eps: float) -> Tensor:
        losses = []
        for sign in (1, -1):
            moved = value.clone()
            moved[torch.unravel_index(torch.tensor(index), value.shape)] += sign * eps  # in whatever layout
            losses.append(self.loss({parameter: moved}))
        return (losses[0] - losses[1]) / (2 * eps)

    def _parameter(self, name: str) -> Tensor:
        if name not in self._parameters:
            raise unknown("parameter", name, self._parameters)
        return self._parameters[name]

    def _evaluate(self, over: Mapping[str, Tensor]) -> Tensor:
        with _untouched(self._model, self._batch[0].device):
            output = self._output(over)
        return self._loss(output.double() if isinstance(output, Tensor) else output, self._batch[1])

    def _output(self, over: Mapping[str, Tensor]) -> Any:
        buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()}
        for name in over:
            if name not in buffers and name not in self._parameters:
                raise unknown("parameter or buffer", name, [*self._parameters, *buffers])
        inputs = self._batch[0]
        with torch.autocast(inputs.device.type, enabled=False):
            return functional_call(self._model, {**buffers, **over}, (inputs,))


@contextmanager
def _untouched(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put the random numbers and the neurons' state back as they were, and run no hooks of the model itself."""
    kept = [(m, key, getattr(m, key)) for m in model.modules() for key in _STATE if hasattr(m, key)]
    hooks, model._forward_pre_hooks = model._forward_pre_hooks, type(model._forward_pre_hooks)()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        model._forward_pre_hooks = hooks
        for module, key, value in kept:
            setattr(module, key, value)
