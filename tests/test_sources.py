"""Data sources: the registry and its options, own arrays, spoken digits, the holdout, and the batches of every kind."""

import json
import pickle
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from event_files import ndataset, published, some_events, spoken
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from surgrad import process
from surgrad.config.recipe import DataConfig, ModelConfig, Recipe, derive
from surgrad.config.registry import Option
from surgrad.data import (
    DATASETS,
    EVENT_SETS,
    FOLDER_SETS,
    IMAGE_SETS,
    ArraySource,
    BatchSettings,
    DataSource,
    ImageData,
    ImageSource,
    Progressive,
    Split,
    as_source,
    load,
    load_events,
    load_folder,
)
from surgrad.data.batches.slots import Filled, Slots
from surgrad.data.events import frames as framing
from surgrad.data.events.spoken import SPOKEN_SETS, read_spoken
from surgrad.data.sampling import split_holdout
from surgrad.errors import BadValue, DataError, UnknownName
from surgrad.train import build, evaluate_run, load_run, train

CPU = torch.device("cpu")
GENERATOR = torch.Generator().manual_seed(0)


def settings(batch: int = 4, **changes: Any) -> BatchSettings:
    return BatchSettings(**{"batch": batch, "seed": 0, "device": CPU, "steps": 3, **changes})


def random(*shape: int) -> Tensor:
    return torch.rand(shape, generator=GENERATOR)


def numbered(count: int, classes: int) -> tuple[Tensor, Tensor]:
    """uint8 images [N, 1, 4, 4] that carry their own number, class by class."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    return images, torch.arange(count) * classes // count


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One root of small data sets, of every kind that is not in memory."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for part, count in (("train", 10), ("val", 4)):
        for name in ("a", "b"):
            place = root / "images" / part / name
            place.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)).save(place / f"{number}.png")
    for part, count in (("train", 10), ("test", 4)):
        for label in range(2):
            place = root / "events" / part / str(label)
            place.mkdir(parents=True)
            for number in range(count):
                ndataset(place / f"{number}.bin", some_events(60, 34, 34, 100 * label + number))
        recordings = [(sorted(rng.random(30).tolist()), rng.integers(0, 700, 30).tolist()) for _ in range(2 * count)]
        (root / "SHD").mkdir(exist_ok=True)
        spoken(root / "SHD" / f"shd_{part}.h5", recordings, [label for label in (3, 17) for _ in range(count)])
    return root


def source_of(kind: str, root: Path, workers: int = 0) -> DataSource:
    """A data source of each kind: 20 training and 8 test samples of two classes."""
    if kind == "arrays":
        return ArraySource(numbered(20, 2), numbered(8, 2), crop=1, flip=True)
    if kind == "recordings in arrays":
        labels = torch.arange(20) // 10
        return ArraySource((random(20, 3, 2, 6, 6), labels), (random(8, 3, 2, 6, 6), labels[6:14]), crop=1, flip=True)
    if kind == "images":
        train, test = (Split(*numbered(count, 2)) for count in (20, 8))
        return as_source(ImageData("own", train, test, ("x", "y"), (0.5,), (0.25,)), {"crop": 1, "cutout": 2})
    if kind == "folders":
        return DATASETS.build("image_folder", {"side": 8, "resize": 9, "workers": workers}, root=root / "images")
    if kind == "spoken":
        return DATASETS.build("shd", {"bins": 70}, root=root)
    return DATASETS.build("n_mnist", {"side": 8, "roll": 2, "workers": workers}, root=root / "events")


KINDS = ("arrays", "recordings in arrays", "images", "folders", "recordings", "spoken")
every_kind = pytest.mark.parametrize("kind", KINDS)

# --- the registry -----------------------------------------------------------------------------------------------------

IMAGE_OPTIONS = {
    "crop": 0,
    "flip": False,
    "flip_order": "random",
    "autoaugment": False,
    "cutout": 0,
    "cutout_fill": "mean",
    "rectangles": False,
}
FOLDER_OPTIONS = {"side": 224, "resize": 256, "flip": False, "workers": None}
EVENT_OPTIONS = {
    "split": None,
    "slicing": "count",
    "step_us": 5000,
    "normalise": "frame",
    "scaling": "bilinear",
    "flip": False,
    "roll": 0,
    "nda": False,
    "side": 224,
    "height": None,
    "sensor": None,
    "columns": None,
    "time_unit": "us",
    "cache": None,
    "skip_bad": False,
    "workers": None,
}
SPOKEN_OPTIONS = {"bins": 140, "slicing": "time", "step_us": 10_000}


def test_data_sets_list_their_own_options():
    for names, options in (
        (IMAGE_SETS, IMAGE_OPTIONS),
        (FOLDER_SETS, FOLDER_OPTIONS),
        (EVENT_SETS, EVENT_OPTIONS),
        (SPOKEN_SETS, SPOKEN_OPTIONS),
    ):
        for name in names:
            found = DATASETS.options(name)
            assert {key: option.default for key, option in found.items()} == options
            assert all(isinstance(option, Option) for option in found.values())
            assert names[name].name == name


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("n_mnist", {"crop": 4}, r"data\.crop: data set 'n_mnist' has no option 'crop'; it has split, slicing"),
        ("cifar10", {"cropp": 4}, r"data\.cropp: data set 'cifar10' has no option 'cropp'; did you mean 'crop'"),
        ("cifar10", {"crop": -1}, r"data\.crop = -1 is out of range; give a number from 0"),
        ("cifar10", {"flip": 1}, r"data\.flip = 1 is of type int; give true or false"),
        ("imagenet", {"side": 7}, r"data\.side = 7 is out of range; give a number from 8"),
        ("n_cars", {"slicing": "conut"}, r"unknown slicing 'conut'; did you mean 'count'"),
        ("n_cars", {"step_us": 0}, r"data\.step_us = 0 is out of range; give a number from 1 to 1000000000000"),
        ("shd", {"bins": 701}, r"data\.bins = 701 is out of range; give a number from 1 to 700"),
        ("shdd", {}, "unknown data set 'shdd'; did you mean 'shd'"),
    ],
)
def test_options_are_checked_before_data_is_loaded(name: str, options: dict, text: str):
    with pytest.raises((BadValue, UnknownName), match=text):
        DATASETS.check(name, options, "data")


def test_a_registered_data_set_is_built():
    source = DATASETS.build("fashion_mnist_small", {"crop": 2, "flip": True})
    assert (source.input_shape, source.is_sequence, len(source.classes)) == ((1, 28, 28), False, 10)
    with pytest.raises(BadValue, match=r"autoaugment needs images of three channels, .*; fashion_mnist_small has 1"):
        DATASETS.build("fashion_mnist_small", {"autoaugment": True})


def test_loaded_data_become_sources(folders: Path):
    data = load("fashion_mnist_small")
    ours = as_source(data, {"flip": True}).batches(settings(limit=8))
    theirs = DATASETS.build("fashion_mnist_small", {"flip": True}).batches(settings(limit=8))
    for one, other in zip(ours.train(0), theirs.train(0), strict=True):
        assert torch.equal(one[0], other[0])
    assert as_source(load_folder("image_folder", folders / "images"), {"side": 9}).input_shape == (3, 9, 9)
    assert as_source(load_events("n_mnist", folders / "events")).is_sequence
    source = as_source(data)
    assert as_source(source) is source
    with pytest.raises(
        BadValue, match=r"ImageSource has its own options, set when it was made; give no others \(flip\)"
    ):
        as_source(source, {"flip": True})
    with pytest.raises(BadValue, match=r"has no option 'flp'; did you mean 'flip'"):
        as_source(data, {"flp": True})
    with pytest.raises(BadValue, match=r"data is str; give a data source \(surgrad.data.ArraySource for tensors"):
        as_source("cifar10")  # type: ignore[arg-type]  # that is the mistake


# --- batches of every kind --------------------------------------------------------------------------------------------


@every_kind
def test_sources_keep_their_promises(kind: str, folders: Path):
    """Shapes as announced, normalised floats, every sample once, and the same batches from any point on."""
    source = source_of(kind, folders)
    assert isinstance(source, DataSource)
    batches = source.batches(settings())
    assert batches.is_sequence == source.is_sequence
    assert (batches.size, batches.per_epoch, batches.train_count, batches.test_count) == (4, 5, 20, 8)
    shape = (3, 4, *source.input_shape) if source.is_sequence else (4, *source.input_shape)
    whole = list(batches.train(1))
    assert len(whole) == 5
    for images, labels in whole:
        assert images.shape == shape
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64
    assert torch.cat([labels for _, labels in whole]).unique(return_counts=True)[1].tolist() == [10, 10]
    for (images, labels), (again, same) in zip(whole[2:], source.batches(settings()).train(1, 2), strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, same)
    assert any(not torch.equal(one[1], other[1]) for one, other in zip(whole, batches.train(2), strict=True))
    tested = list(batches.test())
    assert [len(labels) for _, labels in tested] == [8], "twice as many as in training"
    assert torch.equal(tested[0][0], next(batches.test())[0]), "no augmentation"
    assert list(batches.holdout()) == []
    assert batches.holdout_count == 0


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["folders", "recordings"])
def test_a_batch_stays_when_later_ones_are_read(kind: str, workers: int, folders: Path):
    """Workers write into memory that is used again; of one sample and one time step, a transposed batch is no copy."""
    source = source_of(kind, folders, workers)
    small = settings(batch=1, steps=1)
    kept = list(source.batches(small).train(0))
    read = [(images.clone(), labels.clone()) for images, labels in source_of(kind, folders).batches(small).train(0)]
    assert len(kept) == 20
    assert len({images.sum().item() for images, _ in kept}) > 15
    for one, other in zip(kept, read, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_a_slot_is_not_used_again_before_its_batch_is_finished(folders: Path):
    """By workers that are far ahead of the main process."""
    wanted = [labels.item() for _, labels in source_of("folders", folders).batches(settings(batch=1)).train(0)]
    batches = source_of("folders", folders, workers=2).batches(settings(batch=1))
    finished = batches.finished
    batches.finished = lambda samples: (time.sleep(0.1), finished(samples))[1]
    assert [labels.item() for _, labels in batches.train(0)] == wanted


def test_samples_of_other_shapes_are_refused():
    class Growing(Dataset):
        def __getitem__(self, index):
            return None, torch.zeros(1, index + 1), torch.tensor(0)

    filled = Filled(Growing(), Slots(torch.zeros(1, 1), [2], 0))
    assert filled.__getitems__((0, [0])) == (0, None)
    assert filled.__getitems__((0, [0, 4])) == (
        0,
        "sample 4 is torch.float32 [1, 5], and the first one was torch.float32 [1, 1]; all samples of a data set must "
        "be alike",
    )


def test_reading_leaves_the_number_of_threads(folders: Path, monkeypatch: pytest.MonkeyPatch):
    """Where workers take all cores, the main process uses one thread for a moment."""
    monkeypatch.setattr(process, "cores", lambda: 1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        batches = source_of("folders", folders, workers=1).batches(settings())
        assert {torch.get_num_threads() for _ in batches.train(0)} == {2}
    finally:
        torch.set_num_threads(before)


def test_too_little_shared_memory_is_said(folders: Path):
    """Where files may have 4 KiB, as in a container where /dev/shm is small."""
    script = f"""
        import resource
        import torch
        from surgrad.data import DATASETS, BatchSettings
        source = DATASETS.build("image_folder", {{"side": 32, "workers": 2}}, root={str(folders / "images")!r})
        batches = source.batches(BatchSettings(batch=4, seed=0, device=torch.device("cpu")))
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        next(batches.train(0))
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert re.search(
        r"DataError: data\.workers = 2 need 5\.7e-05 GiB of shared memory .* \(unable to .*\); set data\.workers or "
        r"data\.batch to less, or allow more memory \(in a container: --shm-size\)$",
        ran.stderr.strip(),
    )


@every_kind
def test_a_holdout_is_never_trained_on_and_not_augmented(kind: str, folders: Path):
    source = source_of(kind, folders)
    batches = source.batches(settings(holdout=0.2))
    assert (batches.train_count, batches.holdout_count, batches.test_count) == (16, 4, 8)
    held = list(batches.holdout())
    labels = torch.cat([labels for _, labels in held])
    assert torch.bincount(labels).max() == 2, "of each of two classes alike"
    assert torch.equal(held[0][0], next(batches.holdout())[0])
    assert torch.equal(held[0][0], next(source.batches(settings(holdout=0.2)).holdout())[0])
    assert len(torch.cat([labels for _, labels in batches.train(0)])) == 16


def numbers(batches: Any) -> list[int]:
    """The numbers that images of `numbered` carry."""
    found = []
    for images, _ in batches:
        found += images[:, 0, 0, 0].tolist()
    return [round(value) for value in found]


def plain(**changes: Any) -> Any:
    source = ArraySource(numbered(40, 4), numbered(8, 4), mean=(0.0,), std=(1 / 255,))
    return source.batches(settings(**changes))


def test_a_limit_moves_no_sample_between_training_and_holdout():
    whole = plain(holdout=0.3, seed=5)
    held = numbers(whole.holdout())
    assert len(held) == 12
    assert held == sorted(held)
    assert sorted(numbers(whole.train(0))) == sorted({*range(40)} - {*held})
    for limit in (3, 8, 20, 100):
        limited = plain(holdout=0.3, seed=5, limit=limit, batch=3)
        assert numbers(limited.holdout()) == held[:limit]
        assert limited.train_count == min(limit, 28)
        assert not {*numbers(limited.train(0))} & {*held}
    assert numbers(plain(holdout=0.3, seed=6).holdout()) != held


def test_no_holdout_changes_nothing():
    for one, other in zip(plain().train(0), plain(holdout=0).train(0), strict=True):
        assert torch.equal(one[0], other[0])


def test_the_holdout_is_stratified():
    labels = torch.tensor([0] * 10 + [1] * 5 + [2] * 1)
    kept, held = split_holdout(labels, 0.3, 0)
    assert torch.bincount(labels[held], minlength=3).tolist() == [3, 2, 0], "1.5 is rounded up"
    assert sorted(kept + held) == list(range(16))
    assert held == sorted(held)
    _, most = split_holdout(labels, 0.99, 0)
    assert torch.bincount(labels[most], minlength=3).tolist() == [9, 4, 0], "a class is never held out whole"
    with pytest.raises(BadValue, match=r"data.holdout = 0.01 of 16 training samples sets none apart; give a larger"):
        split_holdout(labels, 0.01, 0)
    with pytest.raises(BadValue, match=r"data.holdout = 1.0 is not a share of the training samples; give 0 to less"):
        plain(holdout=1)


def test_recordings_say_how_many_are_held_out(folders: Path):
    source = source_of("recordings", folders)
    assert source.batches(settings(holdout=0.2)).about["held_out"] == 4
    assert "held_out" not in source.batches(settings()).about


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"batch": 0}, "batch = 0 is out of range; give a number from 1"),
        ({"limit": 0}, "limit = 0 is out of range"),
        ({"holdout": -0.1}, r"holdout = -0.1 is out of range; give a number from 0 to 1"),
        ({"batch": 41}, r"data.batch = 41 of 40 training samples; give at most 40"),
        ({"progressive": Progressive(0.5, 1, 5)}, r"progressive.image_size = 5 is larger than the images of 4 pixels"),
    ],
)
def test_settings_are_checked(changes: dict, text: str):
    with pytest.raises(BadValue, match=text):
        plain(**changes)


def test_progressive_settings_are_checked(folders: Path):
    with pytest.raises(BadValue, match=r"progressive.image_size = 3 has no effect with progressive.fraction = 0"):
        Progressive(image_size=3)
    with pytest.raises(BadValue, match=r"progressive.fraction = 1.5 is out of range"):
        Progressive(1.5)
    for kind in ("recordings", "recordings in arrays", "spoken"):
        with pytest.raises(BadValue, match=r"progressive.fraction = 0.5 shows smaller images, or for fewer time steps"):
            source_of(kind, folders).batches(settings(progressive=Progressive(0.5)))
    with pytest.raises(
        BadValue, match=r"progressive.image_size = 4 is for images in memory, and these samples are read"
    ):
        source_of("folders", folders).batches(settings(progressive=Progressive(0.5, 1, 4)))


def test_the_first_fraction_of_a_training_is_cheaper():
    batches = plain(progressive=Progressive(0.25, 1, 3), epochs=2)
    assert batches.per_epoch == 10
    assert [batches.starting(epoch, number) for epoch in (0, 1) for number in range(10)] == [True] * 5 + [False] * 15
    assert [images.shape[-1] for images, _ in batches.train(0)] == [3] * 5 + [4] * 5
    assert next(batches.test())[0].shape[-1] == 4


# --- own arrays -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_arrays_are_normalised_by_their_training_samples(kind: type):
    made = np.random.default_rng(0).integers(0, 256, (50, 3, 5, 7)).astype(kind)
    labels = np.arange(50) % 5
    source = ArraySource((made[:40], labels[:40]), (made[40:], labels[40:]))
    assert source.input_shape == (3, 5, 7)
    assert source.classes == ("0", "1", "2", "3", "4")
    assert not source.is_sequence
    scaled = made[:40] / 255 if kind is np.uint8 else made[:40]
    np.testing.assert_allclose(source.mean, scaled.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(source.std, scaled.std((0, 2, 3)), rtol=1e-6)
    images = torch.cat([images for images, _ in source.batches(settings(batch=10)).train(0)])
    assert images.mean((0, 2, 3)).abs().max() < 1e-5
    assert (images.std((0, 2, 3)) - 1).abs().max() < 1e-2


def test_own_statistics_and_classes_are_taken():
    made = (random(6, 2, 4, 4), torch.tensor([0, 1, 0, 1, 0, 1]))
    source = ArraySource(made, made, classes=("cat", "dog"), mean=(0.5, 0.25), std=(2, 4))
    images, labels = next(source.batches(settings(channels_last=False)).test())
    assert source.classes == ("cat", "dog")
    assert torch.equal(labels, made[1])
    torch.testing.assert_close(
        images, (made[0] - torch.tensor([0.5, 0.25]).view(2, 1, 1)) / torch.tensor([2.0, 4]).view(2, 1, 1)
    )


def test_a_constant_channel_is_not_divided_by_zero():
    made = (torch.full((6, 1, 4, 4), 0.1), torch.arange(6) % 2)
    images, _ = next(ArraySource(made, made).batches(settings()).test())
    assert torch.isfinite(images).all()


@pytest.mark.parametrize("shape", [(2, 5, 6), (7, 9)])
def test_recordings_in_arrays_are_taken_as_they_are(shape: tuple[int, ...]):
    """Two dimensions with [T, C, H, W], one with [T, C, L], which must be said."""
    made = torch.randint(0, 9, (12, 3, *shape), generator=GENERATOR).to(torch.uint8)
    data = (made, torch.arange(12) % 3)
    source = ArraySource(data, data, is_sequence=None if len(shape) == 3 else True)
    assert (source.is_sequence, source.input_shape) == (True, shape)
    samples, labels = next(source.batches(settings(batch=6)).test())
    assert torch.equal(samples, made.transpose(0, 1).float())
    assert torch.equal(labels, data[1])
    with pytest.raises(BadValue, match=r"the recordings have 3 time steps and model.steps = 4; set model.steps=3"):
        source.batches(settings(steps=4))


def test_alternating_flips_mirror_every_image_in_every_other_epoch():
    images = torch.arange(4 * 4, dtype=torch.uint8).view(1, 1, 4, 4) + torch.arange(40, dtype=torch.uint8).view(
        -1, 1, 1, 1
    )
    part = Split(images, torch.arange(40))
    data = ImageData("mine", part, part, tuple(map(str, range(40))), (0.0,), (1.0,))
    batches = ImageSource(data, flip=True, flip_order="alternating").batches(settings(8))
    mirrored = []
    for epoch in range(4):
        turns = {}
        for seen, labels in batches.train(epoch):
            for image, label in zip((255 * seen).round().to(torch.uint8), labels.tolist(), strict=True):
                assert torch.equal(image, images[label]) or torch.equal(image, images[label].flip(-1))
                turns[label] = torch.equal(image, images[label].flip(-1))
        mirrored.append([turns[label] for label in range(40)])
    assert mirrored[0] == mirrored[2] == [not turn for turn in mirrored[1]]
    assert mirrored[1] == mirrored[3]
    assert 10 < sum(mirrored[0]) < 30
    unchanged = [(255 * seen).round().to(torch.uint8) for seen, _ in batches.test()]
    assert torch.equal(torch.cat(unchanged), images)


def test_arrays_are_augmented_alike_at_every_time_step():
    made = random(8, 1, 2, 6, 6).expand(8, 3, 2, 6, 6).contiguous()
    data = (made, torch.arange(8) % 2)
    samples, _ = next(ArraySource(data, data, crop=2, flip=True).batches(settings(batch=8)).train(0))
    assert all(torch.equal(step, samples[0]) for step in samples)
    assert (samples[0] == 0).any(), "cropped"
    order, _ = next(ArraySource(data, data).batches(settings(batch=8)).train(0))
    assert not torch.equal(order, samples)


def test_float_arrays_are_cropped_as_uint8_images_are():
    images, labels = numbered(16, 2)
    images = images.clone()
    images[:, :, 1, 2] = 200
    ours = ArraySource((images.float(), labels), (images.float(), labels), mean=(0,), std=(1,), crop=1, flip=True)
    theirs = as_source(
        ImageData("own", Split(images, labels), Split(images, labels), ("a", "b"), (0,), (1,)),
        {"crop": 1, "flip": True},
    )
    for (one, _), (other, _) in zip(
        ours.batches(settings()).train(0), theirs.batches(settings()).train(0), strict=True
    ):
        torch.testing.assert_close(one, 255 * other)


GOOD = (torch.zeros(4, 1, 6, 6), torch.arange(4))


@pytest.mark.parametrize(
    ("train", "options", "text"),
    [
        ((torch.zeros(4, 6, 6), GOOD[1]), {}, r"the samples have shape \[4, 6, 6\]; give images \[N, C, H, W\]"),
        (
            (torch.zeros(4, 1, 6), GOOD[1]),
            {"is_sequence": True},
            r"give recordings \[N, T, C, H, W\] or \[N, T, C, L\]",
        ),
        ((GOOD[0].int(), GOOD[1]), {}, r"the train samples are torch.int32; give uint8 or floating point"),
        ((GOOD[0], GOOD[1].float()), {}, r"the train labels are torch.float32 \[4\]; give whole numbers \[N\]"),
        ((GOOD[0], GOOD[1][:3]), {}, r"the train samples have shape \[4, 1, 6, 6\] and there are 3 labels"),
        ((GOOD[0][:0], GOOD[1][:0]), {}, r"there are 0 labels; give one label for each sample, and at least one"),
        ((GOOD[0], GOOD[1] - 1), {}, r"the train labels contain -1; give labels from 0"),
        ((GOOD[0] / 0, GOOD[1]), {}, r"the train samples contain values that are not finite"),
        (
            (torch.zeros(4, 3, 6, 6), GOOD[1]),
            {},
            r"the training samples are torch.float32 \[3, 6, 6\] and the test samples",
        ),
        (GOOD, {"classes": ("a", "b")}, r"label 3 is not one of 2 classes; give labels from 0 to 1"),
        (GOOD, {"mean": (0, 0)}, r"mean has 2 values for 1 channels; give one for each channel"),
        (GOOD, {"std": (0,)}, r"std must be positive for each channel, got \(0.0,\)"),
        (GOOD, {"crop": -1}, r"crop = -1 must be a whole number of pixels"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(train: Any, options: dict, text: str):
    with pytest.raises(BadValue, match=text):
        ArraySource(train, GOOD, **options)


def test_recordings_of_one_dimension_cannot_be_cropped():
    data = (torch.zeros(4, 3, 1, 6), torch.arange(4))
    with pytest.raises(BadValue, match=r"crop and flip need samples \[C, H, W\], and these are \[1, 6\]; unset them"):
        ArraySource(data, data, is_sequence=True, flip=True)


@every_kind
def test_sources_are_pickled(kind: str, folders: Path):
    source = source_of(kind, folders)
    again = pickle.loads(pickle.dumps(source))
    for one, other in zip(source.batches(settings()).train(0), again.batches(settings()).train(0), strict=True):
        assert torch.equal(one[0], other[0])


# --- spoken digits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bins", [700, 140, 99, 1])
@pytest.mark.parametrize("slicing", ["time", "step"])
def test_spoken_digits_are_counts_of_time_steps_and_channels(folders: Path, bins: int, slicing: str):
    source = DATASETS.build("shd", {"bins": bins, "slicing": slicing, "step_us": 100_000}, root=folders)
    assert (source.input_shape, source.is_sequence, len(source.classes)) == ((1, bins), True, 20)
    assert (source.classes[3], source.classes[17]) == ("three", "sieben")
    samples, labels = next(source.batches(settings(batch=4, steps=5)).test())
    assert samples.shape == (5, 8, 1, bins)
    assert labels.tolist() == [3] * 4 + [17] * 4
    for number, (events, _) in enumerate(read_spoken(folders / "SHD" / "shd_test.h5")):
        found = np.zeros((5, bins))
        t = events["t"].astype(int)
        for event, since in zip(events, t - t[0], strict=True):
            step = min(since * 5 // (t[-1] - t[0]), 4) if slicing == "time" else since // 100_000
            if step < 5:
                found[step, int(event["x"]) * bins // 700] += 1
        assert np.array_equal(samples[:, number, 0], found)


def test_many_spikes_in_one_bin_are_counted(tmp_path: Path):
    for part in ("train", "test"):
        spoken(tmp_path / f"shd_{part}.h5", [([0.5] * 300, [1] * 300), ([0.1] * 2, [2, 2])], [0, 1])
    samples, _ = next(DATASETS.build("shd", {"bins": 7}, root=tmp_path).batches(settings(batch=2)).test())
    assert samples.sum((0, 2, 3)).tolist() == [300, 2]


def test_spoken_digits_that_are_missing_or_mislabelled(tmp_path: Path):
    with pytest.raises(DataError, match=r"ssc: ssc_train.h5 and ssc_test.h5 were not found, looked in .*SSC, .*--data"):
        DATASETS.build("ssc", root=tmp_path)
    spoken(tmp_path / "shd_train.h5", [([0.5], [1])], [20])
    spoken(tmp_path / "shd_test.h5", [([0.5], [1])], [0])
    with pytest.raises(DataError, match=r"shd_train.h5, recording 0: label 20 found; labels must be from 0 to 19"):
        DATASETS.build("shd", root=tmp_path).batches(settings(batch=1))
    spoken(tmp_path / "shd_train.h5", [], [])
    with pytest.raises(DataError, match=r"shd_train.h5: it holds no recording; download it again"):
        DATASETS.build("shd", root=tmp_path).batches(settings(batch=1))


def test_spoken_digits_train_a_network(folders: Path, tmp_path: Path):
    recipe = derive(
        Recipe("sound"),
        data=DataConfig("shd", batch=10, bins=70),
        model=ModelConfig("mlp", steps=5, hidden=8),
        optim={"epochs": 1},
    )
    folder = train(recipe, tmp_path / "run", data=folders)
    (row,) = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert row["step"] == 2
    network = load_run(folder)
    assert network(torch.zeros(5, 3, 1, 70)).shape == (5, 3, 20)
    assert evaluate_run(folder, data=folders)["test_accuracy"] == row["test_accuracy"]


def test_a_network_for_images_refuses_spoken_digits(folders: Path):
    recipe = derive(Recipe("sound"), data=DataConfig("shd", bins=70), model={"name": "small_cnn"})
    text = r"small_cnn takes samples of 3 dimensions, and the samples of data set 'shd' have 2, \[1, 70\]; .*: 'mlp'$"
    with pytest.raises(BadValue, match=text):
        build(recipe, folders)


# --- event recordings -------------------------------------------------------------------------------------------------


def test_an_example_of_a_data_set_is_its_first_test_recording(tmp_path: Path):
    published(tmp_path, "n_mnist")
    source = DATASETS.build("n_mnist", {"slicing": "time", "cache": str(tmp_path / "cache")}, root=tmp_path)
    example = source.example(4)
    assert example.shape == (4, 2, 34, 34)
    assert example.sum() > 0
    assert list((tmp_path / "cache").rglob("*.npy"))
    assert set(framing.SLICINGS) == {"count", "time", "step"}
