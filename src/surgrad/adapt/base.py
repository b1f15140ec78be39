"""The seam between a width and whoever writes it: Moment, Controller, Adapter."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from surgrad.adapt.probe import Batch, Loss, Probe
from surgrad.adapt.ranks import over_ranks
from surgrad.errors import BadValue, unknown
from surgrad.surrogate import Surrogate

Widths = Mapping[str, Tensor]


@dataclass(frozen=True)
class Moment:
    """All that a controller may know, at the top of a training step.

    step: number of this step, from 0; steps: of the whole training; steps_per_epoch.
    neurons: by module path, each with `.surrogate`, `.decay` and `.threshold`, the input's end first.
    histograms: by module path, the last training forward's membrane histogram (`surgrad.kernels.lif`), summed over
        ranks; empty unless the controller watches, and before the first forward.
    probe: answers what-if questions about the coming batch; None when the adapter is built or attached.
    """

    step: int
    steps: int
    steps_per_epoch: int
    neurons: Mapping[str, Any]
    histograms: Mapping[str, Tensor] = field(default_factory=dict)
    probe: Probe | None = None

    @property
    def epoch(self) -> int:
        return self.step // self.steps_per_epoch

    @property
    def progress(self) -> float:
        """Share of the training that is done, in [0, 1)."""
        return self.step / self.steps


class Controller:
    """Who writes the widths: maps a `Moment` to new widths by neuron; {} leaves all as they are.

    Any function of a Moment is a controller too. Subclass to declare what it needs, or to keep state between steps:
    `watch` asks for membrane histograms, `probes` for a Probe, and `state_dict` must hold all that a resumed
    training needs to write the same widths. Same evidence, same widths: no clock and no global random numbers.
    """

    watch = False
    probes = False

    def __call__(self, moment: Moment) -> Widths:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def state_of(controller: Any) -> dict[str, Any]:
    """The state of a controller; {} for a function that keeps none."""
    return controller.state_dict() if hasattr(controller, "state_dict") else {}


def restore(controller: Any, state: dict[str, Any]) -> None:
    if hasattr(controller, "load_state_dict"):
        controller.load_state_dict(state)


AnyController = Controller | Callable[[Moment], Widths]


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
        self.model = getattr(model, "_orig_mod", model)  # torch.compile wraps the module whose slots we write
        self.controller, self.loss = controller, loss
        self.steps, self.steps_per_epoch = steps, steps_per_epoch
        self.neurons = _neurons(self.model)
        self._now, self._forwards, self._warned = 0, 0, False
        self._attached: Any = None
        for neuron in self.neurons.values():
            if getattr(controller, "watch", False):
                neuron.watch = True
        self._write(self.controller(self._moment(None, {})))
        self._counter = self.model.register_forward_pre_hook(self._count)

    def step(self, batch: Batch | None) -> None:
        """Write the widths of the coming step. batch: (inputs, targets) of the coming forward pass."""
        self._forwards = 0
        self._write(self.controller(self._moment(batch, self._histograms())))
        self._now += 1

    def attach(self) -> None:
        """Step by itself before every training forward pass; for controllers that need no probe."""
        if getattr(self.controller, "probes", False):
            raise BadValue("this controller probes the coming batch; call adapter.step(batch) before the forward pass")
        if self._attached is None:
            self._attached = self.model.register_forward_pre_hook(
                lambda model, _: self.step(None) if model.training else None, prepend=True
            )

    def detach(self) -> None:
        """Undo `attach`, and stop counting forward passes."""
        for handle in (self._attached, self._counter):
            if handle is not None:
                handle.remove()
        self._attached = None

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs besides the model, whose state holds the widths."""
        histograms = {name: counts.clone() for name, counts in self._histograms(reduce=False).items()}
        return {"step": self._now, "controller": state_of(self.controller), "histograms": histograms}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._now = state["step"]
        for name, counts in state["histograms"].items():
            self.neurons[name].membrane = counts.to(self.neurons[name].surrogate.width.device)
        restore(self.controller, state["controller"])

    def _moment(self, batch: Batch | None, histograms: Mapping[str, Tensor]) -> Moment:
        probe = None if batch is None else Probe(self.model, self.loss, batch)
        return Moment(self._now, self.steps, self.steps_per_epoch, self.neurons, histograms, probe)

    def _histograms(self, reduce: bool = True) -> dict[str, Tensor]:
        if not getattr(self.controller, "watch", False):
            return {}
        counts = {name: getattr(neuron, "membrane", None) for name, neuron in self.neurons.items()}
        return {name: over_ranks(c) if reduce else c for name, c in counts.items() if c is not None}

    @torch.no_grad()
    def _write(self, widths: Widths) -> None:
        for name in widths:
            if name not in self.neurons:
                raise unknown("neuron", name, self.neurons)
        slots: dict[str, Tensor] = {name: self.neurons[name].surrogate.width for name in widths}
        new = {n: torch.as_tensor(w, dtype=slots[n].dtype, device=slots[n].device) for n, w in widths.items()}
        for name, width in new.items():
            if width.ndim and width.shape != slots[name].shape:
                raise BadValue(f"the controller gave neuron '{name}' widths {list(width.shape)} for its slot "
                               f"{list(slots[name].shape)}; give a number, or one per channel of the slot")  # fmt: skip
        good = {name: (torch.isfinite(width) & (width > 0)).all() for name, width in new.items()}
        if good and not torch.stack(list(good.values())).all():  # one look for all: on a GPU each one waits
            name = next(name for name in good if not good[name])
            raise BadValue(f"the controller gave neuron '{name}' the width {new[name].tolist()}; widths are positive")
        for name, slot in slots.items():
            slot.copy_(new[name])

    def _count(self, model: nn.Module, _: Any) -> None:
        if torch.compiler.is_compiling() or not model.training:
            return
        self._forwards += 1
        if self._forwards > 1 and self._now < self.steps and not self._warned:
            self._warned = True
            warnings.warn("two training forward passes without adapter.step(): the widths stay as they were; call "
                          "adapter.step(batch) before each, or adapter.attach() once", stacklevel=2)  # fmt: skip


def _neurons(model: nn.Module) -> dict[str, Any]:
    """Every module that holds a `surrogate`, by its path; each must hold one of its own."""
    found: dict[str, Any] = {}
    owner: dict[int, str] = {}
    for name, module in model.named_modules():
        slot = getattr(module, "surrogate", None)
        if not isinstance(slot, Surrogate):
            continue
        if id(slot) in owner:
            raise BadValue(f"neurons '{owner[id(slot)]}' and '{name}' share one Surrogate; give each its own")
        owner[id(slot)] = name
        found[name] = module
    if not found:
        raise BadValue("the model has no neuron with a Surrogate, so there is no width to write; give it one")
    return found
