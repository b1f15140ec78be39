"""Spikes as bits: the first of eight adjacent spikes is the lowest bit of a byte."""

import triton
import triton.language as tl


@triton.jit
def pack(spikes, bits, count, K: tl.constexpr):
    """Write K bytes of the bits of `count` spikes; what is not 0 is a spike."""
    byte = tl.program_id(0).to(tl.int64) * K + tl.arange(0, K)
    place = tl.arange(0, 8)[None, :]
    at = 8 * byte[:, None] + place
    found = tl.load(spikes + at, at < count, other=0.0)
    tl.store(bits + byte, tl.sum((found != 0).to(tl.int32) << place, 1).to(tl.uint8), 8 * byte < count)


@triton.jit
def unpack(bits, spikes, count, K: tl.constexpr):
    """Write the spikes of K bytes."""
    byte = tl.program_id(0).to(tl.int64) * K + tl.arange(0, K)
    place = tl.arange(0, 8)[None, :]
    at = 8 * byte[:, None] + place
    found = tl.load(bits + byte, 8 * byte < count, other=0).to(tl.int32)
    ones = ((found[:, None] >> place) & 1).to(tl.float32)  # the interpreter makes no bfloat16 of an integer
    tl.store(spikes + at, ones.to(spikes.dtype.element_ty), at < count)
