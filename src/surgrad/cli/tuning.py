"""The command that finds a surrogate function and its width."""

import argparse
from pathlib import Path

from surgrad.cli.arguments import data_option, path_argument, set_option


def run_tune(arguments: argparse.Namespace) -> int:
    """Find out which surrogate function, and how wide, for a recipe and its data.

    Prints the width of each layer that calibration on the first batch would choose. Then candidates (surrogate
    functions, controllers, shares χ*) race by short trainings: the best continue with longer ones, and the finalists
    and the recipe as it is are trained with several seeds. They are compared on samples that are set apart from the
    training data. Ends with a sentence, a table with intervals and the --set options to use; --out has table.md,
    table.png, the trainings and race.log, an Optuna journal. Ctrl-C stops after the current steps; the same command
    continues. Needs surgrad[tune].
    """
    from surgrad.tuning import tune_recipe
    from surgrad.tuning.recipes import Queue

    folder = Path(arguments.what)
    name = str(folder.resolve() / "recipe.json") if folder.is_dir() else arguments.what
    found = tune_recipe(
        name,
        arguments.set,
        out=arguments.out,
        minutes=arguments.minutes,
        seeds=arguments.seeds,
        queue=Queue(arguments.data, arguments.workers, arguments.address),
        say=lambda text: print(text, flush=True),
    )
    print(f"\n{found.table}\n\n{found.sentence}")
    if found.set_line:
        given = " ".join(f"--set {setting}" for setting in arguments.set)
        print(f"surgrad train {name} {given} {found.set_line}".replace("  ", " "))
    print(f"in {arguments.out}: table.md, table.png, race.log")
    return 0


def describe_tune(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `surgrad tune`."""
    parser.add_argument(
        "what", metavar="RUN|RECIPE", help="a run folder; or a recipe (a name, or path/to/file.py:function)"
    )
    data_option(parser)
    set_option(parser)
    parser.add_argument("--minutes", type=float, default=30.0, metavar="M", help="time for all trainings (default: 30)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each finalist (default: 3)")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="K", help="trainings at a time, which share the cores (default: 1)"
    )
    parser.add_argument("--address", metavar="HOST", help="train on this Ray cluster (pip install 'surgrad[cluster]')")
    parser.add_argument(
        "--out",
        type=path_argument,
        default=Path("tune"),
        metavar="DIR",
        help="folder of the race (default: %(default)s)",
    )
