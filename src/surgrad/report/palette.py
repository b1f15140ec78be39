"""Colours for light and dark pages.

A figure for a page is drawn once, in stand-in colours (#fe0000, #fe0001, …). `surgrad.report.svg` replaces them by CSS
variables, so that the browser chooses the theme. A picture in a file is drawn in the real colours of the light theme.
"""

from dataclasses import dataclass
from functools import cache

DEPTHS = 32
"""Steps of the colour map for depth; more could not be distinguished."""
RUNS = 8
"""Colours of runs; further runs repeat them with another dash pattern."""

_NAMES = ("ink", "muted", "grid", "test", "train", "mark")
_LIGHT = ("#1f2328", "#59636e", "#d8dee4", "#0b62c4", "#d9730d", "#8250df")
_DARK = ("#e6edf3", "#9aa4af", "#30363d", "#66b0ff", "#ffa657", "#c9a2ff")
_LIGHT_RUNS = ("#0b62c4", "#d9560d", "#0a8f6a", "#b8479a", "#8a6d00", "#2f9fc4", "#6a4cc0", "#5b6570")
_DARK_RUNS = ("#66b0ff", "#ff9559", "#3ddc97", "#f29ac9", "#e3c23c", "#7fe0f5", "#b79cff", "#b6c0ca")
_DEPTH_RANGE = {"light": (0.0, 0.88), "dark": (0.22, 1.0)}
"""The part of the colour map that is visible on each background."""


@dataclass(frozen=True)
class Palette:
    """Colours to draw with, as hexadecimal strings."""

    ink: str
    muted: str
    grid: str
    test: str
    train: str
    mark: str
    runs: tuple[str, ...]
    depths: tuple[str, ...]

    def run(self, place: int) -> str:
        return self.runs[place % RUNS]

    def depth(self, place: int, count: int) -> str:
        """The colour of layer `place` of `count`, from input to output."""
        return self.depths[depth_step(place, count)]


def depth_step(place: int, count: int) -> int:
    """The step of the depth colour map for layer `place` of `count`."""
    return round(place / max(count - 1, 1) * (DEPTHS - 1))


def variables() -> tuple[str, ...]:
    """The CSS variables, in the order of the stand-in colours."""
    return (*_NAMES, *(f"r{n}" for n in range(RUNS)), *(f"d{n}" for n in range(DEPTHS)))


def stand_ins() -> Palette:
    """Colours that stand for CSS variables."""
    return _palette(tuple(f"#fe{n:04x}" for n in range(len(variables()))))


def light() -> Palette:
    """The real colours of the light theme."""
    return _palette(theme("light"))


@cache
def theme(name: str) -> tuple[str, ...]:
    """The values of `variables()` in the theme 'light' or 'dark'."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    low, high = _DEPTH_RANGE[name]
    steps = (low + (high - low) * n / (DEPTHS - 1) for n in range(DEPTHS))
    depths = tuple(to_hex(colormaps["viridis"](step)) for step in steps)
    return (_LIGHT + _LIGHT_RUNS if name == "light" else _DARK + _DARK_RUNS) + depths


def _palette(colours: tuple[str, ...]) -> Palette:
    plain = colours[: len(_NAMES)]
    rest = colours[len(_NAMES) :]
    return Palette(**dict(zip(_NAMES, plain, strict=True)), runs=rest[:RUNS], depths=rest[RUNS:])
