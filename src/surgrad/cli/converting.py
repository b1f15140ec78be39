"""The command that converts an ANN into a spiking network."""

import argparse
from typing import TYPE_CHECKING, Any

from surgrad.cli.arguments import data_option, named_recipe, path_argument, set_option
from surgrad.errors import BadValue

if TYPE_CHECKING:
    from surgrad.train import Recipe

DEFAULT_STEPS = 350


def convert(arguments: argparse.Namespace) -> int:
    """Convert a trained ANN into a spiking network, and measure its accuracy over time.

    The run folder must be of a network of ReLUs (--set neuron.name=relu). The command writes a new run folder with the
    converted network, its accuracy after every number of time steps (conversion.json) and a plot of that
    (conversion.png). With --into, the converted network has the neurons of a recipe of the same network, whose training
    can start from it: --set init_from=DIR.
    """
    from surgrad.report import read_run, write_conversion
    from surgrad.train import convert_run
    from surgrad.train.progress import counting

    run = arguments.run.resolve()
    out = arguments.out or run.with_name(f"{run.name}-converted")
    for folder in arguments.compare:  # checked before hours of computing
        if not read_run(folder).metrics:
            raise BadValue(f"{folder} has no finished epoch to draw; give --compare folders of trainings")
    into = _target(arguments.into, arguments.set)
    steps = arguments.steps if arguments.steps is not None else (DEFAULT_STEPS if into is None else into.model.steps)
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
    picture = write_conversion(record, out / "conversion.png", arguments.compare)
    _print_accuracy(record)
    print(f"run folder: {out}\npicture: {picture}")
    return 0


def _print_accuracy(record: dict[str, Any]) -> None:
    ann = 100 * record["ann_accuracy"]
    curve = [100 * share for share in record["accuracy"]]
    print(f"the ANN: {ann:.2f} %, on {record['images']:,} test images")
    for steps in [*(2**n for n in range(20) if 2**n < len(curve)), len(curve)]:
        print(f"T = {steps:4}: {curve[steps - 1]:6.2f} %  ({curve[steps - 1] - ann:+.2f})")
    near = next((t for t, value in enumerate(curve, 1) if min(curve[t - 1 :]) >= ann - 1), None)
    print(f"less than 1 % below the ANN: {f'never up to T = {len(curve)}' if near is None else f'from T = {near} on'}")


def _target(name: str | None, settings: list[str]) -> "Recipe | None":
    """The recipe of --into."""
    if name is None and settings:
        raise BadValue(f"--set {settings[0]} changes the recipe of --into, but --into is not given; give both or none")
    return None if name is None else named_recipe(name, settings)


def describe_convert(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `surgrad convert`."""
    parser.add_argument("run", type=path_argument, help="run folder of an ANN")
    data_option(parser)
    parser.add_argument(
        "--steps",
        type=int,
        metavar="T",
        help=f"simulate up to T time steps (default: {DEFAULT_STEPS}, or that of --into)",
    )
    parser.add_argument(
        "--into", metavar="RECIPE", help="convert to the neurons of this recipe, as a start for its training"
    )
    set_option(parser)
    parser.add_argument(
        "--percentile",
        type=float,
        default=99.9,
        metavar="P",
        help="percentile of a layer's activations that becomes its threshold; 100: the largest (default: %(default)s)",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, metavar="X", help="factor of the thresholds (default: %(default)s)"
    )
    parser.add_argument("--images", type=int, metavar="N", help="use only the first N test images")
    parser.add_argument(
        "--compare",
        "--beside",
        type=path_argument,
        nargs="+",
        default=[],
        metavar="RUN",
        help="run folders of directly trained networks to include in the plot",
    )
    parser.add_argument("--out", type=path_argument, metavar="DIR", help="new run folder; default: RUN-converted")
