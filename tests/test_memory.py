"""What stays in memory between the forward and the backward pass: the convolution's output and the spikes."""

import inspect

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from surgrad.kernels.lif import native
from surgrad.models import MODELS
from surgrad.neurons import LIF
from surgrad.norm import TDBN, NormNeuron

SIZE = (4, 2, 16, 12, 12)  # [T, N, C, H, W]


def kept_by(network: nn.Module, x: Tensor) -> tuple[int, Tensor]:
    """Bytes of the tensors that the graph of a forward pass holds, each memory once, parameters left out; and its
    output."""
    own = {p.untyped_storage().data_ptr() for p in (*network.parameters(), *network.buffers())}
    held: dict[int, Tensor] = {}  # keeping them all, so that no memory is given out twice

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            held.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        y = network(x)
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values()), y


def current(dtype: torch.dtype) -> Tensor:
    x = torch.randn(SIZE, generator=torch.Generator().manual_seed(0)).to(dtype)
    return x.requires_grad_()


@pytest.mark.skipif(not native.available(), reason="the native kernel was not built")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("normed", [False, True])
def test_a_neuron_keeps_its_current_and_nothing_else(dtype: torch.dtype, normed: bool):
    neuron = LIF(0.2, train_decay=True, backend="native")
    layer = NormNeuron(TDBN(SIZE[2]), neuron) if normed else neuron
    x = current(dtype)
    kept, _ = kept_by(layer, x)
    small = 4 * 8 * SIZE[2]  # a few numbers to a channel
    assert x.nbytes <= kept <= x.nbytes + small


@pytest.mark.skipif(not native.available(), reason="the native kernel was not built")
@pytest.mark.parametrize("name", sorted({*MODELS} - {"ms_resnet18"}))  # some of its neurons have no norm before them
def test_a_network_keeps_no_more_than_the_same_without_neurons(name: str):
    """Spikes lie where the norm's output would, and a neuron keeps the convolution's output as the norm would."""
    sized = inspect.signature(MODELS[name]).parameters.get("image_size")
    side = sized.default if sized else 64 if name.endswith("_imagenet") or name.startswith("sew_") else 32
    x = torch.randn(2, 2, 3, side, side, generator=torch.Generator().manual_seed(0))
    kept, bare = (
        kept_by(MODELS[name](10, in_channels=3, width_multiplier=0.25, **neuron), x)[0]
        for neuron in ({}, {"neuron": nn.Identity})
    )
    assert kept <= 1.01 * bare
