"""The Adapter, which lets a controller write the widths of a model."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from surgrad import ranks
from surgrad.adapt.base import Computed, Controller, StepContext, Widths, as_controller, widths_from
from surgrad.adapt.controllers import CONTROLLERS
from surgrad.adapt.foreign import Alpha, ForeignNeuron, is_left_out, neuron_of
from surgrad.adapt.probe import Batch, Loss, Probe, all_reduced
from surgrad.errors import BadValue, unknown
from surgrad.norm import BatchNorm, NormNeuron
from surgrad.transfer import Reading, to_device


class Adapter:
    """Lets a controller write the widths of a model.

    It is used like a learning-rate scheduler, but is called before the forward pass, when parameters are fresh, and the
    coming batch and the last potentials are available.

    The first widths are written when it is built. Nothing but widths changes: no parameter, buffer or random number. It
    warns of neurons of snnTorch's and SpikingJelly's whose surrogate it cannot adapt.

    Args:
        model: a network whose neurons hold a `Surrogate` each; also one wrapped by torch.compile or
            DistributedDataParallel.
        controller: a name of `surgrad.adapt.CONTROLLERS`, a `Controller`, or any function of a `StepContext` that
            returns widths by neuron; by default the one that needs no width to begin with
            (`surgrad.adapt.KeepShare`).
        options: options of a controller given by name.
        loss: (model output, targets) -> 0-d; for controllers that probe the loss.
        steps: optimizer steps of the whole training; for controllers that depend on its progress.
        steps_per_epoch: optimizer steps of an epoch; for controllers that act once an epoch.
        sample_axes: the axes of the samples in inputs, targets and the model's output, for controllers that split a
            batch; None: found by the shapes (`surgrad.adapt.probe.SampleAxes`).
        forwards: training forward passes of a step: the parts of a batch whose gradients are added up. Controllers that
            read potentials see those of the last pass.
        parts: into how many parts a batch is divided of which each of several processes takes a share
            (`surgrad.ranks.Place.shares`); 1: each takes one piece of the batch.

    Raises:
        BadValue: the controller needs an argument that is missing, or the model has no width to write.
        UnknownName: no controller has that name.

    Example:
        >>> import torch
        >>> from surgrad import LIF, Adapter
        >>> from surgrad.losses import cross_entropy
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 8), LIF(), torch.nn.Linear(8, 2))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> batches = [(torch.rand(4, 5, 3), torch.arange(5) % 2)] * 2
        >>> adapter = Adapter(model, "esg", options={"low": 0.3}, steps=len(batches))
        >>> for batch in batches:
        ...     adapter.step(batch)  # before the forward pass
        ...     optimizer.zero_grad()
        ...     cross_entropy(model(batch[0]), batch[1]).backward()
        ...     optimizer.step()
    """

    def __init__(
        self,
        model: nn.Module,
        controller: str | Controller | Callable[[StepContext], Widths] = "share",
        *,
        options: Mapping[str, Any] | None = None,
        loss: Loss | None = None,
        steps: int | None = None,
        steps_per_epoch: int | None = None,
        sample_axes: tuple[int, int, int] | None = None,
        forwards: int = 1,
        parts: int = 1,
    ):
        counts = {"steps": steps, "steps_per_epoch": steps_per_epoch, "forwards": forwards, "parts": parts}
        for name, count in counts.items():
            if count is not None and count < 1:
                raise BadValue(f"{name} must be 1 or more, got {count}")
        self.model = _unwrapped(model)
        self.controller = _controller_of(controller, options)
        self.loss = loss
        self.steps = steps
        self.steps_per_epoch = steps_per_epoch
        self.sample_axes = sample_axes
        self.forwards = forwards
        self.parts = parts
        self.neurons = _neurons(self.model)
        self._check()
        self._now = 0
        self._forwards = 0
        self._warned = False
        self._attached: Any = None
        self._calibrating = False
        self._written: _Written | None = None
        self._counts: dict[str, Tensor] = {}  # of this rank, since the controller last read them
        for neuron in self.neurons.values() if self.controller.needs_histograms else ():
            neuron.histogram_by_width = self.controller.histograms_by_width
        self._record(0)
        self._write(widths_from(self.controller, self._context(None, {})))
        self._counting = self.model.register_forward_pre_hook(Hook(self._count))

    def _check(self) -> None:
        """Refuse what cannot be adapted, and warn of what will not be."""
        if self.controller.needs_probe and self.loss is None:
            raise BadValue(f"{self.controller} probes the loss; give loss=")
        if self.controller.writes_nothing:
            return
        if not self.neurons:
            raise BadValue("the model has no neuron with a Surrogate, so there is no width to write; give it one")
        _warn_of_left_out(self.model)

    def step(self, batch: Batch | None = None) -> None:
        """Write the widths of the coming step.

        Args:
            batch: (inputs, targets) of the coming forward pass; for controllers that probe the loss, and for the first
                step of one that finds its first widths by it.

        Raises:
            BadValue: the batch is missing or not a pair, or the controller gave widths that cannot be written.
        """
        self._check_batch(batch)
        if self._forwards:
            self._check_counted()
        self._forwards = 0
        if self.controller.wants_histograms(self._now):
            self._counts = self._counted()
        histograms = {}
        if self.controller.reads_histograms(self._now):
            histograms = all_reduced(self._counts)
            self._counts = {}
        self._write(widths_from(self.controller, self._context(batch, histograms)))
        self._record(self._now + 1)
        for neuron in self.neurons.values():
            if isinstance(neuron, ForeignNeuron):  # which adds up the counts of its calls
                neuron.histogram = None
        self._now += 1

    def _check_batch(self, batch: Any) -> None:
        if batch is None and self.controller.needs_probe:
            raise BadValue(f"{self.controller} probes the coming batch; call adapter.step(batch)")
        if batch is None and self._now == 0 and self.controller.calibrates:
            warnings.warn(
                f"{self.controller} finds its first widths by the first batch, and was given none: the first step has "
                "the widths that were set; call adapter.step((inputs, targets))",
                stacklevel=3,
            )
        if batch is not None and not (isinstance(batch, tuple | list) and len(batch) == 2):
            raise BadValue(f"adapter.step takes (inputs, targets), got {_kind(batch)}")

    def _record(self, step: int) -> None:
        """Let the neurons record in the forward pass before this step where the controller reads it, and not
        otherwise."""
        if not self.controller.needs_histograms:
            return
        wanted = self.controller.wants_histograms(step)
        for neuron in self.neurons.values():
            if neuron.record_histogram != wanted:
                neuron.record_histogram = wanted

    def notes(self) -> list[dict[str, Any]]:
        """The evidence that the controller recorded since the last call, for a log; see `Controller.note`."""
        return self.controller.notes()

    def attach(self) -> None:
        """Call `step` automatically before every training forward pass. This is for controllers that need no probe, and
        not for a network that is called once per time step."""
        if self.controller.needs_probe:
            raise BadValue(
                f"{self.controller} probes the coming batch; call adapter.step(batch) before the forward pass"
            )
        if self._attached is None:
            self._attached = self.model.register_forward_pre_hook(Hook(self._step_before), prepend=True)

    def detach(self) -> None:
        """Undo `attach`, and stop counting forward passes."""
        for handle in (self._attached, self._counting):
            if handle is not None:
                handle.remove()
        self._attached = None

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs besides the model, whose state holds the widths.

        Within `surgrad.ranks.joined` all ranks call it, and each gets what all of them have counted. In a loop of your
        own, each rank saves and loads what it has counted.
        """
        self._check_written()
        histograms = self._counted() if self.controller.wants_histograms(self._now) else self._counts
        histograms = all_reduced(histograms) if ranks.several() else histograms
        alphas = {name: width for name, width in self._slots().items() if self._is_alpha(name)}
        controller = self.controller.state_dict()
        return {
            "step": self._now,
            "name": type(self.controller).__name__,
            "neurons": list(self.neurons),
            "controller": controller,
            "histograms": histograms,
            "alphas": alphas,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            BadValue: the state is not one of an Adapter, or that of another controller or of other neurons.
        """
        self._check_state(state)
        self._now = state["step"]
        self._forwards = 0
        for neuron in self.neurons.values() if self.controller.needs_histograms else ():
            neuron.histogram = None  # of passes that the state does not know
        others = ranks.place().rank > 0  # the first rank holds what all have counted
        self._counts = {
            name: (torch.zeros_like(counts) if others else counts).to(self.neurons[name].surrogate.width.device)
            for name, counts in state["histograms"].items()
        }
        self._write(state["alphas"])
        self.controller.load_state_dict(state["controller"])

    def _check_state(self, state: dict[str, Any]) -> None:
        """Refuse a state that does not fit; those of older releases do not say whose they are. A controller without any
        state takes over from every other one."""
        missing = {"step", "controller", "histograms", "alphas"} - state.keys()
        if missing:
            raise BadValue(f"this is not the state of an Adapter, it has no {', '.join(sorted(missing))}")
        own: dict[str, Any] = {"neurons": list(self.neurons)}
        if self.controller.state_dict():
            own["name"] = type(self.controller).__name__
        for key, what in (("name", "the controller"), ("neurons", "the neurons")):
            if key in own and state.get(key, own[key]) != own[key]:
                raise BadValue(f"the state is of {what} {state[key]}, and this Adapter has {own[key]}; build it alike")

    def _step_before(self, model: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not model.training or self._calibrating or 0 < self._forwards < self.forwards:
            return
        first = self._now == 0 and self.controller.calibrates and len(inputs) == 1
        self._calibrating = True  # the forward pass of a probe does not count as a step
        try:
            self.step((inputs[0], inputs[0]) if first else None)
        finally:
            self._calibrating = False

    def _is_alpha(self, name: str) -> bool:
        return name in self.neurons and isinstance(self.neurons[name].surrogate, Alpha)

    def _context(self, batch: Batch | None, histograms: Mapping[str, Tensor]) -> StepContext:
        probe = None
        if batch is not None and (self.loss is not None or self.controller.calibrates):
            probe = Probe(self.model, self.loss or _no_loss, batch, axes=self.sample_axes, parts=self.parts)
        norms = _norms_before(self.model)
        before = {name: norms[id(neuron)] for name, neuron in self.neurons.items() if id(neuron) in norms}
        gains = Computed(before, _gain)
        return StepContext(self._now, self.steps, self.steps_per_epoch, self.neurons, histograms, probe, gains)

    def _counted(self) -> dict[str, Tensor]:
        """What was counted since the controller last read it, the last forward pass included."""
        if not self.controller.needs_histograms:
            return {}
        held = {name: getattr(neuron, "histogram", None) for name, neuron in self.neurons.items()}
        new = {name: histogram for name, histogram in held.items() if histogram is not None}
        both = [name for name in new if name in self._counts]
        earlier = [self._counts[name].to(new[name].device) for name in both]
        sums = torch._foreach_add(earlier, [new[name] for name in both]) if both else []
        first = {name: counts.clone() for name, counts in new.items() if name not in self._counts}
        return self._counts | first | dict(zip(both, sums, strict=True))

    @torch.no_grad()
    def _write(self, widths: Widths) -> None:
        """Check all widths, then write them. Values on a GPU are checked at the next call, to save a wait."""
        held = self._slots()
        for name in widths:
            if name not in held:
                raise unknown("neuron", name, held)
            if held[name].requires_grad:
                raise BadValue(
                    f"neuron '{name}' learns its width, and this controller writes it; use the controller 'fixed' "
                    "(adapt.name=fixed) or surrogate.learn=false"
                )
        slots = {name: held[name] for name in widths}
        new = {name: _like(slots[name], width) for name, width in widths.items()}
        for name, width in new.items():
            if not _fits(width, slots[name]):
                raise BadValue(
                    f"the controller gave neuron '{name}' widths {list(width.shape)} for its slot "
                    f"{list(slots[name].shape)}; give a number, or one per channel of the slot"
                )
        self._check_written()
        self._written = _Written(new)
        if not self._written.late:
            self._check_written()
        alphas = [name for name in slots if self._is_alpha(name)]
        for name in alphas:
            self.neurons[name].surrogate.write(new[name])
        own = [name for name in slots if name not in alphas]
        if own:
            torch._foreach_copy_([slots[name] for name in own], [new[name].expand_as(slots[name]) for name in own])

    def _check_written(self) -> None:
        """Refuse widths that are not positive; those on a GPU in the call after the one that wrote them."""
        written = self._written
        self._written = None
        if written is not None:
            written.check()

    def _slots(self) -> dict[str, Tensor]:
        """The widths that may be written, by neuron."""
        return {name: neuron.surrogate.width for name, neuron in self.neurons.items()}

    def _check_counted(self) -> None:
        """Refuse a neuron of another library whose potentials a controller needs and whose surrogate was not called."""
        for name, neuron in self.neurons.items():
            if isinstance(neuron, ForeignNeuron) and neuron.record_histogram and neuron.histogram is None:
                raise BadValue(
                    f"neuron '{name}' ({type(neuron.module).__name__}) did not call its surrogate in the last forward "
                    "pass (SpikingJelly's fused passes do not), so its potentials cannot be counted; give it a "
                    "surgrad.Surrogate, or use a controller that needs no histograms"
                )

    def _count(self, model: nn.Module, _: Any) -> None:
        """Count training forward passes, and warn once where `step` was not called between two of them."""
        if torch.compiler.is_compiling() or not (model.training and torch.is_grad_enabled()):
            return
        self._forwards += 1
        by_step = any(
            isinstance(n, ForeignNeuron) or getattr(n, "carry", False) for n in self.neurons.values()
        )  # or may be
        training = self.steps is None or self._now < self.steps
        if self._forwards > self.forwards and training and not self._warned and not by_step:
            self._warned = True
            warnings.warn(
                f"{self._forwards} training forward passes without adapter.step(): the widths did not change; call "
                "adapter.step(batch) before each, or adapter.attach() once; where a step accumulates the gradient of "
                "several, give Adapter(forwards=)",
                stacklevel=2,
            )


class Hook:
    """A forward pre-hook of this model alone: in a copy of the model, or in one that was pickled, it does nothing.

    Args:
        function: of (model, inputs); its result is ignored.
    """

    def __init__(self, function: Callable[[nn.Module, Any], Any]):
        self.function = function

    def __call__(self, model: nn.Module, inputs: Any) -> None:
        self.function(model, inputs)

    def __reduce__(self) -> tuple[Any, ...]:
        return Hook, (_nothing,)


def _nothing(model: nn.Module, inputs: Any) -> None:
    """What the hook of a copy does."""


def _controller_of(controller: Any, options: Mapping[str, Any] | None) -> Controller:
    """The controller that a name, a Controller or a function stands for."""
    if isinstance(controller, str):
        built: Controller = CONTROLLERS.build(controller, options)
        return built
    if options is not None:
        raise BadValue("options belong to a controller given by name; set them where this controller is made")
    return as_controller(controller)


class _Written:
    """Widths, and whether they are all finite and positive, which the host may know only later.

    Args:
        widths: by neuron.

    Attributes:
        late: whether finding out now would be to wait for a GPU.
    """

    def __init__(self, widths: Mapping[str, Tensor]):
        self.late = any(width.is_cuda for width in widths.values())
        self._widths = widths
        good = [torch.isfinite(width) & (width > 0) for width in _joined(widths.values())]
        self._good = [Reading(of_device.all()) for of_device in good]

    def check(self) -> None:
        """Raise BadValue for the first width that is not."""
        if all(good.wait() for good in self._good):
            return
        for name, width in self._widths.items():
            if not (torch.isfinite(width) & (width > 0)).all():
                raise BadValue(f"the controller gave neuron '{name}' the width {width.tolist()}; widths are positive")


def _joined(values: Iterable[Tensor]) -> list[Tensor]:
    """All numbers of some tensors, in one vector for each device."""
    by_device: dict[torch.device, list[Tensor]] = {}
    for value in values:
        by_device.setdefault(value.device, []).append(value.reshape(-1))
    return [torch.cat(held) for held in by_device.values()]


def _no_loss(output: Any, targets: Any) -> Tensor:
    raise BadValue("the controller probes the loss; give loss= to the Adapter")


def _like(slot: Tensor, width: Any) -> Tensor:
    """A width in the slot's dtype on its device."""
    if not isinstance(width, Tensor):
        width = torch.as_tensor(width, device="cpu")
    return to_device(width.to(slot.dtype), slot.device)


def _fits(width: Tensor, slot: Tensor) -> bool:
    """Whether widths can be written into a slot: one number, its shape, or one per channel for all its steps."""
    return width.ndim == 0 or width.shape == slot.shape or (slot.ndim == 2 and width.shape == slot.shape[1:])


def _gain(norms: Sequence[BatchNorm]) -> Tensor:
    """The mean weight of a norm; of several, the root of the sum of squares."""
    return torch.stack([norm.weight.detach().mean() for norm in norms]).square().sum().sqrt()


def _norms_before(model: nn.Module) -> dict[int, list[BatchNorm]]:
    """By the neuron's id, the norms of its currents."""
    found: dict[int, list[Any]] = {}
    for module in model.modules():
        if isinstance(module, NormNeuron):
            found[id(module.neuron)] = [norm for norm in (module.norm, module.plus_norm) if isinstance(norm, BatchNorm)]
        elif isinstance(module, nn.Sequential):
            found |= {id(after): [norm] for norm, after in pairwise(module) if isinstance(norm, BatchNorm)}
    return {key: norms for key, norms in found.items() if norms}


def _unwrapped(model: Any) -> nn.Module:
    """The module inside the wrappers of torch.compile and DistributedDataParallel."""
    while hasattr(model, "_orig_mod") or isinstance(model, DistributedDataParallel):
        model = model.module if isinstance(model, DistributedDataParallel) else model._orig_mod
    if not isinstance(model, nn.Module):
        raise BadValue(f"Adapter takes a network, got {_kind(model)}; give the torch.nn.Module that is trained")
    return model


def _kind(given: Any) -> str:
    """An object in words, for an error."""
    return f"a tensor {list(given.shape)}" if isinstance(given, Tensor) else f"an object of type {type(given).__name__}"


def _warn_of_left_out(model: nn.Module) -> None:
    """Name the neurons of other libraries whose widths stay as they are, where those of others are adapted."""
    left_out = [f"'{name}' ({type(module).__name__})" for name, module in model.named_modules() if is_left_out(module)]
    if left_out:
        warnings.warn(
            f"not adapted, since the surrogate is of another library: {', '.join(left_out)}; give each a separate "
            "surgrad.Surrogate",
            stacklevel=4,
        )


def _neurons(model: nn.Module) -> dict[str, Any]:
    """Every neuron, of surgrad or of another library, by its path; each must hold a separate surrogate."""
    found: dict[str, Any] = {}
    owner: dict[int, str] = {}
    for name, module in model.named_modules():
        neuron = neuron_of(module)
        if neuron is None:
            continue
        slot = neuron.surrogate.module if isinstance(neuron.surrogate, Alpha) else neuron.surrogate
        if id(slot) in owner:
            raise BadValue(f"neurons '{owner[id(slot)]}' and '{name}' share one Surrogate; give each its own")
        owner[id(slot)] = name
        found[name] = neuron
    return found
