"""Image data sets as uint8 tensors in memory, checked against their official checksums.

from surgrad.data import load
data = load("fashion_mnist_small")      # comes with surgrad; the others are found or downloaded
data.train.images                       # uint8 [6000, 1, 28, 28]

What does not fit there, as ImageNet, is listed by `load_folder` and read when it is asked for.
"""

from pathlib import Path

from surgrad.data.base import DataSet, ImageData, Split
from surgrad.data.folder import FOLDERS, FolderData, load_folder
from surgrad.data.loading import data_root, load_spec
from surgrad.data.registry import DATASETS
from surgrad.errors import unknown

__all__ = [
    "DATASETS",
    "FOLDERS",
    "DataSet",
    "FolderData",
    "ImageData",
    "Split",
    "data_root",
    "load",
    "load_folder",
    "load_spec",
]


def load(name: str, root: Path | str | None = None, *, download: bool = True) -> ImageData:
    """The data set `name` of DATASETS, in memory.

    The files are looked for under `root`, else $SURGRAD_DATA, else ~/.cache/surgrad/data: in the folders that
    torchvision and the official archives make (cifar-10-batches-py, MNIST/raw, ...) and in the root itself.
    What is not there is downloaded into the root if `download`; an official CIFAR archive that lies in the
    root is unpacked either way. Each file's md5 is checked before it is parsed.
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    return load_spec(DATASETS[name], root, download=download)
