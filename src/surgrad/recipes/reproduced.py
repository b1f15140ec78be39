"""Accuracy of the recipes that were run to their end here, written from the records by scripts/tabulate_recipes.py."""

import json
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("reproduced.json")


@dataclass(frozen=True)
class Reproduced:
    """Test accuracy of the final epoch, in [0, 1], over several trainings.

    Attributes:
        mean: over the trainings.
        sd: the standard deviation over the trainings; None for a single one.
        seeds: the number of trainings.
    """

    mean: float
    sd: float | None
    seeds: int

    def __str__(self) -> str:
        spread = "" if self.sd is None else f" ± {100 * self.sd:.2f}"
        return f"{100 * self.mean:.2f}{spread} %"


def reproduced() -> dict[str, Reproduced]:
    """The reproduced results by recipe name; recipes that were never run to their end are not included."""
    return {name: Reproduced(**row) for name, row in json.loads(FILE.read_text()).items()}
