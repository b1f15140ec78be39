"""Fuzz the readers of event files, guided by coverage:

    python scripts/fuzz_events.py FORMAT CORPUS -max_total_time=600

FORMAT is a name of `surgrad.data.events.FORMATS`; CORPUS a folder that begins with small good files (made here where it
is empty) and keeps what was found. Needs atheris (pip install atheris). Whatever a reader raises but an error of
surgrad's that names the file is a finding, as are hangs and memory beyond what -rss_limit_mb allows.
"""

import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

with atheris.instrument_imports(include=["surgrad.data.events", "h5py", "aedat"]):
    from surgrad.data.events import FORMATS, read

from event_files import WRITERS, some_events

from surgrad.errors import SurgradError


def main() -> None:
    """The command."""
    name, corpus = sys.argv[1], Path(sys.argv[2])
    suffix = ".aedat" if name.startswith("aedat") else f".{name}"
    if name not in FORMATS:
        sys.exit(f"no format '{name}'; there are {', '.join(FORMATS)}")
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()) and name in WRITERS:
        for count in (1, 7, 40):
            write, ending = WRITERS[name]
            path = corpus / f"{count}{ending}"
            write(path, some_events(count, 34, 34))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / f"one{suffix}"

        def once(data: bytes) -> None:
            place.write_bytes(data)
            for sort in (False, True):
                try:
                    read(place, sensor=(34, 34), sort=sort)
                except SurgradError as error:
                    if str(place) not in str(error):
                        raise

        atheris.Setup([sys.argv[0], *sys.argv[3:], str(corpus)], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
