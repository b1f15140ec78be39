"""The histogram of a program, in its shared memory.

`tl.histogram` takes seven times the instructions of the neuron itself: it votes on every bit of a bin's number. Adding
to shared memory is one instruction, for which Triton has no operation; it is in PTX here, and so is the search for the
bin, in three instructions in place of six, none of which converts a number, which GPUs do at a quarter of their speed.
"""

import triton
import triton.language as tl

from surgrad.kernels.lif import histograms

BINS = tl.constexpr(histograms.BINS)
SLOTS = tl.constexpr(histograms.BINS + 1)  # of a table: the bins, and one for what lies above them
MEMORY = tl.constexpr(f".shared .align 4 .b32 counters[{2 * (histograms.BINS + 1)}]; mov.u32 $0, counters;")
ADD = tl.constexpr("""{
    .reg .f32 place, table;
    .reg .b32 address;
    fma.rm.f32 place, $1, $2, 0f46800100;
    add.sat.f32 place, place, 0fC6800000;
    mov.b32 table, $3;
    fma.rn.f32 place, place, 0f00000800, table;
    mov.b32 address, place;
    red.shared.add.u32 [address], 1;
}""")
"""Add 1 to the counter of x = $1 in the table at the address $3, with $2·512 bins to a unit of x.

The sum of x·$2 and 2¹⁴ + 1/2 is rounded down to a multiple of 1/512, its last bit. Less 2¹⁴, it is the number of the
bin over 512; it saturates at 0 and 1, and NaN becomes 0. Times 2⁻¹³⁸ it is a denormal number, whose bits are the number
of the bin times 4, the bytes from the table's first counter to the bin's.
"""


@triton.jit
def bin_of(x, per, there):
    """The bins of x = u - threshold from the threshold, with `per` of them to a unit; NaN is in the first."""
    inside = tl.minimum(tl.maximum(x * per, -(BINS // 2)), BINS // 2 - 1.0)
    return tl.floor(tl.where(there, inside, 0.0)).to(tl.int32)


@triton.jit
def new_counters():
    """The address of a table of counters at zero, which all threads of the program see. After it is another one, for
    elements that do not exist."""
    table = tl.inline_asm_elementwise(MEMORY, "=r", [], tl.int32, is_pure=False, pack=1)
    addresses = table + 4 * tl.arange(0, 2 * BINS)
    tl.inline_asm_elementwise("st.shared.u32 [$1], 0;", "=r,r", [addresses], tl.int32, is_pure=False, pack=1)
    tl.debug_barrier()
    return table


@triton.jit
def count(table, x, per, there):
    """Add 1 to the counter of every element's bin, with `per` of them to a unit of x = u - threshold."""
    own = tl.where(there, table, table + 4 * SLOTS)
    tl.inline_asm_elementwise(ADD, "=r,f,f,r", [x, per * (1.0 / BINS), own], tl.int32, is_pure=False, pack=1)


@triton.jit
def add_counters(table, counts):
    """Add the counters to the int64 counts, which all programs share."""
    tl.debug_barrier()
    bins = tl.arange(0, BINS)
    above = tl.where(bins == BINS - 1, counter(table + 4 * BINS + 0 * bins), 0)
    n = counter(table + 4 * bins) + above
    tl.atomic_add(counts + bins, n.to(tl.int64), n > 0, sem="relaxed")


@triton.jit
def counter(address):
    """The value of a counter."""
    return tl.inline_asm_elementwise("ld.shared.u32 $0, [$1];", "=r,r", [address], tl.int32, is_pure=False, pack=1)


@triton.jit
def count_at_once(counts, bins, there):
    """Add to the counts of all programs: for triton's interpreter, and for tiles with fewer elements than threads."""
    known = tl.maximum(bins, -(BINS // 2))  # the interpreter's maximum of a number and NaN is NaN
    tl.atomic_add(counts + BINS // 2 + known, 1, there, sem="relaxed")
