"""Where the registry of each part of a recipe is, and what its options are.

The registries live with their parts, most of them in modules that need torch; they are imported when first asked for.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from surgrad.config.recipe import Part, Recipe, derive, groups
from surgrad.config.registry import Option, Registry
from surgrad.errors import BadValue, SurgradError, unknown

HOMES: Mapping[str, tuple[str, ...]] = {
    "data": ("surgrad.data.DATASETS",),
    "model": ("surgrad.models.MODELS",),
    "norm": ("surgrad.norm.NORMS",),
    "coding": ("surgrad.coding.CODINGS",),
    "neuron": ("surgrad.neurons.NEURONS", "surgrad.conversion.UNITS"),
    "surrogate": ("surgrad.surrogates.SURROGATE_BUILDERS",),
    "adapt": ("surgrad.adapt.CONTROLLERS",),
    "loss": ("surgrad.losses.LOSSES",),
    "penalty": ("surgrad.penalties.PENALTIES",),
    "optim": ("surgrad.optim.OPTIMIZERS",),
    "schedule": ("surgrad.optim.SCHEDULES",),
    "gradient": ("surgrad.gradients.GRADIENTS",),
    "average": ("surgrad.train.average.AVERAGES",),
}
"""The registries by the group of a recipe that names a part of them."""
NONE = "none"
"""The name of a penalty that stands for none."""
GIVEN = "given"
"""The name of a data set that stands for data given in Python."""


def registries(group: str) -> list[Registry[Any]]:
    """The registries in which a group of a recipe may name a part."""
    found = []
    for home in HOMES[group]:
        module, _, name = home.rpartition(".")
        found.append(getattr(import_module(module), name))
    return found


def registry(group: str, name: str) -> Registry[Any]:
    """The registry that holds a part; the group's first one where none does.

    Args:
        group: a group of a recipe that names a part, such as "neuron".
        name: the part's name.
    """
    found = registries(group)
    return next((one for one in found if name in one), found[0])


def part_of(recipe: Recipe, group: str) -> Part:
    """The part that a group of the recipe names.

    Args:
        recipe: any recipe.
        group: a group that names a part, such as "neuron".
    """
    part: Part = getattr(recipe, group)
    return part


def options(group: str, name: str) -> dict[str, Option]:
    """The options of a part by name, in the order of its constructor's parameters.

    Args:
        group: a group of a recipe that names a part, such as "neuron".
        name: the part's name.

    Raises:
        UnknownName: where no registry of the group holds the part.
        BadValue: an option has the name of a setting of the group, which would hide it.
    """
    if _is_absent(group, name):
        return {}
    held = registry(group, name)
    found = held.options(name)
    for key in groups()[group].hints():
        if key in found:
            raise BadValue(
                f"{held.kind} '{name}' has an option '{key}', and that is a setting of every {held.kind}; give it "
                "another name"
            )
    return found


def check(recipe: Recipe) -> None:
    """Check the names and the options of a recipe's parts.

    Raises:
        UnknownName: for a name that no registry holds.
        BadValue: for an option that a part does not have, of a wrong type or out of range.
    """
    for group in HOMES:
        part = part_of(recipe, group)
        if not _is_absent(group, part.name):
            _check_part(group, part)


def _check_part(group: str, part: Part) -> None:
    known = options(group, part.name)
    for key in part.options:
        if key not in known:
            raise no_option(group, part, key)
    registry(group, part.name).check(part.name, part.options, group)


def no_option(group: str, part: Part, key: str) -> SurgradError:
    """The error for an option that a part does not have.

    It says why a parameter of the part's constructor is not an option, names parts that have the option, or offers
    similar settings.

    Args:
        group: the group of the recipe, such as "neuron".
        part: the part that the group names.
        key: the option that it does not have.
    """
    held = registry(group, part.name)
    if held.takes(part.name, key):
        return held.no_option(part.name, key, group)
    others = [f"'{name}'" for one in registries(group) for name in one if key in one.options(name)][:3]
    if not others:
        known = (*part.hints(), *options(group, part.name))
        return unknown("setting", f"{group}.{key}", [f"{group}.{name}" for name in known])
    have = "have" if len(others) > 1 else "has"
    return BadValue(
        f"{group}.{key}: {held.kind} '{part.name}' has no option '{key}', but {', '.join(others)} {have} it; "
        f"set {group}.name too"
    )


def resolved(recipe: Recipe) -> Recipe:
    """The recipe with the value of every option stated: those that are not given have the constructor's defaults."""
    changes = {group: defaults(group, part_of(recipe, group)) for group in HOMES}
    return derive(recipe, **changes)


def defaults(group: str, part: Part) -> dict[str, Any]:
    """All options of a part with their values, given or by default.

    Args:
        group: the group of the recipe, such as "neuron".
        part: the part that the group names.
    """
    if _is_absent(group, part.name):
        return dict(part.options)
    held = registry(group, part.name)
    known = options(group, part.name).items()
    stated = {key: option.default for key, option in known if option.default is not Option.REQUIRED}
    return stated | held.check(part.name, part.options, group)


def value(recipe: Recipe, group: str, key: str, otherwise: Any = None) -> Any:
    """The value of an option of a part, given or by default.

    Args:
        recipe: any recipe.
        group: a group that names a part, such as "neuron".
        key: the option.
        otherwise: the value where the part does not have the option.
    """
    return defaults(group, part_of(recipe, group)).get(key, otherwise)


def without_foreign_options(recipe: Recipe) -> Recipe:
    """The recipe without the options that only other parts have.

    Earlier releases wrote all options of all parts. An option that no part has stays, and `check` refuses it.
    """
    changes = {}
    for group in HOMES:
        part = part_of(recipe, group)
        if _is_absent(group, part.name):
            continue
        others = {key for held in registries(group) for name in held for key in held.options(name)}
        foreign = others - options(group, part.name).keys()
        changes[group] = only(part, {key: held for key, held in part.options.items() if key not in foreign})
    return derive(recipe, **changes)


def only(part: Part, kept: Mapping[str, Any]) -> Part:
    """The part with these options and no others.

    Args:
        part: the part; its other settings stay.
        kept: the options with their values.
    """
    fields = {key: held for key, held in part.to_dict().items() if key not in part.options}
    return type(part)(**fields, **kept)


def renamed(group: str, part: Part, name: str) -> Part:
    """Another part of the same kind: it keeps the options that it has too.

    Args:
        group: the group of the recipe, such as "neuron".
        part: the part that the group names now.
        name: the name of the other part.
    """
    known = options(group, name)
    kept = {key: held for key, held in part.options.items() if key in known}
    return only(part, kept).replaced({"name": name})


def _is_absent(group: str, name: str) -> bool:
    """Whether the name stands for something that no registry holds."""
    return (group, name) in (("penalty", NONE), ("data", GIVEN))
