"""Helpers of the kernels: the memory layout of a program's elements, and how currents and potentials come from them.

A step is [outer, channels, inner] in memory. A tile is rows of `outer` by adjacent columns: of `inner`, all of one
channel, or, if inner is 1 (LAST), of the channels. Offsets within a tile fit 32 bits; those of tiles and steps take 64.
"""

import triton
import triton.language as tl

COUNTS = (
    *("outer", "column_blocks", "groups", "blocks", "programs", "slots", "steps", "width_rows"),
    *("first", "count", "gain_row", "wanted", "many", "plus_is_normed", "row_length"),
)
"""Arguments of kernels whose divisibility changes no access to memory: no value of them compiles a kernel again."""


def kernel(function):
    """`triton.jit`, for the functions that are launched."""
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    return triton.jit(function, do_not_specialize=[name for name in COUNTS if name in names])


@triton.jit
def place(group, columns, row_stride, column_blocks, R: tl.constexpr, K: tl.constexpr, LAST: tl.constexpr):
    """(offsets of a tile from its first row, which of its columns exist, their channels) of a group of tiles."""
    first = group // column_blocks
    column = group % column_blocks * K + tl.arange(0, K)[None, :]
    at = tl.arange(0, R)[:, None] * row_stride + (first * columns + column)
    return at, column < columns, column if LAST else first


@triton.jit
def rows(block, outer, exists, R: tl.constexpr):
    """Which elements of a group's tile number `block` exist."""
    return (block * R + tl.arange(0, R)[:, None] < outer) & exists


@triton.jit
def wide(count, stride):
    """count·stride in 64 bits."""
    return tl.cast(count, tl.int64) * stride


@triton.jit
def parameter(pointer, channel, channels, MANY: tl.constexpr):
    """A parameter of the tile's channels. Channels that do not exist get 1, so that no division gives NaN."""
    return tl.load(pointer + channel, channel < channels, other=1.0) if MANY else tl.load(pointer)


@triton.jit
def affine(norm, channel, channels, eps, scale):
    """(mean, gain, bias) with which a norm is (x - mean)·gain + bias; empty without norm."""
    if norm is None:
        out = ()
    else:
        mean = parameter(norm, channel, channels, True)
        weight = parameter(norm + 2 * channels, channel, channels, True)
        bias = parameter(norm + 3 * channels, channel, channels, True)
        out = (mean, deviation(norm, channel, channels, eps) * (scale * weight), bias)
    return out


@triton.jit
def affine_if(exists, norm, channel, channels, eps, scale):
    """`affine`, or with `exists` 0 a map that changes nothing: not a property of the compiled kernel."""
    if norm is None:
        out = ()
    else:
        mean, gain, bias = affine(norm, channel, channels, eps, scale)
        out = (tl.where(exists != 0, mean, 0.0), tl.where(exists != 0, gain, 1.0), tl.where(exists != 0, bias, 0.0))
    return out


@triton.jit
def deviation(norm, channel, channels, eps):
    """1/√(variance + eps)."""
    return tl.rsqrt(parameter(norm + channels, channel, channels, True) + eps)


@triton.jit
def read(pointer, base, at, first, steps, stride, live, COUNT: tl.constexpr, RAGGED: tl.constexpr):
    """A tile's values at COUNT steps from `first` on; zeros outside the tensor. All loads are issued before the first
    value is used: a load may not overtake a store, and would later wait for memory at every step."""
    values = ()
    if pointer is not None:
        for i in tl.static_range(COUNT):
            there = live & (first + i < steps) if RAGGED else live
            values += (tl.load(pointer + (base + wide(first + i, stride)) + at, there, other=0.0),)
    return values


@triton.jit
def summand(x, scale):
    """A summand of the current from its stored values; scale: see `affine`."""
    y = x.to(tl.float32)
    if len(scale) > 0:
        y = (y - scale[0]) * scale[1] + scale[2]
    return y


@triton.jit
def current(xs, scale, ps, plus_scale, i: tl.constexpr):
    """The current at step i of those read; a summand that is the same at every step was read once."""
    out = summand(xs[i if len(xs) > 1 else 0], scale)
    if len(ps) > 0:
        out += summand(ps[i if len(ps) > 1 else 0], plus_scale)
    return out


@triton.jit
def after_reset(u, threshold, RESET: tl.constexpr):
    if RESET == "zero":
        v = tl.where(u >= threshold, 0.0, u)
    elif RESET == "subtract":
        v = tl.where(u >= threshold, u - threshold, u)
    else:
        v = u
    return v


@triton.jit
def state(pointer, base, at, live, R: tl.constexpr, K: tl.constexpr):
    """A tile of an optional float32 tensor; zeros without one."""
    return tl.zeros((R, K), tl.float32) if pointer is None else tl.load(pointer + base + at, live, other=0.0)
