"""Data sets of recordings: where they are, and the named rules that split them into training and test recordings.

CIFAR10-DVS has no published split, so a result on it can only be compared with results of the same rule.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from surgrad.data.class_folders import check_same_classes, class_names, entries, part_folders
from surgrad.data.events.aedat3 import spans
from surgrad.data.events.reading import suffix
from surgrad.data.loading import data_root
from surgrad.errors import DataError, unknown

TRAIN_FOLDERS = ("train", "Train", "training", "n-cars_train")
TEST_FOLDERS = ("test", "Test", "val", "validation", "n-cars_test")
"""The names that the folders of training and test recordings may have."""
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
    """One part of a data set: files, labels int64 [N], and of each file the (first, last) µs to use; None: all."""

    paths: tuple[str, ...]
    labels: Tensor
    spans: tuple[Span | None, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def only(self, chosen: Sequence[int]) -> "Recordings":
        """The recordings with these numbers, in the order given."""
        numbers = torch.tensor(chosen, dtype=torch.int64)
        return Recordings(
            tuple(self.paths[n] for n in chosen), self.labels[numbers], tuple(self.spans[n] for n in chosen)
        )

    def items(self) -> list[tuple[str, Span | None]]:
        """The (path, span) of every recording."""
        return list(zip(self.paths, self.spans, strict=True))


@dataclass(frozen=True)
class EventSet:
    """A data set of recordings.

    Attributes:
        folders: where it may be below the root.
        sensor: (width, height), in pixels.
        splits: by name, the functions that make (train, test, classes) of its folder; the first is the default.
        classes: how many the published data set has; None: any number.
    """

    name: str
    folders: tuple[str, ...]
    sensor: tuple[int, int]
    splits: dict[str, Callable[[Path], "Parts"]]
    classes: int | None = None


@dataclass(frozen=True)
class EventData:
    """A data set of recordings: listed, not read.

    Args:
        name: of the data set.
        split: the name of the rule that divides it.
        root: its folder.
        sensor: (width, height), in pixels.
        train: the training recordings.
        test: the test recordings.
        classes: the names of the classes, by label.
    """

    name: str
    split: str
    root: Path
    sensor: tuple[int, int]
    train: Recordings
    test: Recordings
    classes: tuple[str, ...]


Parts = tuple[Recordings, Recordings, tuple[str, ...]]


def by_number(trains: Callable[[int], bool]) -> Callable[[Path], Parts]:
    """One folder for each class; `trains` decides by the number at the end of a recording's name."""

    def split(where: Path) -> Parts:
        train: list[Item] = []
        test: list[Item] = []
        classes = _classes(where)
        for label, name in enumerate(classes):
            for path in _recordings(where / name):
                number = re.search(r"([0-9]+)$", path.stem)
                if number is None:
                    raise DataError(
                        f"{path}: its name does not end with a number, which this split needs; give it its published "
                        "name, or choose another split"
                    )
                (train if trains(int(number[1])) else test).append((str(path), label, None))
        return _listed(train, where), _listed(test, where), classes

    return split


def every_tenth(where: Path) -> Parts:
    """One folder for each class; of each, the tenth, twentieth, ... recording in the order of names is a test one."""
    train: list[Item] = []
    test: list[Item] = []
    classes = _classes(where)
    for label, name in enumerate(classes):
        for place, path in enumerate(_recordings(where / name), 1):
            (test if place % 10 == 0 else train).append((str(path), label, None))
    return _listed(train, where), _listed(test, where), classes


def by_folder(where: Path) -> Parts:
    """Folders train and test (or Train, Test), each with one folder for each class."""
    parts = part_folders(where, TRAIN_FOLDERS, TEST_FOLDERS)
    if parts is None:
        raise DataError(
            f"{where} has no folders train and test; put the recordings there, with one folder for each class"
        )
    classes = _classes(parts[0])
    check_same_classes(*parts, classes, _classes(parts[1]))
    found: list[list[Item]] = []
    for part in parts:
        found.append(
            [(str(path), label, None) for label, name in enumerate(classes) for path in _recordings(part / name)]
        )
    return _listed(found[0], where), _listed(found[1], where), classes


def by_trials(where: Path) -> Parts:
    """DVS128 Gesture as published: the lists trials_to_train.txt and trials_to_test.txt, and for each recording a csv
    with the times of its gestures."""
    found = []
    for name in ("trials_to_train.txt", "trials_to_test.txt"):
        trials = where / name
        if not trials.is_file():
            raise DataError(f"{where} has no {name}; unpack the published archive there")
        items: list[Item] = []
        for line in filter(None, map(str.strip, _text(trials).splitlines())):
            if not _is_name(line):
                raise DataError(f"{trials}: '{line}' is not the name of a recording in {where}; give names without /")
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
            classes=10,
        ),
        EventSet(
            "dvs_gesture", ("dvs_gesture", "DvsGesture", "."), (128, 128), {"trials": by_trials}, classes=len(GESTURES)
        ),
        EventSet(
            "n_mnist",
            ("n_mnist", "nmnist", "N-MNIST", "nmnist_small", "."),
            (34, 34),
            {"folders": by_folder},
            classes=10,
        ),
        EventSet(
            "n_caltech101", ("n_caltech101", "Caltech101", "."), (240, 180), {"every_tenth": every_tenth}, classes=101
        ),
        EventSet("n_cars", ("n_cars", "n-cars", "."), (120, 100), {"folders": by_folder}, classes=2),
        EventSet("event_folder", (".",), (128, 128), {"folders": by_folder, "every_tenth": every_tenth}),
    )
}
"""first_900: trains on 0–899 of each class and tests on 900–999 (Deng et al. 2022 and the papers that follow it).
last_900: trains on 100–999 and tests on 0–99 (Duan et al. 2022). Results of the two are not comparable."""


def load_events(name: str, root: Path | str | None = None, split: str | None = None) -> EventData:
    """List the data set `name` of `EVENT_SETS`.

    Args:
        name: of the data set.
        root: where data sets are; see `surgrad.data.data_root`.
        split: the name of the rule that splits it; None: its default.

    Raises:
        UnknownName: if there is no such data set or split.
        DataError: if its recordings are missing or inconsistent.
    """
    if name not in EVENT_SETS:
        raise unknown("data set", name, EVENT_SETS)
    spec = EVENT_SETS[name]
    split = next(iter(spec.splits)) if split is None else split
    if split not in spec.splits:
        raise unknown("split", split, spec.splits)
    top = data_root(root)
    where = next((top / folder for folder in spec.folders if _has_recordings(top / folder)), None)
    if where is None:
        looked = ", ".join(str(top / folder) for folder in spec.folders)
        raise DataError(
            f"{name}: no folder with recordings, looked in {looked}; unpack it there, or name its folder: --data DIR"
        )
    train, test, classes = spec.splits[split](where)
    return EventData(name, split, where, spec.sensor, train, test, classes)


def _has_recordings(folder: Path) -> bool:
    """Whether a data set may be there: folders of training and test recordings, lists of trials, or class folders."""
    if not folder.is_dir():
        return False
    parts = part_folders(folder, TRAIN_FOLDERS, TEST_FOLDERS)
    return parts is not None or (folder / "trials_to_train.txt").exists() or bool(class_names(folder, _is_class))


def _classes(where: Path) -> tuple[str, ...]:
    found = class_names(where, _is_class)
    if not found:
        raise DataError(
            f"{where} holds no folders with recordings; put the recordings of each class into a folder of its name"
        )
    return found


def _is_class(folder: Path) -> bool:
    """Whether a folder holds recordings; a data set's folder may have others."""
    return any(suffix(Path(name)) for name in entries(folder))


def _is_name(line: str) -> bool:
    """Whether a line names a file of the same folder, and no other place."""
    return line not in (".", "..") and not set(line) & {"/", "\\", "\0"}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")  # some editors begin a file with a mark of its encoding
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"{path}: cannot be read ({err}); check its permissions or download it again") from None


def _recordings(folder: Path) -> list[Path]:
    """The recordings of a folder, in the order of the numbers in their names."""
    found = [folder / name for name in entries(folder) if suffix(Path(name))]
    return sorted(
        found, key=lambda path: [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", path.name)]
    )


def _listed(items: Sequence[Item], where: Path) -> Recordings:
    if not items:
        raise DataError(f"{where}: one part of the split has no recordings; check that the data set is complete")
    paths, labels, chosen = zip(*items, strict=True)
    return Recordings(paths, torch.tensor(labels), chosen)
