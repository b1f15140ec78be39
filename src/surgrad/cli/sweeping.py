"""The command that trains recipes × seeds."""

import argparse
from pathlib import Path

from surgrad.cli.options import data_option, write_page


def run_sweep(arguments: argparse.Namespace) -> int:
    """Train recipes × seeds, and make a table.

    Trains what OUT does not hold yet, goes on with what it holds in part, and writes table.md, table.json, table.png
    and report.html there; Ctrl-C stops after the steps under way, and the same command goes on. A FILE.toml lists runs:

    set = ["optim.epochs=3"]
    [[run]]
    recipe = "lsg_cifar10_resnet19_t2"
    label = "lsg"
    set = ["model.width_multiplier=0.25"]
    seeds = 8               # of this one; else --seeds
    against = ["width_1"]   # labels: differences to them, seed by seed
    """
    from surgrad import sweep

    queue = sweep.jobs_of(sweep.entries(arguments.what), arguments.seeds, arguments.out)
    try:
        sweep.train_all(
            queue,
            workers=arguments.workers,
            data=arguments.data,
            address=arguments.address,
            say=lambda text: print(text, flush=True),
        )
    finally:
        lines = sweep.outcome(queue)
        done = [job.folder for job in queue if job.done]
        if done:
            sweep.write_table(lines, arguments.out)
            write_page(done, arguments.out / "report.html")
            print(f"{sweep.table_of(lines)}\nin {arguments.out}: table.md, table.json, table.png, report.html")
    return 0


def describe_sweep(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("what", nargs="+", metavar="FILE.toml|RECIPE", help="what to train")
    data_option(parser)
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N-1 of each (default: 3)")
    parser.add_argument("--workers", type=int, default=1, metavar="K", help="trainings at a time, sharing the cores")
    parser.add_argument(
        "--address",
        metavar="HOST",
        help="a Ray cluster instead, whose machines all see --out and --data (pip install 'surgrad[cluster]')",
    )
    parser.add_argument("--out", type=Path, default=Path("sweep"), metavar="DIR", help="default: %(default)s")
