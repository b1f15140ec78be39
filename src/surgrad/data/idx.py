"""The IDX format of MNIST and similar data sets: two zero bytes, a type, a rank, the sizes (big-endian), the values."""

import gzip
import math
import struct
from collections.abc import Sequence
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from surgrad.data.base import Split, make_split, opened
from surgrad.errors import DataError

UINT8 = 0x08
TYPES = {0x08: "uint8", 0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
CHUNK = 1 << 20


def read_idx(path: Path, rank: int) -> np.ndarray:
    """Read the uint8 array of an IDX file with `rank` axes, plain or .gz.

    Raises:
        DataError: if the file has another type or rank, or another length than its header states.
    """
    with opened(path) as stream:
        sizes = _sizes(path, stream, rank)
        want = math.prod(sizes)
        if path.suffix != ".gz":
            _same_length(path, sizes, path.stat().st_size - 4 - 4 * rank)
        body = _at_most(stream, want + 1)
    _same_length(path, sizes, len(body))
    return np.frombuffer(body, np.uint8).reshape(sizes)


def _sizes(path: Path, stream: BufferedIOBase, rank: int) -> tuple[int, ...]:
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise DataError(f"{path}: not an IDX file: begins with {head.hex(' ') or 'nothing'}, not 00 00 08 0{rank}")
    if head[2] != UINT8:
        kind = TYPES.get(head[2], "an unknown type")
        raise DataError(f"{path}: IDX type 0x{head[2]:02x} ({kind}); only 0x08 (uint8) is supported")
    if head[3] != rank:
        raise DataError(f"{path}: IDX array of {head[3]} axes, not {rank}: images have 3 axes, labels 1")
    raw = stream.read(4 * rank)
    if len(raw) < 4 * rank:
        raise DataError(f"{path}: the IDX header ends after {4 + len(raw)} bytes, not {4 + 4 * rank}")
    return struct.unpack(f">{rank}I", raw)


def _same_length(path: Path, sizes: tuple[int, ...], found: int) -> None:
    want = math.prod(sizes)
    if found != want:
        shape = " x ".join(map(str, sizes))
        amount = "more" if found > want else f"only {found}"
        raise DataError(f"{path}: the IDX header states {shape} = {want} bytes, the file holds {amount}")


def _at_most(stream: BufferedIOBase, limit: int) -> bytearray:
    """Read up to `limit` bytes, in pieces, so that a wrong header allocates nothing."""
    body = bytearray()
    while len(body) < limit and (chunk := stream.read(min(CHUNK, limit - len(body)))):
        body += chunk
    return body


def read_split(paths: Sequence[Path], n_classes: int) -> Split:
    """Read the Split (uint8 [N, 1, H, W]) of an images file and a labels file."""
    images = read_idx(paths[0], 3)
    labels = read_idx(paths[1], 1)
    return make_split(images[:, None], labels, n_classes, f"{paths[0]}, {paths[1].name}")


def write_idx(path: Path, values: np.ndarray) -> None:
    """Write a uint8 array as IDX. A .gz holds no time and no name, so that equal arrays give equal files."""
    if values.dtype != np.uint8:
        raise DataError(f"{path}: only uint8 arrays can be written as IDX, not {values.dtype}")
    head = bytes([0, 0, UINT8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    raw = head + values.tobytes()
    path.write_bytes(gzip.compress(raw, 9, mtime=0) if path.suffix == ".gz" else raw)
