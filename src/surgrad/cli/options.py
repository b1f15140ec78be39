"""The command that lists the settings of recipes."""

import argparse
import typing
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from surgrad.errors import in_words, unknown

if TYPE_CHECKING:
    from surgrad.config.registry import Option, Registry

GENERAL = "recipe"
"""The group of settings that belong to no part."""
WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "none"}
Group = list["Registry[Any]"]
"""The registries in which a part of a recipe may name an entry."""


def show_options(arguments: argparse.Namespace) -> int:
    """List the settings of recipes with their types, ranges and defaults.

    Without an argument, lists the settings of all parts of a recipe. PART is one of them, such as neuron; PART=NAME is
    one entry of it, such as neuron=plif.
    """
    part, _, name = (arguments.part or "").partition("=")
    settings = own_settings()
    known = registries()
    names = [*settings, *(group for group in known if group not in settings)]
    if part and part not in names:
        raise unknown("part", part, names)
    if name:
        entries = [entry for registry in known.get(part, []) for entry in registry]
        if name not in entries:
            raise unknown(part, name, entries)
    chosen = [part] if part else names
    print(
        "\n\n".join("\n".join(lines_of(group, settings.get(group, {}), known.get(group, []), name)) for group in chosen)
    )
    return 0


def own_settings() -> dict[str, dict[str, "Option"]]:
    """The settings that every recipe has, by part; those outside of parts under `GENERAL`."""
    import dataclasses

    from surgrad.config.recipe import Recipe

    recipe = Recipe("")
    everything = _fields(recipe)
    parts = {name: option.default for name, option in everything.items() if dataclasses.is_dataclass(option.default)}
    general = {name: option for name, option in everything.items() if name not in parts}
    return {GENERAL: general, **{name: _fields(part) for name, part in parts.items()}}


def _fields(settings: Any) -> dict[str, "Option"]:
    """The fields of a dataclass, with the values in this object as defaults. Registries list the options of parts."""
    import dataclasses

    from surgrad.config.registry import Option

    hints = typing.get_type_hints(type(settings), include_extras=True)
    names = [entry.name for entry in dataclasses.fields(settings) if entry.name != "options"]
    return {name: Option(hints[name], getattr(settings, name)) for name in names}


def registries() -> dict[str, Group]:
    """The registries of the parts, by part."""
    from surgrad.config import parts

    return {group: list(parts.registries(group)) for group in parts.HOMES}


def lines_of(group: str, settings: Mapping[str, "Option"], known: Group, name: str = "") -> Iterator[str]:
    """The settings of one part of a recipe: its own, those that all its entries have, and those of each entry."""
    entries = {entry: registry.options(entry) for registry in known for entry in registry}
    prefix = "" if group == GENERAL else f"{group}."
    default = settings["name"].default if entries and "name" in settings else None
    names = ", ".join(f"{entry} (default)" if entry == default else entry for entry in entries)
    yield f"{group}: {names}" if entries and not name else group
    yield from _rows(prefix, {key: option for key, option in settings.items() if default is None or key != "name"})
    if name:
        yield f"{group}={name}"
        yield from _rows(prefix, entries[name])
        return
    shared = _shared(list(entries.values()))
    if shared:
        yield f"{group}, whatever its name"
        yield from _rows(prefix, shared)
    for entry, options in entries.items():
        further = {key: option for key, option in options.items() if key not in shared}
        if further:
            yield f"{group}={entry}"
            yield from _rows(prefix, further)


def _shared(entries: list[dict[str, "Option"]]) -> dict[str, "Option"]:
    """The options that all entries have, with the same type and default."""
    first = entries[0] if len(entries) > 1 else {}
    return {key: option for key, option in first.items() if all(entry.get(key) == option for entry in entries)}


def _rows(prefix: str, options: Mapping[str, "Option"]) -> Iterator[str]:
    for key, option in options.items():
        required = option.default is option.REQUIRED
        default = "no default" if required else f"default: {_text(option.default)}"
        yield f"  {prefix + key:<32} {values_in_words(option.hint):<36} {default}"


def values_in_words(hint: Any) -> str:
    """The values that an annotation allows.

    >>> from surgrad.config.values import Positive
    >>> values_in_words(Positive | None)
    'number above 0 or none'
    """
    from surgrad.config.values import Range, alternatives

    return " or ".join(_kind_in_words(kind) + str(limits or Range()) for kind, limits in alternatives(hint))


def _kind_in_words(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return in_words([*typing.get_args(kind)])
    if typing.get_origin(kind) is tuple:
        return "values separated by commas"
    return WORDS.get(kind, getattr(kind, "__name__", str(kind)))


def _text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if value == "":
        return "empty"
    return f"{value:g}" if isinstance(value, float) else str(value)


def describe_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `surgrad options`."""
    parser.add_argument("part", nargs="?", metavar="PART[=NAME]", help="a part of a recipe, or one entry of it")
    parser.epilog = "Change them with --set PATH=VALUE, as in `surgrad train --set optim.lr=0.05`."
