"""AEDAT 3.1, the format of DVS128 Gesture: lines of text up to #!END-HEADER, then packets, little-endian. A packet has
a head of 28 bytes (type, source, size of an event, offset of its time, overflow of the times, capacity, number, number
of valid ones) and events. Those of type 1 are from pixels: 32 bits of data (valid, polarity, 15 of y, 15 of x), 32 of
time.
"""

import csv
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from surgrad.data.events.records import Parsed, bad
from surgrad.errors import DataError

END = b"#!END-HEADER\r\n"
HEAD = struct.Struct("<HHIIIIII")
POLARITY = 1
COMPRESSED = 0x8000
MOST_OVERFLOWS = 2**20  # of 31 bits of µs: 71 years


class _Packet(NamedTuple):
    start: int
    number: int
    overflow: int
    whole: bool  # all of its events are valid


def parse(path: Path, data: bytes) -> Parsed:
    """Parse the valid events of pixels. If a packet's head states that all are valid, their own bits are ignored."""
    packets = _packets(path, data)
    words = [np.frombuffer(data, "<u4", 2 * one.number, one.start).reshape(-1, 2) for one in packets]
    whole = np.concatenate(words) if words else np.empty((0, 2), "<u4")
    address = whole[:, 0].copy()  # its highest bit is a sign
    t = (whole[:, 1] & 0x7FFFFFFF).astype(np.int64)
    counts = [one.number for one in packets]
    if any(one.overflow for one in packets):
        t += np.repeat([one.overflow << 31 for one in packets], counts)
    index = None
    if not all(one.whole for one in packets):
        index = np.flatnonzero((address & 1) | np.repeat([one.whole for one in packets], counts))
        address = address[index]
        t = t[index]
    ends = np.cumsum(counts)

    def place(number: int) -> int:
        number = number if index is None else int(index[number])
        packet = int(np.searchsorted(ends, number, "right"))
        return packets[packet].start + 8 * (number - int(ends[packet]) + counts[packet])

    return Parsed(address >> 17, (address >> 2) & 0x7FFF, t, (address >> 1) & 1, place)


def _packets(path: Path, data: bytes) -> list[_Packet]:
    """The packets of pixel events; every head is checked against the length of the file."""
    at = data.find(END)
    if at < 0:
        raise bad(path, 0, "the header does not end with #!END-HEADER; download the file again")
    at += len(END)
    found = []
    while at < len(data):
        if len(data) - at < HEAD.size:
            raise bad(
                path,
                at,
                f"the file is truncated, {len(data) - at} of the {HEAD.size} bytes of a packet's head; "
                "download it again",
            )
        kind, _, size, _, overflow, _, number, valid = HEAD.unpack_from(data, at)
        if overflow > MOST_OVERFLOWS:
            raise bad(path, at, f"a packet with {overflow:,} overflows of its times; download the file again")
        begin = at + HEAD.size
        left = len(data) - at - HEAD.size
        if number * size > left:
            raise bad(
                path, at, f"a packet of {number} events of {size} bytes, but {left} bytes follow; download it again"
            )
        if kind & COMPRESSED:
            raise bad(path, at, "a compressed packet, which is not supported; write the file uncompressed")
        if kind == POLARITY:
            if size != 8:
                raise bad(path, at, f"pixel events of {size} bytes; AEDAT 3.1 has 8")
            found.append(_Packet(begin, number, overflow, valid == number))
        at = begin + number * size
    return found


def spans(labels: Path, classes: int) -> list[tuple[int, tuple[int, int]]]:
    """Read the (class, (first, last) µs) of a recording's gestures from its csv of `class,startTime_usec,endTime_usec`;
    classes count from 1."""
    try:
        with labels.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise DataError(f"{labels}: cannot be read ({err}); check its permissions or download it again") from None
    found = []
    for line, row in enumerate(rows, 2):
        try:
            number, start, end = (int(row[key][:20]) for key in ("class", "startTime_usec", "endTime_usec"))
        except (KeyError, TypeError, ValueError):
            number = start = end = 0
        if not (1 <= number <= classes and 0 <= start < end < 2**62):
            raise DataError(
                f"{labels}, line {line}: need a class from 1 to {classes}, and startTime_usec and a later endTime_usec "
                "in whole numbers; download it again"
            )
        found.append((number, (start, end)))
    return found
