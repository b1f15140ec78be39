"""Spikes kept for the backward pass as bits, where the layers behind them would keep them whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from surgrad.kernels.lif import native


class Bits(NamedTuple):
    """What stands for a tensor of spikes until the backward pass needs it."""

    bits: Tensor
    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


class Packer:
    """The spikes seen so far. A weak reference holds the identity of their memory, not the memory itself, so that no
    other tensor can be taken for them."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[StorageWeakRef, torch.dtype, int]] = {}
        self.packed: dict[int, Tensor] = {}

    def see(self, spikes: Tensor) -> None:
        reference = StorageWeakRef(spikes.untyped_storage())
        self.seen[reference.cdata] = (reference, spikes.dtype, spikes._version)

    def pack(self, tensor: Tensor) -> Tensor | Bits:
        """What to keep of a tensor until the backward pass: bits, if it holds spikes."""
        storage = tensor.untyped_storage()
        known = self.seen.get(storage._cdata)
        if known is None or known[1:] != (tensor.dtype, tensor._version) or not _whole(tensor):
            return tensor
        if storage._cdata not in self.packed:
            flat = torch.as_strided(tensor.detach(), (tensor.numel(),), (1,), 0)
            self.packed[storage._cdata] = _to_bits(flat)
        return Bits(self.packed[storage._cdata], tensor.size(), tensor.stride(), tensor.dtype, tensor.device)


def _whole(tensor: Tensor) -> bool:
    """Whether a tensor is all of its memory, each place once, in whatever order."""
    strides = sorted((stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size != 1)
    expected = 1
    for stride, size in strides:
        if stride != expected:
            return False
        expected *= size
    return tensor.storage_offset() == 0 and expected * tensor.itemsize == tensor.untyped_storage().nbytes()


def unpack(kept: Tensor | Bits) -> Tensor:
    """The tensor again that `Packer.pack` was given."""
    if isinstance(kept, Tensor):
        return kept
    flat = torch.empty(kept.size.numel(), dtype=kept.dtype, device=kept.device)
    return torch.as_strided(_from_bits(kept.bits, flat), kept.size, kept.stride)


def _native(flat: Tensor) -> bool:
    return flat.device.type == "cpu" and flat.dtype in native.DTYPES and native.available()


def _to_bits(flat: Tensor) -> Tensor:
    """Bits by the native kernel; elsewhere a byte a spike."""
    return native.pack(flat) if _native(flat) else flat.to(torch.bool)


def _from_bits(bits: Tensor, into: Tensor) -> Tensor:
    return native.unpack(bits, into) if bits.dtype == torch.uint8 else into.copy_(bits)


_packer: ContextVar[Packer | None] = ContextVar("packer", default=None)


@contextmanager
def packed_spikes() -> Iterator[Packer]:
    """Run a forward pass inside it, and what autograd keeps of spikes is a bit each, instead of two or four bytes, for
    the time of packing and unpacking; where the native kernel does not serve (CUDA, float64) a byte each. Gradients
    stay the same to the last bit. Hooks on saved tensors from outside, such as `save_on_cpu`, do not act inside; those
    from inside replace the packer's, which they may call: it is what this gives."""
    packer = Packer()
    token = _packer.set(packer)
    try:
        with torch.autograd.graph.saved_tensors_hooks(packer.pack, unpack):
            yield packer
    finally:
        _packer.reset(token)


def mark_spikes(spikes: Tensor) -> Tensor:
    """Called by a neuron on its output: the same tensor, which `packed_spikes` will now know."""
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return spikes
    packer = _packer.get()
    if packer is not None:
        packer.see(spikes)
    return spikes
