"""Compile the GPU kernels of a training on a machine without a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from surgrad.adapt.probe import Batch
from surgrad.config.recipe import Recipe, derive
from surgrad.kernels.lif import triton
from surgrad.kernels.lif.triton.compiling import Launch, compiling_for
from surgrad.models import SpikingNetwork
from surgrad.neurons import Neuron, neurons
from surgrad.norm import NormNeuron
from surgrad.train.building import Data, build
from surgrad.train.parts import Parts

SPIKES = 2**20
"""How many are packed into bits: a number like those of layers, of which only divisibility counts."""


@dataclass(frozen=True)
class Call:
    """A call of a layer of neurons: shapes, strides and types, without values."""

    layer: nn.Module
    given: tuple[Any, ...]
    options: dict[str, Any]
    training: bool


def precompile(recipe: Recipe, arch: int, data: Data | None = None) -> list[Launch]:
    """Compile the kernels that a training launches on a GPU, into Triton's cache.

    They are those of the first batch, of the first one after the progressive phase, and of an evaluation.

    Args:
        recipe: the training. `run.precision` "auto" is bf16, as on GPUs that support it.
        arch: the GPU, as 90 for sm_90.
        data: see `surgrad.train.build`.

    Returns:
        The launches, of which several may have the same compiled kernel.
    """
    bf16 = recipe.run.precision in ("auto", "bf16")
    on_cpu = {"device": "cpu", "graph": "off", "compile": False, "precision": "bf16" if bf16 else "fp32"}
    parts = build(derive(recipe, run=on_cpu), data)
    parts.adapter.detach()
    calls = [call for training, batch in _batches(parts) for call in _calls(parts, batch, training=training)]
    for neuron in neurons(parts.model).values():
        neuron.backend = "triton"
    with compiling_for(arch) as launches:
        for records in (False, True) if parts.adapter.controller.needs_histograms else (False,):
            for neuron in neurons(parts.model).values():
                neuron.record_histogram = records
            for call in calls:
                _replay(call)
        if recipe.run.pack_spikes:
            spikes = torch.empty(SPIKES, dtype=torch.bfloat16 if bf16 else torch.float32)
            triton.unpack(triton.pack(spikes), spikes)
    return launches


def _batches(parts: Parts) -> Iterator[tuple[bool, Batch]]:
    """(whether it is trained on, a batch) of each kind; the network has the number of time steps of its kind."""
    batches = parts.batches
    steps = parts.model.steps
    for epoch in (0, parts.recipe.optim.epochs - 1):
        if batches.starting(epoch, 0):
            parts.model.steps = batches.progressive.steps
        yield True, next(iter(batches.train(epoch, 0)))
        parts.model.steps = steps
    yield False, next(iter(batches.test()))


def _calls(parts: Parts, batch: Batch, *, training: bool) -> list[Call]:
    """The calls of all layers of neurons for a batch."""
    model = parts.model
    model.train(training)
    model.pack_spikes = False
    found: list[Call] = []

    def note(layer: nn.Module, given: tuple[Any, ...], options: dict[str, Any]) -> None:
        named = {name: _hollow(value) for name, value in options.items()}
        found.append(Call(layer, tuple(_hollow(value) for value in given), named, training))

    with _hooked(model, note), FakeTensorMode() as fakes, torch.set_grad_enabled(training):
        state: dict[str, Tensor] = dict(model.named_buffers())
        state.update(model.named_parameters())
        fake_state: dict[str, Tensor] = {name: fakes.from_tensor(value) for name, value in state.items()}
        with torch.autocast("cpu", torch.bfloat16, enabled=parts.bf16):
            torch.func.functional_call(model, fake_state, (fakes.from_tensor(batch[0]),))
    return found


@contextmanager
def _hooked(model: SpikingNetwork, note: Any) -> Iterator[None]:
    """Within it, every layer of neurons tells `note` of its calls, before they are made."""
    whole = [module for module in model.modules() if isinstance(module, NormNeuron)]
    inner = {id(part) for module in whole for part in module.modules()}
    bare = [module for module in model.modules() if isinstance(module, Neuron) and id(module) not in inner]
    hooks = [module.register_forward_pre_hook(note, with_kwargs=True) for module in (*whole, *bare)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hollow(value: Any) -> Any:
    """A tensor of the same layout without memory; another value itself."""
    if not isinstance(value, Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


def _filled(value: Any, *, grad: bool) -> Any:
    if not isinstance(value, Tensor):
        return value
    new = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype)
    # no leaf, as within a network
    return new.requires_grad_().view_as(new) if grad else new


def _replay(call: Call) -> None:
    """Call a layer again, forward and, in training, backward."""
    call.layer.train(call.training)
    with torch.set_grad_enabled(call.training):
        given = [_filled(value, grad=call.training) for value in call.given]
        options = {name: _filled(value, grad=call.training) for name, value in call.options.items()}
        spikes = call.layer(*given, **options)
    if call.training:
        spikes.backward(torch.empty_like(spikes))
