"""The command that trains recipes × seeds."""

import argparse
from pathlib import Path

from surgrad.cli.arguments import data_option, path_argument, set_option, write_page


def run_sweep(arguments: argparse.Namespace) -> int:
    """Train several recipes with several seeds, and write a table.

    Trains what the folder --out does not have yet, and continues what it has in part. After each training it writes
    table.md, table.json, table.png and cost.png there (accuracy against the time of training; of trainings on CPUs,
    processor time), and in the end report.html. Ctrl-C stops after the current steps; the same command continues. A
    FILE.toml lists runs:

    set = ["optim.epochs=3"]    # for all runs
    [[run]]
    recipe = "lsg_cifar10_resnet19_t2"
    label = "lsg"               # default: the recipe's name
    set = ["model.width_multiplier=0.25"]
    vary = {"optim.lr" = [0.05, 0.1]}  # a run for each value (of several: each combination), lsg_0.05 and lsg_0.1
    seeds = 8                   # for this run; default: --seeds
    against = ["width_1"]       # labels: also compute the differences to them, seed by seed
    """
    from surgrad import sweep

    def write_lines() -> list[sweep.Line]:
        lines = sweep.outcome(queue)
        sweep.write_table(lines, arguments.out)
        return lines

    queue = sweep.jobs_of(sweep.entries(arguments.what, arguments.set), arguments.seeds, arguments.out)
    try:
        sweep.train_all(
            queue,
            workers=arguments.workers,
            data=arguments.data,
            address=arguments.address,
            share=sweep.Share(arguments.cpus, arguments.gpus, arguments.retries),
            say=lambda text: print(text, flush=True),
            after=write_lines,
        )
    finally:
        done = [job.folder for job in queue if job.done]
        if done:
            lines = write_lines()
            write_page(done, arguments.out / "report.html")
            written = "table.md, table.json, table.png, cost.png, report.html"
            print(f"{sweep.table_of(lines)}\nin {arguments.out}: {written}")
    return 0


def describe_sweep(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `surgrad sweep`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "what",
        nargs="+",
        metavar="FILE.toml|RECIPE",
        help="files of runs, names of recipes, or path/to/file.py:function",
    )
    set_option(parser, "change a setting of all runs that do not set it themselves")
    data_option(parser)
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="train with seeds 0 to N-1 (default: 3)")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="K", help="trainings at a time, which share the cores (default: 1)"
    )
    parser.add_argument(
        "--address",
        metavar="HOST",
        help="train on this Ray cluster, whose machines must all see --data (pip install 'surgrad[cluster]')",
    )
    for name, kind, default, what in (
        ("cpus", float, 1.0, "cores of each training"),
        ("gpus", float, 0.0, "GPUs of each training, as 0.5"),
        ("retries", int, 3, "times that a training is begun again whose machine was lost"),
    ):
        parser.add_argument(
            f"--{name}", type=kind, default=default, metavar="N", help=f"on a cluster: {what} (default: %(default)s)"
        )
    parser.add_argument(
        "--out",
        type=path_argument,
        default=Path("sweep"),
        metavar="DIR",
        help="folder of the run folders (default: %(default)s)",
    )
