"""Images in a tree of class folders, such as ImageNet: too many for memory, so read when they are needed.

ROOT/imagenet/train/n01440764/n01440764_10026.JPEG
ROOT/imagenet/val/n01440764/ILSVRC2012_val_00000293.JPEG
"""

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from surgrad.data.class_folders import check_same_classes, class_names, part_folders
from surgrad.data.loading import data_root
from surgrad.data.sampling import Part
from surgrad.errors import BadValue, DataError, unknown

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""What Pillow may decode, whatever a file's name says: some of its other decoders start programs."""
_DAMAGED = (OSError, ValueError, SyntaxError)
"""What Pillow raises for a damaged image."""
TRAIN_FOLDERS = ("train", "training")
TEST_FOLDERS = ("val", "validation", "test")
"""The names that the folders of training and test images may have."""


class Held(Protocol):
    """An image within a larger file."""

    def read(self) -> bytes:
        """Its bytes; OSError where they cannot be read."""


Place = str | Held
"""The path of an image, or an image within a file; its str() is for messages."""


@dataclass(frozen=True)
class FolderSet:
    """A data set in class folders: where it may be below the root, and the statistics of its training images."""

    name: str
    folders: tuple[str, ...]
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    classes: int | None = None  # how many it must have; None: any number


FOLDER_SETS = {
    "imagenet": FolderSet("imagenet", ("imagenet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC", "."), classes=1000),
    "image_folder": FolderSet("image_folder", (".",)),
}


class Images(Part, Protocol):
    """The images of one part of a data set, with their labels."""

    def place(self, index: int) -> Place:
        """Where an image is."""


@dataclass(frozen=True)
class Tree:
    """The images of one part of a data set: their paths, in the order of classes and names, and labels int64 [N]."""

    paths: tuple[str, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.paths)

    def place(self, index: int) -> str:
        """Where an image is."""
        return self.paths[index]

    def only(self, chosen: Sequence[int]) -> "Tree":
        """The images with these numbers, in the order given."""
        numbers = torch.tensor(chosen, dtype=torch.int64)
        return Tree(tuple(self.paths[number] for number in chosen), self.labels[numbers])


@dataclass(frozen=True)
class FolderData:
    """A data set of images that stay on disk: listed, not read.

    Args:
        name: of the data set.
        train: the training images.
        test: the test images.
        classes: the names of the classes, by label.
        mean: per channel, of the training images, in units of [0, 1].
        std: per channel, of the training images, in units of [0, 1].
    """

    name: str
    train: Images
    test: Images
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load_folder(name: str, root: Path | str | None = None) -> FolderData:
    """List the data set `name` of `FOLDER_SETS`.

    Args:
        name: of the data set.
        root: where data sets are; see `surgrad.data.data_root`.

    Raises:
        UnknownName: if there is no such data set.
        DataError: if its folders are missing, empty or inconsistent.
    """
    if name not in FOLDER_SETS:
        raise unknown("data set", name, FOLDER_SETS)
    spec = FOLDER_SETS[name]
    where = data_root(root)
    places = (part_folders(where / folder, TRAIN_FOLDERS, TEST_FOLDERS) for folder in spec.folders)
    parts = next(filter(None, places), None)
    if parts is None:
        looked = ", ".join(str(where / folder) for folder in spec.folders)
        raise DataError(
            f"{name}: no folders train/ and val/ (or test/), each with one folder for each class, in {looked}; put the "
            "images there, or name their folder: --data DIR"
        )
    classes = _classes(parts[0])
    if spec.classes is not None and len(classes) != spec.classes:
        raise DataError(
            f"{name}: {parts[0]} has {len(classes)} class folders and must have {spec.classes}; for other images, use "
            "data.name=image_folder"
        )
    check_same_classes(*parts, classes, _classes(parts[1]))
    train, test = (_tree(part, classes) for part in parts)
    return FolderData(name, train, test, classes, spec.mean, spec.std)


def _classes(folder: Path) -> tuple[str, ...]:
    found = class_names(folder)
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
    """The paths of the images in a folder and in all folders below it."""
    for at, _, names in os.walk(folder):
        yield from (os.path.join(at, name) for name in names if name.lower().endswith(SUFFIXES))


def check_views(side: int, resize: int) -> None:
    """Raise an error, before any image is read, if no evaluation view has these sizes or pillow is missing."""
    if resize < side:
        raise BadValue(
            f"data.resize = {resize} is smaller than data.side = {side}, so an evaluated image would not fill its "
            "square; set data.resize to data.side or more"
        )
    if find_spec("PIL") is None:
        raise DataError("images are read with pillow, which is not installed: pip install 'surgrad[images]'")


def training_view(place: Place, side: int, flip: bool, seed: tuple[int, ...]) -> Tensor:
    """Cut a random part of an image as a square, uint8 [3, side, side].

    The part has 8 to 100 % of the image's area and a ratio of 3/4 to 4/3 (RandomResizedCrop of Szegedy et al. 2015).
    With `flip` it is mirrored with probability 1/2. Equal seeds give equal views.
    """
    rng = np.random.default_rng(seed)
    with opened_image(place) as image:
        return _cut(image, _random_box(rng, *image.size), side, flip and rng.random() < 0.5, place)


def evaluation_view(place: Place, side: int, resize: int) -> Tensor:
    """Cut the middle of an image, uint8 [3, side, side].

    The result is that of resizing the shorter side to `resize` and cutting the middle square of `side` pixels, in one
    resampling.
    """
    with opened_image(place) as image:
        width, height = image.size
        half = min(width, height) * side / resize / 2
        box = (width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)
        return _cut(image, box, side, False, place)


def opened_image(place: Place) -> "Image":
    """Open an image of a format of `FORMATS`, whatever its name says; its pixels are not decoded yet. It is used as it
    is stored: a rotation that its EXIF data ask for is not applied, as in torchvision."""
    from PIL import Image, UnidentifiedImageError

    try:
        if isinstance(place, str) and not os.path.isfile(place):
            raise OSError("it is not a plain file")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(place if isinstance(place, str) else io.BytesIO(place.read()), formats=FORMATS)
    except (*_DAMAGED, UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{place} cannot be read as an image ({error}); replace or remove it") from error


def _in_colour(image: "Image") -> "Image":
    """The image as RGB. Pillow cuts 16-bit levels off at 255; here they are scaled, as in an 8-bit image."""
    from PIL import Image

    if image.mode == "RGB":
        return image  # convert() would only copy it
    if not image.mode.startswith(("I", "F")):
        return image.convert("RGB")
    levels = np.asarray(image)
    if image.mode == "F" or levels.min() < 0 or levels.max() > 2**16 - 1:
        raise ValueError(f"levels of mode {image.mode} from {levels.min()} to {levels.max()}; give 8 or 16 bits")
    return Image.fromarray((levels // 257).astype(np.uint8)).convert("RGB")


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
    w = min(width, height * 4 / 3)  # the middle of an image of an extreme ratio
    h = min(height, width * 4 / 3)
    return ((width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2)


def _cut(image: "Image", box: tuple[float, float, float, float], side: int, mirror: bool, place: Place) -> Tensor:
    from PIL.Image import Resampling, Transpose

    width, height = image.size
    shrink = min(box[2] - box[0], box[3] - box[1]) / side
    try:
        if shrink >= 2:  # a JPEG can be decoded at a half, a quarter or an eighth of its size
            image.draft("RGB", (int(width / shrink), int(height / shrink)))
        x = image.size[0] / width
        y = image.size[1] / height
        there = (box[0] * x, box[1] * y, box[2] * x, box[3] * y)
        square = _in_colour(image).resize((side, side), Resampling.BILINEAR, box=there)
    except _DAMAGED as error:
        raise DataError(f"{place} is truncated or altered ({error}); replace or remove it") from error
    pixels = np.array(square.transpose(Transpose.FLIP_LEFT_RIGHT) if mirror else square)
    return torch.from_numpy(pixels).permute(2, 0, 1)  # channels stay last in memory
