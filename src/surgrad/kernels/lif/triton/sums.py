"""The sums of a backward pass over its programs, and the gradients of norms and parameters that they are."""

import triton
import triton.language as tl

from surgrad.kernels.lif.operators import SumRow

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
def to_parameter(to, own: tl.constexpr, row, partial, programs, found, slots, channel, channels, MANY: tl.constexpr):
    """Store the gradient of a parameter in the row that is its own: [channels], or one number."""
    if row == own:
        if MANY:
            tl.store(to + channel, found.to(tl.float32), channel < channels)
        elif tl.program_id(0) == 0:
            tl.store(to, of_all(partial + row * slots * channels, programs))


@triton.jit
def of_all(shares, programs):
    """The sum of a share of each program."""
    found = tl.zeros((LANES,), tl.float64)
    for first in tl.range(0, programs, LANES):
        at = first + tl.arange(0, LANES)
        found += tl.load(shares + at, at < programs, other=0.0).to(tl.float64)
    return tl.sum(found).to(tl.float32)


@triton.jit
def to_norm_rows(to, norm, row, gain: tl.constexpr, found, eps, scale, channel, channels):
    """Store the gradient of the rows of a norm [4, channels], of which mean and variance receive none."""
    inside = channel < channels
    if row == SHIFT:
        tl.store(to + channel, tl.zeros_like(found).to(tl.float32), inside)
        tl.store(to + channels + channel, tl.zeros_like(found).to(tl.float32), inside)
        tl.store(to + 3 * channels + channel, found.to(tl.float32), inside)
    elif row == gain:
        variance = tl.load(norm + channels + channel, inside, other=1.0).to(tl.float64)
        tl.store(to + 2 * channels + channel, (found * (scale * tl.rsqrt(variance + eps))).to(tl.float32), inside)


@triton.jit
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
    slots,
    channels,
    programs,
    DECAYS: tl.constexpr,
    THRESHOLDS: tl.constexpr,
    WIDTHS: tl.constexpr,
    R: tl.constexpr,
    K: tl.constexpr,
):
    """Add the shares of all programs, partial [rows of SumRow, slots, channels], of a row; store the gradients of norms
    and parameters, and what `finish` needs to sums [rows of norms, channels], float64."""
    row = first + tl.program_id(1)
    channel = tl.program_id(0) * K + tl.arange(0, K)[None, :]
    inside = channel < channels
    found = tl.zeros((R, K), tl.float64)
    for block in tl.range(0, slots, R):
        slot = block + tl.arange(0, R)[:, None]
        at = partial + (row * slots + slot) * channels + channel
        found += tl.load(at, (slot < slots) & inside, other=0.0).to(tl.float64)
    found = tl.sum(found, 0, keep_dims=True)
    if row < DECAY:
        tl.store(sums + row * channels + channel, found, inside)
    if to_norm is not None:
        to_norm_rows(to_norm, norm, row, GAIN, found, eps, scale, channel, channels)
    if to_plus_norm is not None:
        to_norm_rows(to_plus_norm, plus_norm, row, PLUS_GAIN, found, plus_eps, plus_scale, channel, channels)
    if to_decay is not None:
        to_parameter(to_decay, DECAY, row, partial, programs, found, slots, channel, channels, DECAYS)
    if to_threshold is not None:
        to_parameter(to_threshold, THRESHOLD, row, partial, programs, found, slots, channel, channels, THRESHOLDS)
    if to_width is not None:
        to_parameter(to_width, WIDTH, row, partial, programs, found, slots, channel, channels, WIDTHS)
