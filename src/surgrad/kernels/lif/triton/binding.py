"""From tensors to the launches of the kernels.

Nothing here waits for the GPU or reads a tensor's values, so that a CUDA graph can hold a call, and no two calls of the
same sizes and options compile anything again."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from triton.runtime import JITFunction

from surgrad.kernels.lif.arguments import LIFArguments, PerTensor, per_channel
from surgrad.kernels.lif.histograms import PER_THRESHOLD
from surgrad.kernels.lif.operators import (
    KernelOutput,
    SumRow,
    new_gradients,
    new_outputs,
    over_ranks,
)
from surgrad.kernels.lif.triton import bits as bit_kernels
from surgrad.kernels.lif.triton import kernels, statistics
from surgrad.kernels.lif.triton import sums as sum_kernels
from surgrad.kernels.lif.triton.launches import launch
from surgrad.kernels.lif.triton.tiling import Tiling, tiling
from surgrad.surrogates import CONSTANTS

LONGEST = 16  # the most steps whose potentials stay in registers; of longer sequences they are recomputed in chunks
CHUNK = 8  # steps of such a chunk, and steps whose loads a forward pass issues together
MERGED = 128  # programs whose results are read together
BYTES = 512  # of bits that a program packs
REGISTERS = 96  # of a thread, for the values that it keeps of its elements
OVERHEAD = 32  # bytes that it keeps per element for any number of steps


def forward(a: LIFArguments) -> KernelOutput:
    """See `surgrad.kernels.lif.operators.Kernel`."""
    out = new_outputs(a)
    if out.spikes.numel() == 0:
        return out
    tiles = tiling(a.x, 1, 16 // a.x.itemsize, by_channel=_by_channel(a))
    with _on_device(a.x):
        launch(
            kernels.forward,
            tiles.grid,
            {
                **_given(a),
                "plus_norm": a.norm if a.plus is not None and a.plus_norm is None else a.plus_norm,
                "spikes": out.spikes,
                "potential": out.potential if a.return_potential else None,
                "counts": out.histogram if a.return_histogram else None,
                "history": out.history if a.return_history else None,
            },
            {
                **_fixed(a, min(a.steps, CHUNK), tiles),
                "plus_is_normed": int(a.plus_norm is not None),
                "PER_THRESHOLD": float(PER_THRESHOLD),
                # the interpreter knows no PTX
                "SHARED": isinstance(kernels.forward, JITFunction) and tiles.fills_threads,
            },
        )
    return out


def backward(
    grad_spikes: Tensor | None,
    grad_potential: Tensor | None,
    grad_history: Tensor | None,
    wanted: PerTensor[bool],
    a: LIFArguments,
) -> PerTensor[Tensor]:
    """See `surgrad.kernels.lif.operators.Kernel`."""
    found = new_gradients(wanted, a)
    if a.x.numel() == 0:
        return PerTensor(*[gradient.zero_() for gradient in found])
    chunk = a.steps if a.steps <= LONGEST else CHUNK
    tiles = tiling(a.x, 1, _per_thread(a, chunk), by_channel=_by_channel(a))
    partial = a.x.new_empty(len(SumRow), tiles.slots, tiles.channels, dtype=torch.float32)
    kept = a.x.new_empty(-(-a.steps // chunk), a.x[0].numel(), dtype=torch.float32) if chunk < a.steps else None
    with _on_device(a.x):
        launch(
            kernels.backward,
            tiles.grid,
            {
                **_given(a),
                "width": a.width,
                "grad_spikes": grad_spikes,
                "grad_potential": grad_potential,
                "grad_history": grad_history,
                "to_x": _if_any(found.x),
                "to_plus": _if_any(found.plus),
                "to_initial": _if_any(found.initial_potential),
                "partial": partial,
                "kept": kept,
                **_constants(a),
            },
            {
                **_fixed(a, chunk, tiles),
                # a summand that is the same at every step is read once
                "COUNT": chunk if len(a.x) == a.steps else 1,
                "PLUS_COUNT": chunk if a.plus is not None and len(a.plus) == a.steps else 1,
                "slots": tiles.slots,
                "width_rows": len(a.width) if a.width.ndim == 2 else 1,
                "WIDTHS": per_channel(a.width),
                "WIDTH_STEPS": a.width.ndim == 2,
                "SURROGATE": a.surrogate.name,
                "THROUGH": a.reset != "none" and not a.detach_reset,
                "BATCH": a.batch,
                "PLUS_BATCH": a.plus_batch,
                "WANT_DECAY": wanted.decay,
                "WANT_THRESHOLD": wanted.threshold,
                "WANT_WIDTH": wanted.width,
            },
        )
        sums = _totals(partial, tiles, found, a)
        if a.batch or a.plus_batch:
            sums = over_ranks(sums, a)
        if a.batch and a.norm is not None and wanted.x:
            _finish(a.x, found.x, a.norm, a.eps, a.scale, sums, SumRow.GAIN)
        if a.plus_batch and a.plus is not None and a.plus_norm is not None and wanted.plus:
            _finish(a.plus, found.plus, a.plus_norm, a.plus_eps, a.plus_scale, sums, SumRow.PLUS_GAIN)
    return found


def _constants(a: LIFArguments) -> dict[str, float]:
    """The constants of the surrogate function by the names that the kernels give them; zeros where it has fewer."""
    constants = [*a.surrogate.constants, *[0.0] * CONSTANTS][:CONSTANTS]
    return {f"c{i}": float(constant) for i, constant in enumerate(constants)}


def _if_any(gradient: Tensor) -> Tensor | None:
    """The memory of a gradient; None where it is not wanted."""
    return gradient if gradient.numel() else None


def _finish(x: Tensor, to_x: Tensor, norm: Tensor, eps: float, scale: float, sums: Tensor, gain: SumRow) -> None:
    tiles = tiling(x, len(x), 16 // x.itemsize, by_channel=True)
    launch(
        kernels.finish,
        tiles.grid,
        {"x": x, "to_x": to_x, "norm": norm, "sums": sums, "eps": eps, "scale": scale},
        {"count": x.numel() // tiles.channels, "gain_row": int(gain), **tiles.arguments()},
    )


def moments(x: Tensor) -> Tensor:
    """See `surgrad.kernels.lif.operators.Kernel`."""
    out = x.new_empty(2, x.shape[2] if x.ndim > 2 else 1, dtype=torch.float32)
    return _merged(x, out) if x.numel() else out.fill_(torch.nan)


def norm_rows(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
    momentum: float,
) -> Tensor:
    """See `surgrad.kernels.lif.backends.norm_rows`."""
    out = x.new_empty(4, len(weight), dtype=torch.float32)
    count = x.numel() // len(weight)
    return _merged(x, out, weight, bias, running_mean, running_var, batches, momentum, count / (count - 1))


def pack(spikes: Tensor) -> Tensor:
    """See `surgrad.kernels.packing.Codec`."""
    count = spikes.numel()
    bits = spikes.new_empty(-(-count // 8), dtype=torch.uint8)
    if count:
        with _on_device(spikes):
            grid = (-(-len(bits) // BYTES),)
            launch(bit_kernels.pack, grid, {"spikes": spikes, "bits": bits}, {"count": count, "K": BYTES})
    return bits


def unpack(bits: Tensor, into: Tensor) -> Tensor:
    """See `surgrad.kernels.packing.Codec`."""
    if len(bits):
        with _on_device(bits):
            grid = (-(-len(bits) // BYTES),)
            launch(bit_kernels.unpack, grid, {"bits": bits, "spikes": into}, {"count": into.numel(), "K": BYTES})
    return into


def _merged(
    x: Tensor,
    out: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    batches: Tensor | None = None,
    momentum: float = 0.0,
    unbiased: float = 1.0,
) -> Tensor:
    """Write the moments of every channel to out [2, C]; with the tensors of a norm, the rows of one to out [4, C]."""
    channels = out.shape[1]
    tiles = tiling(x, len(x), 32 // x.itemsize, by_channel=True)
    partial = out.new_empty(3, tiles.slots, channels)
    with _on_device(x):
        found = {"x": x, "partial": partial}
        launch(statistics.gather, tiles.grid, found, {"slots": tiles.slots, **tiles.arguments()})
        launch(
            statistics.merge,
            (-(-channels // 16),),
            {
                **found,
                "out": out,
                "weight": weight,
                "bias": bias,
                "running_mean": running_mean,
                "running_var": running_var,
                "batches": batches,
                "momentum": float(momentum),
                "unbiased": unbiased,
            },
            {
                "slots": tiles.slots,
                "channels": channels,
                "columns": tiles.columns,
                "LAST": tiles.last,
                "R": MERGED,
                "K": 16,
                "num_warps": 8,
            },
        )
    return out


def _totals(partial: Tensor, tiles: Tiling, found: PerTensor[Tensor], a: LIFArguments) -> Tensor:
    """Add the shares of all programs: write the gradients of norms and parameters that there is memory for, and return
    the sums of the norms, [rows of norms, C], float64."""
    channels = tiles.channels
    sums = partial.new_empty(SumRow.DECAY, channels, dtype=torch.float64)
    outputs = {
        SumRow.GAIN: ("to_norm", found.norm),
        SumRow.PLUS_GAIN: ("to_plus_norm", found.plus_norm),
        SumRow.DECAY: ("to_decay", found.decay),
        SumRow.THRESHOLD: ("to_threshold", found.threshold),
        SumRow.WIDTH: ("to_width", found.width),
    }
    wanted = [row for row, (_, gradient) in outputs.items() if gradient.numel()]
    first = 0 if a.norm is not None or a.plus_norm is not None else SumRow.DECAY
    last = len(SumRow) if any(row >= SumRow.DECAY for row in wanted) else SumRow.DECAY
    if first == last:
        return sums
    launch(
        sum_kernels.total,
        (-(-channels // 16), last - first),
        {
            "partial": partial,
            "sums": sums,
            # what no wanted row uses is any memory, so that one compiled kernel serves all layers
            "norm": partial if a.norm is None else a.norm,
            "plus_norm": partial if a.plus_norm is None else a.plus_norm,
            **{name: gradient if gradient.numel() else partial for name, gradient in outputs.values()},
            "eps": a.eps,
            "plus_eps": a.plus_eps,
            "scale": a.scale,
            "plus_scale": a.plus_scale,
        },
        {
            "first": int(first),
            "wanted": sum(1 << row for row in wanted),
            "many": sum(
                per_channel(parameter) << row
                for row, parameter in (
                    (SumRow.DECAY, a.decay),
                    (SumRow.THRESHOLD, a.threshold),
                    (SumRow.WIDTH, a.width),
                )
            ),
            "slots": tiles.slots,
            "row_length": channels,
            "programs": tiles.grid[0],
            "R": MERGED,
            "K": 16,
            "num_warps": 8,
        },
    )
    return sums


def _given(a: LIFArguments) -> dict[str, Tensor | float | None]:
    """The tensors and numbers that both passes take."""
    return {
        "x": a.x,
        "norm": a.norm,
        "plus": a.plus,
        "plus_norm": a.plus_norm,
        "decay": a.decay,
        "threshold": a.threshold,
        "initial": a.initial_potential,
        "eps": a.eps,
        "plus_eps": a.plus_eps,
        "scale": a.scale,
        "plus_scale": a.plus_scale,
    }


def _fixed(a: LIFArguments, chunk: int, tiles: Tiling) -> dict[str, int | str]:
    """The sizes and options that both passes take."""
    elements = a.x[0].numel()
    return {
        "stride": elements if len(a.x) > 1 else 0,
        "plus_stride": elements if a.plus is not None and len(a.plus) > 1 else 0,
        "steps": a.steps,
        "elements": elements,
        "DECAYS": per_channel(a.decay),
        "THRESHOLDS": per_channel(a.threshold),
        "RESET": a.reset,
        "CHUNK": chunk,
        "RAGGED": a.steps % chunk > 0,
        "LONG": a.steps > chunk,  # without it there is no loop over chunks, which costs 3 to 6 instructions an element
        **tiles.arguments(),
    }


def _by_channel(a: LIFArguments) -> bool:
    norms = a.norm is not None or a.plus_norm is not None
    return norms or any(per_channel(p) for p in (a.decay, a.threshold, a.width))


def _per_thread(a: LIFArguments, chunk: int) -> int:
    """The number of elements per thread of the backward pass. For each of them a thread keeps its parameters and sums,
    and the potentials, currents and gradients of a chunk."""
    bytes_kept = OVERHEAD + chunk * (4 + a.x.itemsize * (2 + (a.plus is not None)))
    fitting = max(2, 4 * REGISTERS // bytes_kept)
    return min(16 // a.x.itemsize, 1 << fitting.bit_length() - 1)


def _on_device(x: Tensor) -> AbstractContextManager[None]:
    """Make x's device the current one: Triton launches there, wherever the tensors are."""
    return torch.cuda.device_of(x) if x.is_cuda else nullcontext()
