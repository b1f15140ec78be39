"""Evaluations of the loss and its gradients on one batch that change nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from surgrad import padding, process, ranks
from surgrad.adapt.foreign import neuron_of, slot_of
from surgrad.adapt.preserving import changed, preserved
from surgrad.arithmetic import exact_arithmetic
from surgrad.errors import BadValue, unknown
from surgrad.hooks import forward_hooks
from surgrad.layers import PerStep

Batch = tuple[Tensor, Tensor]
"""(inputs, targets)."""
Loss = Callable[[Any, Any], Tensor]
"""(model output, targets) -> 0-d."""


class Probe:
    """Evaluates the loss of one batch with other parameters or widths.

    It works by `torch.func.functional_call` on copies of the buffers, and changes nothing: no parameter, statistic,
    state, attribute or random number. Every evaluation sees the same random numbers, and neurons that start from rest.
    Autocast and TF32 are off and the loss is summed in float64: differences of losses are too small for less. With
    several ranks every result is the mean over them.

    Normalisation acts as in the coming forward pass: by batch statistics in training, by running ones in evaluation.

    Args:
        model: the network.
        loss: (model output, targets) -> 0-d.
        batch: (inputs, targets).
        frozen: buffers to use instead of the model's, with all statistics constant; see `frozen`.
        axes: the axes of the samples in inputs, targets and outputs; None: see `SampleAxes.of`.
        parts: into how many parts a batch is divided whose gradients are added up (`optim.accumulate`).
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        batch: Batch,
        frozen: Mapping[str, Tensor] | None = None,
        axes: tuple[int, int, int] | None = None,
        parts: int = 1,
    ):
        self._model = model
        self._loss = loss
        self._batch = batch
        self._frozen = frozen
        self._given_axes = axes
        self._parts = parts
        self._parameters = dict(model.named_parameters())
        self._helpers = ranks.ALONE  # the place among those that have the same batch

    def __len__(self) -> int:
        """The number of samples in the batch."""
        return self._batch[1].shape[self._axes.targets]

    @property
    def _axes(self) -> "SampleAxes":
        return SampleAxes.of(self._model, *self._batch) if self._given_axes is None else SampleAxes(*self._given_axes)

    @contextmanager
    def whole(self) -> Iterator["Probe"]:
        """Within it, a probe of the whole batch, of which each rank has a share: each rank computes it alone, and finds
        what one process would. Directions of `slopes` are divided among the ranks."""
        if not ranks.several():
            yield self
            return
        axes = self._axes
        inputs, targets = self._batch
        batch = (
            ranks.concatenated(inputs, axes.inputs, self._parts),
            ranks.concatenated(targets, axes.targets, self._parts),
        )
        found = Probe(self._model, self._loss, batch, self._frozen, self._given_axes)
        found._helpers = ranks.place()
        with ranks.alone():
            yield found

    def frozen(self) -> "Probe":
        """A probe of the same batch whose batch statistics are constants, taken from this batch.

        Modules that track batch statistics (norms, MPBN, the limits of a DCT) then use those, so that no change of a
        parameter moves them, and the parts of a stacked batch do not affect each other. The variance is the unbiased
        one, as in running estimates; MPBN's statistics are means over the steps."""
        momenta = [(norm, "momentum", getattr(norm, "one_batch_momentum", 1.0)) for norm in self._norms()]
        with torch.no_grad(), preserved(self._model), changed(momenta):  # a running estimate becomes this batch's
            buffers, _ = self._run({}, self._batch[0])
        found = Probe(self._model, self._loss, self._batch, buffers, self._given_axes, self._parts)
        found._helpers = self._helpers
        return found

    def part(self, count: int, at: int = 0) -> "Probe":
        """A probe of `count` samples of the batch, from number `at` on."""
        padding.refuse("a probe of a part of the batch (Dspike, DGS, diagnose)")
        inputs, targets = self._batch
        axes = self._axes
        some = (inputs.narrow(axes.inputs, at, count), targets.narrow(axes.targets, at, count))
        return Probe(self._model, self._loss, some, self._frozen, self._given_axes)

    def first_weight(self) -> str:
        """The name of the first trained parameter with two dimensions or more."""
        matrices = {name: parameter for name, parameter in self._parameters.items() if parameter.ndim > 1}
        trained = next((name for name, parameter in matrices.items() if parameter.requires_grad), None)
        if trained is None:
            raise BadValue(
                "the network has no trained weight of two dimensions or more, whose gradients could be compared; give "
                "one that has, or a controller that does not probe the loss"
            )
        return trained

    def parameter(self, name: str) -> Tensor:
        """A parameter's value, detached."""
        if name not in self._parameters:
            raise unknown("parameter", name, self._parameters)
        return self._parameters[name].detach()

    def weights_before(self) -> dict[str, list[str]]:
        """By neuron, the names of the weights that run between the preceding neuron and this one: those that form its
        current."""
        found: dict[str, list[str]] = {}
        since: list[str] = []

        def after(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
            if neuron_of(module) is not None:
                found[name] = since.copy()
                since.clear()
            else:
                since.append(f"{name}.weight")

        hooked = [
            (name, module)
            for name, module in self._model.named_modules()
            if neuron_of(module) is not None or _has_trained_matrix(module)
        ]
        with torch.no_grad(), forward_hooks(hooked, after):
            self._outputs({})
        return found

    def sizes(self) -> dict[str, tuple[int, ...]]:
        """The image size [H, W] (or () where there is none) of every neuron's spikes, by module path."""
        found: dict[str, tuple[int, ...]] = {}

        def after(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
            found[name] = tuple(output.shape[3:])

        hooked = [(name, module) for name, module in self._model.named_modules() if neuron_of(module) is not None]
        with torch.no_grad(), forward_hooks(hooked, after):
            self._outputs({})
        return found

    def histograms(self, by_width: bool = False) -> dict[str, Tensor]:
        """The histogram of every neuron's membrane potentials (`surgrad.kernels.lif`) on this batch, by module path, of
        this rank: [BINS], or those of the potentials that each width meets, [*shape of the width, BINS]."""
        found = {name: neuron_of(module) for name, module in self._model.named_modules()}
        recorded = {name: neuron for name, neuron in found.items() if hasattr(neuron, "record_histogram")}
        values = {"record_histogram": True, "histogram_by_width": by_width, "histogram": None}
        settings = [(neuron, name, value) for neuron in recorded.values() for name, value in values.items()]
        # neurons record in training mode only
        settings += [(getattr(neuron, "module", neuron), "training", True) for neuron in recorded.values()]
        with torch.no_grad(), preserved(self._model), changed(settings):
            self._run({}, self._batch[0])
            return {name: neuron.histogram for name, neuron in recorded.items()}

    membranes = histograms
    """The former name of `histograms`, kept for one release."""

    def loss(self, over: Mapping[str, Tensor] | None = None) -> Tensor:
        """The loss, 0-d float64, with the parameters or buffers named in `over` replaced."""
        with torch.no_grad():
            return all_reduce(self._evaluate(over or {}), mean=True)

    def gradients(self) -> dict[str, Tensor]:
        """The surrogate gradients of the loss with respect to every parameter, by name; zeros for a parameter that the
        loss does not depend on."""
        values = {name: value.detach().clone().requires_grad_() for name, value in self._parameters.items()}
        with torch.enable_grad(), exact_arithmetic():
            found = torch.autograd.grad(self._evaluate(values), [*values.values()], materialize_grads=True)
        return {name: all_reduce(grad, mean=True) for name, grad in zip(values, found, strict=True)}

    def grad(self, parameter: str, widths: Mapping[str, Tensor] | None = None, at: Tensor | None = None) -> Tensor:
        """The surrogate gradient of the loss with respect to a parameter, of its shape and dtype.

        Args:
            parameter: the parameter's name.
            widths: other widths, by neuron.
            at: another value of the parameter at which the gradient is taken.
        """
        if self._frozen is not None and self._helpers.count > 1:
            return self._shared(lambda share: share.grad(parameter, widths, at), parameter)
        value = (self.parameter(parameter) if at is None else at).detach().clone().requires_grad_()
        slots = {name: slot_of(self._model.get_submodule(name)) for name in widths or {}}
        over = {f"{name}.{slots[name]}": width for name, width in (widths or {}).items()}
        with torch.enable_grad(), exact_arithmetic():
            (grad,) = torch.autograd.grad(self._evaluate({**over, parameter: value}), value, materialize_grads=True)
        return all_reduce(grad, mean=True)

    def _shared(self, gradient: Callable[["Probe"], Tensor], parameter: str) -> Tensor:
        """A gradient of the mean loss, found by ranks that all have the batch: with constant statistics it is the mean
        of those of their shares."""
        own = self._helpers.share(len(self))
        count = own.stop - own.start
        found = count / len(self) * gradient(self.part(count, own.start)) if count else 0 * self.parameter(parameter)
        with ranks.at(self._helpers):
            return ranks.summed(found)

    def difference(self, parameter: str, eps: float, coordinates: Sequence[int] | None = None) -> Tensor:
        """The finite-difference gradient (Li et al. 2021, Dspike): [L(w + ε·e_i) - L(w - ε·e_i)]/(2ε), with hard spikes
        in the forward pass -> [len(coordinates)], float64.

        Args:
            parameter: the parameter's name.
            eps: ε, in units of the parameter.
            coordinates: the i, as flat indices; all by default.

        Raises:
            BadValue: every difference is zero.
        """
        if not eps > 0:
            raise BadValue(f"eps must be positive (in units of the parameter), got {eps}")
        value = self.parameter(parameter)
        indices = range(value.numel()) if coordinates is None else coordinates
        out = torch.stack([self._along(parameter, value, i, eps) for i in indices])
        if not out.any():
            raise BadValue(
                f"every finite difference of '{parameter}' at eps = {eps:g} is zero: the parameter does not move the "
                "loss (as a bias before a normalisation does not), or no spike flips; give another parameter or a "
                "larger eps"
            )
        return out

    def slopes(self, parameter: str, directions: Tensor, eps: float, stack: int = 4) -> Tensor:
        """[L(w + ε·d) - L(w - ε·d)]/(2ε) for every direction d, of the losses of the batch's two halves -> [2, K],
        float64. Of an odd batch the second half has one sample more.

        The first layer is linear, so the effect of a change of its weights on its output is computed once, for the
        channels that change. Then `stack` changed outputs at a time, with both signs, pass the rest of the network as
        one batch. This needs a probe that is `frozen`.

        Args:
            parameter: the parameter's name.
            directions: [K, *shape of the parameter].
            eps: ε, in units of the parameter.
            stack: directions per pass; of several ranks, all together.
        """
        padding.refuse("a probe of the two halves of the batch (Dspike)")
        if len(self) < 2:
            raise BadValue("a batch of one has no two halves to compare; give 2 images or more")
        with torch.no_grad():
            holder = self._linear(parameter)
            own = directions[self._helpers.share(len(directions))]
            if holder is None or self._frozen is None:
                found = [self._two_slopes(parameter, d, eps) for d in own]
            else:
                stack = max(1, stack // self._helpers.count)
                found = [s for some in own.split(stack) for s in self._stacked(parameter, holder, some, eps)]
            slopes = torch.stack(found, 1) if found else directions.new_zeros(2, 0, dtype=torch.float64)
            with ranks.at(self._helpers):
                whole = ranks.concatenated(slopes, 1)
            return all_reduce(whole, mean=True)

    def _norms(self) -> list[Any]:
        """The modules that use the statistics of the batch in training, and track a running estimate of them."""
        return [module for module in self._model.modules() if _tracks_batch_statistics(module)]

    def _along(self, parameter: str, value: Tensor, index: int, eps: float) -> Tensor:
        losses = []
        for sign in (1, -1):
            moved = value.clone()
            moved[torch.unravel_index(torch.tensor(index), value.shape)] += sign * eps  # in any memory layout
            losses.append(self.loss({parameter: moved}))
        return (losses[0] - losses[1]) / (2 * eps)

    def _linear(self, parameter: str) -> PerStep | None:
        """The `surgrad.PerStep` that holds the network's first layer alone, where the parameter is the weight of that
        layer and the samples of a batch are independent; otherwise None."""
        path, _, leaf = parameter.rpartition(".")
        above = path.rpartition(".")[0]
        holder = self._model.get_submodule(above) if path else None
        if parameter != self.first_weight() or leaf != "weight" or not isinstance(holder, PerStep):
            return None
        if any(module.training and _couples_samples(module) for module in self._model.modules()):
            return None  # in one batch they would draw other random numbers, or affect each other
        layer = self._model.get_submodule(path)
        whole = len(holder) == 1 and (isinstance(layer, nn.Linear) or (type(layer) is nn.Conv2d and layer.groups == 1))
        return holder if whole else None

    def _two_slopes(self, parameter: str, direction: Tensor, eps: float) -> Tensor:
        value = self.parameter(parameter)
        up, down = (self._halves(self._outputs({parameter: value + sign * eps * direction})) for sign in (1, -1))
        return (up - down) / (2 * eps)

    def _stacked(self, parameter: str, holder: PerStep, directions: Tensor, eps: float) -> list[Tensor]:
        """`_two_slopes` of several directions by one pass of the network after its first layer."""

        def changed(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            moves = [eps * _response(holder[0], inputs[0], d) for d in directions]
            return torch.cat([output + sign * move for move in moves for sign in (1, -1)], 1)

        with forward_hooks([("", holder)], changed):
            outputs = self._outputs({})
        losses = [self._halves(part) for part in outputs.chunk(2 * len(directions), self._axes.of_output(outputs))]
        return [(up - down) / (2 * eps) for up, down in zip(losses[::2], losses[1::2], strict=True)]

    def _halves(self, output: Tensor) -> Tensor:
        """[2]: the losses of the two halves of the batch."""
        if not isinstance(output, Tensor):
            raise BadValue(
                f"the network returns an object of type {type(output).__name__}, of which this controller cannot take "
                "the halves of a batch; let its forward return one tensor"
            )
        outputs = output.tensor_split([len(self) // 2], self._axes.of_output(output))
        targets = self._batch[1].tensor_split([len(self) // 2], self._axes.targets)
        return torch.stack([self._loss(out.double(), wanted) for out, wanted in zip(outputs, targets, strict=True)])

    def _evaluate(self, over: Mapping[str, Tensor]) -> Tensor:
        output = self._outputs(over)
        return self._loss(output.double() if isinstance(output, Tensor) else output, self._batch[1])

    def _outputs(self, over: Mapping[str, Tensor]) -> Any:
        with preserved(self._model):
            return self._run(over, self._batch[0])[1]

    def _run(self, over: Mapping[str, Tensor], inputs: Tensor) -> tuple[dict[str, Tensor], Any]:
        """(the buffers after a forward pass, its output); call it within `preserved`."""
        buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()} | {
            name: buffer.clone() for name, buffer in (self._frozen or {}).items()
        }
        for name in over:
            if name not in buffers and name not in self._parameters:
                raise unknown("parameter or buffer", name, [*self._parameters, *buffers])
        process.alive()
        settings = [(norm, "training", False) for norm in ([] if self._frozen is None else self._norms())]
        # what is computed again in the backward pass would be so without the other parameters, buffers and settings
        settings += [(module, "checkpoint", False) for module in self._model.modules() if hasattr(module, "checkpoint")]
        with changed(settings), exact_arithmetic(), torch.autocast(inputs.device.type, enabled=False):
            return buffers, functional_call(self._model, {**buffers, **over}, (inputs,))


@dataclass(frozen=True)
class SampleAxes:
    """Where the samples of a batch are.

    Attributes:
        inputs: the axis in the inputs.
        targets: the axis in the targets.
        output: the axis in the output; None: 1 of [T, N, ...], and 0 of [N, ...], which has two axes at most.
    """

    inputs: int
    targets: int
    output: int | None = None

    @classmethod
    def of(cls, model: nn.Module, inputs: Tensor, targets: Tensor) -> "SampleAxes":
        """Find them by the shapes of a batch.

        Targets of several axes are one for every time step, [T, N, ...], where inputs begin with the same [T, N], and
        else [N, ...]. Inputs are sequences [T, N, ...] where the model says so (`is_sequence`), or else where their
        second axis has the number of samples, and the first has not. Where both have, an odd number of axes is a
        sequence.

        Raises:
            BadValue: where no axis fits.
        """
        each_step = targets.ndim > 1 and inputs.ndim > 2 and targets.shape[:2] == inputs.shape[:2]
        says = getattr(model, "is_sequence", None)
        sequence = says is None or bool(says(inputs))
        if each_step and sequence:
            return cls(1, 1)
        samples = len(targets)
        fitting = [axis for axis in (0, 1) if inputs.ndim > axis and inputs.shape[axis] == samples]
        if says is not None:
            return cls(int(sequence), 0)
        if not fitting:
            raise BadValue(
                f"inputs {list(inputs.shape)} and targets {list(targets.shape)} have no common number of samples; say "
                "which axes are those of the samples: sample_axes=(inputs, targets, output)"
            )
        axis = fitting[0] if len(fitting) == 1 else inputs.ndim % 2
        return cls(axis, 0)

    def of_output(self, output: Tensor) -> int:
        """The axis in an output."""
        if self.output is not None:
            return self.output
        return 1 if output.ndim > 2 else 0


def all_reduce(value: Tensor, *, mean: bool = False) -> Tensor:
    """The sum (or mean) over all ranks of a distributed training, so that every rank decides alike; the value itself
    where there is one rank."""
    if not ranks.reaches_others():
        return value
    value = value.clone()
    with ranks.exchanging():
        dist.all_reduce(value)
    return value / dist.get_world_size() if mean else value


def all_reduced(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`all_reduce` of several tensors, in one exchange for each device and type."""
    if not ranks.reaches_others():
        return dict(values)
    found: dict[str, Tensor] = {}
    for kind in dict.fromkeys((value.device, value.dtype) for value in values.values()):  # in the order of all ranks
        own = {name: value for name, value in values.items() if (value.device, value.dtype) == kind}
        sums = all_reduce(torch.cat([value.flatten() for value in own.values()]))
        parts = sums.split([value.numel() for value in own.values()])
        found |= {name: part.view_as(value) for (name, value), part in zip(own.items(), parts, strict=True)}
    return {name: found[name] for name in values}


def _has_trained_matrix(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim > 1 and weight.requires_grad


def _tracks_batch_statistics(module: nn.Module) -> bool:
    return getattr(module, "tracks_batch_statistics", False) or isinstance(module, _BatchNorm)


def _couples_samples(module: nn.Module) -> bool:
    """Whether in training one sample of a batch affects another, or the random numbers that another sees."""
    return getattr(module, "couples_samples", False) or isinstance(module, _DropoutNd)


def _response(layer: nn.Module, inputs: Tensor, direction: Tensor) -> Tensor:
    """The change of a linear layer's output [T, N, C, ...] when its weight changes by `direction`, computed for the
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
