"""Readers of event files: every written event is read, and errors name the file and the offset."""

import os
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_files import EVT2, EVT3, WRITERS, bs3, dat, evt2, evt3, kept, mat, ndataset, some_events, spoken
from numpy.typing import NDArray

from surgrad.data.events import EVENT, FORMATS, pack, raw, read, read_frames, read_spoken, sandbox
from surgrad.data.events.cache import Slicing
from surgrad.errors import BadValue, DataError, SurgradError, UnknownName

IN_A_PROCESS = ("aedat4", "h5", "hdf5", "mat")
every_format = pytest.mark.parametrize("name", WRITERS)


def written(folder: Path, name: str, events: NDArray) -> Path:
    write, suffix = WRITERS[name]
    path = folder / f"some{suffix}"
    write(path, events)
    return path


def bounded(name: str, **options) -> NDArray:
    return some_events(**({"height": 120, **options} if name == "bin" else options))


# --- valid files ------------------------------------------------------------------------------------------------------


def place(name: str, count: int, number: int, path: Path) -> str:
    """How an error names the place of an event in a file of `count`: its byte, if surgrad itself reads the bytes."""
    size = {"aedat2": 8, "aedat3": 8, "bin": 5, "bs2": 5, "bs3": 7, "dat": 8, "raw": 8}.get(name)
    if size is None:
        return f"event {number}"
    begin = path.stat().st_size - size * (count - number)
    return f"byte {begin + 6 if name == 'raw' else begin}"  # the fourth word has the column


def test_every_format_has_a_writer_here():
    assert set(FORMATS) == set(WRITERS)


@every_format
@pytest.mark.parametrize("count", [1, 99, 1000])
def test_what_is_written_is_read(tmp_path: Path, name: str, count: int):
    events = bounded(name, count=count)
    found = read(written(tmp_path, name, events), sensor=(128, 128))
    assert found.dtype == EVENT
    for field in ("x", "y", "t", "p"):
        assert np.array_equal(found[field], events[field]), field


PERIODS = {"aedat2": 2**32, "dat": 2**32, "bin": 2**23, "bs2": 2**23, "bs3": 2**24, "raw": 2**24}


@pytest.mark.parametrize(("name", "period"), PERIODS.items())
def test_counters_that_restart_are_unwrapped(tmp_path: Path, name: str, period: int):
    """Two restarts, with a gap."""
    events = bounded(name, count=2000, end=2 * period)
    events["t"] += period // 2
    found = read(written(tmp_path, name, events))
    assert np.array_equal(np.diff(found["t"]), np.diff(events["t"]))


@pytest.mark.parametrize("name", ["aedat2", "dat"])
def test_a_late_event_is_not_a_restart(tmp_path: Path, name: str):
    """An event from before the restart, and one far off, are out of order; later events are not moved."""
    events = some_events(5)
    events["t"] = [2**32 - 10, 2, 2**32 - 2, 3, 4]
    with pytest.raises(DataError, match=rf"an event at {2**32 - 2} µs follows one at {2**32 + 2} µs"):
        read(written(tmp_path, name, events))
    assert read(tmp_path / f"some{WRITERS[name][1]}", sort=True)["t"].tolist() == [
        2**32 - 10,
        2**32 - 2,
        2**32 + 2,
        2**32 + 3,
        2**32 + 4,
    ]
    events["t"] = [10, 20, 3 * 10**9, 30, 40]
    with pytest.raises(DataError, match=r"an event at -\d+ µs follows one at 20 µs"):
        read(written(tmp_path, name, events))


def test_compressed_packets_and_too_many_overflows_are_refused(tmp_path: Path):
    path = written(tmp_path, "aedat3", some_events(100))
    data = bytearray(path.read_bytes())
    head = len(data) - 828
    data[head + 1] = 0x80
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"byte {head}: a compressed packet"):
        read(path)
    data[head + 1] = 0
    data[head + 12 : head + 16] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"byte {head}: a packet with 4,294,967,295 overflows of its times"):
        read(path)


def test_small_files_that_say_they_hold_much(tmp_path: Path):
    """Nothing is allocated for them: an HDF5 whose chunks were never written, an npz of zeros."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "xytp":
            file.create_dataset(name, (2**28,), np.int64, chunks=(2**16,))
    np.savez_compressed(tmp_path / "a.npz", **{name: np.zeros(2**22, np.int64) for name in "xytp"})
    with h5py.File(tmp_path / "spoken.h5", "w") as file:
        for name, kind in (("times", np.float16), ("units", np.uint16)):
            file.create_dataset(f"spikes/{name}", (2**28,), h5py.vlen_dtype(kind), chunks=(2**16,))
        file["labels"] = np.zeros(3, np.uint16)
    zeros = np.zeros(2**22, EVENT)
    mat(tmp_path / "a.mat", zeros, do_compression=True)
    for name in ("a.h5", "a.npz", "a.mat"):
        with pytest.raises(DataError, match=r"bytes claim to hold [\d,]+, far more than a recording does"):
            read(tmp_path / name)
    with pytest.raises(DataError, match=r"h5py cannot read it \(spikes/times claims 268,435,456 rec"):
        read_spoken(tmp_path / "spoken.h5")


def test_hdf5_of_other_layouts(tmp_path: Path):
    h5py = pytest.importorskip("h5py")
    for make, text in (
        (lambda file: file.create_dataset("events", data=3.0), "no named columns"),
        (lambda file: file.create_dataset("events", data="text"), "entries of different lengths"),
        (lambda file: file.create_dataset("events", data=h5py.Empty("f")), r"(no named columns|cannot read)"),
        (lambda file: file.create_group("spikes"), "read it with surgrad.data.events.read_spoken"),
        (lambda file: [file.create_dataset(n, data=np.arange(3) if n != "t" else 1) for n in "xytp"], "its x is"),
    ):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            make(file)
        with pytest.raises(DataError, match=text):
            read(tmp_path / "a.h5")


def test_overflows_of_aedat3_are_added(tmp_path: Path):
    path = written(tmp_path, "aedat3", some_events(150))
    data = bytearray(path.read_bytes())
    head = data.find(b"#!END-HEADER\r\n") + 14 + 28 + 36
    second = head + 28 + 8 * 100
    data[second + 12 : second + 16] = (1).to_bytes(4, "little")
    path.write_bytes(data)
    found = read(path)
    expected = some_events(150)["t"]
    expected[100:] += 2**31
    assert np.array_equal(found["t"], expected)


def test_invalid_events_of_aedat3_are_left_out(tmp_path: Path):
    path = written(tmp_path, "aedat3", some_events(100))
    data = bytearray(path.read_bytes())
    head = data.find(b"#!END-HEADER\r\n") + 14 + 28 + 36
    data[head + 24 : head + 28] = (99).to_bytes(4, "little")
    data[head + 28 + 8 * 7] &= 0xFE
    path.write_bytes(data)
    assert np.array_equal(read(path), np.delete(some_events(100), 7))
    data[head + 24 : head + 28] = (100).to_bytes(4, "little")
    path.write_bytes(data)
    assert len(read(path)) == 100, "a packet that says all are valid is believed"


def test_time_records_of_n_mnist_are_not_events(tmp_path: Path):
    events = some_events(10, 34, 34, end=1000)
    marks = np.insert(events, [4, 8], pack(*(np.array([n, n]) for n in (7, 240, 500, 0))))
    path = tmp_path / "a.bin"
    ndataset(path, marks)
    expected = events.copy()
    expected["t"][4:] += 2**13
    expected["t"][8:] += 2**13
    assert np.array_equal(read(path), expected)


def test_other_kinds_of_aedat2_are_left_out(tmp_path: Path):
    path = written(tmp_path, "aedat2", some_events(20))
    data = bytearray(path.read_bytes())
    start = len(data) - 160
    data[start + 8 * 3] |= 0x80  # a frame's
    data[start + 8 * 5 + 2] |= 0x80  # from outside
    path.write_bytes(data)
    assert np.array_equal(read(path), np.delete(some_events(20), [3, 5]))


def test_events_may_be_sorted(tmp_path: Path):
    events = some_events(50)
    events["t"][10], events["t"][30] = events["t"][30], events["t"][10]
    path = written(tmp_path, "npz", events)
    assert np.array_equal(read(path, sort=True), events[np.argsort(events["t"], kind="stable")])


# --- Prophesee's words, by hand ---------------------------------------------------------------------------------------


def words_3(*words: int, header: bytes = EVT3) -> bytes:
    return header + np.array(words, "<u2").tobytes()


def rows_of(path: Path, data: bytes, **options: Any) -> list[tuple[int, ...]]:
    path.write_bytes(data)
    return [tuple(int(event[name]) for name in "txyp") for event in read(path, **options)]


def test_words_of_evt3(tmp_path: Path):
    """A single event, then 12 + 12 + 8 pixels from a base, with the words that are skipped in between."""
    data = words_3(
        0x8001,  # time, higher bits: 1 · 4096 µs
        0x6002,  # lower bits: 2
        0x0005,  # row 5
        0x2807,  # an event: column 7, brighter
        0x2008,  # column 8, darker
        0xA101,  # a trigger
        0x3810,  # a base: column 16, brighter
        0x4801,  # of 12 pixels, the first and the last
        0xE014,  # others, with its continuation
        0xF123,
        0x7004,
        0x4002,  # of the next 12, the second
        0x5F81,  # of the next 8, the first and the last: higher bits do not count
        0x6003,
        0x0806,  # row 6, of a second camera
        0x3002,  # a base: column 2, darker
        0x5003,
    )
    first, second = 4096 + 2, 4096 + 3
    assert rows_of(tmp_path / "a.raw", data) == [
        (first, 7, 5, 1),
        (first, 8, 5, 0),
        (first, 16, 5, 1),
        (first, 27, 5, 1),
        (first, 29, 5, 1),
        (first, 40, 5, 1),
        (first, 47, 5, 1),
        (second, 2, 6, 0),
        (second, 3, 6, 0),
    ]


def test_the_clock_of_evt3(tmp_path: Path):
    """The lower bits are 0 after a change of the higher ones; the higher ones restart after 4096."""
    data = words_3(
        0x0000, 0x8FFE, 0x2000, 0x6FFF, 0x2001, 0x8FFE, 0x2002, 0x8FFF, 0x2003, 0x6001, 0x8000, 0x2004, 0x6007, 0x2005
    )  # fmt: skip
    high = 0xFFE << 12
    assert [(t - high, x) for t, x, _, _ in rows_of(tmp_path / "a.raw", data)] == [
        (0, 0),
        (4095, 1),
        (4095, 2),
        (4096, 3),
        (8192, 4),
        (8192 + 7, 5),
    ]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ((0x2001, 0x5001, 0x0001, 0x6001, 0x2001, 0x3001, 0x4001, 0x8000, 0x2001), 1),  # no time
        ((0x8000, 0x6000, 0x2001, 0x3001, 0x4001, 0x0001, 0x2001), 1),  # no row
        ((0x8000, 0x0001, 0x4001, 0x5001, 0x2001), 1),  # no base
        ((0x8000, 0x0001, 0x4001, 0x3001, 0x4001), 1),
    ],
)
def test_a_recording_of_evt3_may_begin_in_the_middle(tmp_path: Path, words: tuple[int, ...], count: int):
    assert rows_of(tmp_path / "a.raw", words_3(*words)) == [(0, 1, 1, 0)] * count
    with pytest.raises(DataError, match="it holds no event"):
        rows_of(tmp_path / "a.raw", words_3(*words[:2]))


def test_a_vector_beyond_the_last_column(tmp_path: Path):
    base = (0x8000, 0x0001, 0x37F8)  # column 2040
    wide = {"header": b"% evt 3.0\n% end\n"}
    assert len(rows_of(tmp_path / "a.raw", words_3(*base, 0x40FF, 0x5000, 0x2001, **wide))) == 9
    for words, at in (((0x4100,), 3), ((0x4000, 0x5000, 0x5001), 5)):
        place = len(wide["header"]) + 2 * at
        with pytest.raises(DataError, match=rf"byte {place}: a vector reaches column 20\d\d; the last is 2047"):
            rows_of(tmp_path / "a.raw", words_3(*base, *words, **wide))


def test_words_of_evt2(tmp_path: Path):
    words = (
        0x10C03805,  # an event before the first time
        0x80000002,  # time, higher bits: 2 · 64 µs
        0x10C03805,  # brighter, 3 µs, column 7, row 5
        0xA0000001,  # a trigger, movement, others, continued
        0xD0000000,
        0xE0000000,
        0xF0000000,
        0x0FC00806,  # darker, 63 µs, column 1, row 6
        0x80000003,
        0x00000000,
    )
    expected = [(128 + 3, 7, 5, 1), (128 + 63, 1, 6, 0), (192, 0, 0, 0)]
    for header in (EVT2, b"% evt 2.0\n", b"% format EVT2;height=128;width=128\n% end\n"):
        assert rows_of(tmp_path / "a.raw", header + np.array(words, "<u4").tobytes()) == expected
    with pytest.raises(DataError, match="it holds no event"):
        rows_of(tmp_path / "a.raw", EVT2 + np.array(words[:1], "<u4").tobytes())


@pytest.mark.parametrize("period", [2**34, 1000])
def test_evt2_reads_what_is_written(tmp_path: Path, period: int):
    """Two restarts of its clock, 4.8 hours each, and none."""
    events = some_events(2000, end=2 * period)
    events["t"] += period // 2
    evt2(tmp_path / "a.raw", events)
    found = read(tmp_path / "a.raw")
    assert np.array_equal(found["t"] - found["t"][0], events["t"] - events["t"][0])
    for name in "xyp":
        assert np.array_equal(found[name], events[name])


def decoded_3(words: NDArray) -> list[tuple[int, ...]]:
    """Word after word, as Prophesee's description has it."""
    found = []
    high = y = base = None
    low = turns = polarity = 0
    for word in words.tolist():
        kind = word >> 12
        content = word & 0xFFF
        if kind == 0:
            y = content & 0x7FF
        elif kind == 3:
            base = content & 0x7FF
            polarity = content >> 11
        elif kind == 6:
            low = content
        elif kind == 8:
            turns += high is not None and high - content >= 2048
            low = low if content == high else 0
            high = content
        elif kind in (2, 4, 5):
            pixels = [(content & 0x7FF, content >> 11)]
            if kind != 2:
                width = 12 if kind == 4 else 8
                pixels = [((base or 0) + bit, polarity) for bit in range(width) if content >> bit & 1]
            if None not in (high, y) and (kind == 2 or base is not None):
                found += [((turns * 4096 + high) * 4096 + low, x, y, p) for x, p in pixels]
            if kind != 2 and base is not None:
                base += width
    return found


@pytest.mark.parametrize("chunk", [1, 5, 64, 2**18])
def test_evt3_against_a_decoder_of_single_words(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch):
    """Random words; the size of the chunks that are decoded together does not matter."""
    monkeypatch.setattr(raw, "_CHUNK", chunk)
    rng = np.random.default_rng(0)
    for _ in range(20):
        kind = rng.choice([0, 2, 3, 4, 5, 6, 7, 8, 10, 14, 15], 300)
        content = rng.integers(0, 4096, 300)
        content[kind == 3] &= 0x8FF
        content[kind == 8] = np.cumsum(rng.choice([0, 0, 1, 200], (kind == 8).sum())) + 4000 & 0xFFF
        words = (kind << 12 | content).astype("<u2")
        data = b"% evt 3.0\n% end\n" + words.tobytes()
        assert sorted(rows_of(tmp_path / "a.raw", data, sort=True)) == sorted(decoded_3(words))


def test_the_header_of_raw_ends_at_its_last_line(tmp_path: Path):
    """Words that look like a line of the header follow it: 0x2025 is column 37."""
    words = (0x8000, 0x0001, 0x2025)
    assert rows_of(tmp_path / "a.raw", words_3(*words)) == [(0, 37, 1, 0)]
    words = (0x2025, 0x0A0A, *words)
    assert rows_of(tmp_path / "a.raw", words_3(*words)) == [(0, 37, 1, 0)]


# --- SLAYER's records -------------------------------------------------------------------------------------------------


def test_bs3_has_twelve_bits_of_each_pixel(tmp_path: Path):
    events = some_events(500, 4096, 4096, end=2**24)
    bs3(tmp_path / "a.bs3", events)
    assert np.array_equal(read(tmp_path / "a.bs3"), events)


def test_row_240_of_bs2_is_an_event(tmp_path: Path):
    """slayerPytorch reads it as one; in N-MNIST's .bin it adds to the time."""
    events = some_events(5)
    events["y"] = 240
    ndataset(tmp_path / "a.bs2", events)
    assert np.array_equal(read(tmp_path / "a.bs2"), events)


# --- damaged files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "size"), [("aedat2", 8), ("bin", 5), ("bs2", 5), ("bs3", 7), ("dat", 8)])
@pytest.mark.parametrize("missing", [1, 3, 4])
def test_a_record_cut_short(tmp_path: Path, name: str, size: int, missing: int):
    path = written(tmp_path, name, bounded(name))
    whole = path.read_bytes()
    path.write_bytes(whole[:-missing])
    at = len(whole) - size
    with pytest.raises(
        DataError, match=rf"some\.\w+, byte {at}: the file is truncated, {size - missing} of the {size} "
    ):
        read(path)


@pytest.mark.parametrize("missing", [1, 8, 790, 805])
def test_a_packet_cut_short(tmp_path: Path, missing: int):
    path = written(tmp_path, "aedat3", some_events(100))
    whole = path.read_bytes()
    path.write_bytes(whole[:-missing])
    head = len(whole) - 828
    text = (
        rf"byte {head}: (a packet of 100 events of 8 bytes, but \d+ bytes follow|the file is truncated, \d+ of the 28)"
    )
    with pytest.raises(DataError, match=text):
        read(path)


def test_a_gigantic_count_is_checked_before_anything_is_made_of_it(tmp_path: Path):
    path = written(tmp_path, "aedat3", some_events(100))
    data = bytearray(path.read_bytes())
    head = len(data) - 828
    for number, size in ((2**32 - 1, 8), (2**32 - 1, 2**32 - 1)):
        data[head + 4 : head + 8] = size.to_bytes(4, "little")
        data[head + 20 : head + 24] = number.to_bytes(4, "little")
        path.write_bytes(data)
        with pytest.raises(
            DataError, match=rf"byte {head}: a packet of {number} events of {size} bytes, but 800 bytes"
        ):
            read(path)


@every_format
def test_out_of_order_is_named_with_its_place(tmp_path: Path, name: str):
    events = bounded(name, count=300)
    events["t"] = np.arange(300) * 100 + 10
    events["t"][250] = 5
    path = written(tmp_path, name, events)
    with pytest.raises(DataError, match=r"an event at 5 µs follows one at 24910 µs; read it with") as error:
        read(path)
    assert f"{path}, {place(name, 300, 250, path)}: " in str(error.value)


@every_format
def test_outside_the_sensor_is_named(tmp_path: Path, name: str):
    events = bounded(name, count=300)
    events["x"][200] = 100
    events["y"][200] = 50
    path = written(tmp_path, name, events)
    events["x"] = events["x"] % 90
    events["x"][200] = 100
    write, _ = WRITERS[name]
    write(path, events)
    with pytest.raises(DataError, match=r"an event at x 100, y 50 is outside the sensor of 90×128") as error:
        read(path, sensor=(90, 128))
    assert f"{path}, {place(name, 300, 200, path)}: " in str(error.value)


def test_the_sensor_that_a_file_tells(tmp_path: Path):
    path = tmp_path / "a.dat"
    dat(path, some_events(100), b"% Width 100\n% Height 120\n")
    with pytest.raises(DataError, match="outside the sensor of 100×120"):
        read(path)
    with pytest.raises(DataError, match="outside the sensor of 128×128"):
        read(written(tmp_path, "aedat4", some_events(300, 200, 128)))
    for header in (EVT3, b"% evt 3.0\n% geometry 128x128\n", b"% format EVT3;height=128;width=128\n"):
        evt3(tmp_path / "a.raw", some_events(300, 200, 128), header)
        with pytest.raises(DataError, match="outside the sensor of 128×128"):
            read(tmp_path / "a.raw")
    evt3(tmp_path / "a.raw", some_events(300, 200, 128), b"% evt 3.0\n% width 100\n% height 128\n% end\n")
    with pytest.raises(DataError, match="outside the sensor of 100×128"):
        read(tmp_path / "a.raw")


@every_format
def test_no_event(tmp_path: Path, name: str):
    with pytest.raises(DataError, match=r"some\.\w+: it holds no event; exclude this recording"):
        read(written(tmp_path, name, some_events(0)))


def test_an_address_beyond_the_camera(tmp_path: Path):
    path = written(tmp_path, "aedat2", some_events(20))
    data = bytearray(path.read_bytes())
    start = len(data) - 160
    data[start + 8 * 3 + 1] = 2
    path.write_bytes(data)
    with pytest.raises(
        DataError, match=rf"byte {start + 24}: the address 0x2[0-9a-f]+ is outside the 128×128 pixels of a DVS128"
    ):
        read(path)


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        (
            "a.aedat",
            b"#!AER-DAT1.0\r\n" + bytes(80),
            r"byte 0: the version is AEDAT '1.0'; supported are 2.0, 3.1 and 4.0",
        ),
        ("a.aedat", b"#!AER-DAT20.0\r\n" + bytes(80), r"byte 0: the version is AEDAT '20.0'; "),
        ("a.aedat", b"#!AER-DAT3.7\r\n" + bytes(80), r"byte 0: the version is AEDAT '3.7'; "),
        ("a.aedat", b"hello, this is a text\n" * 9, r"byte 0: an AEDAT file must begin with '#!AER-DAT'"),
        ("a.aedat", b"", r"byte 0: an AEDAT file must begin with"),
        ("a.aedat", b"#!AER-DAT2.0", r"byte 0: the header does not end"),
        ("a.aedat", b"#!AER-DAT3.1\r\n#Format: RAW\r\n", r"byte 0: the header does not end with #!END-HEADER"),
        ("a.dat", b"% Width 12", r"byte 0: the header does not end"),
        (
            "a.dat",
            b"hello, this is a text",
            r"byte 0: events of kind 104 and 101 bytes; supported are kinds 0 and 12 of 8",
        ),
        ("a.dat", b"% Width 12\n\x00", r"byte 11: the file is truncated after its header"),
        ("a.bin", b"hello", r"byte 0: an event at x 104, y 101 is outside the sensor of 34×34"),
        ("a.bs2", b"hello", r"byte 0: an event at x 104, y 101 is outside the sensor of 34×34"),
        ("a.bs3", b"abc\x02abc", r"byte 3: an event of polarity 2; give 0 and 1, for darker and brighter"),
        ("a.raw", b"hello, this is a text", r"byte 0: its header states no version"),
        ("a.raw", b"% date 2020-01-01\n% end\n\x00\x00", r"byte 0: its header states no version"),
        ("a.raw", b"% evt 3.0", r"byte 0: the header does not end"),
        (
            "a.raw",
            b"% evt 2.1\n% end\n",
            r"byte 0: the version of its events is EVT 2.1; supported are EVT 3.0 and EVT 2.0",
        ),
        ("a.raw", b"% format EVT21;height=320;width=320\n% end\n", r"byte 0: the version of its events is EVT 2.1;"),
        (
            "a.raw",
            b"% format HISTO3D;height=320;width=320\n% end\n",
            r"byte 0: the version of its events is HISTO3D; supported are EVT 3.0 and EVT 2.0",
        ),
        ("a.raw", b"% evt 3.0\n% endianness big\n% end\n", r"byte 0: its words are big-endian"),
        ("a.raw", EVT3 + b"\x00", rf"byte {len(EVT3)}: the file is truncated, 1 of the 2 bytes"),
        ("a.raw", EVT2 + b"\x00" * 7, rf"byte {len(EVT2) + 4}: the file is truncated, 3 of the 4 bytes"),
        (
            "a.raw",
            EVT3 + b"\x00\x80\x00\x90",
            rf"byte {len(EVT3) + 2}: a word of type 0x9, which EVT 3.0 does not have",
        ),
        ("a.raw", EVT2 + b"\x00\x00\x00\x20", rf"byte {len(EVT2)}: a word of type 0x2, which EVT 2.0 does not have"),
        ("a.mat", b"no MATLAB", r"a.mat: scipy cannot read it"),
        ("a.mat", b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n", r"a.mat: h5py cannot read it"),
        ("a.npz", b"PK\x03\x04 no zip", r"a.npz: NumPy cannot read it"),
        ("a.npy", b"\x93NUMPY\x01\x00", r"a.npy: NumPy cannot read it"),
        ("a.h5", b"no HDF5", r"a.h5: h5py cannot read it"),
        ("a.aedat4", b"#!AER-DAT4.0\r\nno more", r"a.aedat4: aedat cannot read it"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, name: str, data: bytes, text: str):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=text):
        read(path, sensor=(34, 34))


def test_wrong_columns(tmp_path: Path):
    events = {name: some_events(5)[name] for name in "xytp"}
    for wrong, text in (
        ({"t": np.arange(4)}, r"its x is uint16 \[5\], not a column of 4 numbers"),
        ({"x": np.array(["a"] * 5)}, r"its x is <U1 \[5\]"),
        ({"x": np.full(5, -1)}, r"its x goes from -1 to -1; it must be from 0 to 65535"),
        ({"t": np.full(5, np.nan)}, r"its t goes from nan to nan"),
    ):
        np.savez(tmp_path / "a.npz", **(events | wrong))
        with pytest.raises(DataError, match=text):
            read(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=events["x"], time=events["t"])
    with pytest.raises(DataError, match=r"it has x, time; the columns must be named x, y, t and p"):
        read(tmp_path / "a.npz")


def test_nothing_is_unpickled(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "done"),)

    np.save(tmp_path / "a.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=np.array([Evil()], dtype=object), y=0, t=0, p=0)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match="NumPy cannot read it"):
            read(tmp_path / name)
    assert not (tmp_path / "done").exists()


def test_no_file(tmp_path: Path):
    loop = tmp_path / "loop.bin"
    loop.symlink_to(loop)
    for path in (loop, tmp_path / "nowhere.bin", tmp_path):
        with pytest.raises(DataError, match="there is no such file; give the name of a recording"):
            read(path)
    (tmp_path / "a.mov").write_text("hello")
    with pytest.raises(UnknownName, match=r"unknown format of events '.mov'"):
        read(tmp_path / "a.mov")


def test_no_permission_to_read():
    """As a user who is not root, since root may read everything."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.bin"
        before = os.geteuid()
        ndataset(path, some_events(5, 34, 34))
        Path(folder).chmod(0o755)
        path.chmod(0)
        try:
            os.seteuid(before or 65534)
            with pytest.raises(DataError, match=r"a.bin: cannot be read \(Permission denied\); check its permissions"):
                read(path)
        finally:
            os.seteuid(before)


@every_format
def test_altered_bytes_are_read_or_refused_by_name(tmp_path: Path, name: str):
    """Hundreds of flips, cuts and insertions: the only exceptions are surgrad's own. Fewer where each file is decoded
    in a process."""
    rng = np.random.default_rng(0)
    path = written(tmp_path, name, bounded(name, count=40))
    whole = path.read_bytes()
    for _ in range(15 if name in IN_A_PROCESS else 150):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(0, len(data)))
            match rng.integers(0, 3):
                case 0:
                    data[at] = int(rng.integers(0, 256))
                case 1:
                    del data[at : at + int(rng.integers(1, 20))]
                case _:
                    data[at:at] = rng.bytes(int(rng.integers(1, 20)))
            data = data or bytearray(b"x")
        path.write_bytes(data)
        try:
            found = read(path)
        except SurgradError as error:
            said = str(error)
        else:
            assert found.dtype == EVENT
            assert (np.diff(found["t"]) >= 0).all()
            continue
        assert str(path) in said


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".npy", ".npz", ".h5", ".hdf5"])
@pytest.mark.parametrize("kind", [np.float32, np.int64, np.uint8])
def test_files_of_frames(tmp_path: Path, ending: str, kind: type):
    frames = np.random.default_rng(0).integers(0, 9, (4, 2, 5, 7)).astype(kind)
    path = kept(tmp_path / f"a{ending}", frames)
    found = read_frames(path)
    assert found.dtype == np.uint8
    assert np.array_equal(found, frames)
    with pytest.raises(DataError, match="it holds frames, not events; read it with"):
        read(path)
    assert np.array_equal(Slicing(4, (128, 128)).apply(path), frames)
    with pytest.raises(DataError, match=r"it holds 4 frames, not 5; set model\.steps=4"):
        Slicing(5, (128, 128)).apply(path)


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        (np.zeros((4, 3, 5, 7)), r"its frames are float64 \[4, 3, 5, 7\]; they must be numbers \[T, 2, H, W\]"),
        (np.zeros((4, 2, 0, 7)), r"its frames are float64 \[4, 2, 0, 7\]"),
        (np.full((4, 2, 5, 7), 0.5), r"its frames go from 0.5 to 0.5; they must be counts of events"),
        (np.full((4, 2, 5, 7), -1), r"its frames go from -1 to -1"),
        (np.full((4, 2, 5, 7), np.nan), r"its frames go from nan to nan"),
        (np.full((4, 2, 5, 7), 2**40), r"its frames go from 1099511627776"),
    ],
)
def test_wrong_frames(tmp_path: Path, frames: NDArray, text: str):
    with pytest.raises(DataError, match=text):
        read_frames(kept(tmp_path / "a.npz", frames))


def test_frames_that_are_not_an_array(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as packed:
        packed.writestr("frames.npy", b"hello")
    with pytest.raises(DataError, match=r"a.npz: its frames are \|S5 \[\]; they must be numbers \[T, 2, H, W\]"):
        read(tmp_path / "a.npz")


def test_events_are_not_frames(tmp_path: Path):
    with pytest.raises(DataError, match="it holds events; make frames of them with"):
        read_frames(written(tmp_path, "npz", some_events(9)))


# --- spoken digits ----------------------------------------------------------------------------------------------------


def test_spoken_digits_are_events_of_one_row(tmp_path: Path):
    path = spoken(tmp_path / "shd_train.h5", [([0.5, 0.25, 0.125], [3, 699, 0]), ([0.0], [7])], [4, 19])
    (first, label), (second, other) = read_spoken(path)
    assert (label, other) == (4, 19)
    assert first["t"].tolist() == [125000, 250000, 500000]
    assert first["x"].tolist() == [0, 699, 3]
    assert first["y"].tolist() == [0, 0, 0]
    assert len(second) == 1


def test_wrong_spoken_digits(tmp_path: Path):
    for times, units, labels, text in (
        ([0.1], [700], [1], r"recording 0: times from 0.\d* s and units from 700 to 700; times must be"),
        ([-0.5], [7], [1], r"recording 0: times from -0.5 s"),
        ([], [], [1], r"recording 0: 0 times of 0 units"),
        ([0.1], [7], [1, 2], r"1 recordings of times, 1 of units, 2 labels"),
    ):
        with pytest.raises(DataError, match=text):
            read_spoken(spoken(tmp_path / "a.h5", [(times, units)], labels))
    (tmp_path / "b.h5").write_bytes(b"no")
    with pytest.raises(DataError, match=r"b\.h5: h5py cannot read it"):
        read_spoken(tmp_path / "b.h5")
    with pytest.raises(DataError, match=r"nowhere.h5: there is no such file; give the name of a part"):
        read_spoken(tmp_path / "nowhere.h5")


def test_a_decoder_that_hangs_or_dies_is_ended(tmp_path: Path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"12345")
    with pytest.raises(DataError, match=r"a.bin: numpy did not read it within 1 s; download it again"):
        sandbox.decode(path, "numpy", "a file", "while True: pass", seconds=1)
    with pytest.raises(DataError, match=r"a.bin: numpy cannot read it \(exit status -6\); download it again"):
        sandbox.decode(path, "numpy", "a file", "import os; os.abort()")
    if sys.platform == "linux":
        with pytest.raises(DataError, match=r"numpy cannot read it \(.*Unable to allocate 3\d.* GiB"):
            sandbox.decode(path, "numpy", "a file", "numpy.ones(2**32)")


# --- real files -------------------------------------------------------------------------------------------------------

FIRST_AND_LAST = [(5, 4, 196626, 0), (6, 4, 895745, 1)]
"""Of a digit of ST-MNIST, by hand: taxel 45 at 0.19662648 s and taxel 46 at 0.895744992 s; x, y, t, p."""
SAMPLES = {".aedat4": (111954, (320, 240)), "nmnist.bin": (4325, (34, 34)), "aedat31.aedat": (18, (128, 128))}
"""By the end of a sample's name: the number of its events, and the sensor."""


def sample(end: str) -> Path:
    """One of the small published files, if they are available."""
    folder = Path(os.environ.get("SURGRAD_DATA", os.devnull)) / "event_format_samples"
    found = sorted(path for path in folder.glob("*") if path.name.endswith(end))
    if not found:
        pytest.skip(f"no sample …{end} under SURGRAD_DATA/event_format_samples")
    return found[0]


@pytest.mark.parametrize("end", SAMPLES)
def test_real_files(end: str):
    count, sensor = SAMPLES[end]
    events = read(sample(end), sensor=sensor, sort=True)
    assert len(events) == count
    assert 0.3 < events["p"].mean() < 0.7


def test_recordings_of_slayer():
    """Both formats hold the same gestures as the arrays that were made of the published AEDAT files."""
    folder = Path(os.environ.get("SURGRAD_DATA", os.devnull)) / "dvs_gesture_10"
    found = sorted(folder.glob("*.bs[23]"))
    if not found:
        pytest.skip("no samples *.bs2 and *.bs3 under SURGRAD_DATA/dvs_gesture_10")
    for path in found:
        assert np.array_equal(read(path, sensor=(128, 128)), read(folder / path.stem / "0.npz")), path


def test_a_digit_of_st_mnist():
    events = read(sample("stmnist.mat"))
    assert len(events) == 2346
    assert events["p"].sum() == 1601
    assert [tuple(int(event[name]) for name in "xytp") for event in events[[0, -1]]] == FIRST_AND_LAST


def test_damaged_aedat4_never_brings_this_process_down(tmp_path: Path):
    """Its decoder can panic and abort."""
    data = sample(".aedat4").read_bytes()[:60_000]
    path = tmp_path / "a.aedat4"
    rng = np.random.default_rng(0)
    for at in (171, 407, *rng.integers(0, 2000, 4).tolist()):
        damaged = bytearray(data)
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        try:
            read(path, sort=True)
        except DataError as error:
            said = str(error)
        else:
            continue  # the damage did not matter
        assert said.startswith(f"{path}: ")


# layouts of other programs


def moving(count: int = 9) -> NDArray:
    return some_events(count, 34, 34)


def hdf5_of(path: Path, **parts: Any) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, value in parts.items():
            file[name.replace("__", "/")] = value
    return path


def test_hdf5_of_other_programs(tmp_path: Path):
    """rpg's names; Metavision's place; MVSEC's place, order and seconds; v2e's order, with OFF as 0."""
    events = moving()
    x, y, t, p = (events[name] for name in "xytp")
    rpg = hdf5_of(tmp_path / "rpg.h5", events__xs=x, events__ys=y, events__ts=t / 1e6, events__ps=p)
    assert np.array_equal(read(rpg, unit="s"), events)
    metavision = hdf5_of(tmp_path / "metavision.hdf5", CD__events=events)
    assert np.array_equal(read(metavision), events)
    signed = 2.0 * p - 1
    mvsec = hdf5_of(tmp_path / "mvsec.h5", davis__left__events=np.stack([x, y, t / 1e6, signed], 1))
    assert np.array_equal(read(mvsec, columns="xytp", unit="s"), events)
    v2e = hdf5_of(tmp_path / "v2e.h5", events=np.stack([t, x, y, p], 1).astype(np.uint32))
    assert np.array_equal(read(v2e, columns="txyp"), events)
    with pytest.raises(DataError, match=r"an array \[9, 4\] without names; say the order of its columns"):
        read(v2e)


@pytest.mark.parametrize("order", ["txyp", "xytp", "ptyx"])
def test_arrays_and_texts_without_names(order: str, tmp_path: Path):
    events = moving()
    held = np.stack([events[name].astype(np.int64) for name in order], 1)
    np.save(tmp_path / "a.npy", held)
    np.savez(tmp_path / "a.npz", events=held)
    np.savetxt(tmp_path / "a.txt", held, "%d")
    np.savetxt(tmp_path / "a.csv", held, "%d", delimiter=",")
    for name in ("a.npy", "a.npz", "a.txt", "a.csv"):
        assert np.array_equal(read(tmp_path / name, columns=order), events)
        with pytest.raises(DataError, match="say the order of its columns"):
            read(tmp_path / name)


@pytest.mark.parametrize(("unit", "factor"), [("s", 1e-6), ("ms", 1e-3), ("ns", 1e3)])
def test_units_of_time(unit: Any, factor: float, tmp_path: Path):
    events = moving()
    np.savez(tmp_path / "a.npz", x=events["x"], y=events["y"], t=events["t"] * factor, p=events["p"])
    assert np.array_equal(read(tmp_path / "a.npz", unit=unit), events)
    with pytest.raises(UnknownName, match="unknown unit of time 'hours'"):
        read(tmp_path / "a.npz", unit="hours")  # type: ignore[arg-type]
    with pytest.raises(BadValue, match="columns = 'xyt' is no order of x, y, t and p"):
        read(tmp_path / "a.npz", columns="xyt")


def test_text_with_a_line_for_the_sensor(tmp_path: Path):
    """As rpg's events.txt: width and height, then t in seconds, x, y, p."""
    events = moving()
    lines = [f"{e['t'] / 1e6:.6f} {e['x']} {e['y']} {e['p']}" for e in events]
    (tmp_path / "events.txt").write_text("240 180\n# a comment\n" + "\n".join(lines) + "\n")
    assert np.array_equal(read(tmp_path / "events.txt", columns="txyp", unit="s"), events)
    (tmp_path / "bad.txt").write_text("1 2 3 4\n5 6\n")
    with pytest.raises(DataError, match="NumPy cannot read it"):
        read(tmp_path / "bad.txt", columns="txyp")
    (tmp_path / "empty.csv").write_text("x,y,t,p\n")
    with pytest.raises(DataError, match=r"empty\.csv"):
        read(tmp_path / "empty.csv")


# MATLAB


def matlab(path: Path, **variables: Any) -> Path:
    pytest.importorskip("scipy.io").savemat(path, variables)
    return path


def matlab_73(path: Path, **variables: Any) -> Path:
    """As MATLAB 7.3 writes it: 512 bytes of text, matrices in reverse order, no elements by an attribute."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group("#refs#")
        for name, value in variables.items():
            for field, part in value.items() if isinstance(value, dict) else [("", value)]:
                matrix = np.atleast_2d(part)
                held = file.create_dataset(f"{name}/{field}".strip("/"), data=matrix.T if matrix.size else [0, 0])
                if not matrix.size:
                    held.attrs["MATLAB_empty"] = 1
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512))
    return path


both_versions = pytest.mark.parametrize("write", [matlab, matlab_73])


def doubles(events: NDArray, names: str = "x y t p") -> dict[str, NDArray]:
    return {name: events[field].astype(np.float64) for name, field in zip(names.split(), "xytp", strict=True)}


@both_versions
def test_layouts_of_matlab(tmp_path: Path, write: Any):
    """Variables, a struct of any name next to other variables, columns and rows, and a matrix."""
    events = moving()
    assert np.array_equal(read(write(tmp_path / "a.mat", **doubles(events), label=3.0)), events)
    held = doubles(events, "x y ts p")
    held["p"] = held["p"] * 2 - 1
    assert np.array_equal(
        read(write(tmp_path / "b.mat", TD=held, time=7.0, label="abc" if write is matlab else 3)), events
    )
    columns = {name: column[:, None] for name, column in doubles(events, "X Y timestamps polarity").items()}
    assert np.array_equal(read(write(tmp_path / "c.mat", **columns)), events)
    seconds = write(tmp_path / "d.mat", **doubles(events) | {"t": events["t"] / 1e6})
    assert np.array_equal(read(seconds, unit="s"), events)
    rows = write(tmp_path / "e.mat", events=np.stack(list(doubles(events).values()), 1))
    assert np.array_equal(read(rows, columns="xytp"), events)
    with pytest.raises(DataError, match="say the order of its columns"):
        read(rows)
    with pytest.raises(DataError, match="it holds no event"):
        read(write(tmp_path / "f.mat", **doubles(events[:0])))


def test_versions_of_matlab(tmp_path: Path):
    for number, options in enumerate(({"format": "4"}, {"do_compression": True}, {"oned_as": "column"})):
        mat(tmp_path / f"{number}.mat", moving(), **options)
        assert np.array_equal(read(tmp_path / f"{number}.mat"), moving())


def test_pixels_of_matlab_are_taken_as_they_are(tmp_path: Path):
    """Whether the first has the number 0 or 1 is not guessed."""
    events = moving()
    events["x"] += 1
    assert np.array_equal(read(matlab(tmp_path / "a.mat", **doubles(events))), events)


def test_other_variables_of_matlab(tmp_path: Path):
    some = doubles(moving())
    for variables, text in (
        ({"image": np.eye(3), "label": 3.0}, r"it has image, label; it needs x, y, t and p, or one struct of these"),
        ({"A": some, "B": some}, r"it has A, B; it needs x, y, t and p"),
        ({}, r"it has no variable; it needs"),
        ({"TD": np.zeros(3, [("x", "O")])}, r"its struct TD has 3 elements; keep one, with columns as fields"),
        ({"TD": some | {"x": some}}, r"x holds other arrays, or is sparse; make it an array of numbers"),
        (some | {"x": [[1, "a"], 2]}, r"x holds other arrays"),
        ({"TD": {"x": 1.0, "y": 2.0}}, r"it has x, y; the columns must be named x, y, t and p"),
        (some | {"x": np.eye(3)}, r"its x is float64 \[3, 3\], not a column of 9 numbers"),
        (some | {"x": "a text"}, r"its x is <U6 \[1\], not a column"),
        (some | {"x": some["x"] + 0.5}, r"its x has the value \d+.5; pixels are whole numbers"),
    ):
        with pytest.raises(DataError, match=text):
            read(matlab(tmp_path / "a.mat", **variables))


def touches(count: int = 101) -> tuple[NDArray, NDArray]:
    """A `spiketrain`, and its events."""
    events = some_events(count, 10, 10)
    train = np.zeros((101, count))
    train[10 * events["y"].astype(int) + events["x"], np.arange(count)] = 2.0 * events["p"] - 1
    train[100] = events["t"] / 1e6 + 1e-7
    return train, events


@both_versions
@pytest.mark.parametrize("count", [1, 100, 101])
def test_spikes_of_st_mnist(tmp_path: Path, write: Any, count: int):
    """Also where there are as many events as rows."""
    train, events = touches(count)
    assert np.array_equal(read(write(tmp_path / "a.mat", spiketrain=train, label=4.0)), events)


def test_wrong_spikes_of_st_mnist(tmp_path: Path):
    train, _ = touches(9)
    for part, value, text in (
        (np.s_[3, 2], 7, r"its spiketrain has the value 7.0; spikes are 1, -1 or 0"),
        (np.s_[100, 2], np.nan, r"its spiketrain has times that are not seconds"),
        (np.s_[100, 2], 1e300, r"its spiketrain has times that are not seconds"),
        (np.s_[:100], 0, r"it holds no event"),
    ):
        wrong = train.copy()
        wrong[part] = value
        with pytest.raises(DataError, match=text):
            read(matlab(tmp_path / "a.mat", spiketrain=wrong))
    with pytest.raises(DataError, match=r"its spiketrain is float64 \[9, 101\]; it must be numbers \[101, events\]"):
        read(matlab(tmp_path / "a.mat", spiketrain=train.T))
    train[[5, 77], 4] = 1
    train[:100, 4] *= np.isin(np.arange(100), (5, 77))
    found = read(matlab(tmp_path / "a.mat", spiketrain=train))
    assert len(found) == 10, "two taxels at the same time are two events"
    assert [(int(event["x"]), int(event["y"])) for event in found[4:6]] == [(5, 0), (7, 7)]
