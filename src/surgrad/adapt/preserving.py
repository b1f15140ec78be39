"""A context manager that restores a model after evaluations that must not change it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from surgrad import state


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Within it, the neurons start from rest and the model's own forward pre-hooks do not run.

    Afterwards every attribute of every module is as it was: declared state (`surgrad.state`), what modules of other
    libraries keep (SpikingJelly's `_memories`, snnTorch's `mem`), hooks, training flags; and so are torch's random
    numbers. Values of parameters and buffers are not copied: evaluate with copies of them, or leave them alone.
    """
    kept = [(module, _attributes(module)) for module in model.modules()]
    try:
        with state.preserved_state(model):
            model._forward_pre_hooks = type(model._forward_pre_hooks)()
            yield
    finally:
        for module, attributes in kept:
            _restore(module, attributes)


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
