"""Time of our training step by kind: convolution, normalisation, neuron, and the rest."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.autograd.profiler_util import FunctionEvent
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.profiler import ProfilerActivity, profile, record_function

from bench.setups import Setup, batch_of, build, sgd_step

SCOPE = "bench::neuron"
BACKWARD = "autograd::engine::evaluate_function: "
KINDS = ("convolution", "normalisation", "neuron", "the rest")
REPEATS = 3


def split(setup: Setup, dtype: str) -> dict[str, float]:
    """Return the seconds of a training step by kind, with our neuron in the network.

    A kernel that fuses norm and neuron counts as neuron; the pass that computes the norm's moments does not.
    """
    from bench.peers import ours

    return profiled(sgd_step(build(setup, ours), batch_of(setup), dtype))


def profiled(step: Callable[[], object]) -> dict[str, float]:
    """Return the seconds of one call by kind, averaged over REPEATS calls after a first one."""
    step()
    with _neurons_named(), profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(REPEATS):
            step()
    return grouped(seen.events() or [])


def grouped(events: Any) -> dict[str, float]:
    """Return the self time in seconds by kind, per step. The backward pass of a neuron is recognised by the sequence
    number that its node shares with the operator of the forward pass."""
    nodes = {e.sequence_nr for e in events if e.sequence_nr >= 0 and any(SCOPE in a.name for a in _chain(e))}
    seconds = dict.fromkeys(KINDS, 0.0)
    for event in events:
        seconds[_kind(event, nodes)] += event.self_cpu_time_total / 1e6 / REPEATS
    return seconds


def _kind(event: FunctionEvent, nodes: set[int]) -> str:
    chain = list(_chain(event))
    names = " ".join(e.name.lower() for e in chain)
    if any(word in names for word in ("_moments", "batch_norm", "batchnorm")):
        return "normalisation"
    if "surgrad::" in names or SCOPE in names:
        return "neuron"
    if "convolution" in names:
        return "convolution"
    if any(e.name.startswith(BACKWARD) and e.sequence_nr in nodes for e in chain):
        return "neuron"
    return "the rest"


def _chain(event: FunctionEvent) -> Iterator[FunctionEvent]:
    """Yield the event and its callers, up to the outermost."""
    above: FunctionEvent | None = event
    while above is not None:
        yield above
        above = above.cpu_parent


@contextmanager
def _neurons_named() -> Iterator[None]:
    """Open a profiler scope around every call of a neuron. Global hooks leave the modules' own hooks unchanged."""
    from surgrad.neurons import Neuron

    scopes: list[Any] = []

    def enter(module: nn.Module, inputs: Any) -> None:
        if isinstance(module, Neuron):
            scopes.append(record_function(SCOPE))
            scopes[-1].__enter__()

    def leave(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if isinstance(module, Neuron):
            scopes.pop().__exit__(None, None, None)

    hooks = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
