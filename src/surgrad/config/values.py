"""Values of settings: their types and ranges, declared in annotations, checked, and read from text.

A constructor declares what a setting may be by its annotation, and everything else follows from that:

    def __init__(self, decay: Fraction = 0.2, *, reset: Literal["zero", "none"] = "zero", order: Count | None = None)
"""

import math
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from surgrad.errors import BadValue, unknown

LARGEST = 3.4e38
"""Of float32, in which trainings compute."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; with `open`, `low` itself is excluded.

    Args:
        low: the smallest number.
        high: the largest number.
        open: whether `low` is excluded.

    Example:
        >>> Range(0, 1).holds(0), Range(0, 1, open=True).holds(0)
        (True, False)
    """

    low: float = -math.inf
    high: float = math.inf
    open: bool = False

    def __str__(self) -> str:
        start = "" if math.isinf(self.low) else f" above {self.low}" if self.open else f" from {self.low}"
        end = "" if math.isinf(self.high) else f" to {self.high}"
        return f"{start}{end}"

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high and abs(value) <= LARGEST and not (self.open and value == self.low)


Positive = Annotated[float, Range(0, open=True)]
NonNegative = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(1)]
Size = Annotated[int, Range(0)]
Multiplier = Annotated[float, Range(0, 1000, open=True)]
"""A factor of a network's channels."""

PLAIN = (int, float, bool, str, type(None))
"""Types of the values that JSON and the command line can state."""


def alternatives(hint: Any) -> list[tuple[Any, Range | None]]:
    """The (type, range) pairs that an annotation allows: `Positive | None` -> [(float, Range), (NoneType, None)]."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [pair for part in typing.get_args(hint) for pair in alternatives(part)]
    if typing.get_origin(hint) is Annotated:
        kind, *marks = typing.get_args(hint)
        limits = next((mark for mark in marks if isinstance(mark, Range)), None)
        return [(inner, own or limits) for inner, own in alternatives(kind)]
    return [(hint, None)]


def is_plain(hint: Any) -> bool:
    """Whether every value of this annotation can be stated in JSON: numbers, words, and tuples of them."""
    return all(_is_plain_type(kind) for kind, _ in alternatives(hint))


def _is_plain_type(kind: Any) -> bool:
    if typing.get_origin(kind) is tuple:
        return all(part is Ellipsis or is_plain(part) for part in typing.get_args(kind))
    return kind in PLAIN or typing.get_origin(kind) is Literal


def checked(path: str, value: Any, hint: Any) -> Any:
    """The value as the annotation wants it: a whole number may stand for a float, and a list for a tuple.

    Args:
        path: the setting's path, for errors, as in "optim.lr".
        value: what was given.
        hint: the annotation.

    Raises:
        BadValue: for a value of another type, or out of range.
        UnknownName: for a word that the annotation does not list.
    """
    for kind, limits in alternatives(hint):
        if not _is_of(value, kind):
            continue
        if limits is not None and not limits.holds(value):
            raise BadValue(f"{path} = {value} is out of range; give a number{limits}")
        if typing.get_origin(kind) is tuple:
            return tuple(checked(path, item, part) for item, part in zip(value, _parts(kind, value), strict=True))
        return float(value) if kind is float else value
    words = [word for kind, _ in alternatives(hint) if typing.get_origin(kind) is Literal for word in _words(kind)]
    if words and isinstance(value, str):
        raise unknown(path.rpartition(".")[2].replace("_", " "), value, words)
    raise BadValue(f"{path} = {value!r} is of type {type(value).__name__}; give {wanted(hint)}")


def parsed(path: str, text: str, hint: Any) -> Any:
    """The value that a text states, as in `--set optim.lr=0.05`, checked.

    Args:
        path: the setting's path, for errors, as in "optim.lr".
        text: what was written.
        hint: the annotation.

    Raises:
        BadValue: for a text that is not a value of that type, or a value out of range.
        UnknownName: for a word that the annotation does not list.
    """
    if not text.isprintable():
        raise BadValue(f"{path} = {text!r} has characters that cannot be stored; write it in the terminal's encoding")
    for kind, _ in sorted(alternatives(hint), key=lambda pair: pair[0] is str):  # any text is a str
        found, value = _read(text, kind)
        if found:
            return checked(path, value, hint)
    if any(typing.get_origin(kind) is Literal for kind, _ in alternatives(hint)):
        return checked(path, text, hint)
    raise BadValue(f"{path} = '{text}' cannot be read; give {wanted(hint)}")


def wanted(hint: Any) -> str:
    """The values that an annotation allows, in words: "a number or none"."""
    return " or ".join(_in_words(kind) for kind, _ in alternatives(hint))


def _is_of(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is Literal:
        return value in _words(kind) and isinstance(value, str)
    if typing.get_origin(kind) is tuple:
        return isinstance(value, tuple | list) and len(_parts(kind, value)) == len(value)
    return type(value) is kind or (kind is float and type(value) is int)


def _parts(kind: Any, value: Any) -> tuple[Any, ...]:
    """The annotations of a tuple's items."""
    parts = typing.get_args(kind)
    return (parts[0],) * len(value) if parts[-1] is Ellipsis else parts


def _words(kind: Any) -> tuple[str, ...]:
    return typing.get_args(kind)


def _read(text: str, kind: Any) -> tuple[bool, Any]:
    """(whether the text is a value of that type, the value)."""
    if kind is type(None):
        return text.lower() in ("none", "null"), None
    if kind is bool:
        return text.lower() in ("true", "false"), text.lower() == "true"
    if typing.get_origin(kind) is Literal:
        return text in _words(kind), text
    if typing.get_origin(kind) is tuple:
        texts = [part.strip() for part in text.strip("()[] ").split(",") if part.strip()]
        if len(_parts(kind, texts)) != len(texts):
            return False, None
        read = [_read(part, alternatives(hint)[0][0]) for part, hint in zip(texts, _parts(kind, texts), strict=True)]
        return all(found for found, _ in read), tuple(value for _, value in read)
    try:
        return True, kind(text)
    except ValueError:
        return False, None


def _in_words(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(_words(kind))
    if typing.get_origin(kind) is tuple:
        return "several, separated by commas"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a name", type(None): "none"}
    return words.get(kind, getattr(kind, "__name__", str(kind)))
