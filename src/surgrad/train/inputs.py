"""The inputs and classes that a network is built for, known without its data set: model.json of a run folder."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from surgrad.config import parts
from surgrad.config.recipe import Recipe
from surgrad.data import EVENT_SETS, FOLDER_SETS, IMAGE_SETS
from surgrad.data.events.spoken import SPOKEN_SETS
from surgrad.errors import CheckpointError
from surgrad.files import read_json, write_json


@dataclass(frozen=True)
class InputSpec:
    """The inputs and classes that a network is built for.

    Attributes:
        classes: their names, in the order of the network's outputs.
        input_shape: of one image, or of one time step of a recording: channels, height, width.
        is_sequence: whether inputs are recordings [T, N, ...] and not static images [N, ...].
    """

    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    is_sequence: bool = False

    def __str__(self) -> str:
        kind = "recordings" if self.is_sequence else "images"
        named = ", ".join([*self.classes[:3], *(["..."] if len(self.classes) > 3 else [])])
        return f"{kind} {list(self.input_shape)} of {len(self.classes)} classes ({named})"

    def to_dict(self) -> dict[str, Any]:
        """As JSON stores it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "InputSpec":
        """What `to_dict` made."""
        return cls(tuple(values["classes"]), tuple(values["input_shape"]), values["is_sequence"])


def known_inputs(recipe: Recipe) -> InputSpec:
    """What the recipe's network is built for, by the name of its data set; the data need not be on the disk.

    It serves run folders of earlier releases, which have no model.json. It need not know new data sets.

    Raises:
        CheckpointError: where the name does not determine it.
    """
    name = recipe.data.name
    if name in IMAGE_SETS:
        return InputSpec(IMAGE_SETS[name].classes, IMAGE_SETS[name].shape)
    if name in SPOKEN_SETS:
        return InputSpec(SPOKEN_SETS[name].classes, (1, parts.value(recipe, "data", "bins")), True)
    spec = FOLDER_SETS.get(name) or EVENT_SETS.get(name)
    if spec is not None and spec.classes is not None:
        side = parts.value(recipe, "data", "side")
        is_sequence = name in EVENT_SETS
        height = (parts.value(recipe, "data", "height") if is_sequence else None) or side
        return InputSpec(tuple(map(str, range(spec.classes))), (2 if is_sequence else 3, height, side), is_sequence)
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


def check_inputs(folder: Path, inputs: InputSpec) -> None:
    """Refuse data of other classes or another shape than those of a run's network.

    Raises:
        CheckpointError: where model.json says so. Folders of older versions may not have it.
    """
    path = folder / "model.json"
    if not path.exists():
        return
    held = InputSpec.from_dict(read_json(path))
    if held != inputs:
        raise CheckpointError(
            f"the network in {folder} was trained on {held}, and this data has {inputs}; give the data of the training"
        )
