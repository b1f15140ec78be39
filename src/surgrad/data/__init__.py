"""Data sets, and the batches that a training takes from them.

    from surgrad.data import DATASETS, ArraySource, load

    data = load("fashion_mnist_small")      # comes with surgrad; the others are found or downloaded
    data.train.images                       # uint8 [6000, 1, 28, 28]

    source = DATASETS.build("cifar10", {"crop": 4, "flip": True}, root="DIR")     # a data set with its options
    source = ArraySource(train=(images, labels), test=(images, labels))           # tensors or arrays

A data source makes batches for the settings of a run: see `surgrad.data.source`. Files are checked against their
official checksums. Data sets that do not fit in memory, such as ImageNet or recordings, are listed and then read while
training.
"""

from typing import TYPE_CHECKING

from surgrad.data.base import DataSet, ImageData, Split
from surgrad.data.datasets import DATASETS, as_source
from surgrad.data.events.sets import EVENT_SETS, EventData, load_events
from surgrad.data.folder import FOLDER_SETS, FolderData, load_folder
from surgrad.data.image_sets import IMAGE_SETS
from surgrad.data.loading import data_root, load_spec
from surgrad.data.shards import ShardData, load_shards
from surgrad.data.source import Batch, Batches, BatchSettings, DataSource, Progressive
from surgrad.data.sources.arrays import ArraySource
from surgrad.data.sources.folders import FolderSource, ShardSource
from surgrad.data.sources.images import ImageSource, load
from surgrad.data.sources.recordings import EventSource
from surgrad.data.sources.spoken import SpokenSource
from surgrad.deprecated import renamed

__all__ = [
    "DATASETS",
    "EVENT_SETS",
    "FOLDER_SETS",
    "IMAGE_SETS",
    "ArraySource",
    "Batch",
    "BatchSettings",
    "Batches",
    "DataSet",
    "DataSource",
    "EventData",
    "EventSource",
    "FolderData",
    "FolderSource",
    "ImageData",
    "ImageSource",
    "Progressive",
    "ShardData",
    "ShardSource",
    "Split",
    "SpokenSource",
    "as_source",
    "data_root",
    "load",
    "load_events",
    "load_folder",
    "load_shards",
    "load_spec",
]

if not TYPE_CHECKING:  # a type checker refuses names that do not exist
    __getattr__ = renamed(__name__, {"FOLDERS": "FOLDER_SETS"})
