"""Images in folders: found, decoded, cut, and trained on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_tree import CLASSES, picture_tree
from PIL import Image
from safetensors.torch import load_file

from surgrad.config.recipe import Part, Recipe
from surgrad.data import DATASETS, load_folder
from surgrad.data.folder import FOLDER_SETS, evaluation_view, training_view
from surgrad.errors import BadValue, DataError, Interrupted, UnknownName
from surgrad.recipes import find_recipe
from surgrad.train import Observer, derive, evaluate_run, train
from surgrad.train.building import build


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    return picture_tree(tmp_path_factory.mktemp("tree"))


def recipe(tree: Path, **changes) -> Recipe:
    data = {"name": "image_folder", "batch": 8, "side": 32, "resize": 36, "workers": 0, "flip": True}
    return derive(
        find_recipe(),
        data=data | changes.pop("data", {}),
        model={"name": "sew_resnet18", "steps": 2, "width_multiplier": 0.0625},
        optim={"epochs": 2},
        run={"device": "cpu", "precision": "fp32"},
        **changes,
    )


def test_a_tree_is_listed_in_the_order_of_names(tree: Path):
    data = load_folder("image_folder", tree)
    assert data.classes == CLASSES
    assert (len(data.train), len(data.test)) == (36, 12)
    assert DATASETS.build("image_folder", {"side": 32}, root=tree).input_shape == (3, 32, 32)
    assert data.train.labels.tolist() == [0] * 12 + [1] * 12 + [2] * 12
    assert all(CLASSES[label] in path for path, label in zip(data.train.paths, data.train.labels, strict=True))
    assert any("deeper" in path for path in data.train.paths)


def test_batches_are_made_again_from_any_point(tree: Path):
    parts = build(recipe(tree), tree)
    whole = list(parts.batches.train(1))
    assert len(whole) == parts.batches.per_epoch == 4
    for (images, labels), (again, same) in zip(whole[2:], build(recipe(tree), tree).batches.train(1, 2), strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, same)
    assert not torch.equal(whole[0][0], next(iter(parts.batches.train(0)))[0])
    images, _ = whole[0]
    assert images.shape == (8, 3, 32, 32)
    assert -3 < images.mean() < 3


def test_workers_change_nothing(tree: Path):
    alone, helped = (build(recipe(tree, data={"workers": workers}), tree).batches for workers in (0, 2))
    for one, other in zip(alone.train(0), helped.train(0), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_every_test_image_is_seen_once_in_order(tree: Path):
    batches = build(recipe(tree), tree).batches
    labels = torch.cat([labels for _, labels in batches.test()])
    assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert batches.test_count == 12
    limited = build(recipe(tree, data={"limit": 9}), tree).batches
    assert limited.test_count == 9
    assert {*torch.cat([labels for _, labels in limited.test()]).tolist()} == {0, 1, 2}, "of all classes"


def ramp(path: Path, width: int, height: int) -> str:
    """A picture whose red says the column and whose green says the row, from 0 to 255."""
    columns, rows = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    pixels = np.stack([columns, rows, np.zeros_like(rows)], 2).round().astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=95)
    return str(path)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("size", [(200, 100), (100, 200), (1600, 1200)])
def test_the_middle_of_an_image(tmp_path: Path, suffix: str, size: tuple[int, int]):
    """Shorter side to 64, the middle 56: of a picture of 200×100 that is columns 56 to 144 and rows 6 to 94."""
    view = evaluation_view(ramp(tmp_path / f"a.{suffix}", *size), 56, 64).float()
    for channel, (extent, axis) in enumerate(((size[0], 1), (size[1], 0))):
        half = min(size) * 56 / 64 / 2
        first, last = ((extent / 2 + side * half) / extent * 255 for side in (-1, 1))
        line = view[channel].mean(axis ^ 1)
        step = (last - first) / 56
        wanted = torch.linspace(first + step / 2, last - step / 2, 56)
        assert (line - wanted).abs().max() < 3
    assert view[2].max() < 12


def test_a_training_view_is_a_part_of_its_image(tmp_path: Path):
    path = ramp(tmp_path / "a.png", 300, 200)
    shares = []
    ratios = []
    mirrored = 0
    for seed in range(300):
        view = training_view(path, 32, True, (seed,)).float()
        mirrored += bool(view[0, 0, 0] > view[0, 0, -1])
        spans = (view[c].amax() - view[c].amin() for c in (0, 1))  # from the middle of the first pixel to the last's
        width, height = (span / 255 * extent * 32 / 31 for span, extent in zip(spans, (300, 200), strict=True))
        shares.append((width * height / 60_000).item())
        ratios.append((width / height).item())
    assert min(shares) > 0.06
    assert 0.8 < max(shares) < 0.9, "the largest box of a ratio up to 4/3 in a picture of 3/2 has 8/9 of it"
    assert 0.68 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < 1.45
    assert 110 < mirrored < 190, "half of them"
    assert torch.equal(training_view(path, 32, True, (1, 2)), training_view(path, 32, True, (1, 2)))
    thin = training_view(ramp(tmp_path / "b.png", 400, 10), 32, False, (0,))
    assert thin.shape == (3, 32, 32), "no box of that ratio fits: its middle"


def test_a_mirrored_view_is_the_other_read_backwards(tmp_path: Path):
    path = ramp(tmp_path / "a.png", 40, 30)
    views = [training_view(path, 16, True, (seed,)) for seed in range(8)]
    plain = [training_view(path, 16, False, (seed,)) for seed in range(8)]
    mirrored = [not torch.equal(view, other) for view, other in zip(views, plain, strict=True)]
    assert 0 < sum(mirrored) < 8
    for view, other, flipped in zip(views, plain, mirrored, strict=True):
        assert torch.equal(view, other.flip(2) if flipped else other)


def test_trains_and_resumes_and_is_evaluated(tree: Path, tmp_path: Path):
    chosen = recipe(tree)
    run = train(chosen, tmp_path / "run", data=tree)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert evaluate_run(run, data=tree)["test_accuracy"] == rows[-1]["test_accuracy"]


def test_a_training_stopped_in_an_epoch_resumes_exactly(tree: Path, tmp_path: Path):
    """With a neuron that draws from torch's own generator in every step, which no loader may touch."""
    chosen = recipe(tree, neuron={"name": "asgl"}, surrogate={"learn": True}, adapt=Part("fixed"))
    whole = train(chosen, tmp_path / "whole", data=tree)

    class Stopper(Observer):
        def step_begins(self, loop, batch):
            if loop.step_number == 5:  # in the second epoch of four steps
                loop.stop()

    with pytest.raises(Interrupted):
        train(chosen, tmp_path / "halved", data=tree, observers=[Stopper()])
    halved = train(chosen, tmp_path / "halved", data=tree, resume=True)
    one, other = (load_file(run / "last.safetensors") for run in (whole, halved))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_an_imagenet_recipe_trains_on_folders(tree: Path, tmp_path: Path):
    chosen = find_recipe("chi_imagenet_sewresnet34_t4")
    chosen = derive(
        chosen,
        data={"name": "image_folder", "batch": 8, "side": 32, "resize": 36, "workers": 2},
        model={"steps": 2, "width_multiplier": 0.0625},
        optim={"epochs": 1},
        run={"device": "cpu", "precision": "fp32"},
    )
    run = train(chosen, tmp_path / "run", data=tree)
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 1


def test_an_error_in_a_worker_is_raised_in_the_main_process(tree: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    (copy / "val" / "coat" / "0.JPEG").write_bytes(b"no picture at all")
    with pytest.raises(DataError, match=r"^\S*0.JPEG cannot be read as an image .*; replace or remove it$"):
        list(build(recipe(copy, data={"workers": 2}), copy).batches.test())


def test_errors_name_the_file_and_what_to_do(tree: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"imagenet: no folders train/ and val/ .* put the images there, or name"):
        load_folder("imagenet", tmp_path)
    with pytest.raises(DataError, match=r"has 3 class folders and must have 1000; for other images, use"):
        load_folder("imagenet", tree)
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    shutil.rmtree(copy / "val" / "coat")
    with pytest.raises(DataError, match=r"have different class folders: coat and 0 more are in only one of them"):
        load_folder("image_folder", copy)
    (copy / "val" / "coat").mkdir()
    with pytest.raises(DataError, match=r"coat holds no image \(.jpg, .*\); put some there, or remove it"):
        load_folder("image_folder", copy)
    for name in ("train", "val"):
        shutil.rmtree(copy / name)
        (copy / name).mkdir()
    with pytest.raises(DataError, match=r"train holds no class folders; put the images of each class into a folder"):
        load_folder("image_folder", copy)
    with pytest.raises(
        BadValue, match=r"data.crop: data set 'image_folder' has no option 'crop', but 'fashion_mnist_small'"
    ):
        build(recipe(tree, data={"crop": 4}), tree)
    with pytest.raises(BadValue, match=r"data.batch = 64 of 36 training samples; give at most 36"):
        build(recipe(tree, data={"batch": 64}), tree)
    with pytest.raises(
        BadValue, match=r"data.resize = 20 is smaller than data.side = 32, .* set data.resize to data.side or more"
    ):
        build(recipe(tree, data={"resize": 20}), tree)
    with pytest.raises(UnknownName, match=r"unknown data set 'imagent'; did you mean 'imagenet'"):
        load_folder("imagent", tree)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "cannot be read as an image"),
        (b"no picture at all", "cannot be read as an image"),
    ],
)
def test_what_is_no_image(tmp_path: Path, content: bytes, error: str):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a.jpg {error} .*; replace or remove it"):
        evaluation_view(str(path), 32, 36)


def test_an_image_cut_short(tmp_path: Path):
    path = Path(ramp(tmp_path / "a.jpg", 200, 200))
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match=r"a.jpg is truncated or altered \(.*\); replace or remove it"):
        training_view(str(path), 32, False, (0,))


def test_imagenet_has_its_usual_statistics():
    assert (FOLDER_SETS["imagenet"].mean, FOLDER_SETS["imagenet"].std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
