"""Arguments that several commands have, and the recipes they name."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from surgrad.errors import UnknownName

if TYPE_CHECKING:
    from surgrad.train import Recipe


def path_argument(text: str) -> Path:
    """A path of the command line. An empty one, as of an unset variable in a script, would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path; give a file or a folder (the current folder is .)")
    return Path(text)


def set_option(parser: argparse.ArgumentParser, what: str = "change a setting of the recipe") -> None:
    """Add --set, which changes settings of a recipe; its help begins with `what`."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help=f"{what}, as in optim.lr=0.05; can be repeated (`surgrad options` lists all)",
    )


def data_option(parser: argparse.ArgumentParser) -> None:
    """Add --data, the folder of the data sets."""
    parser.add_argument(
        "--data",
        type=path_argument,
        metavar="DIR",
        help="folder of the data sets; default: $SURGRAD_DATA, or ~/.cache/surgrad/data",
    )


def named_recipe(name: str, settings: Sequence[str] = ()) -> "Recipe":
    """The recipe of that name, or of path/to/file.py:function, with settings changed as by --set."""
    from surgrad.config import set_fields
    from surgrad.recipes import RECIPES, find_recipe

    try:
        recipe = find_recipe(name)
    except UnknownName as error:
        if not error.near:
            raise
        raise UnknownName(f"{error} `surgrad list` shows all {len(RECIPES)}") from None
    return set_fields(recipe, settings)


def write_page(runs: list[Path], out: Path) -> Path:
    """Write the report of run folders to `out`, and return `out`."""
    from surgrad.report import write_report

    return write_report(runs, out)
