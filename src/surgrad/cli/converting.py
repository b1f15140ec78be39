"""The command that makes a spiking network of an ANN."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from surgrad.cli.options import data_option, set_option
from surgrad.errors import BadValue

if TYPE_CHECKING:
    from surgrad.train import Recipe


def convert(arguments: argparse.Namespace) -> int:
    """Convert a trained ANN into a spiking network, and measure it over time.

    The run is of a network of ReLUs (--set neuron.name=relu). Writes a run folder with the converted network, its
    accuracy after every number of steps (conversion.json) and that as a picture (conversion.png). With --into it gets
    the neurons of a recipe of the same network, whose training then starts there, with --set start.weights=DIR.
    """
    from surgrad.report import read_run, write_conversion
    from surgrad.train import convert_run
    from surgrad.train.progress import counting

    run = arguments.run.resolve()
    out = arguments.out or run.with_name(f"{run.name}-converted")
    for beside in arguments.beside:  # before hours of computing
        if not read_run(beside).metrics:
            raise BadValue(f"{beside} has no finished epoch to be drawn; give --beside the folders of trainings")
    into = _recipe(arguments.into, arguments.set)
    steps = arguments.steps if arguments.steps is not None else (350 if into is None else into.model.steps)
    record = convert_run(
        arguments.run,
        out,
        steps=steps,
        percentile=arguments.percentile,
        scale=arguments.scale,
        images=arguments.images,
        data=arguments.data,
        into=into,
        show=counting("test images"),
    )
    picture = write_conversion(record, out / "conversion.png", arguments.beside)
    ann = 100 * record["ann_accuracy"]
    curve = [100 * share for share in record["accuracy"]]
    print(f"the ANN: {ann:.2f} %, on {record['images']:,} test images")
    for steps in [*(2**n for n in range(20) if 2**n < len(curve)), len(curve)]:
        print(f"T = {steps:4}: {curve[steps - 1]:6.2f} %  ({curve[steps - 1] - ann:+.2f})")
    near = next((t for t, value in enumerate(curve, 1) if min(curve[t - 1 :]) >= ann - 1), None)
    print(
        f"within 1 % of it {'at no T up to here' if near is None else f'from T = {near} on'}\nrun folder: {out}\n"
        f"picture: {picture}"
    )
    return 0


def _recipe(name: str | None, settings: list[str]) -> "Recipe | None":
    from surgrad.config import set_fields
    from surgrad.recipes import find_recipe

    if name is None and settings:
        raise BadValue(f"--set {settings[0]} is for the recipe of --into, and none is given; name one, or leave it out")
    return None if name is None else set_fields(find_recipe(name), settings)


def describe_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="run folder of an ANN")
    data_option(parser)
    parser.add_argument("--steps", type=int, metavar="T", help="up to which T (default: 350, or the recipe's)")
    parser.add_argument(
        "--into", metavar="RECIPE", help="convert to the neurons of this recipe, as a start for its training"
    )
    set_option(parser)
    parser.add_argument(
        "--percentile",
        type=float,
        default=99.9,
        metavar="P",
        help="of a layer's activations, which its threshold becomes; 100 for the largest (default: %(default)s)",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, metavar="X", help="what thresholds are multiplied by (default: %(default)s)"
    )
    parser.add_argument("--images", type=int, metavar="N", help="only the first so many test images")
    parser.add_argument(
        "--beside", type=Path, nargs="+", default=[], metavar="RUN", help="directly trained runs, to be drawn beside it"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder; default: RUN-converted")
