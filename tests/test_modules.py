"""Modules can be reached by their names."""

import importlib
import pkgutil
import sys
import warnings
from types import ModuleType

import pytest

import surgrad

MODULES = [module.name for module in pkgutil.walk_packages(surgrad.__path__, "surgrad.")]


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_hidden_by_an_object_of_its_name(name):
    """`import surgrad.adapt.esg as module` binds the attribute `esg` of the package, which must be the module."""
    if name == "surgrad.__main__":
        pytest.skip("it is the command")
    package, _, leaf = name.rpartition(".")
    parent = importlib.import_module(package)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of a former name
        found = getattr(parent, leaf, None)
    assert found is None or found is sys.modules.get(name), f"{name} is hidden by {found!r}"
    assert found is None or isinstance(found, ModuleType)
