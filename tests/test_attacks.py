"""Inputs that lose data, lie, hang or let something in: what is read from outside, and how commands end."""

import hashlib
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surgrad import cli
from surgrad.data.events import read
from surgrad.data.events.arrays import polarity
from surgrad.data.events.sets import by_trials
from surgrad.data.fetch import download
from surgrad.data.folder import evaluation_view, training_view
from surgrad.errors import BadValue, CheckpointError, DataError
from surgrad.files import read_rows, replace_file
from surgrad.report import write_recording, write_report
from surgrad.train import evaluate_run, train
from surgrad.train.building import unread_settings
from surgrad.train.environment import environment
from surgrad.train.evaluation import correct_in
from surgrad.train.progress import Lines

COMMAND = (sys.executable, "-m", "surgrad")
COUNT = 60


def events_of(**columns: Any) -> dict[str, np.ndarray]:
    draws = np.random.default_rng(0)
    found = {
        "x": draws.integers(0, 34, COUNT),
        "y": draws.integers(0, 34, COUNT),
        "t": np.arange(COUNT) * 10,
        "p": draws.integers(0, 2, COUNT),
    }
    return {**found, **columns}


def ended(*words: Any, **options: Any) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=100, **options)


# recordings


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        ((0, 1), np.uint8),
        ((-1, 1), np.int8),
        ((1, 2), np.int64),
        ((False, True), np.bool_),
        ((0.0, 1.0), np.float32),
        ((2**8 - 1, 1), np.uint8),  # -1 in an unsigned type
        ((2**32 - 1, 1), np.uint32),
        ((2**64 - 1, 1), np.uint64),
    ],
)
def test_polarity_in_every_known_code(codes: Any, kind: Any):
    bits = np.random.default_rng(1).integers(0, 2, COUNT)
    column = np.array(codes, kind)[bits]
    assert np.array_equal(polarity(Path("a"), column), bits)
    assert polarity(Path("a"), column[bits == 1]).all(), "of one kind only"


@pytest.mark.parametrize("values", [(0, 1, 2, 3), (0, 0.5, 1), (0, 2), (3, 7)])
def test_other_polarities_are_refused(values: Any, tmp_path: Path):
    np.savez(tmp_path / "a.npz", **events_of(p=np.resize(values, COUNT)))
    with pytest.raises(DataError, match=r"its p has the values .*; give 0 and 1, -1 and 1, or 1 and 2"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["t", "x"])
def test_fractions_are_not_cut_off(name: str, tmp_path: Path):
    """Times in seconds would all become 0."""
    np.savez(tmp_path / "a.npz", **events_of(**{name: np.linspace(0, 1, COUNT)}))
    with pytest.raises(DataError, match=f"its {name} has the value 0.0"):
        read(tmp_path / "a.npz")
    np.savez(
        tmp_path / "b.npz",
        **events_of(**{name: np.arange(COUNT, dtype=float) % 34 if name == "x" else np.arange(60.0)}),
    )
    assert len(read(tmp_path / "b.npz")) == COUNT


def elsewhere(h5py: Any, path: Path, secret: Path, how: str) -> None:
    """An HDF5 file of events whose x lies in another file."""
    columns = events_of()
    with h5py.File(secret, "w") as file:
        file["x"] = columns["x"]
    with h5py.File(path, "w") as file:
        for name in "ytp":
            file[name] = columns[name]
        if how == "external link":
            file["x"] = h5py.ExternalLink(secret, "/x")
        elif how == "soft link to it":
            file["there"] = h5py.ExternalLink(secret, "/")
            file["x"] = h5py.SoftLink("/there/x")
        elif how == "external storage":
            file.create_dataset("x", (COUNT,), "i8", external=[(str(secret), 0, 8 * COUNT)])
        else:
            layout = h5py.VirtualLayout((COUNT,), "i8")
            source = secret if how == "virtual" else secret.with_name("missing.h5")
            layout[:] = h5py.VirtualSource(str(source), "x", (COUNT,))
            file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize("how", ["external link", "soft link to it", "external storage", "virtual", "virtual, missing"])
@pytest.mark.parametrize("ending", ["h5", "mat"])
def test_hdf5_reads_no_other_file(how: str, ending: str, tmp_path: Path):
    h5py = pytest.importorskip("h5py")
    elsewhere(h5py, tmp_path / f"a.{ending}", tmp_path / "secret.h5", how)
    with pytest.raises(DataError, match=r"is a link to another file|lies in other files"):
        read(tmp_path / f"a.{ending}")


def test_a_struct_of_matlab_in_another_file_is_not_looked_up(tmp_path: Path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        for name, column in events_of().items():
            file[f"TD/{name}"] = column
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["TD"] = h5py.ExternalLink(tmp_path / "secret.h5", "/TD")
    with pytest.raises(DataError, match="it has no named columns"):
        read(tmp_path / "a.mat")


def test_a_link_within_an_hdf5_file_is_followed(tmp_path: Path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, column in events_of().items():
            file[f"held/{name}"] = column
            file[name] = h5py.SoftLink(f"/held/{name}")
    assert len(read(tmp_path / "a.h5")) == COUNT


@pytest.mark.parametrize("line", ["../../home/x.aedat", "/etc/passwd", "..", "a/b.aedat", "a\\b.aedat"])
def test_lists_of_trials_name_files_of_their_folder(line: str, tmp_path: Path):
    for name in ("trials_to_train.txt", "trials_to_test.txt"):
        (tmp_path / name).write_text(f"{line}\n")
    with pytest.raises(DataError, match="is not the name of a recording in"):
        by_trials(tmp_path)


def test_a_mark_of_the_encoding_is_ignored(tmp_path: Path):
    """Some editors begin text with it."""
    (tmp_path / "a.aedat").write_bytes(b"")
    (tmp_path / "a_labels.csv").write_text("class,startTime_usec,endTime_usec\n1,0,10\n", encoding="utf-8-sig")
    for name in ("trials_to_train.txt", "trials_to_test.txt"):
        (tmp_path / name).write_text("a.aedat\n", encoding="utf-8-sig")
    assert len(by_trials(tmp_path)[0]) == 1


@pytest.mark.parametrize(("chip", "known"), [("eu.seebetter.ini.chips.davis.Davis346blue", False), ("ch.DVS128", True)])
def test_aedat2_of_another_camera_is_refused(chip: str, known: bool, tmp_path: Path):
    """A corner of its addresses would be read as other pixels of a DVS128."""
    words = np.array([[2 * x, 10 * x] for x in range(1, 16)], ">u4")
    (tmp_path / "a.aedat").write_bytes(f"#!AER-DAT2.0\r\n# AEChip: {chip}\r\n".encode() + words.tobytes())
    if known:
        assert len(read(tmp_path / "a.aedat")) == 15
        return
    with pytest.raises(DataError, match="the recording is of a Davis346blue; only AEDAT 2 files of a DVS128"):
        read(tmp_path / "a.aedat")


def test_too_many_frames_for_a_picture_are_refused_before_any_is_drawn(tmp_path: Path):
    with pytest.raises(BadValue, match="a picture of 100,000 frames would be too large"):
        write_recording(np.broadcast_to(np.zeros((1, 2, 34, 34), np.uint8), (100_000, 2, 34, 34)), tmp_path / "a.png")


# images


def saved(path: Path, image: Any, **options: Any) -> str:
    image.save(path, **options)
    return str(path)


@pytest.mark.parametrize(("kind", "most"), [(np.uint8, 255), (np.uint16, 65535)])
def test_deep_images_are_scaled(kind: Any, most: int, tmp_path: Path):
    image = pytest.importorskip("PIL.Image")
    levels = np.linspace(0, most, 64).astype(kind).reshape(8, 8)
    view = evaluation_view(saved(tmp_path / "a.png", image.fromarray(levels)), 8, 8)
    assert abs(view.float().mean().item() - 127.5) < 2
    assert (view.min(), view.max()) == (0, 255)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PPM", "TGA", "PCX", "ICO"])
def test_other_formats_behind_a_jpg_name_are_refused(kind: str, tmp_path: Path):
    image = pytest.importorskip("PIL.Image")
    path = saved(tmp_path / "a.jpg", image.new("RGB", (16, 16)), format=kind)
    with pytest.raises(DataError, match="cannot be read as an image"):
        training_view(path, 8, False, (0,))


def test_what_is_no_plain_file_is_no_image(tmp_path: Path):
    pytest.importorskip("PIL")
    os.mkfifo(tmp_path / "a.jpg")  # to open it would be to wait for ever
    with pytest.raises(DataError, match="it is not a plain file"):
        evaluation_view(str(tmp_path / "a.jpg"), 8, 8)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    image = pytest.importorskip("PIL.Image")
    path = saved(tmp_path / "a.png", image.new("1", (400, 400)))
    for most in (100, 100_000):  # an error of Pillow's, and a warning
        monkeypatch.setattr(image, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(DataError, match="decompression bomb"):
            evaluation_view(path, 8, 8)


def test_oversized_text_in_a_png_is_refused(tmp_path: Path):
    image = pytest.importorskip("PIL.Image")
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("a", "x" * 2**22, zip=True)
    path = saved(tmp_path / "a.png", image.new("L", (16, 16)), pnginfo=text)
    with pytest.raises(DataError, match=r"a\.png"):
        evaluation_view(path, 8, 8)


# pages


def test_no_name_of_a_layer_becomes_markup(finished: Path, tmp_path: Path):
    import shutil

    run = Path(shutil.copytree(finished, tmp_path / "run"))
    bad = iter(['a" id="b', "' onmouseover=alert(1) x='", "<script>alert(1)</script>", 'x" onload="alert(1)'])
    names: dict[str, str] = {}
    rows = []
    for row in read_rows(run / "widths.jsonl"):
        row["layer"] = names.setdefault(row["layer"], next(bad, row["layer"]))
        rows.append(json.dumps(row))
    (run / "widths.jsonl").write_text("\n".join(rows) + "\n")
    page = write_report([run], tmp_path / "page.html").read_text()
    from html.parser import HTMLParser

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert not [name for name, _ in attrs if name.startswith("on")], attrs
            assert tag != "script" or "alert" not in str(attrs)

        def handle_data(self, data: str) -> None:
            assert self.get_starttag_text() != "<script>" or "alert(1)" not in data

    Reader().feed(page)
    assert "onmouseover=alert(1)" in page  # as text


@pytest.mark.parametrize("kind", ["link", "fifo", "text"])
def test_only_a_plain_png_becomes_the_example_of_a_page(kind: str, finished: Path, tmp_path: Path):
    import shutil

    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (tmp_path / "secret.txt").write_text("secret words")
    place = run / "example.png"
    if kind == "link":
        place.symlink_to(tmp_path / "secret.txt")
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.write_text("secret words")
    page = write_report([run], tmp_path / "page.html").read_text()
    assert "data:image/png" not in page


# what is written where


def test_pipes_and_devices_are_written_to(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    found = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_text()))
    reader.start()
    replace_file(tmp_path / "pipe", lambda path: path.write_text("words"))
    reader.join(10)
    assert found == ["words"]
    assert (tmp_path / "pipe").is_fifo()
    replace_file(Path("/dev/null"), lambda path: path.write_text("words"))
    assert Path("/dev/null").is_char_device()


def test_a_link_stays_a_link(tmp_path: Path):
    (tmp_path / "there").write_text("old")
    (tmp_path / "link").symlink_to("there")
    replace_file(tmp_path / "link", lambda path: path.write_text("new"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_text() == "new"


# numbers


def test_outputs_that_are_not_numbers_predict_nothing():
    labels = torch.tensor([0, 0, 1])
    output = torch.tensor([[[torch.nan, 0.0], [1.0, torch.nan], [0.0, 1.0]]])
    assert correct_in(output, labels) == 1


def test_another_number_of_examples_is_refused_or_said(finished: Path, tiny: Any, tmp_path: Path):
    import shutil

    run = Path(shutil.copytree(finished, tmp_path / "run"))
    env = json.loads((run / "env.json").read_text())
    assert (env["trained_on"], env["tested_on"]) == (128, 128)
    (run / "env.json").write_text(json.dumps({**env, "tested_on": 60}))
    said: list[str] = []
    evaluate_run(run, say=said.append)
    assert said == ["the training was tested on 60 examples, and this data has 128"]
    with pytest.raises(CheckpointError, match="began with tested_on = 60, and now it is 128"):
        train(tiny(), run, resume=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("surrogate.width=0.3",), "the controller 'lsg' sets the widths; surrogate.width = 0.3 is only their start"),
        (("penalty.weight=0.5",), "penalty.weight has no effect with penalty.name = none"),
        (("progressive.steps=2",), "progressive.steps has no effect with progressive.fraction = 0"),
    ],
)
def test_settings_without_effect_are_said(words: Any, said: str, tiny: Any):
    assert said in unread_settings(tiny("progressive.fraction=0", "progressive.image_size=none", *words))
    assert unread_settings(tiny("adapt.name=fixed", "surrogate.width=0.3", "progressive.fraction=0.5")) == []


@pytest.mark.parametrize(
    "setting",
    [
        "model.width_multiplier=1e30",
        "neuron.threshold=1e308",
        "surrogate.width=1e300",
        "model.layers=1000000",
        "summary=\udcff",
    ],
)
def test_values_beyond_all_use_are_refused(setting: str, capsys: Any, tmp_path: Path):
    words = ["--set", "model.name=mlp"] if "layers" in setting else []
    assert cli.main(["train", "--out", str(tmp_path / "run"), *words, "--set", setting]) == 2
    assert setting.partition("=")[0] in capsys.readouterr().err


# processes


@pytest.fixture
def server():
    """A slow server of one file: (address, its md5)."""
    body = os.urandom(3 << 16)

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for at in range(0, len(body), 1 << 14):
                self.wfile.write(body[at : at + (1 << 14)])
                time.sleep(0.01)

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/f", hashlib.md5(body).hexdigest()
    running.shutdown()


def test_of_two_downloads_of_a_file_one_waits(server: tuple[str, str], tmp_path: Path):
    address, md5 = server
    faults: list[BaseException] = []

    def fetch() -> None:
        try:
            download([address], tmp_path / "f", md5, progress=lambda *_: None)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f"]


@pytest.mark.slow
def test_the_reader_of_the_output_may_end():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*COMMAND, "list"], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_training_survives_the_reader_of_its_output(monkeypatch: pytest.MonkeyPatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        lines = Lines(1)
        lines.say("one")
        lines.say("two")


@pytest.mark.slow
def test_any_encoding_of_the_output_will_do():
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = ended("list", env=env)
    assert done.returncode == 0, done.stderr
    assert "98.33 ? 0.58 %" in done.stdout


@pytest.mark.slow
def test_every_command_runs_without_docstrings():
    """Python's option -OO, or PYTHONOPTIMIZE=2."""
    done = ended("options", "neuron", env={**os.environ, "PYTHONOPTIMIZE": "2"})
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_training_whose_terminal_closes_is_saved(number: int, tiny_words: list[str], tmp_path: Path):
    out = tmp_path / "run"
    words = [*COMMAND, "train", *map(str, tiny_words), "--set", "optim.epochs=500", "--out", str(out)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not read_rows(out / "metrics.jsonl") and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "saved. Continue with" in said


@pytest.mark.slow
def test_trainings_end_with_their_sweep(tiny_words: list[str], tmp_path: Path):
    """Also when it is killed; the same command continues them."""
    settings = [word for word in map(str, tiny_words) if word != "--set"]
    lines = "\n".join(f"  {json.dumps(word)}," for word in [*settings, "optim.epochs=400"])
    (tmp_path / "a.toml").write_text(f'set = [\n{lines}\n]\n[[run]]\nrecipe = "lsg_fashion_small_t4"\n')
    words = [*COMMAND, "sweep", str(tmp_path / "a.toml"), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    end = time.monotonic() + 60
    while not list((tmp_path / "out").glob("*/metrics.jsonl")) and time.monotonic() < end:
        time.sleep(0.05)
    (log,) = [path.parent / "log.txt" for path in (tmp_path / "out").glob("*/metrics.jsonl")]
    process.kill()
    process.wait()
    while "saved. Continue with" not in log.read_text() and time.monotonic() < end:
        time.sleep(0.05)
    assert "saved. Continue with" in log.read_text()


def test_the_commit_is_that_of_surgrads_own_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", tmp_path, *who, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    package = tmp_path / "env" / "surgrad"
    (package / "train").mkdir(parents=True)
    monkeypatch.setattr("surgrad.train.environment.__file__", str(package / "train" / "environment.py"))
    found = environment(torch.device("cpu"), False)
    assert found["commit"] is None
    assert found["surgrad"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b'recipe = "\xfc"', "is not valid TOML in UTF-8"),
        (b"run = 5", r"has run = 5; write \[\[run\]\]"),
        (b"a = " + b"[" * 3000 + b"]" * 3000, "is not valid TOML"),
        (b'[[run]]\nrecipe = "lsg_fashion_small_t4"\nlabel = "' + b"a" * 400 + b'"', "has 400 characters"),
    ],
)
def test_sweeps_of_broken_files(text: bytes, fault: str, tmp_path: Path, capsys: Any):
    (tmp_path / "a.toml").write_bytes(text)
    assert cli.main(["sweep", str(tmp_path / "a.toml"), "--out", str(tmp_path / "out")]) == 2
    import re

    assert re.search(fault, capsys.readouterr().err)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_no_memory_is_one_sentence(error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("surgrad.train.train", fail)
    assert cli.main(["train", "--out", "x"]) == 2
    assert capsys.readouterr().err.startswith("surgrad: not enough memory; the last checkpoint is intact.")


def test_folders_that_are_no_recordings(capsys: Any):
    assert cli.main(["show", "/"]) == 2
    assert "is a folder; give the file of a recording" in capsys.readouterr().err


def test_paths_that_cannot_be_used_are_one_sentence(tmp_path: Path, capsys: Any):
    (tmp_path / "file").write_text("")
    assert cli.main(["sweep", "lsg_fashion_small_t4", "--out", str(tmp_path / "file")]) == 2
    assert "cannot hold a training (" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path / ("a" * 300))]) == 2
    assert io.StringIO(capsys.readouterr().err).read().count("\n") == 1
