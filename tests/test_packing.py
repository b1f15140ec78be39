"""Spikes kept as bits: the same gradients from less memory."""

import weakref

import pytest
import torch
from torch import nn

from surgrad.kernels.lif import native
from surgrad.kernels.packing import mark_spikes, packed_spikes
from surgrad.models import MODELS


def gradients(model, x, packed):
    model.zero_grad()
    model.pack_spikes = packed
    loss = model(x).square().sum()
    loss.backward()
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("name", ["resnet18", "small_resnet", "resnet19"])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_the_same_to_the_last_bit(name, memory):
    torch.manual_seed(0)
    model = MODELS[name](10, steps=2, width_multiplier=0.125).to(memory_format=memory)
    x = torch.randn(4, 3, 16, 16)
    for whole, packed in zip(gradients(model, x, False), gradients(model, x, True), strict=True):
        assert torch.equal(whole, packed)


@pytest.mark.skipif(not native.available(), reason="bits are packed by the native kernel, which was not built")
def test_a_convolution_keeps_a_bit_a_spike_once_for_all_readers(monkeypatch):
    spikes = (torch.rand(2, 8, 16, 16) < 0.3).float()
    convs = [nn.Conv2d(8, 8, 3, padding=1) for _ in range(2)]
    made = []
    plain = native.pack
    monkeypatch.setattr(native, "pack", lambda flat: made.append(plain(flat)) or made[-1])
    with packed_spikes():
        mark_spikes(spikes)
        out = sum(conv(spikes) for conv in convs)
    identity = weakref.ref(spikes)
    expected = spikes.sum((0, 2, 3))
    del spikes
    assert identity() is None, "nobody holds the spikes themselves"
    assert [bits.numel() for bits in made] == [2 * 8 * 16 * 16 // 8]
    (gradient,) = torch.autograd.grad(out.sum(), convs[0].weight)
    torch.testing.assert_close(gradient[0, :, 1, 1], expected)


@pytest.mark.skipif(not native.available(), reason="bits are packed by the native kernel, which was not built")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 65, 1000, 4097])
def test_packing_and_unpacking_give_the_spikes_back(dtype, count):
    spikes = (torch.rand(count, generator=torch.Generator().manual_seed(count)) < 0.4).to(dtype)
    bits = native.pack(spikes)
    assert bits.shape == ((count + 7) // 8,)
    assert torch.equal(native.unpack(bits, torch.full_like(spikes, torch.nan)), spikes)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_where_nothing_is_kept_nothing_is_packed(mode):
    model = MODELS["small_resnet"](10, steps=2, width_multiplier=0.125)
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with mode():
        plain = model(x)
        model.pack_spikes = True
        model.train()
        assert model(x).shape == plain.shape


def test_what_is_no_spike_is_kept_whole():
    """Also where memory of spikes has been given to another tensor, or spikes were changed in place."""
    conv = nn.Conv2d(4, 4, 1)
    with packed_spikes():
        for _ in range(20):
            mark_spikes((torch.rand(1, 4, 8, 8) < 0.5).float())  # freed at once: its address comes again
            x = torch.randn(1, 4, 8, 8)
            changed = mark_spikes((torch.rand(1, 4, 8, 8) < 0.5).float())
            changed.mul_(0.3)
            for given in (x, changed):
                (gradient,) = torch.autograd.grad(conv(given).sum(), conv.weight)
                torch.testing.assert_close(gradient[0, :, 0, 0], given.sum((0, 2, 3)))


def test_a_part_of_the_spikes_is_kept_as_itself():
    """Also one that is expanded to as many elements as the whole."""
    spikes = (torch.rand(2, 3, 4) < 0.5).float()
    w = torch.ones(2, 3, 4, requires_grad=True)
    with packed_spikes():
        mark_spikes(spikes)
        out = (spikes[1:].expand(2, 3, 4) * w).sum() + (spikes.transpose(0, 1) * w.transpose(0, 1)).sum()
    out.backward()
    assert torch.equal(w.grad, spikes[1:].expand(2, 3, 4) + spikes)
