"""How the elements of a step are divided into tiles; tiles.py describes how the kernels use them."""

import math
from functools import lru_cache
from typing import NamedTuple

from torch import Tensor

from surgrad.kernels.lif.operators import laid_out_last

THREADS = 128  # of a program
MOST_PROGRAMS = 2112  # 16 for each of 132 multiprocessors; more programs mean more sums to add and parameters to load
WIDEST_ROW = 64  # adjacent channels, for the same reason


class Tiling(NamedTuple):
    """A step as [outer, channels, columns], or [outer, channels] with `last`; columns are those of a row of tiles.
    Tiles of the same rows of columns are a group; `programs` of a group share its `blocks` tiles."""

    outer: int
    channels: int
    columns: int
    last: bool
    rows_of_tile: int
    columns_of_tile: int
    programs: int

    @property
    def row_stride(self) -> int:
        return self.columns if self.last else self.channels * self.columns

    @property
    def column_blocks(self) -> int:
        return -(-self.columns // self.columns_of_tile)

    @property
    def groups(self) -> int:
        return self.column_blocks if self.last else self.column_blocks * self.channels

    @property
    def blocks(self) -> int:
        return -(-self.outer // self.rows_of_tile)

    @property
    def grid(self) -> tuple[int]:
        return (self.groups * self.programs,)

    @property
    def slots(self) -> int:
        """The number of programs that store sums of the same channel."""
        return self.programs if self.last else self.programs * self.column_blocks

    @property
    def fills_threads(self) -> bool:
        """Whether each element belongs to one thread; several hold the same one if a tile has fewer elements."""
        return self.rows_of_tile * self.columns_of_tile >= THREADS

    def arguments(self) -> dict[str, int | bool]:
        """The arguments that every kernel takes. Products are rounded before they are added, as in the reference."""
        return {
            "outer": self.outer,
            "channels": self.channels,
            "columns": self.columns,
            "row_stride": self.row_stride,
            "column_blocks": self.column_blocks,
            "groups": self.groups,
            "blocks": self.blocks,
            "programs": self.programs,
            "LAST": self.last,
            "R": self.rows_of_tile,
            "K": self.columns_of_tile,
            "num_warps": THREADS // 32,
            "enable_fp_fusion": False,
        }


def tiling(x: Tensor, steps: int, per_thread: int, *, by_channel: bool) -> Tiling:
    """The tiles of `steps` successive steps of x, treated as one, with `per_thread` elements for each thread.

    by_channel: whether channels differ in a parameter or a norm."""
    size = THREADS * per_thread
    return _tiling(tuple(x.shape[1:]), laid_out_last(x), steps, size, by_channel, WIDEST_ROW, MOST_PROGRAMS)


@lru_cache(4096)
def _tiling(
    shape: tuple[int, ...], last: bool, steps: int, size: int, by_channel: bool, widest: int, most: int
) -> Tiling:
    """The tiles, of `size` elements, of steps of that shape [N, C, ...]."""
    outer, channels, columns, last = _view(shape, last, steps, size if not by_channel else 0)
    k = _columns_of_tile(columns, widest if last else size)
    row_stride = columns if last else channels * columns
    r = size // k if size // k * row_stride < 2**31 else 1
    whole = Tiling(outer, channels, columns, last, r, k, 1)
    return whole._replace(programs=min(whole.blocks, max(1, most // whole.groups)))


def _view(shape: tuple[int, ...], last: bool, steps: int, size: int) -> tuple[int, int, int, bool]:
    """(outer, channels, columns, last); with a size, the layout does not matter, and rows are chosen to divide it."""
    elements = math.prod(shape)
    side = math.gcd(elements, size)
    if size and side >= 32:
        return steps * elements // side, 1, side, False
    channels = shape[1] if len(shape) > 1 else 1
    inner = 1 if last else elements // (shape[0] * channels) if len(shape) > 1 else elements
    outer = steps * elements // (channels * inner)
    return (outer, channels, channels, True) if inner == 1 else (outer, channels, inner, False)


def _columns_of_tile(columns: int, most: int) -> int:
    """The power of two that leaves the fewest lanes without an element; the largest of several."""
    largest = min(most, _power_of_two(columns))
    some = [2**i for i in range(largest.bit_length()) if 2**i >= min(32, largest)]
    return min(some, key=lambda k: (-(-columns // k) * k, -k))


def _power_of_two(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()
