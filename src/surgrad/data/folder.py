"""Images in a tree of class folders, as ImageNet's: too many to hold in memory, so read when they are asked for.

ROOT/imagenet/train/n01440764/n01440764_10026.JPEG
ROOT/imagenet/val/n01440764/ILSVRC2012_val_00000293.JPEG
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from surgrad.data.loading import data_root
from surgrad.errors import BadValue, DataError, unknown

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
SPLITS = (("train", "training"), ("val", "validation", "test"))
"""What the folders of training and test images may be called."""


@dataclass(frozen=True)
class FolderSet:
    """A data set that lies as a tree: where below the root, and the statistics of its training images."""

    name: str
    folders: tuple[str, ...]
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    classes: int | None = None  # how many are wanted; None: as many as there are


FOLDERS = {
    "imagenet": FolderSet("imagenet", ("imagenet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC", "."), classes=1000),
    "image_folder": FolderSet("image_folder", (".",)),
}


@dataclass(frozen=True)
class Tree:
    """The images of one part of a data set: their paths, in the order of classes and names, and labels int64 [N]."""

    paths: tuple[str, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class FolderData:
    """A data set that stays on disk; `side`: of the squares that are made of its images."""

    name: str
    train: Tree
    test: Tree
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    side: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image as a network sees it."""
        return (3, self.side, self.side)


def load_folder(name: str, root: Path | str | None = None, side: int = 224) -> FolderData:
    """List the data set `name` of `FOLDERS`; see `surgrad.data.data_root` for where it is looked for."""
    if name not in FOLDERS:
        raise unknown("data set", name, FOLDERS)
    spec = FOLDERS[name]
    where = data_root(root)
    parts = next(filter(None, (_splits(where / folder) for folder in spec.folders)), None)
    if parts is None:
        looked = ", ".join(str(where / folder) for folder in spec.folders)
        raise DataError(
            f"{name}: no folders train/ and val/ (or test/), each with a folder a class, in {looked}; put "
            "the images there, or name their folder: --data DIR"
        )
    classes = _classes(parts[0])
    if spec.classes is not None and len(classes) != spec.classes:
        raise DataError(
            f"{name}: {parts[0]} has {len(classes)} class folders, and {spec.classes} are wanted; for "
            "images of your own, give data.name=image_folder"
        )
    others = _classes(parts[1])
    if classes != others:
        odd = sorted({*classes} ^ {*others})
        raise DataError(
            f"{parts[0]} and {parts[1]} differ in their class folders: {odd[0]} and {len(odd) - 1} more "
            "are in one of them alone; put all images of a class under the same name"
        )
    train, test = (_tree(part, classes) for part in parts)
    return FolderData(name, train, test, classes, spec.mean, spec.std, side)


def _splits(folder: Path) -> tuple[Path, Path] | None:
    found = [next((folder / name for name in names if (folder / name).is_dir()), None) for names in SPLITS]
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def _classes(folder: Path) -> tuple[str, ...]:
    found = tuple(sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."))
    if not found:
        raise DataError(f"{folder} holds no class folders; put the images of each class into a folder of its name")
    return found


def _tree(folder: Path, classes: tuple[str, ...]) -> Tree:
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        own = sorted(_images(folder / name))
        if not own:
            raise DataError(f"{folder / name} holds no image ({', '.join(SUFFIXES)}); put some there, or remove it")
        paths += own
        labels += [label] * len(own)
    return Tree(tuple(paths), torch.tensor(labels))


def _images(folder: Path) -> Iterator[str]:
    """Those of the folder and of all folders in it."""
    for at, _, names in os.walk(folder):
        yield from (os.path.join(at, name) for name in names if name.lower().endswith(SUFFIXES))


def check_views(side: int, resize: int) -> None:
    """Refuse views that no image has, and say where pillow is wanted, before any is read."""
    if resize < side:
        raise BadValue(f"the middle {side} of {resize} pixels: give data.resize of at least data.side")
    if find_spec("PIL") is None:
        raise DataError("images are read by pillow, which is not here: pip install 'surgrad[images]'")


def training_view(path: str, side: int, flip: bool, seed: tuple[int, ...]) -> Tensor:
    """A random part of an image as a square, uint8 [3, side, side]: of 8 to 100 % of its area and a ratio of 3/4 to 4/3
    (Szegedy et al. 2015's RandomResizedCrop), flipped or not. The same seed, the same view."""
    rng = np.random.default_rng(seed)
    with opened_image(path) as image:
        return _cut(image, _random_box(rng, *image.size), side, flip and rng.random() < 0.5, path)


def evaluation_view(path: str, side: int, resize: int) -> Tensor:
    """The middle of an image, uint8 [3, side, side]: as if its shorter side were made `resize` and the middle square of
    `side` cut out, in one resampling."""
    with opened_image(path) as image:
        width, height = image.size
        half = min(width, height) * side / resize / 2
        box = (width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)
        return _cut(image, box, side, False, path)


def opened_image(path: str) -> "Image":
    """The image, its pixels not yet decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(path)
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path} cannot be read as an image ({error}); replace or remove it") from error


def _random_box(rng: np.random.Generator, width: int, height: int) -> tuple[float, float, float, float]:
    for _ in range(10):
        area = width * height * rng.uniform(0.08, 1.0)
        ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w = round(np.sqrt(area * ratio))
        h = round(np.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = rng.integers(0, width - w + 1)
            top = rng.integers(0, height - h + 1)
            return (left, top, left + w, top + h)
    w = min(width, height * 4 / 3)  # an image of an extreme ratio: its middle
    h = min(height, width * 4 / 3)
    return ((width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2)


def _cut(image: "Image", box: tuple[float, float, float, float], side: int, mirror: bool, path: str) -> Tensor:
    from PIL.Image import Resampling

    width, height = image.size
    shrink = min(box[2] - box[0], box[3] - box[1]) / side
    try:
        if shrink >= 2:  # a JPEG can be decoded at a half, a quarter or an eighth of its size
            image.draft("RGB", (int(width / shrink), int(height / shrink)))
        x = image.size[0] / width
        y = image.size[1] / height
        there = (box[0] * x, box[1] * y, box[2] * x, box[3] * y)
        pixels = np.asarray(image.convert("RGB").resize((side, side), Resampling.BILINEAR, box=there))
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path} is cut short or altered ({error}); replace or remove it") from error
    pixels = pixels[:, ::-1] if mirror else pixels
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
