"""The command that draws recordings."""

import argparse
from pathlib import Path

from surgrad.cli.arguments import path_argument
from surgrad.errors import BadValue


def show(arguments: argparse.Namespace) -> int:
    """Draw a recording of an event camera: its frames side by side, and as an animation."""
    from surgrad.data.events.frames import frames
    from surgrad.data.events.reading import read_either
    from surgrad.report import write_recording

    if arguments.file.is_dir():
        raise BadValue(f"{arguments.file} is a folder; give the file of a recording")
    out = arguments.out or Path(arguments.file.stem).with_suffix(".png")
    events = read_either(arguments.file, arguments.sensor, True)
    if events.dtype.names is None:
        print(f"{len(events)} frames of {events.shape[3]}×{events.shape[2]} pixels, with {int(events.sum()):,} events")
        return _print_paths(write_recording(events, out))
    sensor = tuple(arguments.sensor or (int(events["x"].max()) + 1, int(events["y"].max()) + 1))
    made = frames(events, arguments.frames, sensor, slicing=arguments.slicing, step=arguments.step)
    seconds = (events["t"][-1] - events["t"][0]) / 1e6
    print(
        f"{len(events):,} events in {seconds:.3f} s on {sensor[0]}×{sensor[1]} pixels, "
        f"{100 * (events['p'] > 0).mean():.0f} % of increasing brightness; {int(made.sum()):,} of them in "
        f"{arguments.frames} frames"
    )
    return _print_paths(write_recording(made, out))


def _print_paths(pictures: list[Path]) -> int:
    for path in pictures:
        print(f"picture: {path}")
    return 0


def describe_show(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `surgrad show`."""
    parser.add_argument(
        "file", type=path_argument, help="AEDAT 2, 3.1 or 4, .bin of N-MNIST, .dat, .npz, .npy, HDF5, .txt or .csv"
    )
    parser.add_argument("--frames", type=int, default=10, metavar="T", help="number of frames (default: %(default)s)")
    parser.add_argument(
        "--slicing",
        default="count",
        metavar="NAME",
        help="count: equal events per frame (default); time: equal duration; step: fixed duration, --step µs",
    )
    parser.add_argument(
        "--step",
        type=int,
        default=5000,
        metavar="µs",
        help="duration of a frame with --slicing step (default: %(default)s)",
    )
    parser.add_argument(
        "--sensor",
        type=int,
        nargs=2,
        metavar=("W", "H"),
        help="pixels of the sensor; default: the extent of the events",
    )
    parser.add_argument(
        "--out", type=path_argument, metavar="FILE.png", help="default: the name of the recording, here"
    )
