"""Data sets of recordings: where they lie, and which recordings are trained on and which tested, by a rule of a name.

CIFAR10-DVS has no published split, so that results on it are only worth something with the rule that made theirs.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from surgrad.data.events.aedat3 import spans
from surgrad.data.events.reading import suffix
from surgrad.data.loading import data_root
from surgrad.errors import DataError, unknown

PARTS = (("train", "Train", "training", "n-cars_train"), ("test", "Test", "val", "validation", "n-cars_test"))
"""What the folders of recordings to train on and to test may be called."""
Span = tuple[int, int]
Item = tuple[str, int, Span | None]
GESTURES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter clockwise",
    "left arm clockwise",
    "left arm counter clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)


@dataclass(frozen=True)
class Recordings:
    """One part of a data set: files, labels int64 [N], and of each the (first, last) µs that are meant; None: all."""

    paths: tuple[str, ...]
    labels: Tensor
    spans: tuple[Span | None, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def only(self, chosen: list[int]) -> "Recordings":
        """Those of the numbers given."""
        return Recordings(
            tuple(self.paths[n] for n in chosen), self.labels[chosen], tuple(self.spans[n] for n in chosen)
        )


@dataclass(frozen=True)
class EventSet:
    """folders: below the root, where it may lie. sensor: (width, height). splits: by name, what makes (train, test,
    classes) of the folder; the first is the default."""

    name: str
    folders: tuple[str, ...]
    sensor: tuple[int, int]
    splits: dict[str, Callable[[Path], "Parts"]]


@dataclass(frozen=True)
class EventData:
    """A data set of recordings, listed and not yet read. split: the name of the rule."""

    name: str
    split: str
    root: Path
    sensor: tuple[int, int]
    train: Recordings
    test: Recordings
    classes: tuple[str, ...]


Parts = tuple[Recordings, Recordings, tuple[str, ...]]


def by_number(trains: Callable[[int], bool]) -> Callable[[Path], Parts]:
    """A folder a class; a recording is trained on if the number at the end of its name says so."""

    def split(where: Path) -> Parts:
        train: list[Item] = []
        test: list[Item] = []
        classes = _folders(where)
        for label, name in enumerate(classes):
            for path in _recordings(where / name):
                number = re.search(r"([0-9]+)$", path.stem)
                if number is None:
                    raise DataError(
                        f"{path}: its name ends with no number, and this split goes by that; name it as "
                        "published, or choose another split"
                    )
                (train if trains(int(number[1])) else test).append((str(path), label, None))
        return _listed(train, where), _listed(test, where), classes

    return split


def every_tenth(where: Path) -> Parts:
    """A folder a class; of each the tenth, twentieth, ... recording is tested, in the order of their names."""
    train: list[Item] = []
    test: list[Item] = []
    classes = _folders(where)
    for label, name in enumerate(classes):
        for place, path in enumerate(_recordings(where / name), 1):
            (test if place % 10 == 0 else train).append((str(path), label, None))
    return _listed(train, where), _listed(test, where), classes


def by_folder(where: Path) -> Parts:
    """Folders train and test (or Train, Test), each with a folder a class."""
    parts = [next((where / name for name in names if (where / name).is_dir()), None) for names in PARTS]
    if parts[0] is None or parts[1] is None:
        raise DataError(f"{where} has no folders train and test; put the recordings there, a folder a class")
    classes = _folders(parts[0])
    if _folders(parts[1]) != classes:
        raise DataError(f"{parts[0]} and {parts[1]} differ in their class folders; put all of a class under one name")
    found: list[list[Item]] = []
    for part in (parts[0], parts[1]):
        found.append(
            [(str(path), label, None) for label, name in enumerate(classes) for path in _recordings(part / name)]
        )
    return _listed(found[0], where), _listed(found[1], where), classes


def by_trials(where: Path) -> Parts:
    """DVS128 Gesture as published: the lists trials_to_train.txt and trials_to_test.txt, and a csv a recording that
    says which gesture is when."""
    found = []
    for name in ("trials_to_train.txt", "trials_to_test.txt"):
        trials = where / name
        if not trials.is_file():
            raise DataError(f"{where} has no {name}; unpack the published archive there")
        items: list[Item] = []
        for line in filter(None, map(str.strip, _text(trials).splitlines())):
            path = where / line
            items += [
                (str(path), number - 1, span)
                for number, span in spans(path.with_name(f"{path.stem}_labels.csv"), len(GESTURES))
            ]
        found.append(_listed(items, where))
    return found[0], found[1], GESTURES


EVENT_SETS = {
    entry.name: entry
    for entry in (
        EventSet(
            "cifar10_dvs",
            ("cifar10_dvs", "CIFAR10DVS", "CIFAR10-DVS", "."),
            (128, 128),
            {"first_900": by_number(lambda n: n < 900), "last_900": by_number(lambda n: n >= 100)},
        ),
        EventSet("dvs_gesture", ("dvs_gesture", "DvsGesture", "."), (128, 128), {"trials": by_trials}),
        EventSet("n_mnist", ("n_mnist", "nmnist", "N-MNIST", "nmnist_small", "."), (34, 34), {"folders": by_folder}),
        EventSet("n_caltech101", ("n_caltech101", "Caltech101", "."), (240, 180), {"every_tenth": every_tenth}),
        EventSet("n_cars", ("n_cars", "n-cars", "."), (120, 100), {"folders": by_folder}),
        EventSet("event_folder", (".",), (128, 128), {"folders": by_folder, "every_tenth": every_tenth}),
    )
}
"""first_900: Deng et al. 2022 and its line (0–899 of a class, tested on 900–999). last_900: Duan et al. 2022 (100–999,
tested on 0–99); figures on it are not comparable with the other's."""


def load_events(name: str, root: Path | str | None = None, split: str | None = None) -> EventData:
    """List the data set `name` of `EVENT_SETS`; see `surgrad.data.data_root` for where it is looked for."""
    if name not in EVENT_SETS:
        raise unknown("data set", name, EVENT_SETS)
    spec = EVENT_SETS[name]
    split = next(iter(spec.splits)) if split is None else split
    if split not in spec.splits:
        raise unknown("split", split, spec.splits)
    top = data_root(root)
    where = next((top / folder for folder in spec.folders if _holds(top / folder)), None)
    if where is None:
        looked = ", ".join(str(top / folder) for folder in spec.folders)
        raise DataError(
            f"{name}: no folder with recordings, looked in {looked}; unpack it there, or name its folder: --data DIR"
        )
    train, test, classes = spec.splits[split](where)
    return EventData(name, split, where, spec.sensor, train, test, classes)


def _holds(folder: Path) -> bool:
    """Whether a data set may lie there: class folders with recordings, folders to train on and to test, or lists."""
    if not folder.is_dir():
        return False
    parts = all(any((folder / name).is_dir() for name in names) for names in PARTS)
    return parts or (folder / "trials_to_train.txt").exists() or bool(_class_folders(folder))


def _folders(where: Path) -> tuple[str, ...]:
    found = _class_folders(where)
    if not found:
        raise DataError(f"{where} holds no folders with recordings; put those of each class into a folder of its name")
    return found


def _class_folders(where: Path) -> tuple[str, ...]:
    """Those with recordings in them: a data set's folder may have others."""
    return tuple(
        sorted(
            name
            for name in _entries(where)
            if name[0] != "."
            and os.path.isdir(where / name)
            and any(suffix(Path(inner)) for inner in _entries(where / name))
        )
    )


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as err:
        raise DataError(f"{folder}: it cannot be listed ({err.strerror}); get leave to read it") from None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"{path}: it cannot be read ({err}); get it anew") from None


def _recordings(folder: Path) -> list[Path]:
    """Those of a folder, in the order of the numbers in their names."""
    found = [folder / name for name in _entries(folder) if suffix(Path(name))]
    return sorted(
        found, key=lambda path: [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", path.name)]
    )


def _listed(items: Sequence[Item], where: Path) -> Recordings:
    if not items:
        raise DataError(f"{where}: one part of the split has no recordings; is it all there?")
    paths, labels, chosen = zip(*items, strict=True)
    return Recordings(paths, torch.tensor(labels), chosen)
