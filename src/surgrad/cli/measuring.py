"""Commands that measure a network."""

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgrad.cli.arguments import data_option, named_recipe, path_argument, set_option
from surgrad.errors import BadValue

if TYPE_CHECKING:
    from surgrad.measure import Energy
    from surgrad.train import Recipe

SWITCHES = {
    "stem_every_step": "count the layer that sees the image at every time step, although it is computed once",
    "counts_as_macs": "count a multiplication for inputs that are sums of spikes, not an addition per spike",
    "fractions_as_acs": "count an addition per spike for inputs that are averages of spikes, not a multiplication",
    "without_head": "do not count the last layer, in the ANN neither",
    "residuals": "count the additions of shortcuts",
    "updates": "count the operations of the neurons themselves",
}
"""The options of `surgrad.measure.Accounting`, and their help."""


def diagnose(arguments: argparse.Namespace) -> int:
    """Find out why a network does not learn.

    Measures every layer of a run's network, or of a recipe's network before training, on one batch of training images:
    which neurons get a gradient, how often they fire, and the distribution of their potentials. Prints the problems
    found, and writes a page with plots.
    """
    from surgrad.report import read_run, write_diagnosis
    from surgrad.report.diagnosis import compared
    from surgrad.report.output import replace
    from surgrad.train import diagnose_recipe

    recipe, folder = _named(arguments.what, arguments.set)
    record = diagnose_recipe(
        recipe, folder, data=arguments.data, images=arguments.images, directions=arguments.directions
    )
    out = arguments.out or (folder or Path()) / "diagnosis.html"
    run = None if folder is None else read_run(folder)
    write_diagnosis(record, out, run)
    if run is not None:
        curves = {layer: run.layer_curve(layer, "decay") for layer in run.layers}
        record["over_training"] = {
            layer: {"epochs": epochs, "decay": decays, "f": [math.hypot(1, b) for b in decays]}
            for layer, (epochs, decays) in curves.items()
        }
    if arguments.json:
        replace(arguments.json, lambda path: path.write_text(json.dumps(record, indent=1, ensure_ascii=False), "utf-8"))
    print(f"{record['name']}: {record['about']}\n\n{layer_table(record['layers'])}\n")
    for finding in record["findings"]:
        print(f"! {finding['sentence']}")
    if not record["findings"]:
        print("No problem was found.")
    print(f"{compared(record['first_weights'])}\npage: {out}")
    return 0


def count_energy(arguments: argparse.Namespace) -> int:
    """Count the operations of a run's network, and their energy.

    Counts accumulate operations (0.9 picojoules at 45 nm) where the inputs of a layer are spikes, and
    multiply-accumulate operations (4.6 picojoules) where they are real numbers, at the spike rates on the test images.
    Compares them with one pass of the same network as an ANN. Memory traffic is not counted.
    """
    from surgrad.measure import Accounting
    from surgrad.train import energy_of_run

    accounting = Accounting(**{name: getattr(arguments, name) for name in SWITCHES})
    found = energy_of_run(arguments.run, accounting, data=arguments.data, images=arguments.images)
    if arguments.json:
        record = {"run": str(arguments.run), "accounting": vars(accounting), **found.record()}
        print(json.dumps(record, indent=1))
    else:
        _print_energy(found)
    return 0


def _print_energy(found: "Energy") -> None:
    wide = max(len(layer.layer) for layer in found.layers)
    print(f"{'layer':{wide}}  inputs     rate   passes        MACs         ACs         nJ")
    for layer in found.layers:
        rate = "    –" if layer.inputs == "image" else f"{layer.rate:5.3f}"
        print(
            f"{layer.layer:{wide}}  {layer.inputs:9}  {rate}  {layer.passes:6.3g}  {layer.macs:10,.0f}  "
            f"{layer.acs:10,.0f}  {layer.energy / 1e3:9,.2f}"
        )
    rates = " ".join(f"{rate:.3f}" for rate in found.firing_rates.values())
    print(f"spikes per neuron and time step, by layer: {rates}")
    print(
        f"one image, T={found.steps}, over {found.images:,} test images: {found.total / 1e6:.3f} µJ, "
        f"{100 * found.ratio:.1f} % of the {found.ann / 1e6:.3f} µJ of the same network as an ANN"
    )


def _named(what: str, settings: list[str]) -> tuple["Recipe", Path | None]:
    """The recipe of a run folder, and that folder; or the recipe of that name, with settings changed, and None."""
    from surgrad.train.run_folder import recipe_of

    folder = Path(what) if Path(what).is_dir() else None
    if folder is None:
        return named_recipe(what, settings), None
    if settings:
        raise BadValue(f"{what} is a run folder, and is measured as it was trained; --set is for recipes only")
    return recipe_of(folder), folder


def layer_table(layers: list[dict[str, Any]]) -> str:
    """The evidence of a diagnosis as a table with one line per layer."""
    wide = max(len(layer["layer"]) for layer in layers)
    lines = [
        f"   # {'layer':{wide}}  width  calibrated  in window  chi  by weight  gradient   fires  never  always"
        "   spread  theorem 1  cosine  reliability"
    ]
    for place, layer in enumerate(layers, 1):
        calibrated = "-" if layer["calibrated"] is None else f"{layer['calibrated']:.3g}"
        gradient = "-" if layer["gradient"] is None else f"{layer['gradient']:.1e}"
        weights = "-" if layer["chi_weights"] is None else f"{100 * layer['chi_weights']:.0f} %"
        shares = (f"{100 * layer[key]:.0f} %" for key in ("firing_rate", "dead", "saturated"))
        finite = layer["finite_differences"] or {}
        cosine, reliability = (f"{finite[key]:.2f}" if finite else "-" for key in ("cosine", "reliability"))
        lines.append(
            f"{place:4} {layer['layer']:{wide}}  {layer['width']:5.3g}  {calibrated:>10}  {100 * layer['share']:7.0f} %"
            f"  {100 * layer['chi']:3.0f}  {weights:>9}  {gradient:>8}  "
            + "  ".join(f"{share:>5}" for share in shares)
            + f"  {layer['spread']:7.2f}  {layer['predicted']:9.2f}  {cosine:>6}  {reliability:>11}"
        )
    return "\n".join(lines)


def describe_diagnose(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `surgrad diagnose`."""
    parser.add_argument(
        "what", metavar="RUN|RECIPE", help="a run folder; or a recipe (a name, or path/to/file.py:function)"
    )
    data_option(parser)
    set_option(parser)
    parser.add_argument(
        "--images", type=int, default=128, metavar="N", help="number of images in the batch (default: %(default)s)"
    )
    parser.add_argument(
        "--directions",
        type=int,
        default=0,
        metavar="K",
        help="compare the surrogate gradient of every layer with finite differences along K random directions, in 2K "
        "passes per layer (default: only for the first weights)",
    )
    parser.add_argument(
        "--out",
        type=path_argument,
        metavar="FILE.html",
        help="the page; default: diagnosis.html in the run folder, or here",
    )
    parser.add_argument("--json", type=path_argument, metavar="FILE", help="also write all numbers to this file")


def describe_energy(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `surgrad energy`."""
    parser.add_argument("run", type=path_argument, help="run folder")
    data_option(parser)
    parser.add_argument("--images", type=int, metavar="N", help="use only the first N test images")
    for name, text in SWITCHES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=text)
    parser.add_argument("--json", action="store_true", help="print all numbers as JSON")
