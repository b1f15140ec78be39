"""The papers' figures, from runs small enough for a test."""

import json
import shutil

import pytest

from surgrad.cli import main
from surgrad.errors import BadValue
from surgrad.report import write_figures
from surgrad.train import train

KINDS = {
    "lsg": [],
    "width_1": ["adapt.name=fixed", "neuron.train_decay=false"],
    "width_5": ["adapt.name=fixed", "neuron.train_decay=false", "surrogate.width=5"],
    "decay": ["adapt.name=fixed"],
    "chi": ["adapt.name=esg", "adapt.period=2", "adapt.warmup=0"],
    "dspike": ["adapt.name=dspike", "adapt.samples=4", "surrogate.name=dspike"],
}
ALL = {
    "lsg_table_1",
    "lsg_table_2",
    "lsg_figure_3",
    "lsg_figure_3_spread",
    "lsg_figure_5",
    "lsg_figure_6",
    "lsg_figure_7",
    "dspike_family",
    "dspike_temperature",
    "dspike_cosine",
    "steered_chi",
    "steered_half_width",
}


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [train(tiny(*words), folder / name) for name, words in KINDS.items()]


def test_every_figure_is_drawn(runs, tmp_path, capsys):
    assert main(["figures", *map(str, runs), str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    drawn = {path.stem for path in (tmp_path / "out").iterdir()}
    assert drawn == ALL
    assert all((tmp_path / "out" / f"{name}.png").stat().st_size > 5000 for name in ALL)
    assert len(capsys.readouterr().out.splitlines()) == len(ALL)


def test_only_what_there_is_data_for_is_drawn(runs, tmp_path):
    drawn = {path.stem for path in write_figures(runs[:1], tmp_path)}
    assert drawn == {"lsg_figure_3", "lsg_figure_3_spread", "lsg_figure_6", "lsg_figure_7", "dspike_family"}


def test_unfinished_runs_are_no_evidence(runs, tmp_path):
    cut = shutil.copytree(runs[0], tmp_path / "cut")
    recipe = json.loads((cut / "recipe.json").read_text())
    recipe["optim"]["epochs"] = 9
    (cut / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(BadValue, match="do not have the data of any figure; give finished runs"):
        write_figures([cut], tmp_path / "out")
    assert not (tmp_path / "out").exists()
