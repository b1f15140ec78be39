"""Packages whose names are imported when first asked for, so that `surgrad --help` need not wait for torch.

The public names of such a package are listed once, in the stub `__init__.pyi` next to its `__init__.py`: type checkers
read it, and `attach` makes `__getattr__`, `__dir__` and `__all__` of it.
"""

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def attach(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """A package's `__getattr__`, `__dir__` and `__all__`.

    Args:
        package: its `__name__`.
        file: its `__file__`.
    """
    homes = _homes(Path(file).with_suffix(".pyi"))

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        module = import_module(homes[name])
        if module.__name__ == f"{package}.{name}":
            return module
        return getattr(module, name)

    names = sorted(homes)
    return get, lambda: sorted({*names, "__version__", "__doc__", "__name__", "__file__"}), names


def _homes(stub: Path) -> dict[str, str]:
    """By public name, the module to import: a submodule itself, or where the object is defined."""
    found: dict[str, str] = {}
    for node in ast.parse(stub.read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                name = alias.asname or alias.name
                submodule = (stub.parent / f"{name}.py").exists() or (stub.parent / name).is_dir()
                own = node.module.rpartition(".")[2] == stub.parent.name
                found[name] = f"{node.module}.{name}" if own and submodule else node.module
    return found
