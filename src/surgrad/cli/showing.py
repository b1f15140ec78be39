"""The command that lets a person see what a network sees of a recording."""

import argparse
from pathlib import Path


def show(arguments: argparse.Namespace) -> int:
    """Draw a recording of an event camera: its frames side by side, and as an animated image."""
    from surgrad.data.events.frames import frames
    from surgrad.data.events.reading import read_either
    from surgrad.report import write_recording

    out = arguments.out or Path(arguments.file.stem).with_suffix(".png")
    events = read_either(arguments.file, arguments.sensor, True)
    if events.dtype.names is None:
        print(f"{len(events)} frames of {events.shape[3]}×{events.shape[2]} pixels, of {int(events.sum()):,} events")
        return _told(write_recording(events, out))
    sensor = tuple(arguments.sensor or (int(events["x"].max()) + 1, int(events["y"].max()) + 1))
    made = frames(events, arguments.frames, sensor, slicing=arguments.slicing, step=arguments.step)
    seconds = (events["t"][-1] - events["t"][0]) / 1e6
    print(
        f"{len(events):,} events in {seconds:.3f} s, {100 * (events['p'] > 0).mean():.0f} % of them brighter, within "
        f"{sensor[0]}×{sensor[1]} pixels; {int(made.sum()):,} of them in {arguments.frames} frames"
    )
    return _told(write_recording(made, out))


def _told(pictures: list[Path]) -> int:
    for path in pictures:
        print(f"picture: {path}")
    return 0


def describe_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="AEDAT 2, 3.1 or 4, .bin of N-MNIST, .dat, .npz, .npy or HDF5")
    parser.add_argument("--frames", type=int, default=10, metavar="T", help="how many (default: %(default)s)")
    parser.add_argument(
        "--slicing",
        default="count",
        metavar="NAME",
        help="count (as many events each, the default), time (as long each) or step",
    )
    parser.add_argument(
        "--step", type=int, default=5000, metavar="µs", help="of slicing by step (default: %(default)s)"
    )
    parser.add_argument("--sensor", type=int, nargs=2, metavar=("W", "H"), help="default: as far as events go")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="default: the recording's name, here")
