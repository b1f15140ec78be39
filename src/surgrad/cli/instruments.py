"""Commands that look into a network."""

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgrad.cli.options import data_option, set_option
from surgrad.errors import BadValue

if TYPE_CHECKING:
    from surgrad.train import Recipe

SWITCHES = {  # of `surgrad.measure.Accounting`
    "stem_every_step": "count the layer that sees the image at every step, although it is computed once",
    "counts_as_macs": "multiply by inputs that are sums of spikes, instead of adding as often",
    "fractions_as_acs": "add inputs that are averages of spikes, as if the averaging were part of the weights",
    "without_head": "leave the last layer out, of the ANN too",
    "residuals": "count the additions of shortcuts",
    "updates": "count the neurons' own operations",
}


def diagnose(arguments: argparse.Namespace) -> int:
    """Say why a network does or does not learn.

    Looks at every layer of a run's network, or of a recipe's before training, on one batch of training images: who
    gets a gradient, who fires, how the potentials lie. Prints what is wrong, and writes a page with plots.
    """
    from surgrad.report import read_run, write_diagnosis
    from surgrad.report.diagnosis import compared
    from surgrad.report.files import replace
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
        replace(arguments.json, lambda path: path.write_text(json.dumps(record, indent=1, ensure_ascii=False)))
    print(f"{record['name']}: {record['about']}\n\n{layer_table(record['layers'])}\n")
    for finding in record["findings"]:
        print(f"! {finding['sentence']}")
    print(
        f"{'' if record['findings'] else 'Nothing wrong was found. '}{compared(record['first_weights'])}\npage: {out}"
    )
    return 0


def count_energy(arguments: argparse.Namespace) -> int:
    """Count a run's operations, and their energy.

    Additions where spikes come in and multiplications where numbers do, at 0.9 and 4.6 picojoules (45 nm), on the test
    images; beside one pass of the same network with numbers in place of spikes. Memory traffic is not counted.
    """
    from surgrad.measure import Accounting
    from surgrad.train import energy_of_run

    chosen = Accounting(**{name: getattr(arguments, name) for name in SWITCHES})
    found = energy_of_run(arguments.run, chosen, data=arguments.data, images=arguments.images)
    if arguments.json:
        record = {"run": str(arguments.run), "accounting": vars(chosen), **found.record()}
        print(json.dumps(record, indent=1))
        return 0
    wide = max(len(layer.layer) for layer in found.layers)
    print(f"{'layer':{wide}}  inputs     rate   passes        MACs         ACs         nJ")
    for layer in found.layers:
        rate = "    –" if layer.inputs == "image" else f"{layer.rate:5.3f}"
        print(
            f"{layer.layer:{wide}}  {layer.inputs:9}  {rate}  {layer.passes:6.3g}  {layer.macs:10,.0f}  "
            f"{layer.acs:10,.0f}  {layer.energy / 1e3:9,.2f}"
        )
    print(f"spikes per neuron and step, by layer: {' '.join(f'{rate:.3f}' for rate in found.firing_rates.values())}")
    print(
        f"one image, T={found.steps}, over {found.images:,} test images: {found.total / 1e6:.3f} µJ, "
        f"{100 * found.ratio:.1f} % of the {found.ann / 1e6:.3f} µJ of the same network as an ANN"
    )
    return 0


def _named(what: str, settings: list[str]) -> tuple["Recipe", Path | None]:
    """The recipe of a run folder, and that folder; or the recipe of that name; with fields set."""
    from surgrad.config import set_fields
    from surgrad.recipes import find_recipe
    from surgrad.train.run import recipe_of

    folder = Path(what) if Path(what).is_dir() else None
    if folder is not None and settings:
        raise BadValue(f"{what} is a run, which is looked at as it was trained; --set is for recipes")
    return set_fields(find_recipe(what), settings) if folder is None else recipe_of(folder), folder


def layer_table(layers: list[dict[str, Any]]) -> str:
    """The evidence, a line a layer."""
    wide = max(len(layer["layer"]) for layer in layers)
    lines = [
        f"   # {'layer':{wide}}  width  in window  chi  by weight  gradient   fires  never  always"
        "   spread  theorem 1  cosine  reliability"
    ]
    for place, layer in enumerate(layers, 1):
        gradient = "-" if layer["gradient"] is None else f"{layer['gradient']:.1e}"
        weights = "-" if layer["chi_weights"] is None else f"{100 * layer['chi_weights']:.0f} %"
        shares = (f"{100 * layer[key]:.0f} %" for key in ("firing_rate", "dead", "saturated"))
        finite = layer["finite_differences"] or {}
        cosine, reliability = (f"{finite[key]:.2f}" if finite else "-" for key in ("cosine", "reliability"))
        lines.append(
            f"{place:4} {layer['layer']:{wide}}  {layer['width']:5.3g}  {100 * layer['share']:7.0f} %"
            f"  {100 * layer['chi']:3.0f}  {weights:>9}  {gradient:>8}  "
            + "  ".join(f"{share:>5}" for share in shares)
            + f"  {layer['spread']:7.2f}  {layer['predicted']:9.2f}  {cosine:>6}  {reliability:>11}"
        )
    return "\n".join(lines)


def describe_diagnose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="RUN|RECIPE", help="a run folder, or the name of a recipe (not yet trained)")
    data_option(parser)
    set_option(parser)
    parser.add_argument("--images", type=int, default=128, metavar="N", help="in the batch (default: 128)")
    parser.add_argument(
        "--directions",
        type=int,
        default=0,
        metavar="K",
        help="compare every layer's surrogate "
        "gradient with finite differences, along K random directions, 2K passes a layer (default: the "
        "first weights' alone)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="the page (diagnosis.html in the run, or here)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers here")


def describe_energy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="run folder")
    data_option(parser)
    parser.add_argument("--images", type=int, metavar="N", help="only the first so many test images")
    for name, text in SWITCHES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=text)
    parser.add_argument("--json", action="store_true", help="all numbers as JSON")
