"""Parts and recipes from outside the package.

A distribution registers them by an entry point of the group "surgrad": a function without arguments, or a module, that
is called or imported before names are looked up:

    [project.entry-points.surgrad]
    mine = "my_package.surgrad_parts"
"""

import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from surgrad.errors import BadValue

GROUP = "surgrad"
LOADED: set[str] = set()
"""Names of the entry points that were loaded."""


def load_plugins() -> None:
    """Import what installed distributions register in the entry point group "surgrad", once.

    Raises:
        BadValue: for a plugin that cannot be imported.
    """
    for point in entry_points(group=GROUP):
        if point.name in LOADED:
            continue
        try:
            found: Any = point.load()
            if callable(found):
                found()
        except Exception as error:
            raise BadValue(
                f"plugin '{point.name}' ({point.value}) cannot be loaded: {type(error).__name__}: {error}; "
                "repair or uninstall its package"
            ) from error
        LOADED.add(point.name)


def load_file(path: Path) -> ModuleType:
    """Run a Python file of the user's as a module, once; the parts that it adds to registries stay registered.

    Raises:
        BadValue: for a file that does not exist, or is not a Python file.
    """
    path = path.resolve()
    name = f"surgrad_user_{path.stem}_{abs(hash(str(path)))}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise BadValue(f"{path} does not exist; give path/to/file.py:function")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadValue(f"{path} is not a Python file; give path/to/file.py:function")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception:
        del sys.modules[name]
        raise
    return module
