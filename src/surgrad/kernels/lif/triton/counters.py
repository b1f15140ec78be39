"""The histogram of a program, in its shared memory; bins are numbered from the threshold, -BINS/2 to BINS/2 - 1.

`tl.histogram` takes seven times the instructions of the neuron itself: it votes on every bit of a bin's number. Adding
to shared memory is one instruction, for which Triton has no operation; it is in PTX here."""

import triton
import triton.language as tl

from surgrad.kernels.lif import histograms

BINS = tl.constexpr(histograms.BINS)
MEMORY = tl.constexpr(f".shared .align 4 .b32 counters[{histograms.BINS + 1}]; mov.u32 $0, counters;")
ABSENT = tl.constexpr(-(histograms.BINS // 2) - 1)  # the bin of elements that do not exist; nothing reads it


@triton.jit
def bin_of(x, per, there):
    """The bins of x = u - threshold, with `per` of them to a unit; NaN is in the first."""
    last = tl.where(there, BINS // 2 - 1.0, ABSENT + 0.0)
    return tl.floor(tl.minimum(tl.maximum(x * per, -(BINS // 2)), last)).to(tl.int32)


@triton.jit
def new_counters():
    """The address of the counter of bin 0. All threads of the program see the same counters, at zero."""
    middle = tl.inline_asm_elementwise(MEMORY, "=r", [], tl.int32, is_pure=False, pack=1) - 4 * ABSENT
    addresses = middle + 4 * (tl.arange(0, BINS) - BINS // 2)
    tl.inline_asm_elementwise("st.shared.u32 [$1], 0;", "=r,r", [addresses], tl.int32, is_pure=False, pack=1)
    tl.debug_barrier()
    return middle


@triton.jit
def count(middle, bins):
    """Add 1 to the counter of every element's bin."""
    tl.inline_asm_elementwise(
        "red.shared.add.u32 [$1], 1;", "=r,r", [middle + 4 * bins], tl.int32, is_pure=False, pack=1
    )


@triton.jit
def add_counters(middle, counts):
    """Add the counters to the int64 counts, which all programs share."""
    tl.debug_barrier()
    bins = tl.arange(0, BINS)
    addresses = middle + 4 * (bins - BINS // 2)
    n = tl.inline_asm_elementwise("ld.shared.u32 $0, [$1];", "=r,r", [addresses], tl.int32, is_pure=False, pack=1)
    tl.atomic_add(counts + bins, n.to(tl.int64), n > 0, sem="relaxed")


@triton.jit
def count_at_once(counts, bins, there):
    """Add to the counts of all programs: for triton's interpreter, and for tiles with fewer elements than threads."""
    known = tl.maximum(bins, -(BINS // 2))  # the interpreter's maximum of a number and NaN is NaN
    tl.atomic_add(counts + BINS // 2 + known, 1, there, sem="relaxed")
