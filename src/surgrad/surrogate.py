"""The old name of `surgrad.surrogates`; it goes away with the next release."""

from typing import TYPE_CHECKING

from surgrad.deprecated import renamed

_HOME = "surgrad.surrogates"

if not TYPE_CHECKING:  # a type checker refuses names that do not exist
    __getattr__ = renamed(
        __name__,
        {
            "Surrogate": f"{_HOME}.Surrogate",
            "keep_positive": f"{_HOME}.keep_positive",
            "spike": f"{_HOME}.spike",
            "surrogates": f"{_HOME}.find_surrogates",
        },
    )
