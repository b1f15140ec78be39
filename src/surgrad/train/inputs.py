"""The inputs and classes that a network is built for, known without its data set: model.json of a run folder."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from surgrad.config import parts
from surgrad.config.recipe import Recipe
from surgrad.data import EVENT_SETS, IMAGE_SETS
from surgrad.errors import CheckpointError
from surgrad.files import read_json, write_json


@dataclass(frozen=True)
class InputSpec:
    """The inputs and classes that a network is built for.

    classes: their names, in the order of the network's outputs.
    input_shape: of one image, or of one time step of a recording: channels, height, width.
    is_sequence: whether inputs are recordings [T, N, ...] and not static images [N, ...].
    """

    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    is_sequence: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON stores it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "InputSpec":
        """What `to_dict` made."""
        return cls(tuple(values["classes"]), tuple(values["input_shape"]), values["is_sequence"])


IMAGE_SHAPES = {
    "fashion_mnist_small": (1, 28, 28),
    "fashion_mnist": (1, 28, 28),
    "mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "cifar100": (3, 32, 32),
}
"""Channels, height and width by the name of an image data set."""

CLASS_COUNTS = {"imagenet": 1000, "cifar10_dvs": 10, "dvs_gesture": 11, "n_mnist": 10, "n_cars": 2}
"""The number of classes by the name of a data set that stays on the disk."""


def known_inputs(recipe: Recipe) -> InputSpec:
    """What the recipe's network is built for, by the name of its data set; the data need not be on the disk.

    Raises:
        CheckpointError: where the name does not determine it.
    """
    name = recipe.data.name
    side = parts.value(recipe, "data", "side")
    if name in IMAGE_SHAPES:
        return InputSpec(IMAGE_SETS[name].classes, IMAGE_SHAPES[name])
    if name in CLASS_COUNTS:
        classes = tuple(str(label) for label in range(CLASS_COUNTS[name]))
        is_sequence = name in EVENT_SETS
        return InputSpec(classes, (2 if is_sequence else 3, side, side), is_sequence)
    raise CheckpointError(
        f"the classes and the input shape of data set '{name}' are not known without the data; resume or repeat the "
        "training, which writes them to model.json"
    )


def write_inputs(folder: Path, inputs: InputSpec) -> None:
    """Write model.json of a run folder."""
    write_json(folder / "model.json", inputs.to_dict())


def read_inputs(folder: Path, recipe: Recipe) -> InputSpec:
    """The inputs and classes of a run's network: of model.json, or by the data set's name where there is no such file,
    as in the folders of older versions."""
    path = folder / "model.json"
    return InputSpec.from_dict(read_json(path)) if path.exists() else known_inputs(recipe)
