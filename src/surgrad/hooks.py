"""Forward hooks that are removed again, also after an error."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn


@contextmanager
def forward_hooks(modules: Iterable[tuple[str, nn.Module]], hook: Callable[..., Any]) -> Iterator[None]:
    """Within it, `hook` runs after each forward pass of the modules.

    Args:
        modules: (name, module) pairs, as of `nn.Module.named_modules`.
        hook: hook(name, module, inputs, output); what it returns, if anything, replaces the output.
    """

    def bound(name: str) -> Callable[..., Any]:
        return lambda module, inputs, output: hook(name, module, inputs, output)

    with ExitStack() as stack:
        for name, module in modules:
            stack.callback(module.register_forward_hook(bound(name)).remove)
        yield


@contextmanager
def forward_pre_hooks(modules: Iterable[tuple[str, nn.Module]], hook: Callable[..., Any]) -> Iterator[None]:
    """Within it, `hook` runs before each forward pass of the modules.

    Args:
        modules: (name, module) pairs, as of `nn.Module.named_modules`.
        hook: hook(name, module, inputs); what it returns, if anything, replaces the inputs.
    """

    def bound(name: str) -> Callable[..., Any]:
        return lambda module, inputs: hook(name, module, inputs)

    with ExitStack() as stack:
        for name, module in modules:
            stack.callback(module.register_forward_pre_hook(bound(name)).remove)
        yield
