"""The old name of `surgrad.surrogates`; it goes away with the next release."""

from surgrad.deprecated import renamed

_HOME = "surgrad.surrogates"
__getattr__ = renamed(
    __name__,
    {
        "Surrogate": f"{_HOME}.Surrogate",
        "keep_positive": f"{_HOME}.keep_positive",
        "spike": f"{_HOME}.spike",
        "surrogates": f"{_HOME}.find_surrogates",
    },
)
