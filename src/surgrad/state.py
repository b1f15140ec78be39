"""State: what a module keeps between calls besides its parameters and buffers.

A module that keeps any derives from `Stateful` and declares each piece by name, as it would register a buffer:

    self.register_state("potential", carried=True)

Reset, truncated backpropagation, probes, copies, pickles and memory reports all follow from that one declaration.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Stateful(nn.Module):
    """A module with declared state. Each piece is an attribute, None until a call sets it.

    A copy of the module, or what a pickle restores, begins with the initial state.

    A carried piece belongs to a sequence that may continue in the next call (a membrane potential): `reset` forgets it
    and `detach` cuts its gradient. Any other piece is a by-product of the last call (a histogram).
    """

    def __init__(self) -> None:
        super().__init__()
        self._initial_state: dict[str, Any] = {}
        self._carried: set[str] = set()

    def register_state(self, name: str, value: Any = None, *, carried: bool = False) -> None:
        """Declare a piece of state and set its initial value.

        Args:
            name: the attribute's name.
            value: what it is before the first call and after a reset.
            carried: whether it belongs to a sequence that may continue in the next call.
        """
        self._initial_state[name] = value
        if carried:
            self._carried.add(name)
        setattr(self, name, value)

    def state(self) -> dict[str, Any]:
        """Every declared piece of state by name, as it is now."""
        return {name: getattr(self, name) for name in self._initial_state}

    def load_state(self, state: dict[str, Any]) -> None:
        """Set pieces of state by name.

        Raises:
            AttributeError: for a name that is not declared.
        """
        for name, value in state.items():
            if name not in self._initial_state:
                known = ", ".join(self._initial_state) or "none"
                raise AttributeError(f"{type(self).__name__} declares no state '{name}'; it declares {known}")
            setattr(self, name, value)

    def reset_state(self) -> None:
        """Forget the sequence: every carried piece gets its initial value."""
        for name in self._carried:
            setattr(self, name, self._initial_state[name])

    def detach_state(self) -> None:
        """Cut the gradient of every carried tensor."""
        for name in self._carried:
            value = getattr(self, name)
            if isinstance(value, Tensor):
                setattr(self, name, value.detach())

    def __getstate__(self) -> dict[str, Any]:
        """A copy or a pickle begins with the initial state: the tensors of the last call may belong to a graph."""
        return {**self.__dict__, **self._initial_state}


def stateful_modules(model: nn.Module) -> dict[str, Stateful]:
    """The modules with declared state, by module path."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Stateful)}


def reset(model: nn.Module) -> None:
    """Begin new sequences: forget the state that the modules of this model carry. Touches no other model."""
    for module in stateful_modules(model).values():
        module.reset_state()


def detach(model: nn.Module) -> None:
    """Cut the gradient of the state that the modules of this model carry (truncated backpropagation through time)."""
    for module in stateful_modules(model).values():
        module.detach_state()


@contextmanager
def preserved_state(model: nn.Module) -> Iterator[None]:
    """Within it the model starts from reset state; afterwards all declared state is as it was before.

    So are torch's random numbers on the CPU and on the devices of the model's parameters.
    """
    kept = {module: module.state() for module in stateful_modules(model).values()}
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    reset(model)
    try:
        with torch.random.fork_rng(sorted(devices, key=str)):
            yield
    finally:
        for module, state in kept.items():
            module.load_state(state)


def state_bytes(model: nn.Module) -> int:
    """Bytes of the tensors that the model's modules hold as state."""
    held = [value for module in stateful_modules(model).values() for value in module.state().values()]
    return sum(value.numel() * value.element_size() for value in held if isinstance(value, Tensor))
