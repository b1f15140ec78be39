"""The old name of `surgrad.surrogates`; it goes away with the next release."""

from typing import TYPE_CHECKING

from surgrad.deprecated import renamed

_HOME = "surgrad.surrogates"

if not TYPE_CHECKING:  # a type checker refuses names that do not exist
    __getattr__ = renamed(
        __name__,
        {
            "SHAPES": f"{_HOME}.SURROGATES",
            "Shape": f"{_HOME}.SurrogateFunction",
            "find_shape": f"{_HOME}.find_surrogate",
            "shape": f"{_HOME}.surrogate_function",
            "dspike": f"{_HOME}.dspike",
            "leaky_box": f"{_HOME}.leaky_box",
            "multi_gaussian": f"{_HOME}.multi_gaussian",
            "q_pseudospike": f"{_HOME}.q_pseudospike",
            "tilted": f"{_HOME}.tilted",
        },
    )
