"""Old public names: they keep working for one release, with a warning that says the new name."""

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's `__getattr__` that serves old names.

    Args:
        module: the module's `__name__`.
        names: by old name, where the object is now: "NewName" in the same module, or "package.module.NewName".
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        home, _, new = names[name].rpartition(".")
        warn(f"{module}.{name}", f"{home or module}.{new}")
        return getattr(import_module(home or module), new)

    return get


def warn(old: str, new: str) -> None:
    """Say once per place of use that an old name is going away."""
    warnings.warn(
        f"{old} is deprecated and will be removed in the next release; use {new}", FutureWarning, stacklevel=3
    )
