"""The seam between a width and whoever writes it: Moment, Controller, Adapter."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from surgrad.adapt.foreign import Alpha, ForeignNeuron, neuron_of
from surgrad.adapt.probe import Batch, Loss, Probe
from surgrad.adapt.ranks import all_reduce
from surgrad.errors import BadValue, unknown
from surgrad.norm import BatchNorm, NormNeuron

Widths = Mapping[str, Tensor]
FIRST = ":first"
"""What follows a neuron's path for the width of its first step (`Surrogate(first=True)`)."""


@dataclass(frozen=True)
class StepContext:
    """All that a controller may know, at the top of a training step.

    step: number of this step, from 0; steps: of the whole training; steps_per_epoch.
    neurons: by module path, each with `.surrogate`, `.decay` and `.threshold`, the input's end first.
    histograms: by module path, the last training forward's membrane histogram (`surgrad.kernels.lif`), summed over
        ranks; empty unless the controller watches, and before the first forward.
    probe: answers what-if questions about the coming batch; None when the adapter is built or attached.
    gains: by module path, the mean weight of the norm before the neuron (in its `surgrad.norm.NormNeuron`, or before it
        in an `nn.Sequential`), 0-d; of two summands with norms, the root of the squares' sum; absent without a norm.
    """

    step: int
    steps: int
    steps_per_epoch: int
    neurons: Mapping[str, Any]
    histograms: Mapping[str, Tensor] = field(default_factory=dict)
    probe: Probe | None = None
    gains: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        return self.step // self.steps_per_epoch

    @property
    def progress(self) -> float:
        """Share of the training that is done, in [0, 1)."""
        return self.step / self.steps


class Controller:
    """Who writes the widths: maps a `StepContext` to new widths by neuron; {} leaves all as they are.

    Any function of a Moment is a controller too. Subclass to declare what it needs, or to keep state between steps:
    `watch` asks for membrane histograms, `needs_probe` for a Probe, and `state_dict` must hold all that a resumed
    training needs to write the same widths. Same evidence, same widths: no clock and no global random numbers.
    """

    watch = False
    needs_probe = False
    writes_nothing = False  # whether it never writes, so that a network without neurons is one to it, too
    has_own_period = False  # whether it chooses itself in which steps it acts

    def __call__(self, moment: StepContext) -> Widths:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def note(self, **row: Any) -> None:
        """Keep the evidence of a decision, for the log: numbers, words and dicts of them, with `step`."""
        vars(self).setdefault("_notes", []).append(row)

    def notes(self) -> list[dict[str, Any]]:
        """What was noted since the last call."""
        return vars(self).pop("_notes", [])


def state_of(controller: Any) -> dict[str, Any]:
    """The state of a controller; {} for a function that keeps none."""
    return controller.state_dict() if hasattr(controller, "state_dict") else {}


def restore(controller: Any, state: dict[str, Any]) -> None:
    if hasattr(controller, "load_state_dict"):
        controller.load_state_dict(state)


AnyController = Controller | Callable[[StepContext], Widths]


class Adapter:
    """Lets a controller write the widths of a model; used as one uses a learning-rate scheduler.

        adapter = Adapter(model, follow(lsg_width), loss=cross_entropy, steps=..., steps_per_epoch=...)
        for batch in batches:
            adapter.step(batch)                      # before the forward pass
            loss(model(batch[0]), batch[1]).backward()
            optimiser.step()

    Called before the forward pass, it finds parameters fresh, the coming batch at hand and the last potentials known.
    It writes the first widths when built. Nothing but width slots changes: no parameter, no buffer, no random number.

    loss: (model output, targets) -> 0-d; steps: optimiser steps of the whole training.
    """

    def __init__(self, model: nn.Module, controller: AnyController, *, loss: Loss, steps: int, steps_per_epoch: int):
        if steps < 1 or steps_per_epoch < 1:
            raise BadValue(f"steps {steps}, steps_per_epoch {steps_per_epoch}: give the training's counts, 1 or more")
        self.model = _unwrapped(model)
        self.controller = controller
        self.loss = loss
        self.steps = steps
        self.steps_per_epoch = steps_per_epoch
        self.neurons = _neurons(self.model)
        if not self.neurons and not getattr(controller, "writes_nothing", False):
            raise BadValue("the model has no neuron with a Surrogate, so there is no width to write; give it one")
        self._now = 0
        self._forwards = 0
        self._warned = False
        self._attached: Any = None
        if getattr(controller, "watch", False):
            for neuron in self.neurons.values():
                neuron.record_histogram = True
        self._write(self.controller(self._moment(None, {})))
        self._counting = self.model.register_forward_pre_hook(self._count)

    def step(self, batch: Batch | None) -> None:
        """Write the widths of the coming step. batch: (inputs, targets) of the coming forward pass."""
        if self._forwards:
            self._check_seen()
        self._forwards = 0
        self._write(self.controller(self._moment(batch, self._histograms())))
        for neuron in self.neurons.values():
            if isinstance(neuron, ForeignNeuron):  # which sums over its calls
                neuron.histogram = None
        self._now += 1

    def notes(self) -> list[dict[str, Any]]:
        """The evidence that the controller noted since the last call, for a log; see `Controller.note`."""
        return self.controller.notes() if isinstance(self.controller, Controller) else []

    def attach(self) -> None:
        """Step by itself before every training forward pass; for controllers that need no probe. Not for a network that
        is called once a time step."""
        if getattr(self.controller, "needs_probe", False):
            raise BadValue("this controller probes the coming batch; call adapter.step(batch) before the forward pass")
        if self._attached is None:
            self._attached = self.model.register_forward_pre_hook(
                lambda model, _: self.step(None) if model.training else None, prepend=True
            )

    def detach(self) -> None:
        """Undo `attach`, and stop counting forward passes."""
        for handle in (self._attached, self._counting):
            if handle is not None:
                handle.remove()
        self._attached = None

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs besides the model, whose state holds the widths."""
        histograms = {name: counts.clone() for name, counts in self._histograms(reduce=False).items()}
        alphas = {name: width for name, width in self._slots().items() if self._is_alpha(name)}
        return {"step": self._now, "controller": state_of(self.controller), "histograms": histograms, "alphas": alphas}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._now = state["step"]
        for name, counts in state["histograms"].items():
            self.neurons[name].histogram = counts.to(self.neurons[name].surrogate.width.device)
        self._write(state["alphas"])
        restore(self.controller, state["controller"])

    def _is_alpha(self, name: str) -> bool:
        return name in self.neurons and isinstance(self.neurons[name].surrogate, Alpha)

    def _moment(self, batch: Batch | None, histograms: Mapping[str, Tensor]) -> StepContext:
        probe = None if batch is None else Probe(self.model, self.loss, batch)
        return StepContext(self._now, self.steps, self.steps_per_epoch, self.neurons, histograms, probe, self._gains())

    def _gains(self) -> dict[str, Tensor]:
        norms = _norms_before(self.model)
        held = {name: norms[id(neuron)] for name, neuron in self.neurons.items() if id(neuron) in norms}
        means = {name: [norm.weight.detach().mean() for norm in of] for name, of in held.items()}
        return {name: torch.stack(of).square().sum().sqrt() for name, of in means.items()}

    def _histograms(self, reduce: bool = True) -> dict[str, Tensor]:
        if not getattr(self.controller, "watch", False):
            return {}
        counts = {name: getattr(neuron, "histogram", None) for name, neuron in self.neurons.items()}
        return {name: all_reduce(c) if reduce else c for name, c in counts.items() if c is not None}

    @torch.no_grad()
    def _write(self, widths: Widths) -> None:
        held = self._slots()
        for name in widths:
            if name not in held:
                raise unknown("neuron", name, held)
            if held[name].requires_grad:
                raise BadValue(
                    f"neuron '{name}' learns its width, and this controller writes it; use fixed(), or a "
                    "Surrogate without learn"
                )
        widths = {name + FIRST: width for name, width in widths.items() if name + FIRST in held} | dict(widths)
        slots = {name: held[name] for name in widths}
        new = {n: torch.as_tensor(w, dtype=slots[n].dtype, device=slots[n].device) for n, w in widths.items()}
        for name, width in new.items():
            if width.ndim and width.shape != slots[name].shape:
                raise BadValue(
                    f"the controller gave neuron '{name}' widths {list(width.shape)} for its slot "
                    f"{list(slots[name].shape)}; give a number, or one per channel of the slot"
                )
        good = {name: (torch.isfinite(width) & (width > 0)).all() for name, width in new.items()}
        if good and not torch.stack(list(good.values())).all():  # one look for all: on a GPU each one waits
            name = next(name for name in good if not good[name])
            raise BadValue(f"the controller gave neuron '{name}' the width {new[name].tolist()}; widths are positive")
        for name, slot in slots.items():
            write = self.neurons[name].surrogate.write if self._is_alpha(name) else slot.copy_
            write(new[name])

    def _slots(self) -> dict[str, Tensor]:
        """What may be written, by neuron; the width of the first step, where it is one of its own, by `FIRST` too."""
        found = {name: neuron.surrogate.width for name, neuron in self.neurons.items()}
        firsts = {name + FIRST: neuron.surrogate.first_width for name, neuron in self.neurons.items()}
        return found | {name: width for name, width in firsts.items() if width is not None}

    def _check_seen(self) -> None:
        """Refuse another library's neuron whose potentials a controller wants and nobody counted."""
        for name, neuron in self.neurons.items():
            if isinstance(neuron, ForeignNeuron) and neuron.record_histogram and neuron.histogram is None:
                raise BadValue(
                    f"neuron '{name}' ({type(neuron.module).__name__}) did not call its surrogate in the "
                    "last forward pass, as SpikingJelly's fused passes do not, so its potentials cannot be "
                    "counted; give it a surgrad.Surrogate, or a controller that reads none"
                )

    def _count(self, model: nn.Module, _: Any) -> None:
        if torch.compiler.is_compiling() or not (model.training and torch.is_grad_enabled()):
            return
        self._forwards += 1
        by_step = any(
            isinstance(neuron, ForeignNeuron) or neuron.carry for neuron in self.neurons.values()
        )  # or may be
        if self._forwards > 1 and self._now < self.steps and not self._warned and not by_step:
            self._warned = True
            warnings.warn(
                "two training forward passes without adapter.step(): the widths stay as they were; call "
                "adapter.step(batch) before each, or adapter.attach() once",
                stacklevel=2,
            )


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
    """The module whose slots we write, out of what torch.compile and DistributedDataParallel wrap around it."""
    while hasattr(model, "_orig_mod") or isinstance(model, DistributedDataParallel):
        model = model.module if isinstance(model, DistributedDataParallel) else model._orig_mod
    return model


def _neurons(model: nn.Module) -> dict[str, Any]:
    """Every neuron, of ours or of another library, by its path; each must hold a surrogate of its own."""
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
