"""The surrogate shapes, by name.

To add a shape: write its step and slope in `simple.py` (or, with constants beside the width, in `families.py`), add it
to `SHAPES`, and run scripts/generate_slopes.py, which writes the slopes of the compiled kernels. The contract tests
find it here.
"""

from surgrad.errors import unknown
from surgrad.shapes import simple
from surgrad.shapes.base import Shape as Shape
from surgrad.shapes.base import shape as shape
from surgrad.shapes.families import dspike as dspike
from surgrad.shapes.families import leaky_box as leaky_box
from surgrad.shapes.families import multi_gaussian as multi_gaussian
from surgrad.shapes.families import q_pseudospike as q_pseudospike
from surgrad.shapes.families import tilted as tilted

_ALL = (
    simple.rect(),
    simple.triangle(),
    simple.exponential(),
    simple.sigmoid(),
    simple.fast_sigmoid(),
    simple.atan(),
    simple.tanh(),
    simple.gaussian(),
    multi_gaussian(),
    leaky_box(),
    q_pseudospike(),
    dspike(),
    tilted(),
)
SHAPES: dict[str, Shape] = {entry.name: entry for entry in _ALL}


def find_shape(given: str | Shape) -> Shape:
    """The shape of that name, or the shape itself; raises `UnknownName` with the nearest name."""
    if isinstance(given, Shape):
        return given
    if given not in SHAPES:
        raise unknown("shape", given, SHAPES)
    return SHAPES[given]
