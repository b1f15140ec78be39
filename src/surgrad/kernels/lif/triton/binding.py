"""From tensors to the launches of the kernels.

Nothing here waits for the GPU or reads a tensor's values, so that a CUDA graph can hold a call, and no two calls of the
same sizes and options compile anything anew."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from surgrad.kernels.lif.histograms import BINS, PER_THRESHOLD
from surgrad.kernels.lif.operators import ROW_DECAY, SUMS, Arguments, gradients, outputs
from surgrad.kernels.lif.triton import kernels, statistics
from surgrad.kernels.lif.triton.tiling import Tiling, tiling

LONGEST = 16  # steps whose potentials stay in registers; more are recomputed by the chunk
CHUNK = 8  # steps of such a chunk, and of those whose loads a forward pass issues together
REGISTERS = 96  # of a thread, for what it keeps of its elements
OVERHEAD = 32  # bytes that it keeps of an element whatever the number of steps


def forward(a: Arguments) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `surgrad.kernels.lif.operators.Kernel`."""
    spikes, potential, counts, history = outputs(a)
    if spikes.numel() == 0:
        return spikes, potential, counts, history
    tiles = tiling(a.x, 1, min(16 // a.x.itemsize, 4 if a.watch else 8), by_channel=_by_channel(a))
    with _on_device(a.x):
        kernels.forward[tiles.grid](
            **_given(a, min(a.steps, CHUNK), tiles),
            spikes=spikes,
            potential=potential if a.keep else None,
            counts=counts if a.watch else None,
            history=history if a.history else None,
            BINS=BINS,
            PER_THRESHOLD=float(PER_THRESHOLD),
        )
    return spikes, potential, counts, history


def backward(
    grad_spikes: Tensor | None,
    grad_potential: Tensor | None,
    grad_history: Tensor | None,
    wanted: list[bool],
    a: Arguments,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `surgrad.kernels.lif.operators.Kernel`."""
    to_x, to_plus, to_start, sums = gradients(wanted, a)
    if a.x.numel() == 0:
        return to_x, to_plus, to_start, sums
    norms = a.norm is not None or a.plus_norm is not None
    parameters = any(wanted[4:7])
    chunk = a.steps if a.steps <= LONGEST else CHUNK
    tiles = tiling(a.x, 1, _per_thread(a, chunk), by_channel=_by_channel(a))
    partial = sums.new_empty(SUMS, tiles.slots, tiles.channels, dtype=torch.float32)
    kept = sums.new_empty(-(-a.steps // chunk), a.x[0].numel(), dtype=torch.float32) if chunk < a.steps else None
    with _on_device(a.x):
        kernels.backward[tiles.grid](
            **_given(a, chunk, tiles),
            width=a.width,
            grad_spikes=grad_spikes,
            grad_potential=grad_potential,
            grad_history=grad_history,
            to_x=to_x if wanted[0] else None,
            to_plus=to_plus if a.plus is not None and wanted[2] else None,
            to_start=to_start if a.start is not None and wanted[7] else None,
            partial=partial,
            kept=kept,
            **{f"c{i}": float(c) for i, c in enumerate((*a.constants, 0, 0, 0)[:3])},
            slots=tiles.slots,
            WIDTHS=a.width.ndim > 0,
            SHAPE=a.shape,
            THROUGH=a.reset != "none" and not a.detach_reset,
            BATCH=a.batch[0],
            PLUS_BATCH=a.batch[1],
            WANT_DECAY=wanted[4],
            WANT_THRESHOLD=wanted[5],
            WANT_WIDTH=wanted[6],
            LONG=kept is not None,
        )
        span = slice(0 if norms else ROW_DECAY, SUMS if parameters else ROW_DECAY)
        if norms or parameters:  # of scalar parameters nobody needs to know the channels' shares
            sums[span, : tiles.channels] = partial[span].sum(1, dtype=torch.float64)
        for term, (x, norm, eps, batch) in enumerate(a.terms):
            if batch and norm is not None and wanted[2 * term]:
                _finish(x, to_plus if term else to_x, norm, eps, sums, term)
    return to_x, to_plus, to_start, sums


def _finish(x: Tensor, to_x: Tensor, norm: Tensor, eps: float, sums: Tensor, term: int) -> None:
    tiles = tiling(x, len(x), 16 // x.itemsize, by_channel=True)
    kernels.finish[tiles.grid](
        x, to_x, norm, sums, eps, count=x.numel() // tiles.channels, TERM=term, **tiles.arguments()
    )


def moments(x: Tensor) -> Tensor:
    """See `surgrad.kernels.lif.operators.Kernel`."""
    channels = x.shape[2] if x.ndim > 2 else 1
    out = x.new_empty(2, channels, dtype=torch.float32)
    if x.numel() == 0:
        return out.fill_(torch.nan)
    tiles = tiling(x, len(x), 32 // x.itemsize, by_channel=True)
    partial = out.new_empty(3, tiles.slots, channels)
    with _on_device(x):
        statistics.gather[tiles.grid](x, partial, slots=tiles.slots, **tiles.arguments())
        grid = (-(-channels // 16),)
        statistics.merge[grid](x, partial, out, tiles.slots, channels, tiles.columns, tiles.last, R=64, K=16)
    return out


def _given(a: Arguments, chunk: int, tiles: Tiling) -> dict[str, object]:
    """The arguments that both passes take; terms that are the same at every step are read once."""
    elements = a.x[0].numel()
    strides = [elements if x is not None and len(x) > 1 else 0 for x in (a.x, a.plus)]
    counts = [chunk if stride or a.steps == 1 else 1 for stride in strides]
    return {
        "x": a.x,
        "norm": a.norm,
        "plus": a.plus,
        "plus_norm": a.plus_norm,
        "decay": a.decay,
        "threshold": a.threshold,
        "start": a.start,
        "stride": strides[0],
        "plus_stride": strides[1],
        "eps": a.eps[0],
        "plus_eps": a.eps[1],
        "steps": a.steps,
        "elements": elements,
        "DECAYS": a.decay.ndim > 0,
        "THRESHOLDS": a.threshold.ndim > 0,
        "RESET": a.reset,
        "COUNT": counts[0],
        "PLUS_COUNT": counts[1],
        "CHUNK": chunk,
        "RAGGED": a.steps % chunk > 0,
        **tiles.arguments(),
    }


def _by_channel(a: Arguments) -> bool:
    norms = a.norm is not None or a.plus_norm is not None
    return norms or any(p.ndim > 0 for p in (a.decay, a.threshold, a.width))


def _per_thread(a: Arguments, chunk: int) -> int:
    """Elements for a thread of the backward pass, which keeps of each its parameters and sums, and the potentials,
    currents and gradients of a chunk."""
    bytes_kept = OVERHEAD + chunk * (4 + a.x.itemsize * (2 + (a.plus is not None)))
    fitting = max(2, 4 * REGISTERS // bytes_kept)
    return min(16 // a.x.itemsize, 1 << fitting.bit_length() - 1)


def _on_device(x: Tensor) -> AbstractContextManager[None]:
    """Triton launches on the current device, whatever its tensors' is."""
    return torch.cuda.device_of(x) if x.is_cuda else nullcontext()
