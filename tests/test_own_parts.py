"""The example project with parts from outside the package: by its file, and installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from surgrad import cli
from surgrad.config import parts, plugins
from surgrad.config.plugins import load_file
from surgrad.errors import BadValue
from surgrad.recipes import RECIPES, find_recipe

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "own_parts"
FILE = EXAMPLE / "own_parts.py"


PARTS = {"neuron": "soft_floor", "adapt": "half_threshold", "model": "two_layers", "data": "stripes"}


@pytest.fixture
def _registered():
    """The example's parts are registered during a test, and not in the tests after it."""
    load_file(FILE)
    yield
    sys.modules.pop(load_file(FILE).__name__)
    RECIPES.pop("stripes_t4")
    for group, name in PARTS.items():
        parts.registry(group, name).remove(name)


@pytest.mark.usefixtures("_registered")
def test_a_recipe_in_a_file_trains_with_its_own_parts(tmp_path, capsys):
    out = tmp_path / "run"
    assert cli.main(["train", f"{FILE}:stripes_t4", "--set", "optim.epochs=2", "--out", str(out)]) == 0
    recipe = json.loads((out / "recipe.json").read_text())
    assert {group: recipe[group]["name"] for group in PARTS} == PARTS
    assert recipe["neuron"]["floor"] == -0.5
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["test_accuracy"] > 0.9
    assert cli.main(["eval", str(out)]) == 0
    assert "test accuracy" in capsys.readouterr().out


@pytest.mark.usefixtures("_registered")
def test_own_parts_stand_in_any_recipe():
    assert list(parts.options("neuron", "soft_floor")) == ["decay", "threshold", "floor"]
    assert RECIPES["stripes_t4"]().data.name == "stripes"
    assert find_recipe("stripes_t4").neuron.name == "soft_floor"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("missing.py:recipe", "missing.py does not exist"),
        (f"{FILE}:missing", "has no function 'missing'; write one that returns a surgrad Recipe"),
        (f"{FILE}:stripes", "returned ArraySource; return a surgrad.Recipe"),
    ],
)
@pytest.mark.usefixtures("_registered")
def test_what_is_not_a_recipe_is_refused(name, error):
    with pytest.raises(BadValue, match=error):
        find_recipe(name)


class Point:
    """An entry point of an installed distribution."""

    name = "own_parts"
    value = "own_parts"

    def __init__(self, load):
        self.load = load


@pytest.fixture
def installed(monkeypatch):
    """installed(load): a distribution whose entry point is loaded by that function."""

    def install(load):
        monkeypatch.setattr(plugins, "entry_points", lambda group: [Point(load)] if group == "surgrad" else [])
        monkeypatch.setattr(plugins, "LOADED", set())

    return install


def test_an_installed_plugin_is_loaded_once_before_names_are_looked_up(installed):
    loaded = []
    installed(lambda: loaded.append(1))
    assert find_recipe().name == find_recipe().name
    assert loaded == [1]


def test_a_plugin_that_fails_is_named(installed):
    def load():
        raise ImportError("no module named 'x'")

    installed(load)
    for _ in range(2):  # it stays an error
        with pytest.raises(BadValue, match=r"plugin 'own_parts' \(own_parts\) cannot be loaded: ImportError"):
            find_recipe()


def test_the_entry_point_of_the_example_is_found_when_it_is_installed(tmp_path):
    """As pip would leave it: the module and its metadata on the path."""
    (tmp_path / "own_parts.py").write_text(FILE.read_text())
    info = tmp_path / "own_parts-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-parts\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[surgrad]\nown_parts = own_parts\n")
    assert 'own_parts = "own_parts"' in (EXAMPLE / "pyproject.toml").read_text()
    script = "from surgrad.recipes import find_recipe; print(find_recipe('stripes_t4').neuron.name)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tmp_path)}
    )
    assert done.stdout == "soft_floor\n", done.stderr
