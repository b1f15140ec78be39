"""Registries: parts by name, each with the options that its own constructor declares."""

import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from surgrad.config.values import checked, is_plain
from surgrad.errors import BadValue, unknown

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True)
class Option:
    """A setting that a constructor declares.

    Attributes:
        hint: its annotation.
        default: its default; `Option.REQUIRED` where it has none.
    """

    hint: Any
    default: Any

    REQUIRED: typing.ClassVar[Any] = inspect.Parameter.empty


class Registry(Mapping[str, T], Generic[T]):
    """Parts of one kind by name, as a mapping from names to constructors (classes or functions).

    Every parameter of a constructor with a plain annotation (numbers, words, `None`, `Annotated` ranges, `Literal`
    choices, tuples; see `surgrad.config.values`) is an option, and can be set from a recipe and from the command line;
    those of the context are not.

    Args:
        kind: what the parts are, in an error ("unknown neuron 'plfi'; did you mean 'plif'?").
        parts: the constructors by name.
        context: parameters of the constructors that the caller of `build` supplies (such as the number of channels),
            and that a recipe cannot set. A constructor gets those of them that it takes.

    Example:
        >>> from surgrad.config.values import Count, Positive
        >>> def ring(channels: int, radius: Positive = 1.0, turns: Count = 2) -> tuple[int, float, int]:
        ...     return channels, radius, turns
        >>> RINGS = Registry("ring", {"plain": ring}, context=("channels",))
        >>> list(RINGS.options("plain"))
        ['radius', 'turns']
        >>> RINGS.build("plain", {"turns": 3}, channels=8)
        (8, 1.0, 3)
    """

    def __init__(self, kind: str, parts: Mapping[str, T], context: Iterable[str] = ()):
        self.kind = kind
        self.context = frozenset(context)
        self._parts = dict(parts)
        self._options: dict[str, dict[str, Option]] = {}  # by name, of parts that were asked for

    def __getitem__(self, name: str) -> T:
        if name not in self._parts:
            raise unknown(self.kind, name, self._parts, "`surgrad options` lists all of them")
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def add(self, name: str, part: T) -> T:
        """Register a part from outside the package.

        Args:
            name: its name, as recipes give it.
            part: its constructor.

        Returns:
            The constructor.

        Raises:
            BadValue: for a name that another part has.
        """
        if name in self._parts and self._parts[name] is not part:
            raise BadValue(f"there already is a {self.kind} '{name}'; choose another name")
        self._parts[name] = part
        return part

    def remove(self, name: str) -> None:
        """Forget a part, so that its name is free again."""
        self[name]  # refuses an unknown name
        del self._parts[name]
        self._options.pop(name, None)

    def options(self, name: str) -> dict[str, Option]:
        """The options of a part, in the order of its constructor's parameters."""
        part = self[name]
        if name not in self._options:
            self._options[name] = {key: held for key, held in options_of(part).items() if key not in self.context}
        return dict(self._options[name])

    def check(self, name: str, options: Mapping[str, Any], path: str | None = None) -> dict[str, Any]:
        """The options with their values checked and converted.

        Args:
            name: of the part.
            options: by name.
            path: how errors name the part, as in "neuron"; its kind by default.

        Raises:
            UnknownName: for an unknown part.
            BadValue: for an option that the part does not have, a wrong type or a number out of range.
        """
        path = path or self.kind
        known = self.options(name)
        for key in options:
            if key not in known:
                raise self.no_option(name, key, path)
        return {key: checked(f"{path}.{key}", value, known[key].hint) for key, value in options.items()}

    def no_option(self, name: str, key: str, path: str | None = None) -> BadValue:
        """The error for an option that a part does not have, or for a parameter that is not an option."""
        if self.takes(name, key):
            reason = "is given by the network or the training"
            if key not in self.context:
                reason = "has no annotation of a plain type"
            return BadValue(
                f"{path or self.kind}.{key}: '{key}' of {self.kind} '{name}' {reason}, so it cannot be set from a "
                "recipe"
            )
        known = list(self.options(name))
        near = unknown("option", key, known).near
        have = f"did you mean {near}?" if near else f"it has {', '.join(known[:8]) or 'none'}"
        return BadValue(f"{path or self.kind}.{key}: {self.kind} '{name}' has no option '{key}'; {have}")

    def build(self, name: str, options: Mapping[str, Any] | None = None, /, **context: Any) -> Any:
        """The part, made with these options and with those entries of the context that its constructor takes.

        Args:
            name: of the part.
            options: by name; the others have the constructor's defaults.
            **context: what the caller supplies.

        Raises:
            UnknownName: for an unknown part.
            BadValue: for an option that the part does not have, a wrong type or a number out of range.
        """
        given = self.check(name, options or {})
        taken = inspect.signature(self[name]).parameters
        return self[name](**given, **{key: value for key, value in context.items() if key in taken})

    def takes(self, name: str, parameter: str) -> bool:
        """Whether a part's constructor has a parameter of that name."""
        return parameter in inspect.signature(self[name]).parameters


def options_of(part: Callable[..., Any]) -> dict[str, Option]:
    """The options of a class or function: the plainly annotated parameters of its signature, in their order."""
    function = getattr(part, "func", part)  # of a functools.partial
    function = function.__init__ if inspect.isclass(function) else function
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = inspect.signature(part).parameters
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {
        name: Option(hints[name], parameter.default)
        for name, parameter in parameters.items()
        if parameter.kind in named and name in hints and is_plain(hints[name])
    }
