"""Sweeps: what is missing is trained, a sweep can be stopped and resumed, and the results make one table."""

import io
import json
import math
import os
import re
import signal
import sys
import tarfile
import threading
import time
import types
from contextlib import ExitStack
from pathlib import Path
from statistics import mean, stdev

import pytest

from surgrad import load_run, sweep
from surgrad.cli import main
from surgrad.config import set_fields
from surgrad.config.recipe import derive, to_dict
from surgrad.errors import BadValue, SurgradError, UnknownName
from surgrad.files import read_json
from surgrad.recipes import find_recipe
from surgrad.sweep import remote, running
from surgrad.sweep.remote import MARK, Outcome, train_here, unpack
from surgrad.train.run_folder import claimed

FILE = """
set = [{common}]
[[run]]
recipe = "lsg_fashion_small_t4"
label = "lsg"
[[run]]
recipe = "lsg_fashion_small_t4"
label = "fixed"
set = ["adapt.name=fixed"]
"""


@pytest.fixture
def file(tmp_path, tiny_words):
    common = ", ".join(f'"{word}"' for word in tiny_words if word != "--set")
    (tmp_path / "runs.toml").write_text(FILE.format(common=common))
    return tmp_path / "runs.toml"


def test_a_file_of_runs_is_read(file):
    lsg, fixed = sweep.entries([str(file)])
    assert (lsg.label, fixed.label, fixed.settings[-1]) == ("lsg", "fixed", "adapt.name=fixed")
    queue = sweep.jobs_of([lsg, fixed], 2, file.parent)
    assert [job.folder.name for job in queue] == ["lsg-seed0", "fixed-seed0", "lsg-seed1", "fixed-seed1"]
    words = queue[2].words(None)
    assert words[:4] == ["train", "lsg_fashion_small_t4", "--seed", "1"]
    assert words[-2] == "--set"
    assert queue[2].folder == file.parent / "lsg-seed1"


def test_settings_for_all_runs_replace_those_of_the_file(tmp_path):
    path = tmp_path / "runs.toml"
    run = '[[run]]\nrecipe = "lsg_fashion_small_t4"\nset = ["optim.clip=2"]\nvary = {"optim.neuron_lr" = [0.3, 0.4]}\n'
    path.write_text(f'set = ["optim.lr=1"]\n{run}')
    given = ["optim.lr=0.5", "optim.clip=3", "optim.neuron_lr=5"]
    found = sweep.entries([str(path), "fixed_cifar10_small_t2"], given)
    rates = [set_fields(find_recipe(entry.recipe), entry.settings).optim for entry in found]
    assert [(rate.lr, rate.clip, rate.neuron_lr) for rate in rates] == [(0.5, 2, 0.3), (0.5, 2, 0.4), (0.5, 3, 5)]


@pytest.mark.parametrize(
    "text", ['set = ["seed=1"]\n{run}', '{run}set = ["seed=1"]', '{run}vary = {{"seed" = [1, 2]}}']
)
def test_the_seed_is_no_setting_of_a_sweep(tmp_path, text):
    """Its option --seeds would win, without a word."""
    path = tmp_path / "runs.toml"
    path.write_text(text.format(run='[[run]]\nrecipe = "lsg_fashion_small_t4"\nlabel = "a"\n'))
    with pytest.raises(BadValue, match=r"run 'a\w*' sets the seed; give --seeds N, or seeds = N in its \[\[run\]\]"):
        sweep.entries([str(path)])


def test_an_error_of_a_setting_on_the_command_line_names_the_run(file, capsys):
    assert main(["sweep", str(file), "--set", "optim.momentum=x", "--out", str(file.parent / "out")]) == 2
    assert "surgrad: run 'lsg': optim.momentum = 'x' cannot be read" in capsys.readouterr().err


def test_the_label_of_a_recipe_in_a_file_is_its_function():
    (entry,) = sweep.entries(["mine/recipes.py:wide"])
    assert (entry.label, entry.recipe) == ("wide", "mine/recipes.py:wide")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("[[run]]\nlabel='a'", BadValue, r"a \[\[run\]\] in .* has no recipe"),
        ("[[runs]]\nrecipe='a'", UnknownName, "unknown key 'runs'; did you mean 'run'"),
        ("[[run]]\nrecipe='a'\nsett=[]", UnknownName, r"unknown key 'run\.sett'; did you mean 'run\.set'"),
        ("seeds", BadValue, "is not valid TOML"),
        ("[run]\nrecipe='a'", BadValue, r"has a table \[run\]; write \[\[run\]\]"),
        ("[[run]]\nrecipe='a'\nset='optim.lr=1'", BadValue, "has set = 'optim.lr=1'; give a list of texts"),
        ("", BadValue, r"has no \[\[run\]\]"),
        (
            "[[run]]\nrecipe='a'\n[[run]]\nrecipe='a'",
            BadValue,
            "label 'a' occurs 2 times; give each run a different label",
        ),
        ("[[run]]\nrecipe='a'\nlabel='x/y'", BadValue, "label 'x/y' cannot name a folder"),
        ("[[run]]\nrecipe='a'\nseeds=0", BadValue, "has seeds = 0; give a whole number, 1 or more"),
        ("[[run]]\nrecipe='a'\nagainst='a'", BadValue, "has against = 'a'; give a list of texts"),
        ("[[run]]\nrecipe='a'\nagainst=['b']", UnknownName, "unknown label 'b'"),
        ("[[run]]\nrecipe='a'\nvary=['b']", BadValue, r"has vary = \['b'\]; give lists by path"),
        ("[[run]]\nrecipe='a'\nvary={b=1}", BadValue, r"has vary = \{'b': 1\}; give lists by path"),
        ("[[run]]\nrecipe='a'\nvary={b=[]}", BadValue, r"has vary = \{'b': \[\]\}; give lists by path"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path, text, error, words):
    (tmp_path / "runs.toml").write_text(text)
    with pytest.raises(error, match=words):
        sweep.entries([str(tmp_path / "runs.toml")])


def test_what_does_not_exist_is_said_before_anything_trains(tmp_path):
    with pytest.raises(BadValue, match=r"missing\.toml cannot be read"):
        sweep.entries([str(tmp_path / "missing.toml")])
    with pytest.raises(UnknownName, match="unknown recipe 'lsg_fashion_smal_t4'; did you mean"):
        sweep.jobs_of(sweep.entries(["lsg_fashion_smal_t4"]), 1, tmp_path)
    with pytest.raises(UnknownName, match=r"unknown setting 'optim\.epoch'"):
        sweep.jobs_of([sweep.Entry("a", "lsg_fashion_small_t4", ("optim.epoch=1",))], 1, tmp_path)


def test_a_folder_of_other_settings_is_not_taken_for_done(file):
    queue = sweep.jobs_of(sweep.entries([str(file)]), 1, file.parent / "out")
    for job in queue:
        recipe = derive(find_recipe(job.entry.recipe), optim={"lr": 0.01})
        job.folder.mkdir(parents=True)
        (job.folder / "recipe.json").write_text(json.dumps(to_dict(recipe)))
    with pytest.raises(BadValue, match=r"lsg-seed0 has a training with other settings: .*optim\.lr"):
        sweep.jobs_of(sweep.entries([str(file)]), 1, file.parent / "out")
    (queue[0].folder / "recipe.json").write_text("{")
    with pytest.raises(BadValue, match="is cut short or altered"):
        sweep.jobs_of(sweep.entries([str(file)]), 1, file.parent / "out")
    with pytest.raises(BadValue, match="seeds must be 1 or more, got 0"):
        sweep.jobs_of(sweep.entries([str(file)]), 0, file.parent / "out")


def test_two_at_a_time_and_again(file):
    """The second call has nothing to train."""
    queue = sweep.jobs_of(sweep.entries([str(file)]), 1, file.parent / "out")
    said = []
    sweep.train_all(queue, workers=2, say=said.append)
    assert all(job.done for job in queue)
    assert said[0] == "trainings: 2, done: 0"
    assert len(said) == 3
    sweep.train_all(queue, say=said.append)
    assert said[3:] == ["trainings: 2, done: 2"]
    lines = sweep.outcome(queue)
    assert [len(line.scores) for line in lines] == [1, 1]
    path = sweep.write_table(lines, file.parent / "out")
    assert path.read_text().splitlines()[2].startswith("| lsg | ")


def test_the_table_is_written_after_each_training(file):
    queue = sweep.jobs_of(sweep.entries([str(file)]), 1, file.parent / "out")
    tables = []
    sweep.train_all(
        queue,
        say=lambda text: None,
        after=lambda: tables.append(sweep.write_table(sweep.outcome(queue), file.parent / "out").read_text()),
    )
    assert len(tables) == 2
    lsg, fixed = tables[0].splitlines()[2:4]
    assert lsg.startswith("| lsg | ")
    assert "–" not in lsg.split("|")[2]
    assert fixed.split("|")[2].strip() == "–"
    assert "–" not in tables[1].splitlines()[3].split("|")[2]


@pytest.mark.parametrize(
    ("env", "data", "kept", "minutes"),
    [
        ({"device": "cpu"}, {}, True, 1.5),
        ({"device": "cpu", "ranks": 1, "resumed": [{"threads": 2}]}, {"workers": 0}, True, 1.5),
        ({"device": "cuda"}, {}, True, 2.0),
        ({"device": "cpu", "resumed": [{"device": "cuda"}]}, {}, True, 2.0),
        ({"device": "cpu", "ranks": 2}, {}, True, 2.0),  # the processor time is that of the first
        ({"device": "cpu"}, {"workers": 2}, True, 2.0),  # and theirs is not in it
        ({"device": "cpu"}, {}, False, 2.0),  # an earlier version
    ],
)
def test_a_training_on_a_cpu_costs_processor_time(tmp_path, env, data, kept, minutes):
    """Where one process does all the work; other work on the machine lengthens it less than the clock's."""
    queue = sweep.jobs_of(sweep.entries(["lsg_fashion_small_t4"]), 1, tmp_path)
    row = {"epoch": 1, "epochs": 1, "test_accuracy": 0.5, "train_seconds": 120.0}
    folder = queue[0].folder
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps({"data": data}))
    (folder / "env.json").write_text(json.dumps(env))
    (folder / "metrics.jsonl").write_text(json.dumps(row | ({"cpu_seconds": 90.0} if kept else {})) + "\n")
    lines = sweep.outcome(queue)
    assert lines[0].minutes == minutes
    assert lines[0].curves == (((minutes, 0.5),),)
    assert (" CPU min" in sweep.table_of(lines)) == (minutes == 1.5)
    sweep.write_table(lines, tmp_path)
    assert read_json(tmp_path / "table.json")["runs"][0]["processor_time"] == (minutes == 1.5)


def test_a_sweep_without_results_claims_no_cost(tmp_path):
    queue = sweep.jobs_of(sweep.entries(["lsg_fashion_small_t4"]), 1, tmp_path)
    assert not sweep.outcome(queue)[0].on_cpu


def test_stopped_and_resumed(file, capsys):
    """Ctrl-C stops the training under way, and starts no other; the same command continues."""
    out = file.parent / "out"
    words = ["sweep", str(file), "--seeds", "1", "--out", str(out)]

    def interrupt():
        deadline = time.monotonic() + 60
        while not (out / "lsg-seed0" / "widths.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert main(words) == 130
    thread.join()
    assert "stopped; every training is saved" in capsys.readouterr().err
    assert not (out / "fixed-seed0" / "metrics.jsonl").exists()
    one = re.sub(r"\[\[run\]\]\nrecipe.*\nlabel = .fixed.*\n.*\n", "", file.read_text())
    file.write_text(one)  # the rest of the queue is the subject of other tests
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "trainings: 1, done: 0" in said
    assert "| lsg | " in said
    assert {"table.md", "table.json", "table.png", "cost.png", "report.html"} <= {path.name for path in out.iterdir()}
    assert json.loads((out / "lsg-seed0" / "env.json").read_text())["resumed"]


def test_a_training_that_fails_does_not_stop_the_others(file, monkeypatch):
    queue = sweep.jobs_of(sweep.entries([str(file)]), 1, file.parent / "out")
    queue[0].folder.mkdir(parents=True)
    (queue[0].folder / "last.pt").write_text("")
    with pytest.raises(SurgradError, match=r"1 of 2 trainings failed, .* lsg-seed0: exit status 2; see"):
        sweep.train_all(queue, workers=2, say=lambda _: None)
    assert queue[1].done


def test_statistics_of_a_line():
    line = sweep.Line(sweep.Entry("a", "a"), {0: 0.80, 1: 0.82, 2: 0.84}, 1.0)
    sample = line.sample
    assert sample.mean == pytest.approx(mean(sample.values))
    assert sample.sd == pytest.approx(stdev(sample.values))
    assert sample.interval == pytest.approx(4.303 * sample.sd / math.sqrt(3))
    assert "| a | 82.00 ± 2.00 | 77.03 to 86.97 | 3 | 1.0 min |" in sweep.table_of([line])
    assert "| b | 80.00 | – | 1 |" in sweep.table_of([sweep.Line(sweep.Entry("b", "b"), {0: 0.80}, 1.0)])
    assert "| c | – | – | 0 | – |" in sweep.table_of([sweep.Line(sweep.Entry("c", "c"), {})])


def test_differences_are_taken_seed_by_seed():
    """What all seeds have in common cancels: the interval is that of the differences."""
    one = sweep.Line(sweep.Entry("one", "a", against=("other",)), {0: 0.51, 1: 0.72, 2: 0.93, 3: 0.5}, 1.0)
    other = sweep.Line(sweep.Entry("other", "a"), {0: 0.50, 1: 0.70, 2: 0.90}, 1.0)
    assert one.minus(other).values == pytest.approx((0.01, 0.02, 0.03))
    half = 100 * 4.303 * 0.01 / math.sqrt(3)
    assert f"| one | other | +2.00 ± 1.00 | {2 - half:+.2f} to {2 + half:+.2f} | 3 |" in sweep.table_of([one, other])
    assert "minus" not in sweep.table_of([other])


@pytest.mark.parametrize("path", sorted((Path(__file__).parent.parent / "sweeps").glob("*.toml")), ids=lambda p: p.stem)
def test_the_sweeps_of_the_package_name_what_exists(path, tmp_path):
    queue = sweep.jobs_of(sweep.entries([str(path)]), 1, tmp_path)
    assert len({job.folder for job in queue}) == len(queue) > 5


def test_a_run_that_varies_stands_for_every_combination(tmp_path):
    (tmp_path / "runs.toml").write_text("""
[[run]]
recipe = "lsg_fashion_small_t4"
label = "a"
set = ["adapt.name=fixed"]
vary = {"surrogate.width" = [0.5, 1], "neuron.train_decay" = [true, false]}
seeds = 2
""")
    found = sweep.entries([str(tmp_path / "runs.toml")])
    assert [entry.label for entry in found] == ["a_0.5_true", "a_0.5_false", "a_1_true", "a_1_false"]
    settings = ("adapt.name=fixed", "surrogate.width=1", "neuron.train_decay=false")
    assert found[3] == sweep.Entry("a_1_false", "lsg_fashion_small_t4", settings, 2)


def test_a_run_may_have_more_seeds_and_others_to_compare_with(tmp_path):
    (tmp_path / "runs.toml").write_text("""
[[run]]
recipe = "lsg_fashion_small_t4"
label = "many"
seeds = 3
against = ["few"]
[[run]]
recipe = "lsg_fashion_small_t4"
label = "few"
""")
    many, few = sweep.entries([str(tmp_path / "runs.toml")])
    assert (many.seeds, many.against, few.seeds, few.against) == (3, ("few",), None, ())
    names = [job.folder.name for job in sweep.jobs_of([many, few], 1, tmp_path)]
    assert names == ["many-seed0", "few-seed0", "many-seed1", "many-seed2"]


def test_on_a_cluster(file, monkeypatch):
    """With a stand-in of Ray: remote, wait, get."""
    ran = []

    class Task:
        def remote(self, words, folder, token, cpus):
            assert (Path(folder) / MARK).read_text() == token
            assert cpus == 2
            ran.append(words)
            return len(ran) - 1

    def remote(**share):
        ran.append(share)
        return lambda function: Task()

    ray = types.SimpleNamespace(
        init=lambda **options: ran.append(options["address"]),
        shutdown=lambda: None,
        remote=remote,
        wait=lambda refs, num_returns: (refs[:1], refs[1:]),
        get=lambda ref: Outcome("broke" if ref == 3 else "", b""),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    queue = sweep.jobs_of(sweep.entries([str(file)]), 1, file.parent / "out")
    for job in queue:
        job.folder.mkdir(parents=True)
    monkeypatch.setattr(sweep.Job, "metrics", property(lambda self: [{"epoch": 1, "epochs": 2, "test_accuracy": 0.5}]))
    with pytest.raises(SurgradError, match="fixed-seed0: broke"):
        sweep.train_all(queue, address="auto", share=sweep.Share(2, 0.5, 1), say=lambda _: None)
    share = {"num_cpus": 2, "num_gpus": 0.5, "max_retries": 1}
    assert ran == ["auto", share, queue[0].words(None), queue[1].words(None)]
    assert not list(file.parent.rglob(MARK))


@pytest.mark.parametrize("share", [(0, 0, 0), (1, -1, 0), (1, 0, -1)])
def test_a_share_that_cannot_be(share):
    with pytest.raises(BadValue, match="give more than 0 cores, and 0 or more of the others"):
        sweep.Share(*share)


def test_a_training_of_a_sweep_has_one_gpu_at_most():
    """It is one process, which would leave the others idle."""
    with pytest.raises(BadValue, match="2 GPUs would leave all but one idle; give at most 1, and train by torchrun"):
        sweep.Share(1, 2)


SMALL = ("data.limit=32", "data.batch=32", "model.width_multiplier=0.125", "optim.epochs=1")


@pytest.mark.parametrize("shared", [True, False])
def test_a_machine_trains_in_the_folder_or_returns_its_files(tmp_path, shared):
    """Where it sees another folder under that path, it touches nothing there."""
    (job,) = sweep.jobs_of([sweep.Entry("small", "lsg_fashion_small_t4", SMALL)], 1, tmp_path)
    job.folder.mkdir()
    (job.folder / MARK).write_text("this" if shared else "that")
    outcome = train_here(job.words(None), str(job.folder), "this", 1)
    assert outcome.fault == ""
    assert job.done == shared
    if not shared:
        unpack(outcome.files, job.folder)
        assert job.done
    assert len(load_run(job.folder).state_dict()) > 3


def test_a_machine_waits_for_the_process_of_a_lost_worker(tmp_path, monkeypatch):
    """Which still writes in the folder; here until the first wait."""
    (job,) = sweep.jobs_of([sweep.Entry("small", "lsg_fashion_small_t4", SMALL)], 1, tmp_path)
    job.folder.mkdir()
    (job.folder / MARK).write_text("this")
    with ExitStack() as stack:
        stack.enter_context(claimed(job.folder, None, print))
        monkeypatch.setattr(remote, "WAIT", -1.0)
        assert "another training is writing" in train_here(job.words(None), str(job.folder), "this", 1).fault
        monkeypatch.setattr(remote, "WAIT", 100.0)
        monkeypatch.setattr(remote.time, "sleep", lambda seconds: stack.close())
        assert train_here(job.words(None), str(job.folder), "this", 1).fault == ""
    assert job.done


def test_a_machine_says_what_went_wrong(tmp_path):
    words = ["train", "lsg_fashion_small_t4", "--set", "optim.lr=0"]
    assert "optim.lr = 0" in train_here(words, str(tmp_path / "run"), "", 1).fault


def test_an_archive_writes_nowhere_else(tmp_path):
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../out"))
    with pytest.raises(tarfile.FilterError):
        unpack(memory.getvalue(), tmp_path)


@pytest.fixture(scope="module")
def cluster():
    """Three machines of Ray itself, of which two train."""
    ray = pytest.importorskip("ray", reason="needs the extra surgrad[cluster]")
    from ray.cluster_utils import Cluster

    # a lost machine is noticed in two seconds, and not in half a minute
    noticing = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": noticing})
    machines.trainers = [machines.add_node(num_cpus=1) for _ in range(2)]
    yield machines
    machines.shutdown()
    ray.shutdown()


def test_a_cluster_that_does_not_see_the_folder_returns_the_files(cluster, tmp_path, monkeypatch):
    """Here its machines look for another mark in the folder than is there."""
    monkeypatch.setattr(running, "MARK", ".of_another_folder")
    returned = []
    plain = running.unpack
    monkeypatch.setattr(running, "unpack", lambda files, folder: (returned.append(folder), plain(files, folder)))
    (job,) = sweep.jobs_of([sweep.Entry("small", "lsg_fashion_small_t4", SMALL)], 1, tmp_path)
    sweep.train_all([job], address=cluster.address, say=lambda _: None)
    assert returned == [job.folder]
    assert job.done
    assert not (job.folder / running.MARK).exists()


def test_a_lost_machine_of_a_cluster(cluster, tmp_path):
    """It is killed in the middle of a training, which continues on the other."""
    settings = (*SMALL[:-1], "data.limit=512", "optim.epochs=6")
    queue = sweep.jobs_of([sweep.Entry("small", "lsg_fashion_small_t4", settings)], 2, tmp_path)
    said = []
    failed = threading.Event()

    def kill() -> None:
        while not all(job.folder.exists() and job.metrics for job in queue):
            if failed.wait(0.1):
                return
        cluster.remove_node(cluster.trainers[0], allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        sweep.train_all(queue, address=cluster.address, say=said.append)
    finally:
        failed.set()
        killer.join()
    assert all(job.done for job in queue)
    assert len(said) == 3
    resumed = [read_json(job.folder / "env.json")["resumed"] for job in queue]
    assert sorted(map(len, resumed)) == [0, 1]


def test_a_cluster_that_does_not_answer(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace())
    queue = sweep.jobs_of(sweep.entries([str(file)]), 1, file.parent / "out")
    with pytest.raises(BadValue, match=r"no Ray cluster at '127\.0\.0\.1:9'.*give the address of its head node"):
        sweep.train_all(queue, address="127.0.0.1:9", say=lambda _: None)


def test_a_cluster_without_its_package_names_the_extra(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    queue = sweep.jobs_of(sweep.entries([str(file)]), 1, file.parent / "out")
    with pytest.raises(BadValue, match=r"needs the package ray; pip install 'surgrad\[cluster\]'"):
        sweep.train_all(queue, address="auto", say=lambda _: None)


def test_table_is_json(tmp_path):
    lines = [sweep.Line(sweep.Entry("b", "b", ("x=1",), against=("b",)), {0: 0.8}, 1.0)]
    sweep.write_table(lines, tmp_path)
    held = json.loads((tmp_path / "table.json").read_text())
    assert held["runs"][0]["sd"] is None
    assert held["differences"][0]["values"] == [0.0]
