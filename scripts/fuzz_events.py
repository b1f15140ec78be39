"""Fuzz the readers of event files, guided by coverage:

    python scripts/fuzz_events.py FORMAT CORPUS -max_total_time=600

FORMAT is a name of `surgrad.data.events.FORMATS`, or spoken. CORPUS is a folder of small valid files (written by this
script if the folder is empty), to which the fuzzer adds what it finds. Needs atheris (pip install atheris). Findings
are exceptions other than a SurgradError that names the file, hangs, and more memory than -rss_limit_mb.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

import atheris
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

with atheris.instrument_imports(include=["surgrad.data.events", "h5py"]):
    from surgrad.data.events import FORMATS, read, read_spoken, sandbox

from event_files import WRITERS, kept, some_events, spoken

from surgrad.errors import SurgradError

sandbox.SECONDS = 3  # a decoder that hangs is ended sooner, so more files are tried


def begin(name: str, corpus: Path) -> None:
    """Write small valid files."""
    if name == "spoken":
        spoken(corpus / "2.h5", [([0.5, 0.25], [3, 699]), ([0.0], [7])], [4, 19])
        return
    write, ending = WRITERS[name]
    for count in (1, 7, 40):
        write(corpus / f"{count}{ending}", some_events(count, 34, 34))
    if ending in (".npy", ".npz", ".h5", ".hdf5"):
        kept(corpus / f"frames{ending}", np.ones((2, 2, 3, 3), np.uint8))


def main() -> None:
    """The command."""
    name = sys.argv[1]
    corpus = Path(sys.argv[2])
    if name not in (*FORMATS, "spoken"):
        sys.exit(f"unknown format '{name}'; choose from {', '.join(FORMATS)}, spoken")
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        begin(name, corpus)
    suffix = ".h5" if name == "spoken" else WRITERS[name][1]
    sensor = (320, 240) if name == "aedat4" else (34, 34)  # the camera of the real file that may be in the corpus
    readers = [read_spoken] if name == "spoken" else [partial(read, sensor=sensor, sort=sort) for sort in (False, True)]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / f"one{suffix}"

        def once(data: bytes) -> None:
            place.write_bytes(data)
            for reader in readers:
                try:
                    reader(place)
                except SurgradError as error:
                    if str(place) not in str(error):
                        raise

        atheris.Setup([sys.argv[0], *sys.argv[3:], str(corpus)], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
