"""Commands that list, train, test and report."""

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from surgrad.cli.options import data_option, set_option, write_page
from surgrad.errors import Interrupted, SurgradError, TrainingStopped

if TYPE_CHECKING:
    from surgrad.train import Recipe

RUNS = Path("runs")


def list_recipes(arguments: argparse.Namespace) -> int:
    """Show the recipes, the papers' figures and ours.

    Reproduced are mean and standard deviation of the final epoch's test accuracy, over the seeds of the records.
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
    print(f"{'recipe':{wide}}  {'network':17}    T  published  {'reproduced':>14}  what")
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

    Writes a run folder: recipe, environment, metrics, widths, checkpoints and report.html. Ctrl-C stops after the
    step under way, and --resume goes on from there, bit for bit.
    """
    from surgrad.train import train

    recipe, out = _asked(arguments)
    print(f"{recipe.name}: {recipe.summary}\nrun folder: {out}", flush=True)
    try:
        train(recipe, out, data=arguments.data, resume=arguments.resume)
    except (Interrupted, TrainingStopped):
        _draw_example(recipe, out, arguments.data)
        write_page([out], out / "report.html")
        raise
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    _draw_example(recipe, out, arguments.data)
    page = write_page([out], out / "report.html")
    print(
        f"test accuracy {100 * last['test_accuracy']:.2f} % after {last['epoch']} epochs (final epoch), "
        f"{last['train_seconds'] / 60:.1f} min of training\nrun folder: {out}\nreport: {page}"
    )
    return 0


def _draw_example(recipe: "Recipe", out: Path, data: Path | None) -> None:
    """For a training on recordings, a picture of the first that it is tested on, for the report."""
    from surgrad.data import DATASETS, EVENT_SETS
    from surgrad.report import write_recording
    from surgrad.report.recording import EXAMPLE

    if recipe.data.name not in EVENT_SETS:
        return
    try:
        config = recipe.data
        options = {name: getattr(config, name) for name in ("split", "slicing", "step_us", "cache")}
        source = DATASETS.build(config.name, options, root=data)
        write_recording(source.example(recipe.model.steps), out / EXAMPLE)
    except SurgradError as error:  # the training is worth its report without a picture
        print(f"surgrad: no picture of a recording: {error}", file=sys.stderr)


def _asked(arguments: argparse.Namespace) -> tuple["Recipe", Path]:
    """The recipe and the folder that the command line asks for."""
    from surgrad.config import derive, set_fields
    from surgrad.recipes import DEFAULT, find_recipe
    from surgrad.train.run import recipe_of

    held = arguments.out and arguments.resume and (arguments.out / "recipe.json").exists()
    named = find_recipe(arguments.recipe or DEFAULT)
    recipe = set_fields(recipe_of(arguments.out) if held and arguments.recipe is None else named, arguments.set)
    if arguments.seed is not None:
        recipe = derive(recipe, seed=arguments.seed)
    if arguments.skip_bad:
        recipe = derive(recipe, data={"skip_bad": True})
    return recipe, arguments.out or _folder(recipe, arguments.resume)


def _folder(recipe: "Recipe", resume: bool) -> Path:
    """Where no --out is given: the newest run of this recipe and seed to resume, else a new folder."""
    stem = f"{recipe.name}-seed{recipe.seed}"
    runs = [path.parent for path in RUNS.glob(f"{stem}-*/recipe.json")]
    if resume and runs:
        return max(runs, key=lambda run: (run / "recipe.json").stat().st_mtime_ns)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    names = [f"{stem}-{stamp}", *(f"{stem}-{stamp}-{n}" for n in range(2, 1000))]
    return next(RUNS / name for name in names if not (RUNS / name).exists())


def evaluate(arguments: argparse.Namespace) -> int:
    """Test a run's weights."""
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
    """Make one page of one or several runs."""
    out = arguments.out or (arguments.runs[0] / "report.html" if len(arguments.runs) == 1 else Path("report.html"))
    print(write_page(arguments.runs, out))
    return 0


def figures(arguments: argparse.Namespace) -> int:
    """Draw the papers' figures from runs.

    What LSG (Lian et al. 2023) and Dspike (Li et al. 2021) show, and steered shares, from finished runs such as those
    of `surgrad sweep`: the shell's DIR/*/ names them all.
    """
    from surgrad.report import write_figures

    for path in write_figures([run for run in arguments.runs if (run / "recipe.json").exists()], arguments.out):
        print(path)
    return 0


def describe_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="every field of every recipe, as JSON")


def describe_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", help="a name that `surgrad list` shows; default: lsg_fashion_small_t4")
    data_option(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder; default: a new one under runs/")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of weights, order and augmentation")
    set_option(parser)
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out recordings that cannot be read, up to 1 %% of all, and say which",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from what --out holds, or begin where it holds nothing; without --out, "
        "from the newest run of this recipe and seed under runs/",
    )


def describe_eval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="run folder")
    data_option(parser)
    parser.add_argument("--best", action="store_true", help="the weights of the best test accuracy (not a fair choice)")
    parser.add_argument("--json", action="store_true", help="the result as JSON")


def describe_figures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", help="run folders; others are passed over")
    parser.add_argument("--out", type=Path, default=Path("figures"), metavar="DIR", help="default: %(default)s")


def describe_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", help="run folders")
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="default: report.html in the one run's folder")
