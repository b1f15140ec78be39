"""Fuzz the readers of event files, guided by coverage:

    python scripts/fuzz_events.py FORMAT CORPUS -max_total_time=600

FORMAT is a name of `surgrad.data.events.FORMATS`, spoken, or trials (the lists of DVS128 Gesture). CORPUS is a folder
of small valid files (written by this script if the folder is empty), to which the fuzzer adds what it finds. Needs
atheris (pip install atheris). Findings are exceptions other than a SurgradError that names the file, hangs, and more
memory than -rss_limit_mb.
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
    from surgrad.data.events.sets import by_trials

from event_files import EVT3, WRITERS, evt2, hdf5, kept, mat, some_events, spoken

from surgrad.errors import SurgradError

sandbox.SECONDS = 3  # a decoder that hangs is ended sooner, so more files are tried


def begin(name: str, corpus: Path) -> None:
    """Write small valid files."""
    if name == "spoken":
        spoken(corpus / "2.h5", [([0.5, 0.25], [3, 699]), ([0.0], [7])], [4, 19])
        return
    if name == "trials":
        for number, text in enumerate(("a.aedat\n", "../a.aedat\n/etc/passwd\n", "\ufeffa.aedat\r\n\r\nb.aedat")):
            (corpus / f"{number}.txt").write_text(text, encoding="utf-8")
        return
    write, ending = WRITERS[name]
    for count in (1, 7, 40):
        write(corpus / f"{count}{ending}", some_events(count, 34, 34))
    if ending in (".npy", ".npz", ".h5", ".hdf5"):
        kept(corpus / f"frames{ending}", np.ones((2, 2, 3, 3), np.uint8))
    if ending in (".h5", ".hdf5"):
        elsewhere(corpus, ending)
    if name == "raw":
        evt2(corpus / "evt2.raw", some_events(20, 34, 34))
        words = (0x8001, 0x6002, 0x0005, 0x2807, 0x3810, 0x4801, 0x4002, 0x5F81, 0xA101, 0xE014, 0xF123, 0x7004, 0x8002)
        (corpus / "vectors.raw").write_bytes(EVT3 + np.array(words, "<u2").tobytes())
    if name == "mat":
        layouts(corpus)


def layouts(corpus: Path) -> None:
    """Write MATLAB files of a struct, compressed, of version 4, of ST-MNIST and of HDF5."""
    from scipy.io import savemat

    columns = {name: np.arange(7.0) % (2 if name == "p" else 34) for name in "xytp"}
    savemat(corpus / "struct.mat", {"TD": columns})
    mat(corpus / "small.mat", some_events(7, 34, 34), do_compression=True)
    mat(corpus / "four.mat", some_events(7, 34, 34), format="4")
    savemat(corpus / "touch.mat", {"spiketrain": np.eye(101, 7)}, do_compression=True)
    hdf5(corpus / "seven.mat", some_events(7, 34, 34))


def elsewhere(corpus: Path, ending: str) -> None:
    """Write HDF5 files whose columns are links, virtual, or in another file."""
    import h5py

    columns = {name: np.arange(7) for name in "xytp"}
    for how in ("soft", "external", "virtual", "raw"):
        with h5py.File(corpus / f"{how}{ending}", "w") as file:
            for name in "ytp":
                file[name] = columns[name]
            if how == "soft":
                file["x"] = h5py.SoftLink("/y")
            elif how == "external":
                file["x"] = h5py.ExternalLink("other.h5", "/x")
            elif how == "raw":
                file.create_dataset("x", (7,), "i8", external=[("other.bin", 0, 56)])
            else:
                layout = h5py.VirtualLayout((7,), "i8")
                layout[:] = h5py.VirtualSource("other.h5", "x", (7,))
                file.create_virtual_dataset("x", layout)


def read_trials(place: Path) -> None:
    """Read a list of trials in a folder with one recording."""
    folder = place.parent
    (folder / "trials_to_train.txt").write_bytes(place.read_bytes())
    (folder / "trials_to_test.txt").write_text("a.aedat\n")
    (folder / "a.aedat").write_bytes(b"")
    (folder / "a_labels.csv").write_text("class,startTime_usec,endTime_usec\n1,0,10\n")
    for part in by_trials(folder)[:2]:
        for path in part.paths:
            assert Path(path).parent == folder, path


def main() -> None:
    """The command."""
    name = sys.argv[1]
    corpus = Path(sys.argv[2])
    if name not in (*FORMATS, "spoken", "trials"):
        sys.exit(f"unknown format '{name}'; choose from {', '.join(FORMATS)}, spoken, trials")
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        begin(name, corpus)
    suffix = {"spoken": ".h5", "trials": ".txt"}.get(name) or WRITERS[name][1]
    sensor = (320, 240) if name == "aedat4" else (34, 34)  # the camera of the real file that may be in the corpus
    whole = {"spoken": [read_spoken], "trials": [read_trials]}
    readers = whole.get(name) or [partial(read, sensor=sensor, sort=sort) for sort in (False, True)]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / f"one{suffix}"

        def once(data: bytes) -> None:
            place.write_bytes(data)
            for reader in readers:
                try:
                    reader(place)
                except SurgradError as error:
                    if str(Path(folder)) not in str(error):
                        raise

        atheris.Setup([sys.argv[0], *sys.argv[3:], str(corpus)], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
