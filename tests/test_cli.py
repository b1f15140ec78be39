"""The command line: its help, its lists, its folders, and what each command prints."""

import json
import re
import subprocess
import sys
from typing import Literal

import pytest

import surgrad
from surgrad import cli
from surgrad.cli import options
from surgrad.config.reading import from_dict
from surgrad.config.registry import Registry
from surgrad.config.values import Count, Fraction, Positive
from surgrad.recipes import DEFAULT, RECIPES, find_recipe
from surgrad.recipes.reproduced import reproduced

COMMANDS = (
    "list",
    "options",
    "train",
    "eval",
    "report",
    "diagnose",
    "energy",
    "convert",
    "show",
    "sweep",
    "tune",
    "figures",
    "kernels",
)


def shell(*words, program="import sys; from surgrad.cli import main; sys.exit(main())"):
    return subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=120)


LOADED = """
import sys
from surgrad.cli import main
try:
    main()
finally:
    print("LOADED", sorted({"torch", "numpy", "matplotlib"} & set(sys.modules)))
"""


def test_help_lists_the_commands_without_torch():
    done = shell("--help", program=LOADED)
    assert done.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"^    {command} +[A-Z]", done.stdout, re.MULTILINE), command
    assert done.stdout.endswith("LOADED []\n")


@pytest.mark.parametrize("words", [["list"], ["list", "--json"]], ids=" ".join)
def test_the_recipes_are_listed_without_torch(words):
    done = shell(*words, program=LOADED)
    assert done.returncode == 0, done.stderr
    assert DEFAULT in done.stdout
    assert done.stdout.endswith("LOADED []\n")


def test_an_unknown_command_in_a_shell():
    done = shell("trian")
    assert done.returncode == 2
    assert "unknown command 'trian'; did you mean 'train'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_unknown_command_of_main(capsys):
    with pytest.raises(SystemExit):
        cli.main(["trian"])
    assert "unknown command 'trian'; did you mean 'train'?" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: surgrad {command} ")
    options = {
        "list": ["--json"],
        "options": ["PART"],
        "train": ["--out", "--seed", "--set", "--log", "--skip-bad", "--resume", "--data", "recipe"],
        "eval": ["--best", "--json", "--data"],
        "report": ["--out"],
        "diagnose": ["--set", "--json", "--images"],
        "energy": ["--updates", "--json"],
        "convert": ["--steps", "--percentile", "--compare", "--out"],
        "show": ["--frames", "--slicing", "--out"],
        "sweep": ["--set", "--seeds", "--workers", "--address"],
        "tune": ["--minutes", "--seeds", "--workers", "--address"],
        "figures": ["--out"],
        "kernels": ["--arch", "--out", "--set", "--data"],
    }
    for option in options[command]:
        assert re.search(rf"^  {option}\b", said, re.MULTILINE), option


def test_the_default_in_the_help_is_the_default(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    assert f"default: {DEFAULT}" in " ".join(capsys.readouterr().out.split())


def test_the_commands_are_all_described():
    assert tuple(cli.COMMANDS) == COMMANDS


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"surgrad {surgrad.__version__}\n"


def test_no_command_is_an_error(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 2
    assert "command" in capsys.readouterr().err


def test_list_as_json_holds_every_recipe_whole(capsys):
    assert cli.main(["list", "--json"]) == 0
    found = [from_dict(values) for values in json.loads(capsys.readouterr().out)]
    assert found == [build() for build in RECIPES.values()]


def test_list_shows_every_recipe_on_a_line(capsys):
    assert cli.main(["list"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["recipe", "network", "T", "published", "reproduced", "summary"]
    assert [line.split()[0] for line in lines] == list(RECIPES)
    by_name = {line.split()[0]: line for line in lines}
    row = " ".join(by_name["lsg_cifar10_resnet19_t2"].split())
    assert row == "lsg_cifar10_resnet19_t2 resnet19 2 94.41 % - LSG, ResNet-19, CIFAR-10, T=2"
    assert f" {reproduced()['lsg_cifar10_small_t2']} " in by_name["lsg_cifar10_small_t2"]
    assert re.search(r" -  .*default", by_name[DEFAULT])


def test_options_of_every_part_are_listed(capsys):
    assert cli.main(["options"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "recipe" in lines
    assert any(line.startswith("neuron: lif (default), plif, ") for line in lines)
    by_path = [line.split(maxsplit=1) for line in lines if line.startswith("  ")]
    paths = [path for path, _ in by_path]
    assert {"seed", "optim.lr", "optim.epochs", "data.batch", "neuron.levels", "run.precision"} <= set(paths)
    assert all(" default" in described for _, described in by_path)


def test_options_of_one_part_and_of_one_entry(capsys):
    assert cli.main(["options", "neuron=mlf"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^  neuron\.levels +whole number.* default: 3$", said, re.MULTILINE)
    assert "optim" not in said
    assert cli.main(["options", "run"]) == 0
    assert capsys.readouterr().out.startswith("run\n  run.precision ")


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("nueron", "unknown part 'nueron'; did you mean 'neuron'?"),
        ("neuron=mlff", "unknown neuron 'mlff'; did you mean 'mlf'?"),
    ],
)
def test_options_of_what_does_not_exist(part, text, capsys):
    assert cli.main(["options", part]) == 2
    assert text in capsys.readouterr().err


def test_values_are_described_with_their_ranges():
    described = [options.values_in_words(hint) for hint in (Positive | None, Fraction, Count, Literal["a", "b", "c"])]
    assert described == ["number above 0 or none", "number from 0 to 1", "whole number from 1", "a, b or c"]


def test_options_of_registries_leave_out_the_context():
    def part(channels: int, gain: Positive = 2.0, *, other: bool) -> None: ...

    registry = Registry("thing", {"one": part, "two": part}, context=["channels"])
    said = "\n".join(options.lines_of("thing", {}, [registry]))
    assert "thing: one, two" in said
    assert re.search(r"thing\.gain +number above 0 +default: 2$", said, re.MULTILINE)
    assert re.search(r"thing\.other +true or false +no default$", said, re.MULTILINE)
    assert "channels" not in said
    assert said.count("thing.gain") == 1, "options that all have are listed once"


def test_an_unknown_recipe_offers_three(capsys):
    assert cli.main(["train", "lsg"]) == 2
    said = capsys.readouterr().err
    assert said.count("'lsg_") == 3
    assert said.endswith(f"? `surgrad list` shows all {len(RECIPES)}\n")
    assert len(said) < 200


def test_loggers_are_handed_on(tiny_words, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr("surgrad.train.loggers_by_name", lambda names: names, raising=False)
    monkeypatch.setattr("surgrad.train.train", lambda *_, **options: given.append(options))
    words = ["train", *tiny_words, "--log", "tensorboard", "--log", "wandb", "--out", str(tmp_path)]
    with pytest.raises(IndexError):  # the stand-in writes no metrics
        cli.main(words)
    assert given[0]["observers"] == ["tensorboard", "wandb"]


def test_an_unknown_logger(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--log", "tensorbord"])
    assert "choose from 'tensorboard', 'wandb'" in capsys.readouterr().err


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def folder_of(said):
    return re.search(r"^run folder: (.*)$", said, re.MULTILINE)[1]


def test_train_without_out_makes_a_folder_and_resume_finds_the_newest(here, tiny_words, capsys):
    words = ["train", *tiny_words, "--set", "optim.epochs=1", "--seed", "3"]
    folders = []
    for _ in range(2):  # possibly within one second
        assert cli.main(words) == 0
        folders.append(folder_of(capsys.readouterr().out))
    assert len(set(folders)) == 2
    assert all(re.fullmatch(rf"runs/{DEFAULT}-seed3-\d{{8}}-\d{{6}}(-2)?", folder) for folder in folders)
    assert sorted(path.name for path in (here / "runs").iterdir()) == sorted(f.removeprefix("runs/") for f in folders)
    assert json.loads((here / folders[0] / "recipe.json").read_text())["seed"] == 3
    assert cli.main([*words, "--resume"]) == 0
    assert folder_of(capsys.readouterr().out) == folders[1]
    # another seed has no run to resume, so it gets a new folder
    assert cli.main([*words[:-1], "4", "--resume"]) == 0
    assert folder_of(capsys.readouterr().out).startswith(f"runs/{DEFAULT}-seed4-")


def test_train_says_what_it_does(here, tiny_words, capsys):
    assert cli.main(["train", *tiny_words, "--out", "a/run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{DEFAULT}: {find_recipe().summary}\nrun folder: a/run\n")
    last = json.loads((here / "a/run/metrics.jsonl").read_text().splitlines()[-1])
    epochs = re.findall(r"^epoch +(\d)/2  loss \d\.\d{4}  train .* %  test +(.*) %  .* images/s  00:0\d$", said, re.M)
    assert [number for number, _ in epochs] == ["1", "2"]
    accuracy = f"{100 * last['test_accuracy']:.2f}"
    assert epochs[-1][1] == accuracy
    assert f"test accuracy {accuracy} % after 2 epochs (final epoch)" in said
    assert said.endswith("run folder: a/run\nreport: a/run/report.html\n")
    assert "<html" in (here / "a/run/report.html").read_text()


def test_resume_begins_where_there_is_nothing(here, tiny_words, capsys):
    assert cli.main(["train", *tiny_words, "--set", "optim.epochs=1", "--resume", "--out", "run"]) == 0
    assert "after 1 epochs" in capsys.readouterr().out
    assert json.loads((here / "run/env.json").read_text())["resumed"] == []


def test_eval_prints_what_the_training_found(finished, capsys):
    last = json.loads((finished / "metrics.jsonl").read_text().splitlines()[-1])
    assert cli.main(["eval", str(finished), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == {
        "run": str(finished),
        "weights": "last",
        "best_by": "test",
        "test_loss": last["test_loss"],
        "test_accuracy": last["test_accuracy"],
    }
    assert cli.main(["eval", str(finished)]) == 0
    said = capsys.readouterr().out
    assert said == (
        f"{finished} (last): test accuracy {100 * last['test_accuracy']:.2f} %, loss {last['test_loss']:.4f}\n"
    )
    assert cli.main(["eval", str(finished), "--best", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights"] == "best"


def test_report_of_one_run_and_of_two(here, finished, tmp_path, capsys):
    one = tmp_path / "one.html"
    assert cli.main(["report", str(finished), "--out", str(one)]) == 0
    assert capsys.readouterr().out == f"{one}\n"
    assert DEFAULT in one.read_text()
    other = tmp_path / "other"
    other.mkdir()
    for name in ("recipe.json", "env.json", "metrics.jsonl", "widths.jsonl"):
        (other / name).write_bytes((finished / name).read_bytes())
    recipe = json.loads((other / "recipe.json").read_text())
    (other / "recipe.json").write_text(json.dumps({**recipe, "seed": 77}))
    assert cli.main(["report", str(finished), str(other)]) == 0  # no --out: here
    assert capsys.readouterr().out == "report.html\n"
    page = (here / "report.html").read_text()
    assert "77" in page
    assert len(page) > len(one.read_text())
    assert cli.main(["report", str(other)]) == 0
    assert capsys.readouterr().out == f"{other / 'report.html'}\n"
