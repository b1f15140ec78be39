"""What `surgrad list` and the docs say of our trainings is what the records hold."""

import importlib.util
import json
from pathlib import Path

import pytest

from surgrad.config.recipe import to_dict
from surgrad.recipes import RECIPES, find_recipe
from surgrad.recipes.reproduced import FILE, Reproduced, reproduced
from surgrad.train import derive

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("tabulate", ROOT / "scripts" / "tabulate_recipes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_files_are_those_of_the_records(script):
    """After a new record: python scripts/tabulate_recipes.py."""
    ours = script.collected(ROOT / "records")
    assert FILE.read_text() == script.text(ours)
    assert script.TABLE.read_text() == script.table(ours)
    assert reproduced() == ours
    assert ours["lsg_fashion_small_t4"].seeds == 3


def test_every_recipe_has_its_row(script):
    rows = script.TABLE.read_text().splitlines()
    for name in RECIPES:
        assert len([row for row in rows if row.startswith(f"| `{name}` |")]) == 1


def test_only_whole_trainings_of_the_very_recipe_count(script, tmp_path):
    def record(folder, recipe, *accuracies):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "recipe.json").write_text(json.dumps(to_dict(recipe)))
        rows = [json.dumps({"epoch": epoch, "test_accuracy": a}) for epoch, a in enumerate(accuracies, 1)]
        (tmp_path / folder / "metrics.jsonl").write_text("\n".join(rows) + "\n")

    recipe = find_recipe()
    record("a/seed0", recipe, 0.1, 0.2, 0.3, 0.9, 0.5)
    record("a/seed1", derive(recipe, seed=1, run={"precision": "bf16"}), 0.1, 0.2, 0.3, 0.4, 0.6)
    record("broken_off", derive(recipe, seed=2), 0.1, 0.2)
    record("another", derive(recipe, optim={"lr": 0.3}), 0.1, 0.2, 0.3, 0.4, 0.99)
    (tmp_path / "converted").mkdir()
    (tmp_path / "converted" / "recipe.json").write_text(json.dumps(to_dict(recipe)))
    record("unknown", derive(recipe, name="ours"), 0.1, 0.2, 0.3, 0.4, 0.99)
    found = script.collected(tmp_path)
    assert found == {recipe.name: Reproduced(pytest.approx(0.55), pytest.approx(0.0707, abs=1e-4), 2)}
    assert str(found[recipe.name]) == "55.00 ± 7.07 %"
    assert str(Reproduced(0.5, None, 1)) == "50.00 %"
