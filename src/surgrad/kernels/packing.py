"""Spikes saved for the backward pass as bits, instead of full-precision saved activations."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from surgrad.kernels.lif import native, triton


class Bits(NamedTuple):
    """A tensor of spikes, packed until the backward pass needs it."""

    bits: Tensor
    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


class Packer:
    """The spikes marked so far, and their bits. A weak reference identifies their memory without keeping it alive, so
    that no other tensor can be mistaken for them."""

    def __init__(self) -> None:
        self.marked: dict[int, tuple[StorageWeakRef, torch.dtype, int]] = {}
        self.bits: dict[int, Tensor] = {}

    def mark(self, spikes: Tensor) -> None:
        """Remember that a tensor holds spikes."""
        reference = StorageWeakRef(spikes.untyped_storage())
        self.marked[reference.cdata] = (reference, spikes.dtype, spikes._version)

    def pack(self, tensor: Tensor) -> Tensor | Bits:
        """Return what to save of a tensor for the backward pass: bits if it holds spikes, else itself."""
        storage = tensor.untyped_storage()
        known = self.marked.get(storage._cdata)
        if known is None or known[1:] != (tensor.dtype, tensor._version) or not _whole(tensor):
            return tensor
        if storage._cdata not in self.bits:
            flat = torch.as_strided(tensor.detach(), (tensor.numel(),), (1,), 0)
            self.bits[storage._cdata] = _to_bits(flat)
        return Bits(self.bits[storage._cdata], tensor.size(), tensor.stride(), tensor.dtype, tensor.device)


def _whole(tensor: Tensor) -> bool:
    """Whether a tensor covers all of its memory, each element once, in any order of its axes."""
    strides = sorted((stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size != 1)
    expected = 1
    for stride, size in strides:
        if stride != expected:
            return False
        expected *= size
    return tensor.storage_offset() == 0 and expected * tensor.itemsize == tensor.untyped_storage().nbytes()


def unpack(kept: Tensor | Bits) -> Tensor:
    """Return the tensor that `Packer.pack` was given."""
    if isinstance(kept, Tensor):
        return kept
    flat = torch.empty(kept.size.numel(), dtype=kept.dtype, device=kept.device)
    return torch.as_strided(_from_bits(kept.bits, flat), kept.size, kept.stride)


class Codec(Protocol):
    """A kernel that turns spikes into bits and back."""

    def pack(self, spikes: Tensor) -> Tensor:
        """Pack spikes, dense in any order of their axes, in the order of their memory: uint8 [ceil(n/8)]."""

    def unpack(self, bits: Tensor, into: Tensor) -> Tensor:
        """Write the n spikes of uint8 bits [ceil(n/8)] into dense memory, which is returned."""


def _codec(device: torch.device, dtype: torch.dtype) -> Codec | None:
    """The kernel for tensors on a device; None where there is none."""
    if device.type == "cpu":
        return native if dtype in native.DTYPES and native.available() else None
    return None if triton.why_not(device) else triton


def _to_bits(flat: Tensor) -> Tensor:
    """Bits, where a kernel can pack them; elsewhere one byte per spike."""
    codec = _codec(flat.device, flat.dtype)
    return flat.to(torch.bool) if codec is None else codec.pack(flat)


def _from_bits(bits: Tensor, into: Tensor) -> Tensor:
    codec = _codec(into.device, into.dtype)
    return into.copy_(bits) if codec is None else codec.unpack(bits, into)


_packer: ContextVar[Packer | None] = ContextVar("packer", default=None)


@contextmanager
def packed_spikes() -> Iterator[Packer]:
    """Save spikes for the backward pass as bits, in a forward pass inside this context.

    A spike takes one bit instead of two or four bytes, at the cost of packing and unpacking; where no kernel packs them
    (float64 on the CPU, other devices than CPU and CUDA) it takes one byte. Gradients stay the same to the last bit.

    Hooks on saved tensors that are set outside, such as `save_on_cpu`, do not act inside. Hooks that are set inside
    replace the packer's; they may call those of the packer that this context returns.
    """
    packer = Packer()
    token = _packer.set(packer)
    try:
        with torch.autograd.graph.saved_tensors_hooks(packer.pack, unpack):
            yield packer
    finally:
        _packer.reset(token)


def mark_spikes(spikes: Tensor) -> Tensor:
    """Tell `packed_spikes` that a neuron's output holds spikes; return the same tensor."""
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return spikes
    packer = _packer.get()
    if packer is not None:
        packer.mark(spikes)
    return spikes
