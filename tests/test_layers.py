"""The law of the house: imports point upward in this list only. Read with ast, so that no import is missed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import surgrad

ROOT = Path(surgrad.__file__).parent
ORDER = (
    "errors",
    "deprecated",
    "lazy",
    "criteria",
    "files",
    "process",
    "config",
    "recipes",
    "state",
    "hooks",
    "noted",
    "padding",
    "ranks",
    "transfer",
    "arithmetic",
    "broadcasting",
    "surrogates",
    "shapes",
    "surrogate",
    "kernels",
    "neurons",
    "layers",
    "norm",
    "coding",
    "models",
    "losses",
    "penalties",
    "gradients",
    "tracing",
    "conversion",
    "adapt",
    "data",
    "optim",
    "measure",
    "train",
    "report",
    "sweep",
    "tuning",
    "cli",
    "__main__",
)
TORCH_FREE = ("errors", "deprecated", "criteria", "files", "process", "config", "recipes", "report", "cli")


def layer_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def module_level(tree):
    """The import statements that run when the module is imported."""
    body = [node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))]
    return ast.Module([node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))], [])


GENERATED = ROOT / "kernels/lif/triton/slopes.py"
FILES = sorted(path for path in ROOT.rglob("*.py") if path not in (ROOT / "__init__.py", GENERATED))


def test_every_file_has_a_layer():
    assert {layer_of(path) for path in FILES} == set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_upward(path):
    own = ORDER.index(layer_of(path))
    for name in imported(ast.parse(path.read_text())):
        if name.startswith("surgrad.") and name.split(".")[1] in ORDER:
            assert ORDER.index(name.split(".")[1]) <= own, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_what_computes_needs_torch(path):
    if layer_of(path) in TORCH_FREE:
        names = list(imported(module_level(ast.parse(path.read_text()))))
        assert not [name for name in names if name.split(".")[0] in ("torch", "numpy", "matplotlib", "rich")]


def statements(function):
    """How many statements a function has, those of its nested functions among them."""
    return sum(isinstance(node, ast.stmt) for part in function.body for node in ast.walk(part))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_are_small(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            kernel = any(ast.unparse(mark) in ("triton.jit", "kernel") for mark in node.decorator_list)
            count = statements(node)
            assert count <= (90 if kernel else 30), f"{path.relative_to(ROOT)}: {node.name} has {count} statements"


def test_the_training_core_needs_torch_and_numpy_alone():
    """A machine made for computing may have little else."""
    script = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("safetensors", "rich", "matplotlib", "jinja2", "PIL"):
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
import surgrad.train.run, surgrad.models, surgrad.adapt, surgrad.losses, surgrad.recipes, surgrad.cli
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
