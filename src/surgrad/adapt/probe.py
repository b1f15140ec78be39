"""What-if questions about one batch, asked without a trace."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from surgrad.adapt.foreign import neuron_of, slot_of
from surgrad.adapt.preserving import preserved_state
from surgrad.adapt.ranks import all_reduce
from surgrad.errors import BadValue, unknown
from surgrad.layers import PerStep
from surgrad.neurons import MPBN

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Any, Any], Tensor]


class Probe:
    """Answers what the loss of this batch would be with other parameters or widths (`torch.func.functional_call` on
    cloned buffers). It never writes the model, its normalisation statistics, its neurons' state or the random
    numbers; every question sees the same random numbers, and neurons at rest. Autocast is off and the loss is summed in
    float64, since differences of losses drown in bfloat16. With several ranks every answer is the mean over them.

    Normalisation acts as in the coming forward pass: by batch statistics in training, by running ones in evaluation.
    """

    def __init__(self, model: nn.Module, loss: Loss, batch: Batch, frozen: Mapping[str, Tensor] | None = None):
        self._model = model
        self._loss = loss
        self._batch = batch
        self._frozen = frozen
        self._parameters = dict(model.named_parameters())

    def frozen(self) -> "Probe":
        """A probe of the same batch in which whatever looks at the whole batch (norms, MPBN, the limits of a DCT) takes
        what it finds in this one as constants (the variance unbiased, as running estimates have it; MPBN's are means
        over the steps), so that no what-if moves them, and no part of a stacked batch sees another."""
        norms = self._norms()
        momenta = [norm.momentum for norm in norms]
        try:
            for norm in norms:
                norm.momentum = None if isinstance(norm, MPBN) else 1.0  # the running estimate becomes this batch's
            with torch.no_grad(), preserved_state(self._model, self._batch[0].device):
                buffers, _ = self._run({}, self._batch[0])
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
        return Probe(self._model, self._loss, self._batch, buffers)

    def part(self, count: int, at: int = 0) -> "Probe":
        """A probe of so many images or recordings of the batch, from number `at` on."""
        inputs, targets = self._batch
        axis = 1 if inputs.ndim % 2 and inputs.shape[1] == len(targets) else 0  # [T, N, ...], or images [N, C, H, W]
        some = (inputs.narrow(axis, at, count), targets[at : at + count])
        return Probe(self._model, self._loss, some, self._frozen)

    def __len__(self) -> int:
        """Images or recordings in the batch."""
        return len(self._batch[1])

    def weights_before(self) -> dict[str, list[str]]:
        """By neuron, the weights that run after the neuron before it: those that its current is made of."""
        found: dict[str, list[str]] = {}
        since: list[str] = []

        def ran(name: str, module: nn.Module) -> None:
            if neuron_of(module) is not None:
                found[name] = since.copy()
                since.clear()
            else:
                since.append(f"{name}.weight")

        with self._hooked(
            ran, lambda m: neuron_of(m) is not None or getattr(getattr(m, "weight", None), "ndim", 0) > 1
        ):
            self._outputs({})
        return found

    @contextmanager
    def _hooked(self, ran: Callable[..., None], which: Callable[[nn.Module], bool]) -> Iterator[None]:
        """Call ran(name, module) after each forward pass of the chosen modules."""
        handles = [
            module.register_forward_hook(lambda m, _, __, name=name: ran(name, m))
            for name, module in self._model.named_modules()
            if which(module)
        ]
        try:
            with torch.no_grad():
                yield
        finally:
            for handle in handles:
                handle.remove()

    def gradients(self) -> dict[str, Tensor]:
        """The surrogate gradients of the loss with respect to every parameter, by name; of one that the loss does not
        depend on, zeros."""
        values = {name: value.detach().clone().requires_grad_() for name, value in self._parameters.items()}
        with torch.enable_grad():
            found = torch.autograd.grad(self._evaluate(values), [*values.values()], materialize_grads=True)
        return {name: all_reduce(grad, mean=True) for name, grad in zip(values, found, strict=True)}

    def _norms(self) -> list[Any]:
        """What sees the whole batch in training, by statistics of which it has a running estimate."""
        return [
            module
            for module in self._model.modules()
            if isinstance(module, _BatchNorm) or getattr(module, "tracks_batch_statistics", False)
        ]

    def first_weight(self) -> str:
        """The first parameter of two dimensions or more."""
        return next(name for name, parameter in self._parameters.items() if parameter.ndim > 1)

    def parameter(self, name: str) -> Tensor:
        """A parameter's value, detached."""
        if name not in self._parameters:
            raise unknown("parameter", name, self._parameters)
        return self._parameters[name].detach()

    def loss(self, over: Mapping[str, Tensor] | None = None) -> Tensor:
        """The loss, 0-d float64, with the parameters or buffers named in `over` replaced."""
        with torch.no_grad():
            return all_reduce(self._evaluate(over or {}), mean=True)

    def grad(self, parameter: str, widths: Mapping[str, Tensor] | None = None, at: Tensor | None = None) -> Tensor:
        """The surrogate gradient of the loss with respect to a parameter, of its shape and dtype; with other widths,
        given by neuron, and at another value of the parameter than its own."""
        value = (self.parameter(parameter) if at is None else at).detach().clone().requires_grad_()
        slots = {name: slot_of(self._model.get_submodule(name)) for name in widths or {}}
        over = {f"{name}.{slots[name]}": width for name, width in (widths or {}).items()}
        buffers = dict(self._model.named_buffers())
        firsts = {path.removesuffix("width") + "first_width": width for path, width in over.items()}
        over |= {path: width for path, width in firsts.items() if path in buffers}
        with torch.enable_grad():
            (grad,) = torch.autograd.grad(self._evaluate({**over, parameter: value}), value, materialize_grads=True)
        return all_reduce(grad, mean=True)

    def difference(self, parameter: str, eps: float, coordinates: Sequence[int] | None = None) -> Tensor:
        """The finite-difference gradient (Li et al. 2021, Dspike): [L(w + ε·e_i) - L(w - ε·e_i)]/(2ε) for each of
        the `coordinates` (flat indices; all by default) of a parameter, hard spikes forward -> [len], float64."""
        if not eps > 0:
            raise BadValue(f"eps {eps} is not a finite difference; give a positive step in units of the parameter")
        value = self.parameter(parameter)
        where = range(value.numel()) if coordinates is None else coordinates
        out = torch.stack([self._along(parameter, value, i, eps) for i in where])
        if not out.any():
            raise BadValue(
                f"every finite difference of '{parameter}' at eps = {eps:g} is zero: it does not move the loss (as a "
                "bias before a normalisation does not), or no spike flips; give another parameter or a larger eps"
            )
        return out

    def slopes(self, parameter: str, directions: Tensor, eps: float, stack: int = 4) -> Tensor:
        """[L(w + ε·d) - L(w - ε·d)]/(2ε) for every d of `directions` [K, *shape of the parameter], of the losses of the
        batch's two halves -> [2, K], float64; of an odd batch the second half has one more.

        The first layer is linear, so what a change of its weights does to its output is computed once, for the channels
        that it changes, and `stack` changed outputs at a time, both signs side by side in one batch, go through the
        rest of the network; that asks for a probe that is `frozen`."""
        if len(self) < 2:
            raise BadValue("a batch of one has no halves to compare; give 2 images or more")
        with torch.no_grad():
            holder = self._linear(parameter)
            if holder is None or self._frozen is None:
                found = [self._two_slopes(parameter, d, eps) for d in directions]
            else:
                found = [s for some in directions.split(stack) for s in self._stacked(parameter, holder, some, eps)]
            return all_reduce(torch.stack(found, 1), mean=True)

    def sizes(self) -> dict[str, tuple[int, ...]]:
        """The image size [H, W] (or () where there is none) of every neuron's spikes, by module path."""
        found: dict[str, tuple[int, ...]] = {}
        modules = {name: m for name, m in self._model.named_modules() if neuron_of(m) is not None}
        hooks = [
            m.register_forward_hook(lambda _, __, out, name=name: found.update({name: tuple(out.shape[3:])}))
            for name, m in modules.items()
        ]
        try:
            with torch.no_grad(), preserved_state(self._model, self._batch[0].device):
                self._run({}, self._batch[0])
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def membranes(self) -> dict[str, Tensor]:
        """Every neuron's membrane histogram (`surgrad.kernels.lif`) on this batch, by module path, of this rank."""
        with torch.no_grad(), preserved_state(self._model, self._batch[0].device):
            watched: dict[str, Any] = {
                name: m for name, m in self._model.named_modules() if hasattr(m, "record_histogram")
            }
            for module in watched.values():
                module.record_histogram = module.training = True  # neurons count while they train
            self._run({}, self._batch[0])
            return {name: module.histogram for name, module in watched.items()}

    def _along(self, parameter: str, value: Tensor, index: int, eps: float) -> Tensor:
        losses = []
        for sign in (1, -1):
            moved = value.clone()
            moved[torch.unravel_index(torch.tensor(index), value.shape)] += sign * eps  # in whatever layout
            losses.append(self.loss({parameter: moved}))
        return (losses[0] - losses[1]) / (2 * eps)

    def _linear(self, parameter: str) -> PerStep | None:
        """The module of `surgrad.PerStep` that holds the network's first layer alone, where the parameter is the weight
        of that layer; None where it is another, or of another kind."""
        path, _, leaf = parameter.rpartition(".")
        above = path.rpartition(".")[0]
        holder = self._model.get_submodule(above) if path else None
        if parameter != self.first_weight() or leaf != "weight" or not isinstance(holder, PerStep):
            return None
        if any(
            m.training and (isinstance(m, _DropoutNd) or getattr(m, "couples_samples", False))
            for m in self._model.modules()
        ):
            return None  # side by side in one batch they would draw other random numbers, or see each other
        layer = self._model.get_submodule(path)
        whole = len(holder) == 1 and (isinstance(layer, nn.Linear) or (type(layer) is nn.Conv2d and layer.groups == 1))
        return holder if whole else None

    def _two_slopes(self, parameter: str, direction: Tensor, eps: float) -> Tensor:
        value = self.parameter(parameter)
        up, down = (self._halves(self._outputs({parameter: value + sign * eps * direction})) for sign in (1, -1))
        return (up - down) / (2 * eps)

    def _stacked(self, parameter: str, holder: PerStep, directions: Tensor, eps: float) -> list[Tensor]:
        """`_two_slopes` of several directions by one pass of the network behind its first layer."""

        def changed(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            moves = [eps * _response(holder[0], inputs[0], d) for d in directions]
            return torch.cat([output + sign * move for move in moves for sign in (1, -1)], 1)

        hook = holder.register_forward_hook(changed)
        try:
            outputs = self._outputs({})
        finally:
            hook.remove()
        losses = [self._halves(part) for part in outputs.chunk(2 * len(directions), _batch_axis(outputs))]
        return [(up - down) / (2 * eps) for up, down in zip(losses[::2], losses[1::2], strict=True)]

    def _halves(self, output: Tensor) -> Tensor:
        """[2]: the losses of the two halves of the batch."""
        outputs = output.tensor_split([len(self) // 2], _batch_axis(output))
        targets = self._batch[1].tensor_split([len(self) // 2])
        return torch.stack([self._loss(out.double(), wanted) for out, wanted in zip(outputs, targets, strict=True)])

    def _evaluate(self, over: Mapping[str, Tensor]) -> Tensor:
        output = self._outputs(over)
        return self._loss(output.double() if isinstance(output, Tensor) else output, self._batch[1])

    def _outputs(self, over: Mapping[str, Tensor]) -> Any:
        with preserved_state(self._model, self._batch[0].device):
            return self._run(over, self._batch[0])[1]

    def _run(self, over: Mapping[str, Tensor], inputs: Tensor) -> tuple[dict[str, Tensor], Any]:
        """(the buffers after a forward pass, its output)."""
        buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()} | {
            name: buffer.clone() for name, buffer in (self._frozen or {}).items()
        }
        for name in over:
            if name not in buffers and name not in self._parameters:
                raise unknown("parameter or buffer", name, [*self._parameters, *buffers])
        norms = [] if self._frozen is None else [norm for norm in self._norms() if norm.training]
        try:
            for norm in norms:
                norm.training = False
            with torch.autocast(inputs.device.type, enabled=False):
                return buffers, functional_call(self._model, {**buffers, **over}, (inputs,))
        finally:
            for norm in norms:
                norm.training = True


def _response(layer: nn.Module, inputs: Tensor, direction: Tensor) -> Tensor:
    """What a change of a linear layer's weight by `direction` adds to its output [T, N, C, ...], computed for the
    channels that change."""
    channels = direction.flatten(1).any(1).nonzero().squeeze(1)
    flat = inputs.flatten(0, 1)
    weight = direction[channels]
    if isinstance(layer, nn.Conv2d):
        some: Tensor = layer._conv_forward(flat, weight, None)
    else:
        some = functional.linear(flat, weight)
    axis = 1 if isinstance(layer, nn.Conv2d) else some.ndim - 1
    whole = some.new_zeros(*some.shape[:axis], len(direction), *some.shape[axis + 1 :])
    return whole.index_copy_(axis, channels, some).unflatten(0, inputs.shape[:2])


def _batch_axis(output: Tensor) -> int:
    """Of [T, N, classes] or [N, classes]."""
    return 1 if output.ndim > 2 else 0
