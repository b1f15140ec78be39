"""From recordings to batches: slicings against slow loops, splits, the cache, views, bad files, and a training."""

import json
import os
import shutil
import typing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from event_files import aedat2, aedat3, ndataset, some_events
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from surgrad.config import DataConfig, set_fields
from surgrad.data.batches.recordings import prepare
from surgrad.data.events.cache import FrameCache, Slicing
from surgrad.data.events.frames import SLICINGS, frames
from surgrad.data.events.sets import EVENT_SETS, GESTURES, load_events
from surgrad.data.events.views import Scaling, View
from surgrad.data.sampling import Parts
from surgrad.errors import BadValue, CheckpointError, DataError, SurgradError, UnknownName
from surgrad.train import derive, train
from surgrad.train.building import build
from surgrad.train.progress import Lines

# --- slicing ----------------------------------------------------------------------------------------------------------


def slow(events: NDArray, count: int, sensor: tuple[int, int], slicing: str, step: int) -> NDArray:
    """Event by event."""
    found = np.zeros((count, 2, sensor[1], sensor[0]), np.int64)
    t = [int(value) for value in events["t"]]
    for number, event in enumerate(events):
        if slicing == "count":
            frame = number // (len(events) // count) if len(events) >= count else count
        elif slicing == "time":
            whole = t[-1] - t[0]
            frame = min((t[number] - t[0]) * count // whole, count - 1) if whole else 0
        else:
            frame = (t[number] - t[0]) // step
        if frame < count:
            found[frame, event["p"], event["y"], event["x"]] += 1
    return found


@pytest.mark.parametrize("slicing", SLICINGS)
@pytest.mark.parametrize("count", [1, 3, 10])
@pytest.mark.parametrize("total", [1, 7, 10, 237])
def test_slicings_are_the_slow_ones(slicing: str, count: int, total: int):
    for seed in range(3):
        events = some_events(total, 7, 5, seed, end=400)
        found = frames(events, count, (7, 5), slicing=slicing, step=37)
        assert np.array_equal(found, slow(events, count, (7, 5), slicing, 37))
        assert found.dtype == np.uint8


def test_events_at_one_time():
    events = some_events(20, 7, 5, end=1)
    for slicing in SLICINGS:
        found = frames(events, 4, (7, 5), slicing=slicing)
        assert np.array_equal(found, slow(events, 4, (7, 5), slicing, 5000))
        assert found.sum() == 20


@pytest.mark.parametrize(("count", "kind"), [(255, np.uint8), (256, np.uint16), (70000, np.uint32)])
def test_counts_take_the_smallest_type_that_holds_them(count: int, kind: type):
    events = some_events(count, 1, 1)
    events["p"] = 1
    found = frames(events, 1, (1, 1))
    assert found.dtype == kind
    assert found[0, 1, 0, 0] == count


def test_frames_refuse_bad_values():
    with pytest.raises(UnknownName, match="unknown slicing 'cuont'; did you mean 'count'"):
        frames(some_events(5), 2, (128, 128), slicing="cuont")
    with pytest.raises(BadValue, match=r"need at least 1 frame .*, got 0 frames of 5000 µs"):
        frames(some_events(5), 0, (128, 128))
    with pytest.raises(BadValue, match=r"10 frames of 16000×16000 pixels take more than 2 GiB; give fewer frames"):
        frames(some_events(5), 10, (16000, 16000))


# --- splits -----------------------------------------------------------------------------------------------------------


def class_folders(folder: Path, names: tuple[str, ...], count: int) -> Path:
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            aedat2(folder / name / f"{name}_{number}.aedat", some_events(60, seed=100 * label + number))
    return folder


def test_cifar10_dvs_splits_by_number(tmp_path: Path):
    for name in ("airplane", "bird"):
        (tmp_path / "CIFAR10DVS" / name).mkdir(parents=True)
        for number in (*range(0, 1000, 99), 899, 900, 99, 100):
            (tmp_path / "CIFAR10DVS" / name / f"cifar10_{name}_{number}.aedat").touch()
    data = load_events("cifar10_dvs", tmp_path)
    assert data.split == "first_900"
    assert data.classes == ("airplane", "bird")
    tested = [Path(path).stem.split("_")[-1] for path in data.test.paths]
    assert tested == ["900", "990"] * 2
    assert [Path(path).stem.split("_")[-1] for path in data.train.paths][:4] == ["0", "99", "100", "198"]
    assert data.train.labels.tolist() == [0] * 12 + [1] * 12
    other = load_events("cifar10_dvs", tmp_path, "last_900")
    assert [Path(path).stem.split("_")[-1] for path in other.test.paths] == ["0", "99"] * 2


def test_every_tenth_is_tested(tmp_path: Path):
    class_folders(tmp_path / "a", ("x", "y"), 21)
    data = load_events("event_folder", tmp_path / "a", "every_tenth")
    assert [Path(path).stem for path in data.test.paths] == ["x_9", "x_19", "y_9", "y_19"]
    assert len(data.train) == 38


def test_gestures_come_from_lists_and_labels(tmp_path: Path):
    events = some_events(3000, end=10**6)
    for name in ("user01_led", "user02_led"):
        aedat3(tmp_path / f"{name}.aedat", events)
        (tmp_path / f"{name}_labels.csv").write_text(
            "class,startTime_usec,endTime_usec\n2,1000,300000\n11,300000,800000\n"
        )
    (tmp_path / "trials_to_train.txt").write_text("user01_led.aedat\n\n")
    (tmp_path / "trials_to_test.txt").write_text("user02_led.aedat\n")
    data = load_events("dvs_gesture", tmp_path)
    assert data.classes == GESTURES
    assert data.train.labels.tolist() == data.test.labels.tolist() == [1, 10]
    assert data.train.spans == ((1000, 300000), (300000, 800000))
    cache = FrameCache(tmp_path / "cache", tmp_path, Slicing(3, (128, 128), "time"))
    for span in data.train.spans:
        inside = events[(events["t"] >= span[0]) & (events["t"] < span[1])]
        assert np.array_equal(
            cache.frames(Path(data.train.paths[0]), span), frames(inside, 3, (128, 128), slicing="time")
        )
    (tmp_path / "user02_led_labels.csv").write_text("class,startTime_usec,endTime_usec\n2,1000,300000\n12,5,9\n")
    with pytest.raises(DataError, match=r"user02_led_labels.csv, line 3: need a class from 1 to 11"):
        load_events("dvs_gesture", tmp_path)


def test_errors_of_listing(tmp_path: Path):
    with pytest.raises(DataError, match=r"cifar10_dvs: no folder with recordings, looked in .*cifar10_dvs, "):
        load_events("cifar10_dvs", tmp_path)
    (tmp_path / "a" / "x").mkdir(parents=True)
    with pytest.raises(DataError, match="no folder with recordings, looked in"):
        load_events("event_folder", tmp_path / "a")
    (tmp_path / "a" / "x" / "some.aedat").touch()
    (tmp_path / "a" / "notes").mkdir()
    with pytest.raises(DataError, match="has no folders train and test"):
        load_events("event_folder", tmp_path / "a")
    with pytest.raises(DataError, match=r"some.aedat: its name does not end with a number"):
        load_events("cifar10_dvs", tmp_path / "a")
    with pytest.raises(UnknownName, match="unknown split 'frist_900'; did you mean 'first_900'"):
        load_events("cifar10_dvs", tmp_path / "a", "frist_900")
    with pytest.raises(DataError, match="one part of the split has no recordings"):
        load_events("event_folder", tmp_path / "a", "every_tenth")


def test_every_set_has_a_default_split():
    for name, spec in EVENT_SETS.items():
        assert spec.name == name
        assert spec.splits


# --- the cache --------------------------------------------------------------------------------------------------------


def test_the_cache_is_what_slicing_gives(tmp_path: Path, monkeypatch: Any):
    path = tmp_path / "a" / "one.bin"
    path.parent.mkdir()
    ndataset(path, some_events(100, 34, 34))
    slicing = Slicing(4, (34, 34))
    cache = FrameCache(tmp_path / "cache", tmp_path, slicing)
    made = cache.frames(path)
    assert np.array_equal(made, slicing.apply(path))
    monkeypatch.setattr(Slicing, "apply", None)  # not called again
    assert np.array_equal(cache.frames(path), made)
    assert json.loads((cache.folder / "slicing.json").read_text())["count"] == 4
    assert not list(cache.folder.rglob("*.tmp*"))


def test_the_key_holds_all_that_shapes_frames():
    size = (34, 34)
    shaped = [
        Slicing(4, size),
        Slicing(5, size),
        Slicing(4, (35, 34)),
        Slicing(4, size, "time"),
        Slicing(4, size, "step"),
        Slicing(4, size, "step", 10),
        Slicing(4, size, sort=False),
    ]
    assert len({one.key for one in shaped}) == len(shaped)
    assert Slicing(4, (34, 34), step=10).key == Slicing(4, (34, 34)).key, "the step has no effect there"


def test_a_changed_file_has_new_frames(tmp_path: Path):
    path = tmp_path / "one.bin"
    cache = FrameCache(tmp_path / "cache", tmp_path, Slicing(4, (34, 34)))
    for seed in (0, 1):
        ndataset(path, some_events(100, 34, 34, seed))
        os.utime(path, ns=(seed, seed))
        assert np.array_equal(cache.frames(path), cache.slicing.apply(path))


@pytest.mark.parametrize("harm", [lambda data: data[:50], lambda data: b"", lambda data: b"x" * len(data)])
def test_a_damaged_cache_is_made_again(tmp_path: Path, harm: Any):
    path = tmp_path / "one.bin"
    ndataset(path, some_events(100, 34, 34))
    cache = FrameCache(tmp_path / "cache", tmp_path, Slicing(4, (34, 34)))
    made = cache.frames(path)
    place = cache.place(path)
    place.write_bytes(harm(place.read_bytes()))
    assert np.array_equal(cache.frames(path), made)
    assert np.array_equal(np.load(place), made)


def test_a_cache_that_cannot_be_written(tmp_path: Path):
    path = tmp_path / "one.bin"
    ndataset(path, some_events(100, 34, 34))
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(
        SurgradError, match=r"frames cannot be kept in .*cache.*; use data.cache=DIR, a writable folder"
    ):
        FrameCache(tmp_path / "cache", tmp_path, Slicing(4, (34, 34))).frames(path)


def test_two_data_sets_do_not_share_frames(tmp_path: Path):
    """Though their files have the same names, sizes and times."""
    made = []
    for number in range(2):
        path = tmp_path / str(number) / "one.bin"
        path.parent.mkdir()
        ndataset(path, some_events(100, 34, 34, number))
        os.utime(path, ns=(0, 0))
        cache = FrameCache(tmp_path / "cache", path.parent, Slicing(4, (34, 34)))
        made.append(cache.frames(path))
        assert np.array_equal(made[-1], cache.slicing.apply(path))
    assert not np.array_equal(*made)


def test_too_few_events_are_a_fault(tmp_path: Path):
    ndataset(tmp_path / "one.bin", some_events(3, 34, 34))
    with pytest.raises(DataError, match="3 events are too few for 4 frames of equal counts; exclude this"):
        Slicing(4, (34, 34)).apply(tmp_path / "one.bin")
    assert Slicing(4, (34, 34), "time").apply(tmp_path / "one.bin").sum() == 3


def test_many_are_sliced_by_several_processes(tmp_path: Path):
    """More than 500, one of them bad."""
    place = tmp_path / "train" / "0"
    place.mkdir(parents=True)
    for number in range(520):
        ndataset(place / f"{number}.bin", some_events(20, 34, 34, number))
    (place / "7.bin").write_bytes(b"1234")
    shutil.copytree(tmp_path / "train", tmp_path / "test")
    data = load_events("event_folder", tmp_path)
    cache = FrameCache(tmp_path / "cache", tmp_path, Slicing(2, (34, 34)))
    parts, left_out = prepare(cache, Parts(data.train, data.train.only([]), data.test), True, 2)
    assert (len(parts.train), len(parts.holdout), len(parts.test), len(left_out)) == (519, 0, 519, 2)
    assert all("7.bin, byte 0: the file is truncated" in error for error in left_out)


def test_several_may_fill_it(tmp_path: Path):
    for number in range(20):
        ndataset(tmp_path / f"{number}.bin", some_events(100, 34, 34, number))
    paths = [tmp_path / f"{number % 20}.bin" for number in range(80)]
    caches = [FrameCache(tmp_path / "cache", tmp_path, Slicing(4, (34, 34))) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: caches[n % 4].frames(paths[n]), range(80)))
    for path, made in zip(paths, found, strict=True):
        assert np.array_equal(made, caches[0].slicing.apply(path))


# --- views ------------------------------------------------------------------------------------------------------------


def stack(count: int = 3, side: int = 16) -> NDArray:
    return np.random.default_rng(0).integers(0, 40, (count, 2, side, side)).astype(np.uint8)


def test_frames_are_divided_by_their_own_largest_count():
    made = stack()
    found = View().plain(made)
    for frame, ours in zip(made, found, strict=True):
        np.testing.assert_allclose(ours, frame / frame.max(), rtol=1e-6)
    assert torch.equal(View(normalise="none").plain(made), torch.from_numpy(made).float())
    assert not View().plain(np.zeros((2, 2, 4, 4), np.uint8)).any(), "an empty frame stays empty"


@pytest.mark.parametrize("scaling", typing.get_args(Scaling))
def test_frames_are_made_smaller(scaling: str):
    """Nearest takes every second pixel; bilinear is pillow's, each new pixel from all that it covers."""
    from PIL import Image

    made = stack(side=16)
    found = View(8, "none", scaling).plain(made)
    assert found.shape == (3, 2, 8, 8)
    if scaling == "nearest":
        assert torch.equal(found, torch.from_numpy(made[..., ::2, ::2]).float())
        return
    for t in range(3):
        for p in range(2):
            image = Image.fromarray(made[t, p].astype(np.float32))
            theirs = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR))
            np.testing.assert_allclose(found[t, p], theirs, atol=1e-3)


@pytest.mark.parametrize("options", [{"flip": True}, {"roll": 3}, {"nda": True}, {"flip": True, "roll": 2}])
def test_augmentation_depends_on_the_seed_and_is_the_same_at_every_step(options: dict):
    view = View(**options)
    made = View().plain(stack())
    alike = made[:1].expand(5, *made.shape[1:])
    seen: list[Tensor] = []
    for number in range(12):
        turned = view.augmented(alike, (0, 1, number))
        assert torch.equal(turned, view.augmented(alike, (0, 1, number)))
        assert all(torch.equal(step, turned[0]) for step in turned)
        seen.append(turned[0])
    assert len({tuple(one.flatten().tolist()) for one in seen}) > (1 if options == {"flip": True} else 4)


def test_flip_and_roll_lose_no_event():
    made = View(normalise="none").plain(stack())
    for number in range(20):
        turned = View(flip=True, roll=5).augmented(made, (number,))
        assert torch.equal(turned.sum((2, 3)), made.sum((2, 3)))
    flips = [torch.equal(View(flip=True).augmented(made, (n,)), made.flip(3)) for n in range(400)]
    assert 150 < sum(flips) < 250


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"normalise": "fram"}, "unknown normalisation 'fram'"),
        ({"scaling": "linear"}, "unknown scaling 'linear'"),
        ({"side": 0}, "side must be at least 1 pixel, got 0"),
    ],
)
def test_views_refuse(options: dict, text: str):
    with pytest.raises((BadValue, UnknownName), match=text):
        View(**options)


# --- bad files and trainings ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of recordings that differ in the area of their events."""
    for part, count in (("train", 12), ("test", 4)):
        for label in range(3):
            place = tmp_path / "data" / part / f"class{label}"
            place.mkdir(parents=True)
            for number in range(count):
                events = some_events(300, 40, 40, 1000 * label + number)
                events["x"] = events["x"] % (5, 12, 40)[label]
                events["y"] = events["y"] % (5, 12, 40)[label]
                ndataset(place / f"{part}{number}.bin", events)
    return tmp_path / "data"


def recipe_of(tiny: Any, *words: str) -> Any:
    data = DataConfig("event_folder", side=24, batch=6, workers=0, flip=True, roll=2)
    return set_fields(derive(tiny(), data=data, model={"steps": 4}), words)


def test_a_training_on_recordings_learns(tiny: Any, folder: Path, tmp_path: Path):
    recipe = recipe_of(tiny, "optim.epochs=12", "model.width_multiplier=0.5")
    run = train(recipe, tmp_path / "run", data=folder)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["test_accuracy"] > 0.6, "of three classes"
    assert list((folder / ".surgrad").rglob("*.npy"))


def test_a_training_on_files_of_frames(tiny: Any, folder: Path, tmp_path: Path):
    """Frames that another library sliced give the same batches as the recordings."""
    for path in folder.rglob("*.bin"):
        made = Slicing(4, (128, 128)).apply(path).astype(np.float32)
        place = tmp_path / "frames" / path.relative_to(folder).with_suffix(".npz")
        place.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(place, frames=made)
    batches = [next(iter(build(recipe_of(tiny), root).batches.train(0))) for root in (folder, tmp_path / "frames")]
    for ours, theirs in zip(*batches, strict=True):
        assert torch.equal(ours, theirs)


def test_a_training_on_recordings_resumes_exactly(tiny: Any, folder: Path, tmp_path: Path):
    """With two workers, which decode ahead of what is stopped."""
    recipe = derive(recipe_of(tiny, "optim.epochs=2"), data={"workers": 2})
    whole = train(recipe, tmp_path / "whole", data=folder)

    class Interrupter(Lines):
        def finish(self, row):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "broken", data=folder, show=Interrupter(2))
    again = train(recipe, tmp_path / "broken", data=folder, resume=True)
    one, other = (load_file(run / "last.safetensors") for run in (whole, again))
    assert [key for key in one if not torch.equal(one[key], other[key])] == []
    shutil.copytree(tmp_path / "broken", tmp_path / "less")
    (folder / "train" / "class0" / "train0.bin").unlink()
    with pytest.raises(CheckpointError, match=r"began with trained_on = 36, and now it is 35; put the data back"):
        train(recipe, tmp_path / "less", data=folder, resume=True)


def test_batches_are_recordings(tiny: Any, folder: Path):
    parts = build(recipe_of(tiny), folder)
    x, labels = next(iter(parts.batches.train(0)))
    assert x.shape == (4, 6, 2, 24, 24)
    assert labels.shape == (6,)
    again, _ = next(iter(parts.batches.train(0)))
    assert torch.equal(x, again)
    assert not torch.equal(x, next(iter(parts.batches.train(1)))[0])
    second = list(parts.batches.train(0))[1][0]
    assert torch.equal(next(iter(parts.batches.train(0, 1)))[0], second)
    assert sum(len(labels) for _, labels in parts.batches.test()) == parts.batches.test_count == 12
    assert parts.model(x).shape == (4, 6, 3)


def test_a_bad_file_is_named_and_may_be_left_out(tiny: Any, folder: Path, capsys: Any):
    bad = folder / "train" / "class1" / "train3.bin"
    bad.write_bytes(bad.read_bytes()[:-2])
    with pytest.raises(DataError, match=r"train3.bin, byte \d+: the file is truncated, .* Use data.skip_bad=true"):
        build(recipe_of(tiny), folder)
    with pytest.raises(DataError, match=r"1 of 48 recordings cannot be read, more than 1 %, the first: .*train3.bin"):
        build(recipe_of(tiny, "data.skip_bad=true"), folder)
    for number in range(60):
        shutil.copy(folder / "train" / "class0" / "train0.bin", folder / "train" / "class0" / f"more{number}.bin")
    parts = build(recipe_of(tiny, "data.skip_bad=true"), folder)
    assert "left out 1 of 108 recordings, 0.93%" in (said := capsys.readouterr().err)
    assert parts.batches.about["left_out"][0].startswith(str(bad))
    assert "train3.bin" in said
    assert parts.batches.train_count == 36 + 60 - 1


def test_a_link_to_itself_is_a_bad_file(tiny: Any, folder: Path):
    loop = folder / "train" / "class0" / "loop9.bin"
    loop.symlink_to(loop)
    with pytest.raises(DataError, match=r"loop9.bin: cannot be read"):
        build(recipe_of(tiny), folder)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["data.autoaugment=true"],
            r"data.autoaugment: data set 'event_folder' has no option 'autoaugment', but 'fashion_mnist_small', "
            r"'fashion_mnist', 'mnist' have it; set data.name too",
        ),
        (
            ["data.step_us=10000000000000"],
            r"data.step_us = 10000000000000 is out of range; give a number from 1 to 1000000000000",
        ),
        (["progressive.fraction=0.5"], r"progressive.fraction = 0.5 shows smaller images, or for fewer time steps"),
        (["data.slicing=size"], r"unknown slicing 'size'"),
    ],
)
def test_recipes_of_recordings_refuse(tiny: Any, folder: Path, words: list[str], text: str):
    with pytest.raises((BadValue, UnknownName), match=text):
        build(recipe_of(tiny, *words), folder)
