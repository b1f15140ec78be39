"""Prophesee's .raw: lines of text that begin with %, then little-endian words of EVT 3.0 or EVT 2.0, as
docs.prophesee.ai and the decoders of OpenEB describe them.

The highest four bits of a word are its type. EVT 2.0 has words of 32 bits: the higher bits of the time, or an event.
EVT 3.0 has words of 16 bits that say what changes: the higher or the lower bits of the time, the row, then the column
of one event, or a first column and the pixels from there, 12 or 8 at a time.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surgrad.data.events.records import Parsed, bad, header_end, whole_records

_TIME_HIGH = 8
_CD_ON = 1
"""In EVT 2.0, 1 is a brighter event and 0 a darker one."""
_ADDR_Y, _ADDR_X, _BASE_X, _VECT_12, _VECT_8, _TIME_LOW = 0, 2, 3, 4, 5, 6
_SKIPPED_2 = (0xA, 0xD, 0xE, 0xF)
"""Types of words that are not events at a pixel: trigger, movement of the camera, others, continued."""
_SKIPPED_3 = (0x7, 0xA, 0xE, 0xF)
"""Likewise: continued, trigger, others, continued."""
_TYPES_3 = (_ADDR_Y, _ADDR_X, _BASE_X, _VECT_12, _VECT_8, _TIME_LOW, _TIME_HIGH, *_SKIPPED_3)
_ADDRESS = 0x7FF
"""The bits of a row or a column."""
_CHUNK = 2**18
"""Words of EVT 3.0 that are decoded together: as many as fit the processor's cache."""
_VERSIONS = {"EVT3": "EVT 3.0", "EVT2": "EVT 2.0", "EVT21": "EVT 2.1"}


def parse(path: Path, data: bytes) -> Parsed:
    """Parse the events of a .raw file, except those before its first time and row: it may begin in the middle."""
    start = header_end(path, data, b"% ", b"% end")
    header = data[:start].decode("latin-1")
    version = _version(header)
    if version not in ("EVT 3.0", "EVT 2.0"):
        what = f"the version of its events is {version}" if version else "its header states no version (% evt 3.0)"
        raise bad(path, 0, f"{what}; supported are EVT 3.0 and EVT 2.0: export it as one of them, or as .dat")
    if re.search(r"(?im)^% endianness +big", header):
        raise bad(path, 0, "its words are big-endian; supported is little-endian: export it as .dat")
    return (_evt3 if version == "EVT 3.0" else _evt2)(path, data, start, _sensor(header))


def _version(header: str) -> str | None:
    named = re.search(r"(?im)^% format +([^;\s]+)", header)
    if named:
        return _VERSIONS.get(named[1].upper(), named[1])
    stated = re.search(r"(?im)^% evt +(\S+)", header)
    return f"EVT {stated[1]}" if stated else None


def _sensor(header: str) -> tuple[int, int] | None:
    both = re.search(r"(?im)^% geometry +(\d{1,5})x(\d{1,5})\s*$", header)
    if both:
        return int(both[1]), int(both[2])
    found = [re.search(rf"(?im)^% (?:format .*;)?{word}[ =]+(\d{{1,5}})\b", header) for word in ("width", "height")]
    return (int(found[0][1]), int(found[1][1])) if found[0] and found[1] else None


def _evt2(path: Path, data: bytes, start: int, sensor: tuple[int, int] | None) -> Parsed:
    words = np.frombuffer(data, "<u4", whole_records(path, data, start, 4), start)
    kind = _types(path, words, 28, (0, _CD_ON, _TIME_HIGH, *_SKIPPED_2), start)
    times = np.flatnonzero(kind == _TIME_HIGH)
    high = _restarted((words[times] & 0xFFFFFFF).astype(np.int64), 2**28)
    at = np.flatnonzero(kind <= _CD_ON)
    at = at[np.searchsorted(at, times[0]) if len(times) else len(at) :]
    events = words[at]
    return Parsed(
        events >> 11 & _ADDRESS,
        events & _ADDRESS,
        high[np.searchsorted(times, at) - 1] << 6 | events >> 22 & 63,
        kind[at],
        lambda number: start + 4 * int(at[number]),
        sensor,
    )


def _evt3(path: Path, data: bytes, start: int, sensor: tuple[int, int] | None) -> Parsed:
    """Decode chunks, each after words that give the state at its beginning."""
    words = np.frombuffer(data, "<u2", whole_records(path, data, start, 2), start)
    _types(path, words, 12, _TYPES_3, start)
    parts = []
    state = words[:0]
    elapsed = 0
    for begin in range(0, max(1, len(words)), _CHUNK):
        chunk = np.concatenate([state, words[begin : begin + _CHUNK]])
        kind = (chunk >> 12).astype(np.uint8)
        times, clock = _clock(chunk, kind)
        at, x, y, t, p, given = _decoded(chunk, kind, times, clock)
        parts.append((at + (begin - len(state)), x, y, t + elapsed, p))
        state = np.array([*_time_words(clock), *given], "<u2")
        elapsed += int(clock[-1]) >> 24 << 24 if len(clock) else 0
    at, x, y, t, p = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if len(x) and x.max() > _ADDRESS:
        first = int((x > _ADDRESS).argmax())
        what = f"a vector reaches column {x[first]}; the last is {_ADDRESS}: download the file again"
        raise bad(path, start + 2 * int(at[first]), what)
    return Parsed(x, y, t, p, lambda number: start + 2 * int(at[number]), sensor)


def _decoded(words: NDArray, kind: NDArray, times: NDArray, clock: NDArray) -> tuple[Any, ...]:
    """The word, x, y, t and p of each event, and words that give the row and the column after them."""
    rows = np.flatnonzero(kind == _ADDR_Y)
    bases = np.flatnonzero(kind == _BASE_X)
    at = np.flatnonzero((kind == _ADDR_X) | (kind == _VECT_12) | (kind == _VECT_8))
    single = kind[at] == _ADDR_X
    twelve = kind[at] == _VECT_12
    time = np.searchsorted(times, at) - 1
    row = np.searchsorted(rows, at) - 1
    source = np.where(single, at, np.concatenate([[-1], bases])[np.searchsorted(bases, at)])
    passed = np.concatenate([[0], np.cumsum(np.where(single, 0, np.where(twelve, 12, 8)))])
    columns = (words[source] & _ADDRESS) + passed[:-1] - passed[np.searchsorted(at, source)]
    valid = np.where(single, 1, words[at] & np.where(twelve, 0xFFF, 0xFF)).astype("<u2")
    valid[(time < 0) | (row < 0) | (source < 0)] = 0
    bits = np.flatnonzero(np.unpackbits(valid.view(np.uint8), bitorder="little"))  # 16 for each word of `at`
    word = bits >> 4
    given = [words[place] for place in rows[-1:]]
    for base in bases[-1:]:
        column = int(words[base] & _ADDRESS) + int(passed[-1] - passed[np.searchsorted(at, base)])
        given.append(int(words[base]) & ~_ADDRESS | min(column, _ADDRESS))
        if column > _ADDRESS:
            given.append(_VECT_12 << 12)  # without a pixel: what follows is also beyond the last column
    x = (columns[word] + (bits & 15)).astype(np.int32)
    y = words[rows[row[word]]] & _ADDRESS
    return at[word], x, y, clock[time[word]], (words[source[word]] >> 11 & 1).astype(np.uint8), given


def _time_words(clock: NDArray) -> list[int]:
    """The words that give the last time, if there is one."""
    return [
        word for t in clock[-1:].tolist() for word in (_TIME_HIGH << 12 | t >> 12 & 0xFFF, _TIME_LOW << 12 | t & 0xFFF)
    ]


def _clock(words: NDArray, kind: NDArray) -> tuple[NDArray, NDArray]:
    """The words that change the time, from the first with higher bits on, and the time after each.

    The lower bits are 0 from a change of the higher bits until they are given, as in OpenEB.
    """
    at = np.flatnonzero((kind == _TIME_LOW) | (kind == _TIME_HIGH))
    is_high = kind[at] == _TIME_HIGH
    begin = int(is_high.argmax()) if is_high.any() else len(at)
    at = at[begin:]
    is_high = is_high[begin:]
    content = (words[at] & 0xFFF).astype(np.int64)
    high = content[is_high]
    sets = ~is_high
    sets[is_high] = np.diff(high, prepend=-1) != 0
    low = np.where(is_high, 0, content)[np.maximum.accumulate(np.where(sets, np.arange(len(at)), 0))]
    return at, _restarted(high, 2**12)[np.cumsum(is_high) - 1] << 12 | low


def _types(path: Path, words: NDArray, shift: int, known: tuple[int, ...], start: int) -> NDArray:
    """The types of words, each a known one."""
    kind = (words >> shift).astype(np.uint8)
    wrong = ~np.isin(np.arange(16), known)[kind]
    if wrong.any():
        first = int(wrong.argmax())
        version = {2: "3.0", 4: "2.0"}[words.itemsize]
        raise bad(
            path,
            start + first * words.itemsize,
            f"a word of type 0x{kind[first]:X}, which EVT {version} does not have; download the file again",
        )
    return kind


def _restarted(high: NDArray, period: int) -> NDArray:
    """Unwrap the higher bits of times: a step back by half a period or more is a restart, as in OpenEB."""
    return high + period * np.concatenate([[0], np.cumsum(np.diff(high) <= -(period // 2))])
