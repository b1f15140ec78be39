"""The command line: `surgrad list`, `train`, `eval`, `report`. Torch is loaded by the commands that need it."""

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import surgrad
from surgrad import process
from surgrad.errors import Interrupted, SurgradError, TrainingStopped, unknown

if TYPE_CHECKING:
    from surgrad.train import Recipe

RUNS = Path("runs")
FAILED, STOPPED = 2, 130


def main(words: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 for an error, 130 for a training that was stopped."""
    arguments = _parser().parse_args(words)
    process.tune()
    try:
        return arguments.command(arguments)
    except Interrupted as stopped:
        print(f"surgrad: {stopped}", file=sys.stderr)
        return STOPPED
    except SurgradError as error:
        print(f"surgrad: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("surgrad: stopped at once; what was saved before is whole", file=sys.stderr)
        return STOPPED


class _Parser(argparse.ArgumentParser):
    """Argparse that offers the nearest command."""

    def error(self, message: str) -> NoReturn:
        if "invalid choice" in message and "command" in message:
            message = str(unknown("command", message.split("'")[1], COMMANDS))
        super().error(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="surgrad", description="Train spiking neural networks by surrogate gradients that adapt.")
    parser.add_argument("--version", action="version", version=f"surgrad {surgrad.__version__}")
    commands = parser.add_subparsers(dest="command_name", metavar="command", required=True, parser_class=_Parser)
    for name, (function, describe) in COMMANDS.items():
        text = (function.__doc__ or "").strip()
        sub = commands.add_parser(name, help=text.splitlines()[0], description=text)
        describe(sub)
        sub.set_defaults(command=function)
    return parser


def _list(arguments: argparse.Namespace) -> int:
    """Show the recipes."""
    from surgrad.recipes import DEFAULT, RECIPES
    from surgrad.train.recipe import to_dict

    recipes = [build() for build in RECIPES.values()]
    if arguments.json:
        print(json.dumps([to_dict(recipe) for recipe in recipes], indent=2, ensure_ascii=False))
        return 0
    wide = max(len(recipe.name) for recipe in recipes)
    print(f"{'recipe':{wide}}  published  what")
    for recipe in recipes:
        published = "-" if recipe.published is None else f"{100 * recipe.published:.2f} %"
        default = " (default)" if recipe.name == DEFAULT and "default" not in recipe.summary else ""
        print(f"{recipe.name:{wide}}  {published:>9}  {recipe.summary}{default}")
    return 0


def _train(arguments: argparse.Namespace) -> int:
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
        _write_report([out], out / "report.html")
        raise
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    page = _write_report([out], out / "report.html")
    print(f"test accuracy {100 * last['test_accuracy']:.2f} % after {last['epoch']} epochs (final epoch), "
          f"{last['train_seconds'] / 60:.1f} min of training\nrun folder: {out}\nreport: {page}")  # fmt: skip
    return 0


def _asked(arguments: argparse.Namespace) -> tuple["Recipe", Path]:
    """The recipe and the folder that the command line asks for."""
    from surgrad.recipes import DEFAULT, find_recipe
    from surgrad.train.recipe import derive, set_field
    from surgrad.train.run import recipe_of

    held = arguments.out and arguments.resume and (arguments.out / "recipe.json").exists()
    named = find_recipe(arguments.recipe or DEFAULT)
    recipe = recipe_of(arguments.out) if held and arguments.recipe is None else named
    for assignment in arguments.set:
        recipe = set_field(recipe, assignment)
    if arguments.seed is not None:
        recipe = derive(recipe, seed=arguments.seed)
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


def _eval(arguments: argparse.Namespace) -> int:
    """Test a run's weights."""
    from surgrad.train import evaluate_run

    which = "best" if arguments.best else "last"
    result = evaluate_run(arguments.run, data=arguments.data, which=which,
                          say=lambda text: print(f"surgrad: {text}", file=sys.stderr))  # fmt: skip
    if arguments.json:
        print(json.dumps(result))
    else:
        print(f"{result['run']} ({which}): test accuracy {100 * result['test_accuracy']:.2f} %, "
              f"loss {result['test_loss']:.4f}")  # fmt: skip
    return 0


def _report(arguments: argparse.Namespace) -> int:
    """Make one page of one or several runs."""
    out = arguments.out or (arguments.runs[0] / "report.html" if len(arguments.runs) == 1 else Path("report.html"))
    print(_write_report(arguments.runs, out))
    return 0


def _write_report(runs: list[Path], out: Path) -> Path:
    from surgrad.report import write_report

    return write_report(runs, out)


def _describe_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="every field of every recipe, as JSON")


def _describe_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", help="a name that `surgrad list` shows; default: lsg_fashion_small_t4")
    _data(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder; default: a new one under runs/")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of weights, order and augmentation")
    parser.add_argument("--set", action="append", default=[], metavar="path=value",
                        help="change one field, as in optim.lr=0.05 (`surgrad list --json` shows them)")  # fmt: skip
    parser.add_argument("--resume", action="store_true",
                        help="go on from what --out holds, or begin where it holds nothing; without --out, "
                             "from the newest run of this recipe and seed under runs/")  # fmt: skip


def _describe_eval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="run folder")
    _data(parser)
    parser.add_argument("--best", action="store_true", help="the weights of the best test accuracy (not a fair choice)")
    parser.add_argument("--json", action="store_true", help="the result as JSON")


def _describe_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", help="run folders")
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="default: report.html in the one run's folder")


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="DIR",
                        help="where the data sets are; default: $SURGRAD_DATA, else ~/.cache/surgrad/data")  # fmt: skip


COMMANDS: dict[str, tuple[Any, Any]] = {
    "list": (_list, _describe_list),
    "train": (_train, _describe_train),
    "eval": (_eval, _describe_eval),
    "report": (_report, _describe_report),
}
