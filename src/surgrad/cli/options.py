"""What several commands take, and what they write."""

import argparse
from pathlib import Path


def set_option(parser: argparse.ArgumentParser) -> None:
    """Fields of a recipe."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="path=value",
        help="change one field, as in optim.lr=0.05 (`surgrad list --json` shows them)",
    )


def data_option(parser: argparse.ArgumentParser) -> None:
    """The folder of the data sets."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="where the data sets are; default: $SURGRAD_DATA, else ~/.cache/surgrad/data",
    )


def write_page(runs: list[Path], out: Path) -> Path:
    """The report of those run folders; returns `out`."""
    from surgrad.report import write_report

    return write_report(runs, out)
