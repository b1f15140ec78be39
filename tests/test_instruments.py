"""The commands that look into a network: `surgrad diagnose` and `surgrad energy`."""

import json
import re
import shutil

import pytest

from surgrad.cli import main
from surgrad.report import read_run, write_diagnosis


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def test_diagnosis_of_a_run(run, tmp_path, capsys):
    assert main(["diagnose", str(run), "--images", "32", "--json", str(tmp_path / "found.json")]) == 0
    said = capsys.readouterr().out
    assert "after 2 of 2 epochs, on 32 training images" in said
    assert "1 fire.neuron" in said
    assert f"page: {run / 'diagnosis.html'}" in said
    record = json.loads((tmp_path / "found.json").read_text())
    assert record["layers"][0]["layer"] == "fire.neuron"
    assert record["layers"][0]["finite_differences"] is None, "they were not asked for"
    curve = record["over_training"]["fire.neuron"]
    assert curve["epochs"] == [0, 1, 2]
    assert curve["f"] == pytest.approx([(1 + b * b) ** 0.5 for b in curve["decay"]])
    page = (run / "diagnosis.html").read_text()
    assert "f(β) = √(1 + β²)" in page, "LSG's Figs. 6 and 7, of the run"
    assert page.count("<svg") == 1 + 4 + 2


def test_every_layers_gradient_beside_finite_differences(run, tmp_path, capsys):
    words = ["--images", "16", "--directions", "3", "--json", str(tmp_path / "found.json")]
    assert main(["diagnose", str(run), *words]) == 0
    table = capsys.readouterr().out
    for place, layer in enumerate(json.loads((tmp_path / "found.json").read_text())["layers"], 1):
        found = layer["finite_differences"]
        assert found.keys() == {"cosine", "reliability", "zeros"}
        assert re.search(rf"{place} {layer['layer']} .* {found['cosine']:.2f} +{found['reliability']:.2f}\n", table)


def test_diagnosis_of_a_recipe_that_cannot_learn(tmp_path, capsys, monkeypatch):
    """A width is set as for a training; what is wrong stands on the page and in the output."""
    monkeypatch.chdir(tmp_path)
    words = ["--set", "surrogate.width=0.001", "--set", "adapt.name=fixed"]
    assert main(["diagnose", "lsg_fashion_small_t4", "--images", "16", *words]) == 0
    said = capsys.readouterr().out
    assert "! Every layer: over 99 % of the neurons get no gradient: width 0.001 is too narrow" in said
    assert "before training" in said
    page = (tmp_path / "diagnosis.html").read_text()
    assert "width 0.001 is too narrow" in page
    assert page.count("<svg") == 1 + 4


def test_pages_load_nothing_and_escape_what_they_are_given(run, tmp_path):
    assert main(["diagnose", str(run), "--images", "16", "--json", str(tmp_path / "found.json")]) == 0
    record = json.loads((tmp_path / "found.json").read_text())
    record |= {"name": "<script>", "findings": [{"sentence": "a < b & c"}]}
    record["layers"][0]["layer"] = "<b>$x$</b>"
    page = write_diagnosis(record, tmp_path / "page.html", read_run(run)).read_text()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "a &lt; b &amp; c" in page
    assert not re.search(r'(src|href)="(?!#)', page)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["diagnose", "lsg_fashion_smal_t4"],
            "unknown recipe 'lsg_fashion_smal_t4'; did you mean 'lsg_fashion_small_t4'",
        ),
        (["diagnose", "{empty}"], "is not a run folder: it holds no recipe.json"),
        (["energy", "{empty}"], "is not a run folder: it holds no recipe.json"),
        (["diagnose", "lsg_fashion_small_t4", "--images", "99999"], "data.batch = 99999 of 6000 training samples"),
    ],
)
def test_what_cannot_be_looked_at_is_said(tmp_path, capsys, words, text):
    assert main([word.format(empty=tmp_path) for word in words]) == 2
    assert text in capsys.readouterr().err


def test_energy_of_a_run(run, capsys):
    assert main(["energy", str(run), "--images", "100"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"stem.0.0 +image +", said)
    assert re.search(
        r"T=2, over 100 test images: 0\.\d+ µJ, \d+\.\d % of the \d\.\d+ µJ of the same network as an ANN", said
    )
    assert main(["energy", str(run), "--images", "100", "--json", "--updates"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["accounting"]["updates"] is True
    assert record["images"] == 100
    assert 0 < record["ratio"] < 1
    assert record["layers"][-1]["layer"] == "neurons"
