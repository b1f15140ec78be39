"""Recipes from JSON, of this release and of earlier ones."""

from collections.abc import Mapping
from typing import Any

from surgrad.config.compat import is_old, upgraded
from surgrad.config.parts import without_foreign_options
from surgrad.config.recipe import Part, Recipe, Settings, groups
from surgrad.errors import BadValue, unknown


def from_dict(values: Mapping[str, Any]) -> Recipe:
    """The recipe of a dict that `to_dict` made, now or in an earlier release.

    Raises:
        BadValue: it is not a recipe, or a value has a wrong type or is out of range.
        UnknownName: a setting that recipes do not have.
    """
    if not isinstance(values, Mapping) or "name" not in values:
        raise BadValue("this is not a recipe: expected a JSON object with a 'name'")
    recipe = _built(upgraded(values))
    return without_foreign_options(recipe) if is_old(values) else recipe


def _built(values: Mapping[str, Any]) -> Recipe:
    kinds = groups()
    built: dict[str, Any] = {}
    for key, value in values.items():
        if key == "format":
            continue
        if key not in Recipe.__dataclass_fields__:
            raise unknown("setting", key, Recipe.__dataclass_fields__)
        built[key] = _group(key, kinds[key], value) if key in kinds else value
    return Recipe(**built)


def _group(key: str, kind: type[Settings], value: Any) -> Settings:
    if not isinstance(value, Mapping):
        raise BadValue(f"{key} = {value!r} is of type {type(value).__name__}; give an object with its settings")
    if not issubclass(kind, Part):
        for name in value:
            if name not in kind.hints():
                raise unknown("setting", f"{key}.{name}", [f"{key}.{known}" for known in kind.hints()])
    return kind(**value)
