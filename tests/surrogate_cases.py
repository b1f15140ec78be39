"""The constants of the surrogate functions with other values than the defaults, from their declared ranges."""

from surgrad.config.registry import Option, options_of
from surgrad.config.values import Range, alternatives
from surgrad.surrogates import SURROGATE_BUILDERS


def range_of(option: Option) -> Range:
    """The range that an option's annotation declares."""
    ranges = [limits for _, limits in alternatives(option.hint) if limits is not None]
    return ranges[0] if ranges else Range()


def other_value(option: Option) -> float:
    """A value in the range, not the default: half as far again from the lower end, or halfway to the upper one."""
    limits = range_of(option)
    low = max(limits.low, -1.0)
    value = low + 1.5 * (option.default - low) if option.default > low else low + 0.5
    return value if limits.holds(value) else (option.default + limits.high) / 2


def other_constants(name: str) -> dict[str, float]:
    """By parameter of the constructor, in their order; those that the context supplies (a threshold) included."""
    return {key: other_value(option) for key, option in options_of(SURROGATE_BUILDERS[name]).items()}


OTHERS = {name: build(**other_constants(name)) for name, build in SURROGATE_BUILDERS.items() if other_constants(name)}
"""Every surrogate function that has constants, with others than the defaults."""
