"""`surgrad show`: pictures of recordings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_files import ndataset, some_events
from PIL import Image

from surgrad.cli import main
from surgrad.errors import BadValue
from surgrad.report import write_recording
from surgrad.report.recording import GAP, coloured


def test_a_recording_becomes_a_sheet_and_an_animation(tmp_path: Path, capsys: Any, monkeypatch: Any):
    events = some_events(400, 34, 34)
    ndataset(tmp_path / "one.bin", events)
    monkeypatch.chdir(tmp_path)
    assert main(["show", str(tmp_path / "one.bin"), "--frames", "7"]) == 0
    said = capsys.readouterr().out
    assert "400 events in" in said
    assert "399 of them in 7 frames" in said
    assert "picture: one.png" in said
    sheet = Image.open(tmp_path / "one.png")
    moving = Image.open(tmp_path / "one.gif")
    side = 5 * 34  # enlarged to be seen
    assert sheet.size == (5 * (side + GAP) + GAP, 2 * (side + GAP) + GAP)
    assert (moving.n_frames, moving.size) == (7, (side, side))


def test_frames_are_shown(tmp_path: Path, capsys: Any):
    frames = np.zeros((3, 2, 5, 7))
    frames[range(3), 0, range(3), 0] = 2
    np.save(tmp_path / "one.npy", frames)
    assert main(["show", str(tmp_path / "one.npy"), "--out", str(tmp_path / "a.png")]) == 0
    assert "3 frames of 7×5 pixels, with 6 events" in capsys.readouterr().out
    assert Image.open(tmp_path / "a.gif").n_frames == 3


def test_colours_tell_polarity_and_number():
    frames = np.zeros((1, 2, 2, 2), np.uint8)
    frames[0, 1, 0, 0] = 4
    frames[0, 0, 0, 1] = 4
    frames[0, 1, 1, 0] = 2
    (picture,) = coloured(frames)
    brighter = picture[0, 0]
    darker = picture[0, 1]
    weaker = picture[1, 0]
    nothing = picture[1, 1]
    assert brighter[2] > brighter[0], "blue"
    assert darker[0] > darker[2], "orange"
    assert (weaker > brighter).any()
    assert (nothing == 255).all()


def test_a_training_on_recordings_shows_what_it_sees(tmp_path: Path, tiny_words: list[str], monkeypatch: Any):
    """The report of a recipe of recordings: the frames of one, and firing rates over time."""
    monkeypatch.chdir(tmp_path)
    for part, count in (("train", 8), ("test", 2)):
        for label in range(2):
            place = tmp_path / "data" / part / str(label)
            place.mkdir(parents=True)
            for number in range(count):
                ndataset(place / f"{number}.bin", some_events(200, 34, 34, 100 * label + number))
    settings = (
        "data.name=event_folder",
        "data.side=34",
        "data.batch=4",
        "data.workers=0",
        "model.steps=3",
    )
    of_any_data = [setting for setting in tiny_words[1::2] if "crop" not in setting]
    words = [word for setting in (*of_any_data, *settings) for word in ("--set", setting)]
    out = tmp_path / "run"
    assert main(["train", *words, "--data", str(tmp_path / "data"), "--out", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "Input of the network" in page
    assert "Firing rate over time" in page
    assert (out / "example.gif").exists()
    env = json.loads((out / "env.json").read_text())
    assert (env["split"], env["trained_on"], env["tested_on"]) == ("folders", 16, 4)
    rows = [json.loads(line) for line in (out / "widths.jsonl").read_text().splitlines()]
    for row in rows:
        assert len(row["rates"]) == 3
        assert sum(row["rates"]) / 3 == pytest.approx(row["firing_rate"], abs=1e-6)


def test_errors(tmp_path: Path, capsys: Any):
    assert main(["show", str(tmp_path / "nowhere.bin")]) == 2
    assert "there is no such file" in capsys.readouterr().err
    ndataset(tmp_path / "one.bin", some_events(40, 34, 34))
    assert main(["show", str(tmp_path / "one.bin"), "--slicing", "tiem"]) == 2
    assert "unknown slicing 'tiem'; did you mean 'time'" in capsys.readouterr().err
    for name, text in (
        ("a.gif", "is the name of the animation"),
        ("a.xyz", "give a name that ends with .png"),
        ("a", "a does not have the ending of a picture"),
    ):
        with pytest.raises(BadValue, match=text):
            write_recording(np.ones((2, 2, 3, 3), np.uint8), tmp_path / name)
