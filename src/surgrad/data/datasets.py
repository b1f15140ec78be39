"""`DATASETS`: the registry of all data sets, and data sources made of loaded data."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from surgrad.config.registry import Registry
from surgrad.data.base import ImageData
from surgrad.data.events.sets import EVENT_SETS, EventData
from surgrad.data.events.spoken import SPOKEN_SETS
from surgrad.data.folder import FOLDER_SETS, FolderData
from surgrad.data.image_sets import IMAGE_SETS
from surgrad.data.shards import NAME as SHARDS
from surgrad.data.shards import ShardData
from surgrad.data.source import DataSource
from surgrad.data.sources.folders import FolderSource, ShardSource
from surgrad.data.sources.images import ImageSource
from surgrad.data.sources.recordings import EventSource
from surgrad.data.sources.spoken import SpokenSource
from surgrad.errors import BadValue

DATASETS: Registry[Callable[..., DataSource]] = Registry(
    "data set",
    {
        **{name: partial(ImageSource, name) for name in IMAGE_SETS},
        **{name: partial(FolderSource, name) for name in FOLDER_SETS},
        SHARDS: ShardSource,
        **{name: partial(EventSource, name) for name in EVENT_SETS},
        **{name: partial(SpokenSource, name) for name in SPOKEN_SETS},
    },
    context=("root",),
)
"""Constructors of all data sets: `DATASETS.build("cifar10", {"crop": 4, "flip": True}, root=folder)`."""

_KINDS: dict[type, Callable[..., DataSource]] = {
    ImageData: ImageSource,
    FolderData: FolderSource,
    ShardData: ShardSource,
    EventData: EventSource,
}


def as_source(
    data: DataSource | ImageData | FolderData | EventData, options: Mapping[str, Any] | None = None
) -> DataSource:
    """The data source of loaded or listed data; a data source is returned as it is.

    Args:
        data: what `surgrad.data.load`, `load_folder` or `load_events` returned, or a data source.
        options: of the data source that is made, as `DATASETS.options` lists them for a data set of that kind.

    Raises:
        BadValue: if an option does not exist or is out of range, if a data source is given options, or if `data` is
            something else.
    """
    if isinstance(data, ImageData | FolderData | EventData):
        kind = _KINDS[type(data)]
        own = Registry("data set", {data.name: partial(kind, data)}, context=("root",))
        return own.build(data.name, own.check(data.name, options or {}, "data"))
    if not isinstance(data, DataSource):
        raise BadValue(
            f"data is {type(data).__name__}; give a data source (surgrad.data.ArraySource for tensors and arrays), or "
            "what surgrad.data.load returns"
        )
    if options:
        raise BadValue(
            f"{type(data).__name__} has its own options, set when it was made; give no others ({', '.join(options)})"
        )
    return data
