"""The docstrings of the public API, in the structure that tools read (Google sections), and the examples in them.

Public are the names that packages export, what public modules define, and the parts that registries hold. A docstring
is a summary on one line, details, then sections: Args (or Attributes, of a record), Returns, Raises, Example. A class
or function that takes what another one takes says so: "The parameters are those of `Base`."
"""

import ast
import builtins
import doctest
import functools
import importlib
import inspect
import re
from pathlib import Path

import pytest
import torch

import surgrad
from surgrad import errors
from surgrad.config.registry import Registry

ROOT = Path(surgrad.__file__).parent
MODULES = (
    *("losses", "penalties", "conversion", "layers", "coding", "state", "hooks", "files", "errors"),
    *(f"config.{path.stem}" for path in sorted((ROOT / "config").glob("[a-z]*.py"))),
)
"""Modules whose every name is public, if it does not begin with an underscore."""
WITH_PARTS = ("data.datasets", "train.average", "train.loggers", "surrogates.registry")
"""Further modules that hold registries."""
NOT_PUBLIC = ("kernels/lif/native", "kernels/lif/triton")
"""Packages of backends, which only `surgrad.lif` calls."""
SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Example")
HEADER = re.compile(rf"^({'|'.join(SECTIONS)}|Yields|Examples|Note|Notes):(.*)$", re.MULTILINE)
SAME = re.compile(r"parameters are those of `([\w.]+)`")
ENTRIES = (
    *("Adapter", "LIF", "NormNeuron", "PerStep", "Recipe", "Surrogate", "TDBN", "derive", "lif", "load_run"),
    *("config.set_fields", "data.ArraySource", "gradients.sltt", "diagnose", "measure.energy", "train.build"),
    *("config.registry.Registry", "conversion.convert", "losses.cross_entropy", "penalties.penalise", "train.train"),
)
"""Where users begin: each has an example."""
MANY = 3
"""From this number of parameters on, each is described."""


def packages():
    for path in sorted(ROOT.rglob("__init__.py")):
        folder = path.parent.relative_to(ROOT).as_posix()
        if not folder.startswith(NOT_PUBLIC):
            stub = path.with_suffix(".pyi")
            name = ".".join(("surgrad", *path.parent.relative_to(ROOT).parts))
            yield importlib.import_module(name), ast.parse((stub if stub.exists() else path).read_text())


def exported(package, tree):
    """The names that a package imports as themselves, lists in `__all__`, or defines."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if alias.asname == alias.name)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
    yield from getattr(package, "__all__", ())


def parts(module):
    for registry in vars(module).values():
        if isinstance(registry, Registry):
            yield from ((f"{registry.kind} '{name}'", getattr(part, "func", part)) for name, part in registry.items())


def named():
    for package, tree in packages():
        yield from ((f"{package.__name__}.{name}", getattr(package, name)) for name in exported(package, tree))
        yield from parts(package)
    for name in (*MODULES, *WITH_PARTS):
        module = importlib.import_module(f"surgrad.{name}")
        if name in MODULES:
            own = {k: v for k, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__}
            yield from ((f"{module.__name__}.{key}", value) for key, value in own.items() if not key.startswith("_"))
        yield from parts(module)


@functools.cache
def public():
    """The public classes and functions of the package by name, each once."""
    found = {}
    for name, value in named():
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith("surgrad"):
            found.setdefault(value, name)
    return {name: value for value, name in found.items()}


def docstring(value):
    """Its docstring, not inherited and not made by `dataclass`."""
    text = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    return "" if text is None or text.startswith(f"{value.__name__}(") else inspect.cleandoc(text)


def sections(text):
    """The lines of every section by its header, without their indentation."""
    found = {}
    for match in HEADER.finditer(text):
        body = re.split(r"\n(?=\S)", text[match.end() :])[0]
        found[match.group(1)] = inspect.cleandoc(match.group(2) + body).splitlines()
    return found


def entries(lines):
    """The names that the entries of a section describe; an entry begins without indentation."""
    heads = [line for line in lines if line and not line.startswith(" ")]
    malformed = [line for line in heads if not re.match(r"\*{0,2}\w+: \S", line)]
    assert not malformed, f"not an entry 'name: description': {malformed}"
    return [head.partition(":")[0].lstrip("*") for head in heads]


def parameters(value):
    """Of a function or constructor: (those with a name in the call, all)."""
    everything = inspect.signature(value).parameters.values()
    gathering = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in everything if p.kind not in gathering], [p.name for p in everything]


def referred(text):
    """The parameters of the class or function whose parameters this one has too."""
    known = {value.__name__: value for value in public().values()}
    for path in SAME.findall(" ".join(text.split())):
        *owners, name = path.split(".")
        other = known[name] if name in known else getattr(known[owners[-1]], name)
        yield from parameters(other)[1]


def has_attribute(kind, name):
    annotated = {key for owner in kind.__mro__ for key in vars(owner).get("__annotations__", {})}
    return hasattr(kind, name) or name in annotated or f"self.{name}" in inspect.getsource(kind)


def faults(value):
    """What is wrong with the docstring of a public class or function, in sentences."""
    text = docstring(value)
    if not text:
        yield "it has no docstring"
        return
    first, *rest = text.splitlines()
    if not first.endswith((".", ":")):
        yield f"the summary '{first}' must be one line that ends with a period, or with a colon before a formula"
    if rest and rest[0]:
        yield f"a blank line must follow the summary '{first}'"
    if first.endswith(":") and not (len(rest) > 1 and rest[1].startswith("    ")):
        yield "no indented formula follows the colon of the summary"
    found = sections(text)
    if list(found) != [name for name in SECTIONS if name in found]:
        yield f"its sections {list(found)} must be some of {', '.join(SECTIONS)}, in this order"
    described = {name: entries(found.get(name, [])) for name in ("Args", "Attributes", "Raises")}
    yield from wrong_names(value, described)
    if inspect.isclass(value) and issubclass(value, BaseException):
        return
    own, _ = parameters(value)
    covered = {*described["Args"], *described["Attributes"], *referred(text)}
    missing = [name for name in own if name not in covered]
    if missing and (len(own) >= MANY or described["Args"]):
        yield f"Args must describe {', '.join(missing)}; or write 'The parameters are those of `Base`.'"


def wrong_names(value, described):
    if described["Args"]:
        _, known = parameters(value)
        yield from (f"Args has '{name}', which is not a parameter" for name in described["Args"] if name not in known)
    for name in described["Attributes"]:
        if not has_attribute(value, name):
            yield f"Attributes has '{name}', which it does not have"
    for name in described["Raises"]:
        if not (hasattr(errors, name) or hasattr(builtins, name)):
            yield f"Raises has '{name}', which is not an error"


@pytest.mark.parametrize("name", public())
def test_docstring(name):
    assert list(faults(public()[name])) == [], f"the docstring of {name}"


@pytest.mark.parametrize("name", ENTRIES)
def test_entry_points_have_an_example(name):
    value = public()[f"surgrad.{name}"]
    assert ">>> " in "".join(sections(docstring(value)).get("Example", [])), f"{name} needs an example that runs"


def test_public_names_are_found():
    found = {value.__name__ for value in public().values()}
    assert {"Adapter", "LIF", "lif", "build", "load_run", "sltt", "rdrop", "EMA", "ArraySource", "vgg"} <= found


def example(one, two=2, *, three=3):
    """Compute nothing, over
    two lines.

    Args:
        one: a number.
        two, three: two numbers.
    """


def stale(one, two=2, *, three=3):
    """Compute nothing.

    Raises:
        NoSuchError: never.

    Args:
        one: a number.
        four: a number.
    """


def test_faults_are_found():
    with pytest.raises(AssertionError, match="two, three"):
        list(faults(example))
    assert list(faults(stale)) == [
        "its sections ['Raises', 'Args'] must be some of Args, Attributes, Returns, Raises, Example, in this order",
        "Args has 'four', which is not a parameter",
        "Raises has 'NoSuchError', which is not an error",
        "Args must describe two, three; or write 'The parameters are those of `Base`.'",
    ]
    assert list(faults(lambda: None)) == ["it has no docstring"]


WITH_EXAMPLES = sorted(
    ".".join(("surgrad", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_run(name):
    """Every example, as `python -m doctest` runs it."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        result = doctest.testmod(importlib.import_module(name), verbose=False)
    assert result.failed == 0, f"an example in {name} does not do what it shows; see the output"
    assert result.attempted, f"no example of {name} is found; write it in a docstring"
