"""Context managers that restore a model after evaluations that must not change it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from surgrad import state

DECLARING = ("surgrad.", "torch.")
"""Packages whose modules change nothing in a forward pass but buffers and declared state."""


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Within it, neurons start from their initial potential and the model's own forward pre-hooks do not run.

    Afterwards the declared state of all modules (`surgrad.state`) and torch's random numbers are as they were. Modules
    of other packages declare nothing, so all their attributes are restored (`_memories` of SpikingJelly, for instance).
    Values of parameters and buffers are not copied: evaluate with copies of them.
    """
    foreign = [(module, _attributes(module)) for module in model.modules() if _is_foreign(module)]
    hooks = model._forward_pre_hooks
    model._forward_pre_hooks = type(hooks)()
    try:
        with state.preserved_state(model):
            yield
    finally:
        model._forward_pre_hooks = hooks
        for module, attributes in foreign:
            _restore(module, attributes)


@contextmanager
def changed(settings: Iterable[tuple[Any, str, Any]]) -> Iterator[None]:
    """Within it, attributes of modules have other values: (module, attribute, value)."""
    settings = list(settings)
    before = [(module, name, getattr(module, name)) for module, name, _ in settings]
    try:
        for module, name, value in settings:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def _is_foreign(module: nn.Module) -> bool:
    return not type(module).__module__.startswith(DECLARING)


def _attributes(module: nn.Module) -> dict[str, tuple[Any, dict[Any, Any] | None]]:
    """What a module's attributes refer to; of dicts also their items, since modules change them in place."""
    return {name: (value, dict(value) if isinstance(value, dict) else None) for name, value in vars(module).items()}


def _restore(module: nn.Module, attributes: dict[str, tuple[Any, dict[Any, Any] | None]]) -> None:
    held = vars(module)
    for name in held.keys() - attributes.keys():
        del held[name]
    for name, (value, items) in attributes.items():
        held[name] = value
        if items is not None and not _same(value, items):
            value.clear()
            value.update(items)


def _same(one: dict[Any, Any], other: dict[Any, Any]) -> bool:
    """Whether two dicts hold the same objects."""
    return len(one) == len(other) and all(key in one and one[key] is value for key, value in other.items())
