"""Settings from texts, as on the command line."""

from collections.abc import Iterable
from typing import Any

from surgrad.config import compat, parts
from surgrad.config.flat import differing
from surgrad.config.recipe import Part, Recipe, Settings, derive, groups
from surgrad.config.values import parsed
from surgrad.errors import BadValue, unknown


def set_fields(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """The recipe with settings changed by texts such as "optim.lr=0.05".

    Names of parts are set first, so that the order of the texts does not matter. A part that gets another name keeps
    those of its options that the other part has too.

    Args:
        recipe: the recipe to start from; it is not changed.
        assignments: texts "path=value", as of `surgrad train --set`.

    Raises:
        UnknownName: a path that recipes do not have, or a name that no registry holds.
        BadValue: a text that is not a value of that setting, or an option that the part does not have.

    Example:
        >>> recipe = set_fields(Recipe("a"), ["optim.lr=0.05", "neuron.name=plif", "neuron.tau=3"])
        >>> recipe.optim.lr, recipe.neuron.name, recipe.neuron.options["tau"]
        (0.05, 'plif', 3.0)
    """
    split = [pair for assignment in assignments for pair in _split(assignment)]
    for path, text in sorted(split, key=lambda pair: not pair[0].endswith(".name")):
        recipe = _set(recipe, path, text)
    return recipe


def _split(assignment: str) -> list[tuple[str, str]]:
    path, equals, text = assignment.partition("=")
    if not equals:
        raise BadValue(f"'{assignment}' does not set anything; write path=value, as in optim.lr=0.05")
    return compat.moved(path, text)


def _set(recipe: Recipe, path: str, text: str) -> Recipe:
    group, _, key = path.rpartition(".")
    if not group and key in Recipe.hints():
        return derive(recipe, **{key: parsed(key, text, Recipe.hints()[key])})
    if group not in groups():
        raise unknown("setting", path, paths(recipe))
    held = getattr(recipe, group)
    if key == "name" and isinstance(held, Part):
        return derive(recipe, **{group: _renamed(group, held, text)})
    return derive(recipe, **{group: {key: parsed(path, text, _hint(group, held, key, recipe))}})


def _renamed(group: str, part: Part, name: str) -> Part:
    if not (group == "penalty" and name == parts.NONE):
        parts.registry(group, name)[name]  # refuses an unknown name
    return parts.renamed(group, part, name)


def _hint(group: str, held: Settings, key: str, recipe: Recipe) -> Any:
    """The annotation of a setting, or of an option of the part that the group names."""
    if key in held.hints():
        return held.hints()[key]
    if not isinstance(held, Part):
        raise unknown("setting", f"{group}.{key}", paths(recipe))
    known = parts.options(group, held.name)
    if key not in known:
        raise parts.no_option(group, held, key)
    return known[key].hint


def paths(recipe: Recipe) -> list[str]:
    """The paths of all settings and options that this recipe has."""
    found = list(Recipe.hints())
    for group, kind in groups().items():
        names = list(kind.hints())
        if issubclass(kind, Part):
            names += parts.options(group, getattr(recipe, group).name)
        found += [f"{group}.{name}" for name in names]
    return found


def differences(one: Recipe, other: Recipe) -> list[str]:
    """The settings in which two recipes differ; options that are not given count by their defaults.

    Args:
        one: a recipe.
        other: the recipe that it is compared with.

    Returns:
        One text "path: a -> b" for each setting, where a is the value in `one` and b the value in `other`.
    """
    found = differing([parts.resolved(recipe).to_dict() for recipe in (one, other)])
    return [f"{path}: {a!r} -> {b!r}" for path, (a, b) in found.items()]
