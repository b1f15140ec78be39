"""Errors that a user can act on: what was given, what is wanted, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches

FEW = 8
"""The largest number of known names that an error lists where none resembles the given one."""


class SurgradError(Exception):
    """Base of every error that surgrad raises on purpose; the command line prints it without a traceback."""

    of_all_ranks = False
    """Whether all processes of a training raise it, so that one of them should report it."""


class UnknownName(SurgradError, KeyError):
    """A name that no registry holds.

    Attributes:
        near: up to three known names that resemble it, in words ("'a', 'b' or 'c'").
    """

    near = ""

    def __str__(self) -> str:  # KeyError would print the repr
        return self.args[0]


class BadValue(SurgradError, ValueError):
    """A value outside what its field allows."""


class DataError(SurgradError):
    """Data that is missing, altered or unsafe to read."""


class CheckpointError(SurgradError):
    """A run folder that cannot be resumed or read as asked."""


class TrainingStopped(SurgradError):
    """Training cannot continue (a loss that is not finite); the last good checkpoint is kept."""

    of_all_ranks = True


class LostRank(SurgradError):
    """Another process of the training has ended."""

    asked_to_end = False
    """Whether this process was asked to end before it noticed, as by torchrun, which says why."""


class Interrupted(SurgradError):
    """Training was stopped from outside, and saved; it can be resumed."""

    of_all_ranks = True


def unknown(kind: str, given: object, known: Iterable[str], where: str = "") -> UnknownName:
    """The error for an unknown name: it offers up to three known names that resemble the given one.

    Where none does, it lists all of them if they are few.

    Args:
        kind: what the name should be, as in "surrogate function".
        given: the unknown name.
        known: the known names.
        where: what lists the known names, if they are many.

    Example:
        >>> str(unknown("surrogate function", "triangel", ["rect", "triangle"]))
        "unknown surrogate function 'triangel'; did you mean 'triangle'?"
    """
    names = sorted(known)
    near = in_words([f"'{name}'" for name in nearest(str(given), names)])
    few = f"choose from {', '.join(names)}" if len(names) <= FEW else where or f"there are {len(names)}"
    error = UnknownName(f"unknown {kind} '{given}'; " + (f"did you mean {near}?" if near else few))
    error.near = near
    return error


def nearest(given: str, names: Iterable[str], most: int = 3) -> list[str]:
    """The names that resemble the given one: spelt alike, or beginning with it.

    Args:
        given: the name.
        names: the names to choose from.
        most: the largest number of names.
    """
    names = list(names)
    alike = get_close_matches(given, names, n=most, cutoff=0.6)
    begin = sorted((name for name in names if given and name.startswith(given) and name not in alike), key=len)
    return (alike + begin)[:most]


def in_words(items: list[str]) -> str:
    """The items as one text: "a", "a or b", "a, b or c"."""
    return " or ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))
