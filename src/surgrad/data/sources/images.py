"""Data sets of images in memory, as CIFAR-10."""

from pathlib import Path
from typing import Literal

from surgrad.config.values import Size
from surgrad.data.augment import Augment
from surgrad.data.base import ImageData
from surgrad.data.batches.memory import MemoryBatches
from surgrad.data.image_sets import IMAGE_SETS
from surgrad.data.loading import load_spec
from surgrad.data.source import BatchSettings
from surgrad.errors import BadValue, unknown


def load(name: str, root: Path | str | None = None, *, download: bool = True) -> ImageData:
    """Load a data set of images into memory.

    The files are looked for in the folders that torchvision and the official archives make (cifar-10-batches-py,
    MNIST/raw, ...) below the root, and in the root itself. Each file's md5 is checked before it is parsed. An official
    CIFAR archive in the root is unpacked.

    Args:
        name: of `IMAGE_SETS`.
        root: where data sets are; by default $SURGRAD_DATA, else ~/.cache/surgrad/data.
        download: whether missing files are downloaded into the root.

    Raises:
        UnknownName: if there is no such data set.
        DataError: if it is missing, incomplete or altered.
    """
    if name not in IMAGE_SETS:
        raise unknown("data set", name, IMAGE_SETS)
    return load_spec(IMAGE_SETS[name], root, download=download)


class ImageSource:
    """Images in memory, with random augmentation of the training images (see `surgrad.data.augment.Augment`).

    Args:
        data: the name of a data set of `IMAGE_SETS`, or a loaded one.
        root: where data sets are; see `load`.
        crop: zero padding on each side before a random crop back to the image's size, in pixels; 0 is off.
        flip: mirror images left to right.
        flip_order: "random": each image with probability 1/2; "alternating": each in every other epoch, half of them
            first in the first epoch and half in the second (Jordan 2024, arXiv:2404.00498).
        autoaugment: apply the CIFAR-10 policy of AutoAugment; needs images of three channels.
        cutout: the side of a random square that is cut out, in pixels; 0 is off.
        cutout_fill: what the square is set to: "mean", that of the data, which is 0 after normalisation, as DeVries and
            Taylor cut; or "black", as code does that cuts before it normalises.
        rectangles: overwrite a rectangle of random size and grey level in half of the images
            (`surgrad.data.augment.random_rectangles`).

    Raises:
        BadValue: if the images do not have the channels that an option needs.
        DataError: if the data set is missing, incomplete or altered.
    """

    is_sequence = False

    def __init__(
        self,
        data: str | ImageData,
        root: Path | str | None = None,
        *,
        crop: Size = 0,
        flip: bool = False,
        flip_order: Literal["random", "alternating"] = "random",
        autoaugment: bool = False,
        cutout: Size = 0,
        cutout_fill: Literal["mean", "black"] = "mean",
        rectangles: bool = False,
    ):
        self.data = load(data, root) if isinstance(data, str) else data
        self.classes = self.data.classes
        self.input_shape = self.data.shape
        if autoaugment and self.input_shape[0] != 3:
            raise BadValue(
                f"autoaugment needs images of three channels, R, G and B; {self.data.name} has {self.input_shape[0]}: "
                "set autoaugment=false"
            )
        self.alternate = flip and flip_order == "alternating"
        self.augment = Augment(
            crop=crop,
            flip=flip and not self.alternate,
            autoaugment=autoaugment,
            cutout=cutout,
            rectangles=rectangles,
            fill=tuple(round(255 * mean) for mean in self.data.mean) if cutout_fill == "mean" else (0,),
        )

    def batches(self, settings: BatchSettings) -> MemoryBatches:
        """The batches of these images for the settings of a run."""
        return MemoryBatches(
            self.data.train,
            self.data.test,
            settings,
            augment=self.augment,
            mean=self.data.mean,
            std=self.data.std,
            alternate=self.alternate,
        )
