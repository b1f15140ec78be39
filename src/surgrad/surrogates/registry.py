"""The surrogate functions by name."""

import copyreg
from collections.abc import Callable
from typing import Any

from surgrad.config.registry import Registry
from surgrad.errors import BadValue, unknown
from surgrad.surrogates import simple
from surgrad.surrogates.base import SurrogateFunction
from surgrad.surrogates.families import dspike, leaky_box, multi_gaussian, q_pseudospike, tilted

SURROGATE_BUILDERS: Registry[Callable[..., SurrogateFunction]] = Registry(
    "surrogate function",
    {
        "rect": simple.rect,
        "triangle": simple.triangle,
        "exponential": simple.exponential,
        "sigmoid": simple.sigmoid,
        "fast_sigmoid": simple.fast_sigmoid,
        "atan": simple.atan,
        "tanh": simple.tanh,
        "gaussian": simple.gaussian,
        "multi_gaussian": multi_gaussian,
        "leaky_box": leaky_box,
        "q_pseudospike": q_pseudospike,
        "dspike": dspike,
        "tilted": tilted,
    },
    context=("threshold",),
)
"""The constructors. Their options are the constants of the function; its width belongs to `Surrogate`."""
SURROGATES: dict[str, SurrogateFunction] = {name: build() for name, build in SURROGATE_BUILDERS.items()}
"""The surrogate functions with their default constants."""


def find_surrogate(given: str | SurrogateFunction) -> SurrogateFunction:
    """Find a surrogate function.

    Args:
        given: a name of `SURROGATES` or of `SURROGATE_BUILDERS`, which stands for the default constants; or the
            function itself.

    Raises:
        UnknownName: if there is no such name; it offers those that resemble it.
        BadValue: if it is neither.
    """
    if isinstance(given, SurrogateFunction):
        return given
    if not isinstance(given, str):
        raise BadValue(
            f"a surrogate function is one of surgrad's, or its name, got an object of type {type(given).__name__}; "
            f"the names: {', '.join([*SURROGATES, *(SURROGATE_BUILDERS.keys() - SURROGATES.keys())])}"
        )
    if given in SURROGATES:
        return SURROGATES[given]
    if given in SURROGATE_BUILDERS:
        return SURROGATE_BUILDERS[given]()
    raise unknown("surrogate function", given, {**SURROGATES, **SURROGATE_BUILDERS})


def builder_of(function: SurrogateFunction) -> Callable[..., SurrogateFunction] | None:
    """The constructor in `SURROGATE_BUILDERS` that makes this function from its constants; None: it has another
    formula."""
    known = SURROGATES.get(function.name)
    return SURROGATE_BUILDERS[function.name] if known is not None and known.formula == function.formula else None


def _reduced(function: SurrogateFunction) -> tuple[Callable[..., SurrogateFunction], tuple[Any, ...]]:
    """How a function is pickled: by its constructor and constants where the registry has it."""
    builder = builder_of(function)
    return function.__reduce__() if builder is None else (builder, function.constants)


copyreg.pickle(SurrogateFunction, _reduced)
