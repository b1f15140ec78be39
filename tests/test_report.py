"""The report: its texts for complete, cut-off and damaged run folders, and that the page is self-contained."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import surgrad
from surgrad.adapt import CONTROLLERS
from surgrad.criteria import NARROW_SHARE
from surgrad.errors import BadValue, CheckpointError
from surgrad.report import compare, histograms, overview_picture, read_run, words, write_report

LAYERS = ("stem.neuron", "layer1.0.neuron1", "head.neuron")
ACCURACIES = (0.5, 0.7, 0.883, 0.881)


def make_run(folder, accuracies=ACCURACIES, layers=LAYERS, planned=None, decay=0.2, **recipe):
    folder.mkdir(parents=True)
    base = {
        "name": "small",
        "summary": "A small net.",
        "source": "A paper, section 5",
        "published": 0.9441,
        "seed": 0,
        "data": {"name": "fashion_mnist", "augment": ["crop", "flip"]},
        "adapt": {"controller": "follow", "more": {"deep": 7}},
        "optim": {"lr": 0.1, "epochs": planned or len(accuracies)},
    }
    (folder / "recipe.json").write_text(json.dumps({**base, **recipe}))
    (folder / "env.json").write_text(json.dumps({"surgrad": "0.1.0", "commit": None, "processor": "A <fast> one"}))
    metrics = [
        {
            "epoch": n,
            "train_loss": 1 / n,
            "train_accuracy": accuracy,
            "test_loss": 1.1 / n,
            "test_accuracy": accuracy,
            "train_seconds": 35.0 * n,
        }
        for n, accuracy in enumerate(accuracies, start=1)
    ]
    widths = [
        {
            "epoch": n,
            "layer": layer,
            "width": 1 + 0.1 * n + 0.01 * place,
            "decay": decay,
            "threshold": 0.5,
            "firing_rate": 0.13,
            "share": 0.4 + 0.01 * n,
        }
        for n in range(len(accuracies) + 1)
        for place, layer in enumerate(layers)
    ]
    for name, rows in (("metrics", metrics), ("widths", widths)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def page(runs, tmp_path):
    return write_report(runs, tmp_path / "report.html").read_text(encoding="utf-8")


def text_of(html):
    """The text of a page, without tags and with plain spaces."""
    found = []

    class Reader(HTMLParser):
        def handle_data(self, data):
            found.append(data)

    Reader().feed(html)
    return " ".join("".join(found).replace("\N{NO-BREAK SPACE}", " ").split())


def test_one_run_says_its_outcome_and_shows_every_plot(tmp_path):
    html = page([make_run(tmp_path / "run")], tmp_path)
    text = text_of(html)
    assert "88.10 % test accuracy after 4 of 4 epochs (final epoch), 2 min 20 s of training" in text
    assert "best epoch 3: 88.30 % (chosen on the test set, so not a fair figure); published: 94.41 %." in text
    assert "unfinished" not in text
    titles = (
        "Accuracy, %",
        "Loss",
        "Width of the surrogate gradient",
        "Gradient-available share, %",
        "Firing rate, %",
        "Decay of the membrane potential",
    )
    assert html.count("<svg ") == html.count("<figcaption>") == len(titles)
    for wanted in (*titles, *LAYERS, "A paper, section 5", "more.deep", '["crop", "flip"]', "A <fast> one"):
        assert wanted in text, wanted
    assert "Here it stays at 0.200 in every layer." in text


def test_the_layer_table_holds_the_last_epoch(tmp_path):
    text = text_of(page([make_run(tmp_path / "run")], tmp_path))
    assert "Layers after epoch 4" in text
    row = re.search(r"head\.neuron ?1\.020 ?1\.420 ?0\.200 ?0\.500 ?13\.00 % ?44\.00 %", text)
    assert row, text


def test_measurements_of_a_controller_and_alarms_are_shown(tmp_path):
    run = make_run(tmp_path / "run")
    seen = [
        {"epoch": 1, "step": step, "layer": layer, "chi": 0.1 * step, "half_width": 1.0}
        for step in (1, 2)
        for layer in LAYERS
    ]
    (run / "adapt.jsonl").write_text("".join(json.dumps(row) + "\n" for row in seen) + '{"cut')
    alarm = {"epoch": 2, "kind": "dead", "layers": ["head.neuron"], "sentence": "head.neuron is <dead>."}
    (run / "alarms.jsonl").write_text(json.dumps(alarm) + "\n")
    text = text_of(page([run], tmp_path))
    assert "After epoch 2: head.neuron is <dead>." in text
    assert "The last line of adapt.jsonl is half written" in text
    for wanted in ("Measurements behind the widths", "χ of each layer", "Half-width of each layer, thresholds"):
        assert wanted in text, wanted
    assert "Temperature" not in text


def test_kinds_of_alarms_of_older_runs_have_their_present_names(tmp_path):
    run = make_run(tmp_path / "run")
    alarms = [{"epoch": 1, "kind": kind, "layers": ["a"], "sentence": "."} for kind in ("loud", "starved", "dead")]
    (run / "alarms.jsonl").write_text("".join(json.dumps(alarm) + "\n" for alarm in alarms))
    kinds = [alarm["kind"] for alarm in read_run(run).alarms]
    assert kinds == ["exploding_gradient", "blocked_upstream", "dead"]


def test_both_layouts_of_a_recipe_have_the_same_settings(tmp_path):
    old = make_run(
        tmp_path / "old",
        neuron={"name": "lif", "shape": "rect", "width": 2.5, "train_decay": False},
        adapt={"controller": "follow", "rule": None},
        model={"steps": 2, "norm": "tdbn"},
        start={"share": 0.5, "weights": None},
    )
    new = make_run(
        tmp_path / "new",
        format=2,
        neuron={"name": "lif", "train_decay": False},
        surrogate={"name": "rect", "width": 2.5},
        adapt={"name": "lsg"},
        model={"steps": 2},
        norm={"name": "tdbn"},
        progressive={"fraction": 0.5},
        init_from=None,
    )
    for run in (read_run(old), read_run(new)):
        assert run.setting("surrogate.width") == 2.5
        assert run.setting("adapt.name") == "lsg"
        assert run.setting("norm.name") == "tdbn"
        assert run.setting("progressive.fraction") == 0.5
        assert run.setting("init_from", "nothing") == "nothing"
        assert run.setting("optim.lr.more") is None
    assert compare.differences([read_run(old), read_run(new)]) == {}


def test_recorded_runs_are_read():
    """Also the oldest ones in records/."""
    for recipe in sorted((Path(__file__).parents[1] / "records").glob("**/recipe.json")):
        run = read_run(recipe.parent)
        assert run.setting("adapt.name") in CONTROLLERS
        assert run.setting("surrogate.width") > 0
        assert run.setting("model.steps") > 0
        assert run.planned


def test_held_out_images_choose_the_best_epoch_and_averaged_weights_are_shown(tmp_path):
    run = make_run(tmp_path / "run")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row, holdout in zip(rows, (0.5, 0.9, 0.8, 0.7), strict=True):
        row |= {"holdout_accuracy": holdout, "test_accuracy_average": holdout + 0.05}
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    env = json.loads((run / "env.json").read_text()) | {"best_by": "holdout"}
    (run / "env.json").write_text(json.dumps(env))
    assert read_run(run).best == (2, 0.7)
    html = page([run], tmp_path)
    text = text_of(html)
    assert "averaged weights: 75.00 %; best epoch 2: 70.00 % (chosen on held-out images)" in text
    for label in ("held out", "test, averaged weights"):
        assert f">{label}</text>" in html
    text = text_of(page([run, make_run(tmp_path / "other", seed=1)], tmp_path))
    assert "Final test accuracyAveraged weightsHeld-out accuracyBest epoch" in text
    assert "70.00 % (epoch 2, by held-out images)" in text
    assert "88.30 % (epoch 3)" in text
    assert "chosen on the test set where nothing else is said" in text


def test_a_searchs_decisions_are_shown(tmp_path):
    run = make_run(tmp_path / "run")
    rows = [
        {
            "epoch": epoch,
            "step": 9 * epoch,
            "group": "all",
            "temperature": 3.0,
            "reliability": 0.5,
            "cosines": {"3": 0.2, "3.2": 0.1},
        }
        for epoch in (1, 2)
    ]
    (run / "adapt.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = text_of(page([run], tmp_path))
    for wanted in ("Measurements behind the widths", "Temperature b", "Cosine with the finite-difference gradient"):
        assert wanted in text, wanted


def test_the_page_loads_nothing_and_its_ids_are_unique(tmp_path):
    runs = [make_run(tmp_path / f"run{seed}", seed=seed) for seed in range(3)]
    html = page(runs, tmp_path)
    ids = re.findall(r'\sid="([^"]*)"', html)
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', html)) <= set(ids)
    assert not re.findall(r'(?:src|href)="(?!#)', html)
    assert "http" not in html
    assert "@import" not in html
    assert "<script" not in html


def test_both_themes_define_every_colour_and_no_stand_in_is_left(tmp_path):
    html = page([make_run(tmp_path / "run")], tmp_path)
    light, dark = html.split("@media (prefers-color-scheme:dark)", 1)
    wanted = set(re.findall(r"var\((--[a-z0-9]+)\)", html)) - {"--c", "--v"}
    for part in (light, dark):
        assert wanted <= set(re.findall(r"(--[a-z0-9-]+):", part))
    assert "#fe00" not in html


def test_the_same_folder_gives_the_same_bytes(tmp_path):
    run = make_run(tmp_path / "run")
    assert page([run], tmp_path) == page([run], tmp_path)
    pictures = [overview_picture(run, tmp_path / f"{n}.svg").read_bytes() for n in range(2)]
    assert pictures[0] == pictures[1]


def test_a_deep_long_run_stays_small(tmp_path):
    layers = [f"layer{n}.neuron" for n in range(20)]
    run = make_run(tmp_path / "run", accuracies=[n / 101 for n in range(100)], layers=layers)
    out = write_report([run], tmp_path / "report.html")
    assert out.stat().st_size < 600_000
    assert "first: layer0.neuron" in text_of(out.read_text())


def test_an_unfinished_run_with_a_half_line_says_so(tmp_path):
    run = make_run(tmp_path / "run", accuracies=(0.5, 0.6), planned=9)
    with (run / "metrics.jsonl").open("ab") as file:
        file.write('{"epoch": 3, "train_loss": 0.2, "note": "é'.encode()[:-1])
    text = text_of(page([run], tmp_path))
    assert "60.00 % test accuracy after 2 of 9 epochs (unfinished)" in text
    assert "This run is unfinished: 2 of 9 epochs." in text
    assert "The last line of metrics.jsonl is half written" in text


@pytest.mark.parametrize("empty", [True, False])
def test_a_run_without_any_epoch_is_shown(tmp_path, empty):
    run = make_run(tmp_path / "run", accuracies=(), planned=9)
    if not empty:
        for name in ("metrics.jsonl", "widths.jsonl", "env.json"):
            (run / name).unlink()
    html = page([run], tmp_path)
    assert "No epoch has finished: 0 of 9 planned; published: 94.41 %." in text_of(html)
    assert "no epoch has finished" in html
    assert ("metrics.jsonl is missing." in html) is not empty
    overview_picture(run, tmp_path / "picture.png")


def test_odd_rows_cost_only_themselves(tmp_path):
    run = make_run(tmp_path / "run", decay=None)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('[1]\n{"step": 3}\nnot json\n')
        file.write('{"epoch": 4, "train_loss": NaN, "test_loss": Infinity, "test_accuracy": "odd"}\n')
    with (run / "widths.jsonl").open("a") as file:
        file.write('{"epoch": 4, "layer": "head.neuron", "width": null, "firing_rate": 0.0, "share": 0.001}\n')
    text = text_of(page([run], tmp_path))
    assert "metrics.jsonl: unreadable and left out: line 5, 6, 7." in text
    assert "88.30 % test accuracy, last tested at epoch 3; 4 of 4 epochs" in text
    assert "not a finite number from epoch 4 on" in text
    assert "Nearly silent at the end (firing rate below 0.1 %): head.neuron." in text
    assert "Hardly any gradient at the end (for less than 5 % of the neurons): head.neuron." in text
    assert "Not recorded in this run: Decay of the membrane potential." in text


@pytest.mark.parametrize(("chi", "narrow"), [(NARROW_SHARE / 1.1, True), (NARROW_SHARE * 1.1, False)])
def test_the_page_judges_a_layer_as_a_diagnosis_does(tmp_path, chi, narrow):
    """By χ and its criterion in `surgrad.criteria`, even where the gradient-available share is large."""
    run = make_run(tmp_path / "run")
    with (run / "widths.jsonl").open("a") as file:
        file.write(
            json.dumps({"epoch": 5, "layer": "head.neuron", "share": 0.5, "chi": chi, "firing_rate": 0.1}) + "\n"
        )
    assert ("Hardly any gradient at the end" in text_of(page([run], tmp_path))) is narrow


def test_the_axis_of_a_histogram():
    """Sixteen thresholds in all, the threshold in the middle; the density integrates to 1."""
    counts = [0] * 512
    counts[256] = 3  # the bin that begins at the threshold
    counts[255] = 1
    edges, measured = histograms.density(counts)
    assert (edges[0], edges[256], edges[-1]) == (-7, 1, 9)
    assert measured[256] == 3 * measured[255]
    assert sum(measured) * 16 / 512 == pytest.approx(1)
    edges, measured = histograms.density(counts, joined=4)
    assert (len(measured), edges[64]) == (128, 1)
    assert sum(measured) * 16 / 128 == pytest.approx(1)


def test_a_resumed_run_counts_the_later_line_of_an_epoch(tmp_path):
    run = make_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "test_accuracy": 0.1}\n')
    found = read_run(run)
    assert [row["epoch"] for row in found.metrics] == [1, 2, 3, 4]
    assert found.metrics[2]["test_accuracy"] == 0.1


def test_everything_is_escaped(tmp_path):
    evil = "<script>alert('$x$')</script> & \"#fe0001\" #feffff"
    run = make_run(tmp_path / "run", name=evil, summary=evil, layers=(evil, "b"), extra={evil: evil})
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": evil}) + "\n")
    other = make_run(tmp_path / "other", name=evil, seed=evil)
    for html in (page([run], tmp_path), page([run, other], tmp_path)):
        assert "<script" not in html
        assert evil in text_of(html)
    overview_picture(run, tmp_path / "picture.svg")
    assert "<script" not in (tmp_path / "picture.svg").read_text()


def test_several_runs_are_compared_and_averaged_over_seeds(tmp_path):
    runs = [make_run(tmp_path / f"s{seed}", accuracies=(0.5, last), seed=seed) for seed, last in ((0, 0.9), (1, 0.92))]
    runs += [make_run(tmp_path / "cut", accuracies=(0.1,), planned=2, seed=2)]
    runs += [make_run(tmp_path / "fixed", accuracies=(0.5, 0.8), name="fixed", adapt={"controller": "fixed"})]
    html = page(runs, tmp_path)
    text = text_of(html)
    assert "4 runs compared" in text
    assert "91.00 ± 1.41 %" in text
    assert "1 unfinished not counted" in text
    assert "1 of 2 (unfinished)" in text
    assert "adapt.name" in text
    assert html.count("<svg ") == 2 + 4 * len(runs)
    assert "small, seed 1" in text


def test_runs_with_other_settings_or_a_repeated_seed_are_not_averaged(tmp_path):
    runs = [make_run(tmp_path / name, optim={"lr": lr, "epochs": 4}) for name, lr in (("a", 0.1), ("b", 0.1), ("c", 1))]
    found = [read_run(run) for run in runs]
    groups = compare.groups(found)
    assert [(group.count, group.settings) for group in groups] == [(1, "optim.lr = 0.1"), (1, "optim.lr = 1")]
    assert groups[0].note == "1 with a repeated seed not counted"
    assert compare.labels(found) == ["small, seed 0 (a)", "small, seed 0 (b)", "small, seed 0 (c)"]
    assert compare.groups(found[1:]) == []


def test_a_failed_write_leaves_the_old_page_and_no_rest(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    out = tmp_path / "pages" / "report.html"
    write_report([run], out)
    before = out.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(BadValue, match=r"report\.html cannot be written \(No space left on device\); choose"):
        write_report([run], out)
    assert out.read_bytes() == before
    assert os.listdir(out.parent) == ["report.html"]


def test_a_folder_that_is_no_run_says_what_is_missing(tmp_path):
    run = make_run(tmp_path / "runs" / "first")
    cases = {
        tmp_path / "nowhere": "does not exist",
        run / "recipe.json": "is a file; give the run folder",
        tmp_path / "runs": r"recipe\.json is missing; it holds the runs first: give those",
    }
    (tmp_path / "bare").mkdir()
    cases[tmp_path / "bare"] = r"recipe\.json is missing; give a folder that a training run wrote"
    for folder, message in cases.items():
        with pytest.raises(CheckpointError, match=message):
            read_run(folder)
    for broken, message in (("{", "not readable as JSON"), ("[]", "holds list, not a recipe")):
        (run / "recipe.json").write_text(broken)
        with pytest.raises(CheckpointError, match=message):
            read_run(run)


def test_outputs_that_cannot_be_are_refused(tmp_path):
    run = make_run(tmp_path / "run")
    with pytest.raises(BadValue, match="give at least one run folder"):
        write_report([], tmp_path / "report.html")
    with pytest.raises(BadValue, match="is a folder"):
        write_report([run], tmp_path)
    with pytest.raises(BadValue, match=r"written as \.png or \.svg"):
        overview_picture(run, tmp_path / "picture.gif")


def test_the_overview_picture_has_its_size(tmp_path):
    out = overview_picture(make_run(tmp_path / "run", name="n" * 80), tmp_path / "picture.png")
    header = out.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(header[16:20]), int.from_bytes(header[20:24])) == (1200, 420)


def test_words_for_spans_of_time():
    assert [words.duration(span) for span in (8.25, 59.6, 140, 11100, float("nan"))] == [
        "8.2 s",
        "1 min 00 s",
        "2 min 20 s",
        "3 h 05 min",
        "–",
    ]


def test_neither_the_import_nor_the_making_needs_torch(tmp_path):
    run = make_run(tmp_path / "run")
    code = (
        "import sys; from pathlib import Path; import surgrad.report as report\n"
        "assert 'matplotlib' not in sys.modules and 'jinja2' not in sys.modules\n"
        f"report.write_report([Path({str(run)!r})], Path({str(tmp_path / 'out.html')!r}))\n"
        f"report.overview_picture(Path({str(run)!r}), Path({str(tmp_path / 'out.png')!r}))\n"
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    source = Path(surgrad.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(source)})
