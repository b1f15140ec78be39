"""Errors that a user can act on: what was given, what is wanted, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class SurgradError(Exception):
    """Base of every error that surgrad raises on purpose; the command line prints it without a traceback."""


class UnknownName(SurgradError, KeyError):
    """A name that no registry holds."""

    def __str__(self) -> str:  # KeyError would print the repr
        return self.args[0]


class BadValue(SurgradError, ValueError):
    """A value outside what its field allows."""


class DataError(SurgradError):
    """Data that is missing, altered or unsafe to read."""


class CheckpointError(SurgradError):
    """A run folder that cannot be resumed or read as asked."""


class TrainingStopped(SurgradError):
    """Training cannot go on (a loss that is not finite); the last good checkpoint is kept."""


class Interrupted(SurgradError):
    """Training was stopped from outside, and saved; it can be resumed."""


def unknown(kind: str, given: object, known: Iterable[str]) -> UnknownName:
    """The error for an unknown `kind`, with the nearest known name offered.

    >>> str(unknown("shape", "triangel", ["rect", "triangle"]))
    "unknown shape 'triangel'; did you mean 'triangle'? known: rect, triangle"
    """
    names = sorted(known)
    near = get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    return UnknownName(f"unknown {kind} '{given}'{hint} known: {', '.join(names)}")
