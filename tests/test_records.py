"""What `surgrad list` and the docs say of our trainings is what the records hold."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from surgrad.config.recipe import to_dict
from surgrad.measure import Energy
from surgrad.measure.operations import LayerEnergy
from surgrad.recipes import RECIPES, find_recipe
from surgrad.recipes.reproduced import FILE, Reproduced, reproduced
from surgrad.sweep import entries
from surgrad.sweep.table import Sample
from surgrad.train import derive

ROOT = Path(__file__).parents[1]


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look up their annotations
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    return loaded("tabulate_recipes")


@pytest.fixture(scope="module")
def results():
    return loaded("results")


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


def test_claims_are_what_the_logs_say(results):
    """After a new record: python scripts/results.py."""
    readme = (ROOT / "records" / "README.md").read_text()
    assert results.PAGE.read_text() == results.page()
    assert readme == results.with_tables(readme)
    assert readme.count(results.BEGIN) == readme.count(results.END) == 1


def test_every_claim_has_its_logs(results):
    for claim in results.ACCURACIES:
        assert results.scores(claim.place), claim.what
    for claim in (claim for each in results.comparisons() for claim in each.differences):
        assert results.scores(claim.place).keys() & results.scores(claim.minus).keys(), claim.what


@pytest.mark.parametrize(
    ("values", "claimed", "words"),
    [
        ((0.01, 0.02, 0.03), None, "–"),
        ((0.01,), 1.7, "one seed decides nothing"),
        ((0.016, 0.017, 0.018), 1.7, "includes the claim"),
        ((-0.016, -0.017, -0.018), -1.7, "includes the claim"),
        ((-0.016, -0.0171), -1.7, "two seeds decide nothing"),
        ((-0.01, 0.02, 0.03), 1.7, "includes the claim, and zero"),
        ((0.0, 0.001, 0.0015), 1.7, "excludes the claim, includes zero"),
        ((0.004, 0.0045, 0.005), 1.7, "excludes the claim"),
        ((-0.004, -0.0045, -0.005), 1.7, "excludes the claim, with the other sign"),
        ((0.004, 0.0045, 0.005), -1.7, "excludes the claim, with the other sign"),
        ((-0.3, -0.31, -0.32), -60.0, "no network here can fall that far"),
    ],
)
def test_what_an_interval_says_of_a_claim(results, values, claimed, words):
    """Half of the interval of three numbers is 4.303·sd/√3: of 0.016, 0.017, 0.018 it is 0.0025."""
    assert results.verdict(Sample(values), claimed, 0.52) == words


def test_ratios_are_medians_over_rounds(results):
    """As in the tables of the benchmark: rounds, in which other load meets all alike, and not medians of all times."""
    record = json.loads((ROOT / "records" / "bench" / "layer.json").read_text())
    table = (ROOT / "records" / "bench" / "README.md").read_text()
    assert results.layer_ratios(record, "SpikingJelly LIF", "fp32") == "5.0 to 19.8 times our time"
    assert "19.8" in table
    ours, theirs = ({"T": 4, "elements": 8, "dtype": "fp32", "name": name} for name in ("surgrad", "other"))
    rows = [{**ours, "times": [1.0, 2.0, 4.0]}, {**theirs, "times": [3.0, 6.0, 4.0]}]
    assert results.layer_ratios({"rows": rows}, "other", "fp32") == "3.0 to 3.0 times our time"


def test_speeds_of_processes_and_readers(results):
    rates = {"one, 1 thread": (100, 104, 90), "two, shared norms": (120, 160, 150)}
    rows = [{"what": "net", "way": way, "images_per_second": r} for way, found in rates.items() for r in found]
    assert results.two_processes([{"machine": {}}, *rows], "net", "two, shared norms") == "75% of twice that of one"
    read = [
        {"what": "decoding alone", "processes": 2, "images_per_second": [1000, 900, 1100]},
        {"what": "image_folder", "processes": 3, "workers": 2, "images_per_second": [940, 950, 990]},
    ]
    words = results.folder_reading({"machine": {"cores": 2}, "rows": read})
    assert words == "950 images/s, 95% of the rate of 2 processes that only decode"


def test_every_link_leads_to_a_log(results):
    links = re.findall(r"\]\(([^)]+)\)", results.tables(""))
    assert len(links) > 40
    assert all((ROOT / "records" / link).exists() for link in links)


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_planned_differences_are_those_of_the_plan(results, data):
    plan = entries([str(ROOT / "sweeps" / f"evidence_small_{data}.toml")])
    asked = {(entry.label, other) for entry in plan for other in entry.against}
    assert asked == {(label, minus) for _, label, minus, _, _ in results.EVIDENCE[data]}


def test_a_planned_row_without_logs_is_left_out(results, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "RECORDS", tmp_path)
    for label, seed in (("width_1", 0), ("lsg", 0), ("share", 1)):
        folder = tmp_path / "evidence" / "small_cifar10" / f"{label}-seed{seed}"
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text('{"epoch": 1, "epochs": 1, "test_accuracy": 0.5}\n')
    (claim,) = results.planned("cifar10").differences
    assert claim.what == "LSG minus fixed width 1"


def test_a_training_that_did_not_end_is_not_claimed(results):
    with pytest.raises(ValueError, match="lsg-seed0 ended in epoch 3 of 5"):
        results.last("lsg-seed0", [{"epoch": 3, "epochs": 5, "test_accuracy": 0.5}])


def test_the_rate_for_an_energy():
    """A layer of 10 MACs, and two of 100 and 50 additions at a rate of 1, one of which counts four for an average."""
    claim = loaded("energy_claim")
    layers = [
        LayerEnergy("a", 10, 1, "image", 0.5, 0.5, 10, 0),
        LayerEnergy("b", 50, 2, "spikes", 0.2, 0.2, 0, 20),
        LayerEnergy("c", 50, 1, "fractions", 0.1, 0.4, 0, 20),
    ]
    found = Energy(layers, 2, 1)
    assert claim.additions(found) == [100, 200]
    rate = claim.rate_for(found)
    assert (4.6 * 10 + 0.9 * 300 * rate) / (4.6 * 110) == pytest.approx(0.078)


def test_the_predictions_are_those_of_the_script(capsys):
    """After a change: python scripts/predict_scaling.py, into docs/scaling.md."""
    loaded("predict_scaling").main()
    assert capsys.readouterr().out.strip() in (ROOT / "docs" / "scaling.md").read_text()
