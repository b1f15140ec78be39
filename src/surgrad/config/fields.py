"""Fields of a recipe: dataclasses that refuse values of another type and numbers out of range, and text as a value."""

import dataclasses
import math
import types
import typing
from dataclasses import field
from typing import Any

from surgrad.errors import BadValue


def at_least(low: float, default: Any, *, open: bool = False, high: float = math.inf) -> Any:
    """A field of numbers from low (itself excluded where open) to high."""
    return field(default=default, metadata={"low": low, "open": open, "high": high})


def positive(default: float) -> Any:
    return at_least(0, default, open=True)


class Checked:
    """A part of a recipe that refuses values of another type, and numbers out of range."""

    def __post_init__(self) -> None:
        part = type(self).__name__.removesuffix("Config").lower()
        hints = typing.get_type_hints(type(self))
        for entry in dataclasses.fields(self):  # type: ignore[arg-type]  # each subclass is a dataclass
            path = entry.name if part == "recipe" else f"{part}.{entry.name}"
            value = _typed(path, getattr(self, entry.name), hints[entry.name])
            if entry.metadata and value is not None:
                _in_range(path, value, **entry.metadata)
            object.__setattr__(self, entry.name, value)  # frozen, but a whole number may stand for a float


def _in_range(path: str, value: float, low: float, high: float, open: bool) -> None:
    if not (low <= value <= high and math.isfinite(value)) or (open and value == low):
        start = f"above {low}" if open else f"from {low}"
        end = "" if math.isinf(high) else f" to {high}"
        raise BadValue(f"{path} = {value} is out of range; give a number {start}{end}")


def _kinds(hint: Any) -> tuple[type, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _typed(path: str, value: Any, hint: Any) -> Any:
    kinds = _kinds(hint)
    if float in kinds and type(value) is int:
        return float(value)
    if type(value) not in kinds:
        raise BadValue(f"{path} = {value!r} is of type {type(value).__name__}; give {_wanted(kinds)}")
    return value


def parsed(path: str, text: str, hint: Any) -> Any:
    kinds = _kinds(hint)
    if type(None) in kinds and text.lower() in ("none", "null"):
        return None
    if bool in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in kinds:
        if kind in (int, float, str):
            try:
                return kind(text)
            except ValueError:
                continue
    raise BadValue(f"{path} = '{text}' cannot be read; give {_wanted(kinds)}")


def _wanted(kinds: tuple[type, ...]) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a name", type(None): "none"}
    return " or ".join(words.get(kind, kind.__name__) for kind in kinds)
