"""The surrogate functions by name."""

from surgrad.errors import unknown
from surgrad.surrogates import simple
from surgrad.surrogates.base import SurrogateFunction
from surgrad.surrogates.families import dspike, leaky_box, multi_gaussian, q_pseudospike, tilted

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
SURROGATES: dict[str, SurrogateFunction] = {entry.name: entry for entry in _ALL}


def find_surrogate(given: str | SurrogateFunction) -> SurrogateFunction:
    """The surrogate function of that name, or the function itself; raises `UnknownName` with the nearest name."""
    if isinstance(given, SurrogateFunction):
        return given
    if given not in SURROGATES:
        raise unknown("surrogate function", given, SURROGATES)
    return SURROGATES[given]
