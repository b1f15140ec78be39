"""The former place of `surgrad.config`; it goes away in the next release."""

from typing import TYPE_CHECKING

from surgrad.deprecated import renamed

_MOVED = (
    "DataConfig",
    "ModelConfig",
    "NeuronConfig",
    "OptimConfig",
    "Recipe",
    "RunConfig",
    "derive",
    "from_dict",
    "set_fields",
    "to_dict",
)

if not TYPE_CHECKING:  # a type checker refuses names that do not exist
    __getattr__ = renamed(__name__, {name: f"surgrad.config.{name}" for name in _MOVED})
