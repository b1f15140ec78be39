"""The sums of a backward pass over its programs, and the gradients of norms and parameters that they are."""

import triton
import triton.language as tl

from surgrad.kernels.lif.operators import SumRow
from surgrad.kernels.lif.triton.tiles import kernel

SHIFT = tl.constexpr(int(SumRow.SHIFT))
GAIN = tl.constexpr(int(SumRow.GAIN))
PLUS_GAIN = tl.constexpr(int(SumRow.PLUS_GAIN))
DECAY = tl.constexpr(int(SumRow.DECAY))
THRESHOLD = tl.constexpr(int(SumRow.THRESHOLD))
WIDTH = tl.constexpr(int(SumRow.WIDTH))
LANES = tl.constexpr(1024)


@triton.jit
def store_sum(
    partial,
    row: tl.constexpr,
    total,
    slot,
    slots,
    channel,
    channels,
    WANT: tl.constexpr,
    LAST: tl.constexpr,
    MANY: tl.constexpr,
):
    """Store a program's share of a row of the sums, where it is wanted: one for each channel, or a single one."""
    to = partial + (row * slots + slot) * channels + channel
    if not WANT:
        pass
    elif not MANY:
        tl.store(partial + row * slots * channels + tl.program_id(0), tl.sum(total))
    elif LAST:
        tl.store(to, tl.sum(total, 0, keep_dims=True), channel < channels)
    else:
        tl.store(to, tl.sum(total))


@triton.jit
def of_all(shares, programs):
    """The sum of one share of each program."""
    found = tl.zeros((LANES,), tl.float64)
    for first in tl.range(0, programs, LANES):
        at = first + tl.arange(0, LANES)
        found += tl.load(shares + at, at < programs, other=0.0).to(tl.float64)
    return tl.sum(found).to(tl.float32)


@triton.jit
def by_weight(norm, found, eps, scale, channel, channels):
    """The gradient of a norm's weight."""
    variance = tl.load(norm + channels + channel, channel < channels, other=1.0).to(tl.float64)
    return (found * (scale * tl.rsqrt(variance + eps))).to(tl.float32)


@kernel
def total(
    partial,
    sums,
    out,
    norm,
    plus_norm,
    eps,
    plus_eps,
    scale,
    plus_scale,
    first,
    many,
    slots,
    row_length,
    programs,
    R: tl.constexpr,
    K: tl.constexpr,
):
    """Add the shares of all programs, partial [rows of SumRow, slots, row_length], of a row.

    Stores what `finish` needs to sums [rows of norms, row_length], float64; and gradients to out [11, row_length]: the
    four rows of `norm` and of `plus_norm`, mean and variance without one, then decay, threshold and width. Bit r of
    `many` says that there is a norm for row r, or that its parameter is one for each channel and not one number. So
    what a layer has of these does not change the compiled kernel: one serves all."""
    row = first + tl.program_id(1)
    channel = tl.program_id(0) * K + tl.arange(0, K)[None, :]
    inside = channel < row_length
    shares = partial + row * slots * row_length
    found = tl.zeros((R, K), tl.float64)
    for block in tl.range(0, slots, R):
        slot = block + tl.arange(0, R)[:, None]
        found += tl.load(shares + slot * row_length + channel, (slot < slots) & inside, other=0.0).to(tl.float64)
    found = tl.sum(found, 0, keep_dims=True)
    to = out + channel
    is_many = (many >> row) & 1 == 1
    if row < DECAY:
        tl.store(sums + row * row_length + channel, found, inside)
    if row == SHIFT:
        for of_norm in tl.static_range(0, 8, 4):
            tl.store(to + of_norm * row_length, tl.zeros_like(found).to(tl.float32), inside)
            tl.store(to + (of_norm + 1) * row_length, tl.zeros_like(found).to(tl.float32), inside)
            tl.store(to + (of_norm + 3) * row_length, found.to(tl.float32), inside)
    elif (row == GAIN) & is_many:
        tl.store(to + 2 * row_length, by_weight(norm, found, eps, scale, channel, row_length), inside)
    elif (row == PLUS_GAIN) & is_many:
        tl.store(to + 6 * row_length, by_weight(plus_norm, found, plus_eps, plus_scale, channel, row_length), inside)
    elif (row >= DECAY) & is_many:
        tl.store(to + (8 + row - DECAY) * row_length, found.to(tl.float32), inside)
    elif (row >= DECAY) & (tl.program_id(0) == 0):
        tl.store(out + (8 + row - DECAY) * row_length, of_all(shares, programs))
