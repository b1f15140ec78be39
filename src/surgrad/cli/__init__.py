"""The command line, `surgrad COMMAND`. Torch is loaded by the commands that need it.

To add a command: write its function, whose docstring becomes its help, and a function that adds its arguments to a
parser, in a module of this package; then add both to `COMMANDS`.
"""

import argparse
import os
import sys
import textwrap
import time
from typing import Any, NoReturn

import surgrad
from surgrad import process
from surgrad.cli.converting import convert, describe_convert
from surgrad.cli.kernels import compile_kernels, describe_kernels
from surgrad.cli.measuring import count_energy, describe_diagnose, describe_energy, diagnose
from surgrad.cli.options import describe_options, show_options
from surgrad.cli.showing import describe_show, show
from surgrad.cli.sweeping import describe_sweep, run_sweep
from surgrad.cli.training import (
    describe_eval,
    describe_figures,
    describe_list,
    describe_report,
    describe_train,
    evaluate,
    figures,
    list_recipes,
    report,
    train_recipe,
)
from surgrad.cli.tuning import describe_tune, run_tune
from surgrad.errors import Interrupted, LostRank, SurgradError, unknown

FAILED = 2
STOPPED = 130
UNREAD = 141
"""The reader of the output has ended, as `head` does: the status of a program that SIGPIPE ends."""
TOLD = 20.0
"""Seconds that a process waits which has lost another one: that one says why, and torchrun ends the others before."""
OUT_OF_MEMORY = (
    "not enough memory; the last checkpoint is intact. Give a smaller data.batch, model.steps or "
    "model.width_multiplier, or run.pack_spikes=true"
)
TOO_LARGE = ("can't allocate memory", "not enough memory", "integer multiplication overflow", "calculation overflowed")
"""What torch says of a tensor that fits no memory."""
COMMANDS: dict[str, tuple[Any, Any]] = {
    "list": (list_recipes, describe_list),
    "options": (show_options, describe_options),
    "train": (train_recipe, describe_train),
    "eval": (evaluate, describe_eval),
    "report": (report, describe_report),
    "diagnose": (diagnose, describe_diagnose),
    "energy": (count_energy, describe_energy),
    "convert": (convert, describe_convert),
    "show": (show, describe_show),
    "sweep": (run_sweep, describe_sweep),
    "tune": (run_tune, describe_tune),
    "figures": (figures, describe_figures),
    "kernels": (compile_kernels, describe_kernels),
}


def program() -> NoReturn:
    """The program `surgrad`: run one command, and end the process with its exit status."""
    process.end(main())


def main(words: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0, 2 for an error, 130 for a training that was stopped, 141 where the output is not read.
    """
    process.print_what_can_be_printed()
    arguments = _parser().parse_args(words)
    process.tune()
    process.end_with_parent()
    try:
        return arguments.command(arguments)
    except Interrupted as stopped:
        _say_for_all(stopped)
        return STOPPED
    except LostRank as error:
        if error.asked_to_end:
            return STOPPED
        time.sleep(TOLD)
        print(f"surgrad: {error}", file=sys.stderr)
        return FAILED
    except SurgradError as error:
        if error.of_all_ranks:
            _say_for_all(error)
            _wait_for_first()
        else:
            _say(error)
        return FAILED
    except KeyboardInterrupt:
        print("surgrad: aborted; the last checkpoint is intact", file=sys.stderr)
        return STOPPED
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        _say(OUT_OF_MEMORY)
        return FAILED
    except BrokenPipeError:
        process.silence(sys.stdout)
        return UNREAD
    except OSError as error:
        path = f"{error.filename}: " if error.filename else ""
        _say(f"{path}{error.strerror or error}")
        return FAILED


def _say(error: object) -> None:
    """Print an error; of several processes of a training, with the number of this one."""
    count = os.environ.get("WORLD_SIZE", "1")
    rank = "" if count == "1" else f"rank {os.environ.get('RANK', '0')} of {count}: "
    print(f"surgrad: {rank}{error}", file=sys.stderr, flush=True)


def _say_for_all(error: SurgradError) -> None:
    """Print an error that all processes of a training have: the first of them does."""
    if os.environ.get("RANK", "0") == "0":
        print(f"surgrad: {error}", file=sys.stderr, flush=True)


def _wait_for_first() -> None:
    """Let the first of several processes end before this one, so that torchrun does not end it while it prints."""
    if os.environ.get("RANK", "0") != "0":
        time.sleep(TOLD)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, in Python, or in torch on the CPU or a GPU."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or any(text in str(error) for text in TOO_LARGE)


class _Parser(argparse.ArgumentParser):
    """A parser that offers similar names for an unknown command."""

    def error(self, message: str) -> NoReturn:
        if "invalid choice" in message and "command" in message:
            message = str(unknown("command", message.split("'")[1], COMMANDS))
        super().error(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="surgrad", description="Train spiking neural networks with adaptive surrogate gradients.")
    parser.add_argument("--version", action="version", version=f"surgrad {surgrad.__version__}")
    commands = parser.add_subparsers(dest="command_name", metavar="command", required=True, parser_class=_Parser)
    for name, (function, describe) in COMMANDS.items():
        text = _cleaned(function.__doc__)
        sub = commands.add_parser(name, help=text.splitlines()[0], description=text)
        describe(sub)
        sub.set_defaults(command=function)
    return parser


def _cleaned(docstring: str | None) -> str:
    """A docstring without the indentation of its code; `inspect.cleandoc` would take longer to load than the help.
    Python's option -OO leaves none."""
    first, _, rest = (docstring or "-").partition("\n")
    return f"{first}\n{textwrap.dedent(rest)}".strip()
