"""Mean and variance of every channel, in two kernels, so that order and rounding do not depend on the machine."""

import triton
import triton.language as tl

from surgrad.kernels.lif.triton.tiles import kernel, place, rows, wide


@triton.jit
def pivot(x, channel, channels, columns, LAST: tl.constexpr):
    """The first element of each channel."""
    return tl.load(x + channel * (1 if LAST else columns), channel < channels, other=0.0).to(tl.float32)


@kernel
def gather(
    x,
    partial,
    outer,
    channels,
    columns,
    row_stride,
    column_blocks,
    groups,
    blocks,
    programs,
    slots,
    LAST: tl.constexpr,
    R: tl.constexpr,
    K: tl.constexpr,
):
    """Store each program's count, mean and squared deviation from the mean to partial [3, slots, channels].

    They are of differences to the channel's first element, by Welford's update in every lane: little cancels, whatever
    the mean.
    """
    pid = tl.program_id(0)
    group = pid % groups
    at, exists, channel = place(group, columns, row_stride, column_blocks, R, K, LAST)
    near = pivot(x, channel, channels, columns, LAST)
    number = tl.zeros((R, 1), tl.float32)
    mean = tl.zeros((R, K), tl.float32)
    square = tl.zeros((R, K), tl.float32)
    for block in tl.range(pid // groups, blocks, programs):
        live = rows(block, outer, exists, R)
        here = block * R + tl.arange(0, R)[:, None] < outer
        number += here.to(tl.float32)
        share = tl.where(here, 1.0 / tl.maximum(number, 1.0), 0.0)
        difference = tl.load(x + wide(block, row_stride) * R + at, live, other=0.0).to(tl.float32) - near - mean
        mean += difference * share
        square += difference * difference * (share * (number - 1.0))
    number = tl.where(exists, number, 0.0) + tl.zeros((R, K), tl.float32)
    slot = pid // groups if LAST else pid // groups * column_blocks + group % column_blocks
    to = partial + slot * channels + channel
    if LAST:
        total = tl.sum(number, 0, keep_dims=True)
        middle = tl.sum(number * mean, 0, keep_dims=True) / tl.maximum(total, 1.0)
        spread = tl.sum(tl.where(exists, square, 0.0) + number * (mean - middle) * (mean - middle), 0, keep_dims=True)
    else:
        total = tl.sum(number)
        middle = tl.sum(number * mean) / tl.maximum(total, 1.0)
        spread = tl.sum(tl.where(exists, square, 0.0) + number * (mean - middle) * (mean - middle))
    tl.store(to, total, channel < channels)
    tl.store(to + slots * channels, middle, channel < channels)
    tl.store(to + 2 * slots * channels, spread, channel < channels)


@triton.jit
def approach(to, value, share, inside):
    """Move a running estimate towards a new value, as torch.lerp does."""
    held = tl.load(to, inside, other=0.0)
    step = value - held
    tl.store(to, tl.where(share < 0.5, held + share * step, value - step * (1.0 - share)), inside)


@kernel
def merge(
    x,
    partial,
    out,
    weight,
    bias,
    running_mean,
    running_var,
    batches,
    momentum,
    unbiased,
    slots,
    channels,
    columns,
    LAST: tl.constexpr,
    R: tl.constexpr,
    K: tl.constexpr,
):
    """out [2, channels], mean and biased variance, from the results of `gather`. With the tensors of a norm out has
    [4, channels], the rows of `Norm`, the running estimates are updated, and the batch is counted."""
    channel = tl.program_id(0) * K + tl.arange(0, K)[None, :]
    inside = channel < channels
    total = tl.zeros((R, K), tl.float64)
    first = tl.zeros((R, K), tl.float64)
    second = tl.zeros((R, K), tl.float64)
    for block in tl.range(0, slots, R):
        slot = block + tl.arange(0, R)[:, None]
        live = (slot < slots) & inside
        at = partial + slot * channels + channel
        number = tl.load(at, live, other=0.0).to(tl.float64)
        mean = tl.load(at + slots * channels, live, other=0.0).to(tl.float64)
        total += number
        first += number * mean
        second += tl.load(at + 2 * slots * channels, live, other=0.0).to(tl.float64) + number * mean * mean
    number = tl.where(inside, tl.sum(total, 0, keep_dims=True), 1.0)
    mean = tl.sum(first, 0, keep_dims=True) / number
    variance = tl.maximum(tl.sum(second, 0, keep_dims=True) / number - mean * mean, 0.0)
    near = pivot(x, channel, channels, columns, LAST)
    mean = (near.to(tl.float64) + mean).to(tl.float32)
    variance = variance.to(tl.float32)
    tl.store(out + channel, mean, inside)
    tl.store(out + channels + channel, variance, inside)
    if weight is not None:
        tl.store(out + 2 * channels + channel, tl.load(weight + channel, inside, other=0.0), inside)
        tl.store(out + 3 * channels + channel, tl.load(bias + channel, inside, other=0.0), inside)
        approach(running_mean + channel, mean, momentum, inside)
        approach(running_var + channel, variance * unbiased, momentum, inside)
        if tl.program_id(0) == 0:
            tl.store(batches, tl.load(batches) + 1)
