"""The neuron over all steps, forward and backward. ../reference.py is the specification and ../README.md derives the
backward pass. The programs of a group of tiles take its tiles in turn, and hold the state of a tile in registers."""

import triton
import triton.language as tl

from surgrad.kernels.lif.triton.counters import add_counters, bin_of, count, count_at_once, new_counters
from surgrad.kernels.lif.triton.slopes import slope, width_slope
from surgrad.kernels.lif.triton.sums import DECAY, GAIN, PLUS_GAIN, SHIFT, THRESHOLD, WIDTH, store_sum
from surgrad.kernels.lif.triton.tiles import (
    affine,
    affine_if,
    after_reset,
    current,
    deviation,
    kernel,
    parameter,
    place,
    read,
    rows,
    state,
    wide,
)
from surgrad.surrogates import base as surrogates

NARROWEST = tl.constexpr(surrogates.NARROWEST)


@kernel
def forward(
    x,
    norm,
    plus,
    plus_norm,
    decay,
    threshold,
    initial,
    spikes,
    potential,
    counts,
    history,
    stride,
    plus_stride,
    eps,
    plus_eps,
    scale,
    plus_scale,
    plus_is_normed,
    steps,
    elements,
    outer,
    channels,
    columns,
    row_stride,
    column_blocks,
    groups,
    blocks,
    programs,
    DECAYS: tl.constexpr,
    THRESHOLDS: tl.constexpr,
    RESET: tl.constexpr,
    PER_THRESHOLD: tl.constexpr,
    SHARED: tl.constexpr,
    CHUNK: tl.constexpr,
    RAGGED: tl.constexpr,
    LONG: tl.constexpr,
    LAST: tl.constexpr,
    R: tl.constexpr,
    K: tl.constexpr,
):
    pid = tl.program_id(0)
    at, exists, channel = place(pid % groups, columns, row_stride, column_blocks, R, K, LAST)
    beta = parameter(decay, channel, channels, DECAYS)
    th = parameter(threshold, channel, channels, THRESHOLDS)
    map_x = affine(norm, channel, channels, eps, scale)
    map_plus = affine_if(plus_is_normed, plus_norm, channel, channels, plus_eps, plus_scale)
    if counts is not None:
        per = tl.div_rn(PER_THRESHOLD, th)
        if SHARED:
            counters = new_counters()
    for block in tl.range(pid // groups, blocks, programs):
        live = rows(block, outer, exists, R)
        base = wide(block, row_stride) * R
        v = state(initial, base, at, live, R, K)
        for first in tl.range(0, steps if LONG else CHUNK, CHUNK):
            xs = read(x, base, at, first, steps, stride, live, CHUNK, RAGGED)
            ps = read(plus, base, at, first, steps, plus_stride, live, CHUNK, RAGGED)
            for i in tl.static_range(CHUNK):
                there = live & (first + i < steps) if RAGGED else live
                u = beta * v + current(xs, map_x, ps, map_plus, i)
                if counts is not None:
                    if SHARED:
                        count(counters, u - th, per, there)
                    else:
                        count_at_once(counts, bin_of(u - th, per, there), there)
                fired = tl.where(u >= th, 1.0, 0.0).to(spikes.dtype.element_ty)
                tl.store(spikes + (base + wide(first + i, elements)) + at, fired, there)
                if history is not None:
                    tl.store(history + (base + wide(first + i, elements)) + at, u, there)
                after = after_reset(u, th, RESET)
                v = tl.where(first + i < steps, after, v) if RAGGED else after
        if potential is not None:
            tl.store(potential + base + at, v, live)
    if counts is not None and SHARED:
        add_counters(counters, counts)


@triton.jit
def potentials(xs, map_x, ps, map_plus, v, beta, th, RESET: tl.constexpr, CHUNK: tl.constexpr):
    """u of CHUNK steps, from v before them."""
    us = ()
    for i in tl.static_range(CHUNK):
        u = beta * v + current(xs, map_x, ps, map_plus, i)
        us += (u,)
        v = after_reset(u, th, RESET)
    return us


@triton.jit
def through_spike(u, g, e, th, w, c0, c1, c2, SURROGATE: tl.constexpr, RESET: tl.constexpr, THROUGH: tl.constexpr):
    """(s, s·h, δ) of one step from g and ε; THROUGH: whether the reset's spike has a gradient."""
    s = g
    if THROUGH:
        s = g - (u if RESET == "zero" else th) * e
    passed = s * slope(u - th, w, c0, c1, c2, SURROGATE)
    kept = tl.where(u >= th, 0.0, e) if RESET == "zero" else e
    return s, passed, passed + kept


@triton.jit
def store_gradient(to, delta, affine_map, BATCH: tl.constexpr, there):
    """Store ∂L/∂x of a step; that of a batch norm is completed by `finish`, once all sums are known."""
    if len(affine_map) > 0 and not BATCH:
        delta = delta * affine_map[1]
    tl.store(to, delta.to(to.dtype.element_ty), there)


@kernel
def backward(
    x,
    norm,
    plus,
    plus_norm,
    decay,
    threshold,
    width,
    initial,
    grad_spikes,
    grad_potential,
    grad_history,
    to_x,
    to_plus,
    to_initial,
    partial,
    kept,
    stride,
    plus_stride,
    eps,
    plus_eps,
    scale,
    plus_scale,
    c0,
    c1,
    c2,
    steps,
    elements,
    outer,
    channels,
    columns,
    row_stride,
    column_blocks,
    groups,
    blocks,
    programs,
    slots,
    width_rows,
    DECAYS: tl.constexpr,
    THRESHOLDS: tl.constexpr,
    WIDTHS: tl.constexpr,
    WIDTH_STEPS: tl.constexpr,
    SURROGATE: tl.constexpr,
    RESET: tl.constexpr,
    THROUGH: tl.constexpr,
    BATCH: tl.constexpr,
    PLUS_BATCH: tl.constexpr,
    WANT_DECAY: tl.constexpr,
    WANT_THRESHOLD: tl.constexpr,
    WANT_WIDTH: tl.constexpr,
    COUNT: tl.constexpr,
    PLUS_COUNT: tl.constexpr,
    CHUNK: tl.constexpr,
    RAGGED: tl.constexpr,
    LONG: tl.constexpr,
    LAST: tl.constexpr,
    R: tl.constexpr,
    K: tl.constexpr,
):
    """Sums go to partial [rows of SumRow, slots, channels]; with LONG, kept [chunks, elements] has v before a chunk."""
    pid = tl.program_id(0)
    group = pid % groups
    chunks = tl.cdiv(steps, CHUNK) if LONG else 1
    at, exists, channel = place(group, columns, row_stride, column_blocks, R, K, LAST)
    beta = parameter(decay, channel, channels, DECAYS)
    th = parameter(threshold, channel, channels, THRESHOLDS)
    w = tl.maximum(parameter(width, channel, channels, WIDTHS), NARROWEST)
    map_x = affine(norm, channel, channels, eps, scale)
    map_plus = affine(plus_norm, channel, channels, plus_eps, plus_scale)
    zeros = tl.zeros((R, K), tl.float32)
    shift = zeros
    gain = zeros
    plus_gain = zeros
    to_decay = zeros
    to_threshold = zeros
    to_width = zeros
    for block in tl.range(pid // groups, blocks, programs):
        live = rows(block, outer, exists, R)
        base = wide(block, row_stride) * R
        v = state(initial, base, at, live, R, K)
        if LONG:
            for chunk in tl.range(chunks):  # the last one only for the cache
                tl.store(kept + (base + wide(chunk, elements)) + at, v, live)
                xs = read(x, base, at, chunk * CHUNK, steps, stride, live, COUNT, RAGGED)
                ps = read(plus, base, at, chunk * CHUNK, steps, plus_stride, live, PLUS_COUNT, RAGGED)
                v = after_reset(potentials(xs, map_x, ps, map_plus, v, beta, th, RESET, CHUNK)[CHUNK - 1], th, RESET)
            tl.debug_barrier()
        e = state(grad_potential, base, at, live, R, K)
        whole = zeros
        plus_whole = zeros
        for later in tl.range(chunks):
            first = (chunks - 1 - later) * CHUNK
            if LONG:
                v = tl.load(kept + (base + wide(chunks - 1 - later, elements)) + at, live, other=0.0)
            xs = read(x, base, at, first, steps, stride, live, COUNT, RAGGED)
            ps = read(plus, base, at, first, steps, plus_stride, live, PLUS_COUNT, RAGGED)
            gs = read(grad_spikes, base, at, first, steps, elements, live, CHUNK, RAGGED)
            hs = read(grad_history, base, at, first, steps, elements, live, CHUNK, RAGGED)
            us = potentials(xs, map_x, ps, map_plus, v, beta, th, RESET, CHUNK)
            for i in tl.static_range(CHUNK - 1, -1, -1):
                u = us[i]
                there = live
                above = e
                if RAGGED:  # a step after the last one adds nothing
                    there = live & (first + i < steps)
                    above = tl.where(first + i < steps, e, 0.0)
                if WIDTH_STEPS:  # row t of the widths, the last one at later steps
                    row = tl.minimum(first + i, width_rows - 1) * (channels if WIDTHS else 1)
                    w = tl.maximum(parameter(width + row, channel, channels, WIDTHS), NARROWEST)
                g = gs[i].to(tl.float32) if grad_spikes is not None else zeros
                s, passed, delta = through_spike(u, g, above, th, w, c0, c1, c2, SURROGATE, RESET, THROUGH)
                if grad_history is not None:
                    delta += hs[i]
                if WANT_DECAY:
                    to_decay += delta * (after_reset(us[i - 1], th, RESET) if i > 0 else v)
                if WANT_THRESHOLD:
                    to_threshold -= passed + (tl.where(u >= th, above, 0.0) if RESET == "subtract" else 0.0)
                if WANT_WIDTH:
                    to_width += s * width_slope(u - th, w, c0, c1, c2, SURROGATE)
                if norm is not None or plus_norm is not None:
                    shift += delta
                if norm is not None:
                    gain += delta * (xs[i if COUNT > 1 else 0].to(tl.float32) - map_x[0])
                if plus_norm is not None:
                    plus_gain += delta * (ps[i if PLUS_COUNT > 1 else 0].to(tl.float32) - map_plus[0])
                if COUNT < CHUNK:
                    whole += delta
                elif to_x is not None:
                    store_gradient(to_x + (base + wide(first + i, elements)) + at, delta, map_x, BATCH, there)
                if PLUS_COUNT < CHUNK:
                    plus_whole += delta
                elif to_plus is not None:
                    store_gradient(
                        to_plus + (base + wide(first + i, elements)) + at, delta, map_plus, PLUS_BATCH, there
                    )
                e = tl.where(first + i < steps, beta * delta, e) if RAGGED else beta * delta
        if to_initial is not None:
            tl.store(to_initial + base + at, e, live)
        if COUNT < CHUNK and to_x is not None:
            store_gradient(to_x + base + at, whole, map_x, BATCH, live)
        if PLUS_COUNT < CHUNK and to_plus is not None:
            store_gradient(to_plus + base + at, plus_whole, map_plus, PLUS_BATCH, live)
    slot = pid // groups if LAST else pid // groups * column_blocks + group % column_blocks
    any_norm: tl.constexpr = norm is not None or plus_norm is not None
    store_sum(partial, SHIFT, shift, slot, slots, channel, channels, any_norm, LAST, True)
    store_sum(partial, GAIN, gain, slot, slots, channel, channels, any_norm, LAST, True)
    store_sum(partial, PLUS_GAIN, plus_gain, slot, slots, channel, channels, any_norm, LAST, True)
    store_sum(partial, DECAY, to_decay, slot, slots, channel, channels, WANT_DECAY, LAST, DECAYS)
    store_sum(partial, THRESHOLD, to_threshold, slot, slots, channel, channels, WANT_THRESHOLD, LAST, THRESHOLDS)
    store_sum(partial, WIDTH, to_width, slot, slots, channel, channels, WANT_WIDTH, LAST, WIDTHS)


@kernel
def finish(
    x,
    to_x,
    norm,
    sums,
    eps,
    scale,
    count,
    outer,
    channels,
    columns,
    row_stride,
    column_blocks,
    groups,
    blocks,
    programs,
    gain_row,
    LAST: tl.constexpr,
    R: tl.constexpr,
    K: tl.constexpr,
):
    """∂L/∂x through batch statistics, in place over δ: gain·(δ - mean of δ - (x - mean)·rstd²·mean of δ(x - mean))."""
    pid = tl.program_id(0)
    at, exists, channel = place(pid % groups, columns, row_stride, column_blocks, R, K, LAST)
    mean, gain, _ = affine(norm, channel, channels, eps, scale)
    rstd = deviation(norm, channel, channels, eps)
    share = 1.0 / tl.cast(count, tl.float64)
    inside = channel < channels
    offset = (tl.load(sums + SHIFT * channels + channel, inside, other=0.0) * share).to(tl.float32)
    tilt = (tl.load(sums + gain_row * channels + channel, inside, other=0.0) * share).to(tl.float32) * rstd * rstd
    for block in tl.range(pid // groups, blocks, programs):
        live = rows(block, outer, exists, R)
        base = wide(block, row_stride) * R
        delta = tl.load(to_x + base + at, live, other=0.0).to(tl.float32)
        difference = tl.load(x + base + at, live, other=0.0).to(tl.float32) - mean
        tl.store(to_x + base + at, (gain * (delta - offset - difference * tilt)).to(to_x.dtype.element_ty), live)
