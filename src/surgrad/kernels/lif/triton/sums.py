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


@triton.jit
def store_bias(to, found, channel, channels):
    """Store the gradient of a norm's bias, and zeros for mean and variance, which receive none."""
    inside = channel < channels
    nothing = tl.zeros_like(found).to(tl.float32)
    tl.store(to + channel, nothing, inside)
    tl.store(to + channels + channel, nothing, inside)
    tl.store(to + 3 * channels + channel, found.to(tl.float32), inside)


@triton.jit
def store_parameter(to, found, shares, is_many, channel, channels, programs):
    """Store the gradient of a parameter: one for each channel, or one number."""
    if is_many:
        tl.store(to + channel, found.to(tl.float32), channel < channels)
    elif tl.program_id(0) == 0:
        tl.store(to, of_all(shares, programs))


@kernel
def total(
    partial,
    sums,
    norm,
    plus_norm,
    to_norm,
    to_plus_norm,
    to_decay,
    to_threshold,
    to_width,
    eps,
    plus_eps,
    scale,
    plus_scale,
    first,
    wanted,
    many,
    slots,
    row_length,
    programs,
    R: tl.constexpr,
    K: tl.constexpr,
):
    """Add the shares of all programs, partial [rows of SumRow, slots, row_length], of a row.

    Stores what `finish` needs to sums [rows of norms, row_length], float64; and the gradients of norms, [4,
    row_length], and parameters. Bit r of `wanted` says whether there is memory for the gradient in row r (of a norm: in
    its row GAIN or PLUS_GAIN), bit r of `many` whether that parameter is one for each channel. So what a layer has of
    these does not change the compiled kernel: one serves all."""
    row = first + tl.program_id(1)
    channel = tl.program_id(0) * K + tl.arange(0, K)[None, :]
    inside = channel < row_length
    shares = partial + row * slots * row_length
    found = tl.zeros((R, K), tl.float64)
    for block in tl.range(0, slots, R):
        slot = block + tl.arange(0, R)[:, None]
        found += tl.load(shares + slot * row_length + channel, (slot < slots) & inside, other=0.0).to(tl.float64)
    found = tl.sum(found, 0, keep_dims=True)
    is_many = (many >> row) & 1 == 1
    is_wanted = (wanted >> row) & 1 == 1
    if row < DECAY:
        tl.store(sums + row * row_length + channel, found, inside)
    if (row == SHIFT) & ((wanted >> GAIN) & 1 == 1):
        store_bias(to_norm, found, channel, row_length)
    if (row == SHIFT) & ((wanted >> PLUS_GAIN) & 1 == 1):
        store_bias(to_plus_norm, found, channel, row_length)
    if (row == GAIN) & is_wanted:
        gradient = by_weight(norm, found, eps, scale, channel, row_length)
        tl.store(to_norm + 2 * row_length + channel, gradient, inside)
    if (row == PLUS_GAIN) & is_wanted:
        gradient = by_weight(plus_norm, found, plus_eps, plus_scale, channel, row_length)
        tl.store(to_plus_norm + 2 * row_length + channel, gradient, inside)
    if (row == DECAY) & is_wanted:
        store_parameter(to_decay, found, shares, is_many, channel, row_length, programs)
    if (row == THRESHOLD) & is_wanted:
        store_parameter(to_threshold, found, shares, is_many, channel, row_length, programs)
    if (row == WIDTH) & is_wanted:
        store_parameter(to_width, found, shares, is_many, channel, row_length, programs)
