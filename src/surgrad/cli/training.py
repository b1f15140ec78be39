"""Commands that list recipes, train, evaluate and report."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgrad.cli.arguments import data_option, named_recipe, path_argument, set_option, write_page
from surgrad.errors import Interrupted, SurgradError, TrainingStopped

if TYPE_CHECKING:
    from surgrad.train import Recipe

RUNS = Path("runs")
LOGGERS = ("tensorboard", "wandb")


def list_recipes(arguments: argparse.Namespace) -> int:
    """List the recipes, with published and reproduced accuracies.

    Reproduced: mean and standard deviation, over seeds, of the final epoch's test accuracy in our records.
    """
    from surgrad.config.recipe import to_dict
    from surgrad.recipes import DEFAULT, RECIPES
    from surgrad.recipes.reproduced import reproduced

    recipes = [build() for build in RECIPES.values()]
    if arguments.json:
        print(json.dumps([to_dict(recipe) for recipe in recipes], indent=2, ensure_ascii=False))
        return 0
    ours = reproduced()
    wide = max(len(recipe.name) for recipe in recipes)
    print(f"{'recipe':{wide}}  {'network':17}    T  published  {'reproduced':>14}  summary")
    for recipe in recipes:
        published = "-" if recipe.published is None else f"{100 * recipe.published:.2f} %"
        found = str(ours.get(recipe.name, "-"))
        default = " (default)" if recipe.name == DEFAULT and "default" not in recipe.summary else ""
        print(
            f"{recipe.name:{wide}}  {recipe.model.name:17}  {recipe.model.steps:3}  {published:>9}  {found:>14}  "
            f"{recipe.summary}{default}"
        )
    return 0


def train_recipe(arguments: argparse.Namespace) -> int:
    """Train a recipe.

    Writes a run folder with the recipe, the environment, metrics, widths, checkpoints and report.html. Ctrl-C finishes
    the current step, saves, and stops; --resume continues from there, bit for bit.
    """
    from surgrad import ranks
    from surgrad.train.launch import process_group

    with process_group(_device(arguments.set)):
        with ranks.joined() as place:
            recipe, folder = ranks.on_each(lambda: _recipe_and_folder(arguments))
            out = ranks.from_first(lambda: folder)
        return _train_share(recipe, out, arguments) if place.rank else _train(recipe, out, arguments)


def _train_share(recipe: "Recipe", out: Path, arguments: argparse.Namespace) -> int:
    """Train as one of several processes that is not the first: the first writes and prints."""
    from surgrad.train import train

    train(recipe, out, data=arguments.data, resume=arguments.resume)
    return 0


def _train(recipe: "Recipe", out: Path, arguments: argparse.Namespace) -> int:
    """Train, and write the report."""
    from surgrad.files import read_rows
    from surgrad.train import train

    print(f"{recipe.name}: {recipe.summary}\nrun folder: {out}", flush=True)
    try:
        train(recipe, out, data=arguments.data, resume=arguments.resume, **_observers(arguments.log))
    except (Interrupted, TrainingStopped):
        _draw_example(recipe, out, arguments.data)
        write_page([out], out / "report.html")
        raise
    last = read_rows(out / "metrics.jsonl")[-1]
    _draw_example(recipe, out, arguments.data)
    page = write_page([out], out / "report.html")
    print(
        f"test accuracy {100 * last['test_accuracy']:.2f} % after {last['epoch']} epochs (final epoch), "
        f"{last['train_seconds'] / 60:.1f} min of training\nrun folder: {out}\nreport: {page}"
    )
    return 0


def _device(settings: list[str]) -> str:
    """The device that the settings name; "auto" where they do not."""
    named = [text.partition("=")[2] for text in settings if text.partition("=")[0] == "run.device"]
    return named[-1] if named else "auto"


def _observers(names: list[str]) -> dict[str, Any]:
    """The loggers of --log, as an argument of `surgrad.train.train`."""
    if not names:
        return {}
    from surgrad.train import loggers_by_name

    return {"observers": loggers_by_name(names)}


def _draw_example(recipe: "Recipe", out: Path, data: Path | None) -> None:
    """Draw the first test recording of a training on recordings, for the report."""
    from surgrad.data import EventSource
    from surgrad.report import write_recording
    from surgrad.report.recording import EXAMPLE
    from surgrad.train.building import find_source

    try:
        source = find_source(recipe, data)
        if isinstance(source, EventSource):
            write_recording(source.example(recipe.model.steps), out / EXAMPLE)
    except SurgradError as error:  # the report is written without the picture
        print(f"surgrad: the report has no picture of a recording: {error}", file=sys.stderr)


def _recipe_and_folder(arguments: argparse.Namespace) -> tuple["Recipe", Path]:
    """The recipe and the run folder of `surgrad train`."""
    from surgrad.config import derive, set_fields
    from surgrad.recipes import DEFAULT
    from surgrad.train.run_folder import recipe_of

    resumed = arguments.out and arguments.resume and (arguments.out / "recipe.json").exists()
    if resumed and arguments.recipe is None:
        recipe = set_fields(recipe_of(arguments.out), arguments.set)
    else:
        recipe = named_recipe(arguments.recipe or DEFAULT, arguments.set)
    if arguments.seed is not None:
        recipe = derive(recipe, seed=arguments.seed)
    if arguments.skip_bad:
        recipe = derive(recipe, data={"skip_bad": True})
    return recipe, arguments.out or _folder(recipe, arguments.resume)


def _folder(recipe: "Recipe", resume: bool) -> Path:
    """The run folder where --out is not given: to resume, the newest run of this recipe and seed; else a new folder."""
    from datetime import datetime

    stem = f"{recipe.name}-seed{recipe.seed}"
    runs = [path.parent for path in RUNS.glob(f"{stem}-*/recipe.json")]
    if resume and runs:
        return max(runs, key=lambda run: (run / "recipe.json").stat().st_mtime_ns)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    names = [f"{stem}-{stamp}", *(f"{stem}-{stamp}-{n}" for n in range(2, 1000))]
    return next(RUNS / name for name in names if not (RUNS / name).exists())


def evaluate(arguments: argparse.Namespace) -> int:
    """Evaluate the weights of a run on the test set."""
    from surgrad.train import evaluate_run

    which = "best" if arguments.best else "last"
    result = evaluate_run(
        arguments.run, data=arguments.data, which=which, say=lambda text: print(f"surgrad: {text}", file=sys.stderr)
    )
    if arguments.json:
        print(json.dumps(result))
    else:
        print(
            f"{result['run']} ({which}): test accuracy {100 * result['test_accuracy']:.2f} %, "
            f"loss {result['test_loss']:.4f}"
        )
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Write one page about one or several runs."""
    out = arguments.out or (arguments.runs[0] / "report.html" if len(arguments.runs) == 1 else Path("report.html"))
    print(write_page(arguments.runs, out))
    return 0


def figures(arguments: argparse.Namespace) -> int:
    """Draw the figures of papers from runs.

    Draws the figures of LSG (Lian et al. 2023) and Dspike (Li et al. 2021), and χ as ESG controls it, from finished
    runs such as those of `surgrad sweep`; in a shell, DIR/*/ names all its run folders.
    """
    from surgrad.report import write_figures

    for path in write_figures([run for run in arguments.runs if (run / "recipe.json").exists()], arguments.out):
        print(path)
    return 0


def describe_list(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `surgrad list`."""
    parser.add_argument("--json", action="store_true", help="print every setting of every recipe as JSON")


def describe_train(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `surgrad train`."""
    parser.add_argument(
        "recipe",
        nargs="?",
        help="a name that `surgrad list` shows, or path/to/file.py:function with a function that returns a recipe; "
        "default: lsg_fashion_small_t4",
    )
    data_option(parser)
    parser.add_argument("--out", type=path_argument, metavar="DIR", help="run folder; default: a new one under runs/")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of weights, order of images and augmentation")
    set_option(parser)
    parser.add_argument(
        "--log",
        action="append",
        default=[],
        choices=LOGGERS,
        metavar="NAME",
        help=f"also log to {' or '.join(LOGGERS)}; can be repeated",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="skip recordings that cannot be read, up to 1 %% of all, and list them",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in --out, or start one if there is none; without --out, continue the newest run of this "
        "recipe and seed under runs/",
    )


def describe_eval(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `surgrad eval`."""
    parser.add_argument("run", type=path_argument, help="run folder")
    data_option(parser)
    parser.add_argument(
        "--best",
        action="store_true",
        help="use the weights of the best epoch (where it was chosen on the test set, its accuracy is too optimistic)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def describe_figures(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `surgrad figures`."""
    parser.add_argument("runs", type=path_argument, nargs="+", help="run folders; other folders are ignored")
    parser.add_argument(
        "--out",
        type=path_argument,
        default=Path("figures"),
        metavar="DIR",
        help="folder of the pictures (default: %(default)s)",
    )


def describe_report(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `surgrad report`."""
    parser.add_argument("runs", type=path_argument, nargs="+", help="run folders")
    parser.add_argument(
        "--out",
        type=path_argument,
        metavar="FILE.html",
        help="the page; default: report.html in the run folder, or here for several runs",
    )
