"""Writers of the supported formats, for tests: the readers give back every event that they write."""

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surgrad.data.events import pack, read


def some_events(count: int = 1000, width: int = 128, height: int = 128, seed: int = 0, end: int = 10**6) -> NDArray:
    """Random events in order of time, some at the same µs."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, end, count))
    return pack(rng.integers(0, width, count), rng.integers(0, height, count), t, rng.integers(0, 2, count))


def real_events(label: int, number: int, side: int) -> NDArray:
    """A part of a recording of N-MNIST (34 pixels wide) or of gestures from a DVS128, if there are some under
    $SURGRAD_DATA; else random events."""
    root = Path(os.environ.get("SURGRAD_DATA", os.devnull))
    found = sorted(root.glob(f"nmnist_small/*/{label}/*.bin" if side == 34 else "dvs_gesture_10/*/0.npz"))
    if not found:
        return some_events(400, side, side, 1000 * label + number, end=100_000)
    events = read(found[(label + 2 * number) % len(found)], sensor=(side, side), sort=True)
    first = int(events["t"][0]) + 100_000 * (number % 3)
    return events[np.searchsorted(events["t"], first) : np.searchsorted(events["t"], first + 100_000)]


def aedat2(path: Path, events: NDArray, header: bytes = b"#!AER-DAT2.0\r\n# raw\r\n") -> None:
    words = np.empty((len(events), 2), ">u4")
    x = events["x"].astype(np.uint32)
    y = events["y"].astype(np.uint32)
    words[:, 0] = (127 - y) << 1 | (127 - x) << 8 | (1 - events["p"].astype(np.uint32))
    words[:, 1] = events["t"] & 0xFFFFFFFF
    path.write_bytes(header + words.tobytes())


def aedat3(path: Path, events: NDArray, packet: int = 100, kind: int = 1) -> None:
    out = [
        b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n",
        struct.pack("<HHIIIIII", 3, 1, 36, 4, 0, 1, 1, 1),
        bytes(36),
    ]  # a packet of another kind, which readers skip
    for first in range(0, len(events), packet):
        some = events[first : first + packet]
        words = np.empty((len(some), 2), "<u4")
        x, y, p = (some[name].astype(np.uint32) for name in "xyp")
        words[:, 0] = x << 17 | y << 2 | p << 1 | 1
        words[:, 1] = some["t"]
        out += [struct.pack("<HHIIIIII", kind, 1, 8, 4, 0, len(some), len(some), len(some)), words.tobytes()]
    path.write_bytes(b"".join(out))


def ndataset(path: Path, events: NDArray) -> None:
    rows = np.empty((len(events), 5), np.uint8)
    t = events["t"] % 2**23
    rows[:, 0] = events["x"]
    rows[:, 1] = events["y"]
    rows[:, 2] = events["p"] << 7 | (t >> 16).astype(np.uint8)
    rows[:, 3] = (t >> 8) & 255
    rows[:, 4] = t & 255
    path.write_bytes(rows.tobytes())


def bs3(path: Path, events: NDArray) -> None:
    rows = np.empty((len(events), 7), np.uint8)
    x, y, t = (events[name].astype(np.int64) for name in "xyt")
    rows[:, 0] = x >> 4
    rows[:, 1] = (x & 15) << 4 | y >> 8
    rows[:, 2] = y & 255
    rows[:, 3] = events["p"]
    for number in range(3):
        rows[:, 4 + number] = t >> 16 - 8 * number & 255
    path.write_bytes(rows.tobytes())


EVT3 = b"% evt 3.0\n% format EVT3;height=128;width=128\n% geometry 128x128\n% end\n"
EVT2 = b"% evt 2.0\n% end\n"


def evt3(path: Path, events: NDArray, header: bytes = EVT3) -> None:
    """Four words for each event: the higher and the lower bits of the time, y, then x and polarity."""
    x, y, t, p = (events[name].astype(np.int64) for name in "xytp")
    words = [0x8000 | t >> 12 & 0xFFF, 0x6000 | t & 0xFFF, y, 0x2000 | p << 11 | x]
    path.write_bytes(header + np.stack(words, 1).astype("<u2").tobytes())


def evt2(path: Path, events: NDArray, header: bytes = EVT2) -> None:
    """Two words for each event: the higher bits of the time, and the event."""
    x, y, t, p = (events[name].astype(np.int64) for name in "xytp")
    words = [0x80000000 | t >> 6 & 0xFFFFFFF, p << 28 | (t & 63) << 22 | x << 11 | y]
    path.write_bytes(header + np.stack(words, 1).astype("<u4").tobytes())


def mat(path: Path, events: NDArray, **options: Any) -> None:
    """Variables of doubles, as MATLAB keeps numbers."""
    from scipy.io import savemat

    savemat(path, {name: events[name].astype(np.float64) for name in "xytp"}, **options)


def aedat4(path: Path, events: NDArray, packet: int = 100) -> None:
    """Write uncompressed packets, each a flatbuffer: offset of its table, name, table of its fields, vector."""
    text = (
        b'<dv version="2.0"><node name="outInfo" path="/o/"><node name="0" path="/o/0/">'
        b'<attr key="typeIdentifier" type="string">EVTS</attr><node name="info" path="/o/0/info/">'
        b'<attr key="sizeX" type="int">128</attr><attr key="sizeY" type="int">128</attr></node></node></node></dv>'
    )
    head = struct.pack("<I4s6x5H", 24, b"IOHE", 10, 20, 4, 12, 8) + struct.pack("<iiIqI", 10, 0, 12, -1, len(text))
    head += text + b"\0"
    out = [b"#!AER-DAT4.0\r\n", struct.pack("<I", len(head)), head]
    for first in range(0, len(events), packet):
        some = events[first : first + packet]
        rows = np.zeros(len(some), [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1"), ("", "V3")])
        for name in "xytp":
            rows[name] = some[name]
        body = struct.pack("<I4s2x3HiII", 16, b"EVTS", 6, 8, 4, 6, 4, len(some)) + rows.tobytes()
        out += [struct.pack("<iiI", 0, 4 + len(body), len(body)), body]
    path.write_bytes(b"".join(out))


def dat(path: Path, events: NDArray, header: bytes = b"% Data file\n% Version 2\n% Width 128\n% Height 128\n") -> None:
    words = np.empty((len(events), 2), "<u4")
    x, y, p = (events[name].astype(np.uint32) for name in "xyp")
    words[:, 0] = events["t"] & 0xFFFFFFFF
    words[:, 1] = x | y << 14 | p << 28
    path.write_bytes(header + bytes([12, 8]) + words.tobytes())


def npz(path: Path, events: NDArray) -> None:
    np.savez(path, **{name: events[name] for name in "xytp"})


def npy(path: Path, events: NDArray) -> None:
    np.save(path, events)


def hdf5(path: Path, events: NDArray) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("events")
        for name in "xytp":
            group[name] = events[name]


def kept(path: Path, frames: NDArray) -> Path:
    """Write a file of frames in the format of its suffix."""
    if path.suffix == ".npy":
        np.save(path, frames)
    elif path.suffix == ".npz":
        np.savez_compressed(path, frames=frames)
    else:
        import h5py

        with h5py.File(path, "w") as file:
            file["frames"] = frames
    return path


def spoken(path: Path, recordings: list[tuple[list[float], list[int]]], labels: list[int]) -> Path:
    """Write a file in the layout of SHD: ragged arrays of half-precision seconds and channels."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, kind, column in (("times", np.float16, 0), ("units", np.uint16, 1)):
            held = file.create_dataset(f"spikes/{name}", (len(recordings),), h5py.vlen_dtype(kind))
            for number, recording in enumerate(recordings):
                held[number] = np.array(recording[column], kind)
        file["labels"] = np.array(labels, np.uint16)
    return path


def published(folder: Path, name: str, count: int = 8) -> Path:
    """Write a small data set in its published layout and format: `count` training recordings and two test ones."""
    if name == "dvs_gesture":
        for part, number in (("train", count), ("test", 2)):
            several = [real_events(n, n, 128).copy() for n in range(number)]
            for n, events in enumerate(several):
                events["t"] += 100_000 * n - int(events["t"][0])
            aedat3(folder / f"{part}.aedat", np.concatenate(several))
            rows = [f"{n % 11 + 1},{100_000 * n},{100_000 * (n + 1)}" for n in range(number)]
            (folder / f"{part}_labels.csv").write_text("\n".join(["class,startTime_usec,endTime_usec", *rows]))
            (folder / f"trials_to_{part}.txt").write_text(f"{part}.aedat\n")
        return folder
    for label in range(2):
        for number in (*range(count // 2), 999):
            part = "test" if number == 999 else "train"
            if name == "cifar10_dvs":
                place = folder / f"class{label}"
                write = aedat2
                suffix = ".aedat"
            else:
                place = folder / part / str(label)
                write = ndataset
                suffix = ".bin"
            place.mkdir(parents=True, exist_ok=True)
            side = 128 if name == "cifar10_dvs" else 34
            write(place / f"some_{number}{suffix}", real_events(label, number, side))
    return folder


def text(path: Path, events: NDArray) -> None:
    """Lines with a first line of names; commas in a .csv."""
    mark = "," if path.suffix == ".csv" else " "
    rows = [mark.join("txyp"), *(mark.join(str(event[name]) for name in "txyp") for event in events)]
    path.write_text("\n".join(rows) + "\n")


WRITERS = {
    "aedat2": (aedat2, ".aedat"),
    "aedat3": (aedat3, ".aedat"),
    "aedat4": (aedat4, ".aedat4"),
    "bin": (ndataset, ".bin"),
    "bs2": (ndataset, ".bs2"),
    "bs3": (bs3, ".bs3"),
    "dat": (dat, ".dat"),
    "raw": (evt3, ".raw"),
    "npz": (npz, ".npz"),
    "npy": (npy, ".npy"),
    "h5": (hdf5, ".h5"),
    "hdf5": (hdf5, ".hdf5"),
    "mat": (mat, ".mat"),
    "txt": (text, ".txt"),
    "csv": (text, ".csv"),
}
"""By the name of the format: its writer, and the suffix of its files."""
