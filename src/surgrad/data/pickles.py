"""Read the pickles of CIFAR without running any function that they name.

A pickle may call any function that it can name. The official files need three names of numpy, and even these are not
resolved: small stand-ins replace them and accept uint8 arrays only, so that neither object arrays nor forged dtypes
reach numpy.
"""

import math
import pickle
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np

from surgrad.data.base import opened
from surgrad.errors import DataError


class _MalformedError(Exception):
    """The pickle uses an accepted name in a way that no uint8 array does."""


class _Stateless:
    """A stand-in that a BUILD opcode cannot alter: no __dict__, and state is refused."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise _MalformedError(f"sets the state of {type(self).__name__.strip('_')}")


class _NdArray(_Stateless):
    """For numpy.ndarray: only ever handed to _reconstruct."""

    __slots__ = ()


class _UInt8:
    """For a dtype object: one byte has no byte order, so its state has no effect."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


class _DType(_Stateless):
    """For numpy.dtype."""

    __slots__ = ()

    def __call__(self, code: object = None, *rest: object) -> _UInt8:
        if code not in (b"u1", "u1"):
            raise _MalformedError(f"holds an array of dtype {code!r}; only uint8 ('u1') is accepted")
        return _UInt8()


class _Array:
    """For an array under construction; `values` is the uint8 array once its state is set."""

    __slots__ = ("values",)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        good = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        if not good or not isinstance(dtype, _UInt8) or not isinstance(raw, bytes):
            raise _MalformedError("holds an array whose shape, dtype or bytes are not those of a uint8 array")
        if math.prod(shape) != len(raw):
            raise _MalformedError(f"holds an array of shape {shape} with {len(raw)} bytes")
        self.values = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Reconstruct(_Stateless):
    """For _reconstruct of numpy's multiarray module."""

    __slots__ = ()

    def __call__(self, kind: object = None, *rest: object) -> _Array:
        if not isinstance(kind, _NdArray):
            raise _MalformedError("reconstructs something other than a plain ndarray")
        return _Array()


STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct,  # the module's name since numpy 2
    ("numpy", "ndarray"): _NdArray,
    ("numpy", "dtype"): _DType,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, path: Path, stream: BufferedIOBase) -> None:
        super().__init__(stream, encoding="bytes")  # Python 2 strings are bytes, pixels among them
        self.path = path

    def find_class(self, module: str, name: str) -> object:
        stand_in = STAND_INS.get((module, name))
        if stand_in is None:
            raise DataError(
                f"{self.path}: refused: the pickle asks for {module}.{name}; a CIFAR file needs only uint8 arrays, "
                "lists, strings and integers. Nothing of it was run; use the official file instead"
            )
        return stand_in()


def load_pickle(path: Path) -> dict[str, Any]:
    """Read the dict of a CIFAR pickle, with its keys as str; arrays are uint8 and read-only.

    Raises:
        DataError: if the pickle is damaged or names anything but uint8 arrays.
    """
    try:
        with opened(path) as stream:
            loaded = _Unpickler(path, stream).load()
    except DataError:
        raise
    except _MalformedError as err:
        raise DataError(f"{path}: refused: the pickle {err}; use the official file instead") from err
    except Exception as err:  # a damaged pickle raises nearly anything
        raise DataError(f"{path}: not a readable pickle ({type(err).__name__}: {err})") from err
    if not isinstance(loaded, dict):
        raise DataError(f"{path}: the pickle holds {type(loaded).__name__.strip('_')}; it must hold a dict with 'data'")
    return {_text(key): getattr(v, "values", None) if isinstance(v, _Array) else v for key, v in loaded.items()}


def _text(key: object) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)
