"""Activation checkpointing: the same gradients, the same state, and less memory."""

import json
import weakref

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call

from surgrad.adapt import Probe
from surgrad.config import set_fields
from surgrad.errors import BadValue
from surgrad.losses import cross_entropy
from surgrad.models import MODELS
from surgrad.models.recomputing import blocks
from surgrad.neurons import NEURONS, neurons
from surgrad.norm import NORMS
from surgrad.padding import padded
from surgrad.penalties import PENALTIES
from surgrad.recipes import find_recipe
from surgrad.train import train
from surgrad.train.building import build

SMALL = (
    "data.limit=32", "data.batch=8", "model.width_multiplier=0.0625", "model.steps=2", "run.precision=fp32",
    "optim.epochs=2", "model.name=small_cnn",
)  # fmt: skip


def network(name):
    torch.manual_seed(0)
    return MODELS[name](10, steps=2, width_multiplier=0.125)


def images():
    torch.manual_seed(1)
    return torch.randn(3, 3, 16, 16)


def trained(*settings):
    """The weights and buffers after three steps of a recipe."""
    parts = build(set_fields(find_recipe("lsg_fashion_small_t4"), (*SMALL, *settings)))
    for batch in list(parts.batches.train(0))[:3]:
        parts.adapter.step(batch)
        for optimizer in parts.optimizers:
            optimizer.zero_grad()
        parts.gradient.find(
            parts.model, batch[0], lambda out, y=batch[1]: parts.loss(out, y) + parts.penalty(0.5), parts.forward
        )
        for optimizer in parts.optimizers:
            optimizer.step()
    return parts.model.state_dict()


KINDS = {
    **{f"norm {name}": (f"norm.name={name}",) for name in NORMS},
    **{f"neuron {name}": (f"neuron.name={name}", "adapt.name=fixed") for name in NEURONS if name != "relu"},
    **{f"penalty {name}": (f"penalty.name={name}", "penalty.weight=0.1") for name in PENALTIES},
    "gradient sltt": ("gradient.name=sltt", "norm.name=batchnorm", "adapt.name=esg"),
    "rdrop": ("loss.name=rdrop", "model.name=vgg11_dct"),
    "share": ("adapt.name=share", "surrogate.per_channel=true"),
    "bf16": ("run.precision=bf16",),
    "dspike": ("adapt.name=dspike", "surrogate.name=dspike"),
    "dgs": ("adapt.name=dgs",),
    "plain torch": ("neuron.backend=torch",),
    "dspike, plain torch": ("neuron.backend=torch", "adapt.name=dspike", "surrogate.name=dspike"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_trainings_are_the_same_to_the_last_bit(kind):
    settings = KINDS[kind]
    if kind == "neuron asgl":
        settings = (*settings, "surrogate.learn=true", "neuron.train_decay=false")
    plain, checked = trained(*settings), trained(*settings, "run.checkpoint=true")
    assert all(torch.equal(plain[name], checked[name]) for name in plain)


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_probes_find_the_same(backend):
    """They replace parameters, widths and statistics for a forward pass, and the backward pass follows later."""
    found = []
    for checkpoint in (False, True):
        model = network("small_resnet")
        model.checkpoint = checkpoint
        for neuron in neurons(model).values():
            neuron.backend = backend
        probe = Probe(model, cross_entropy, (images(), torch.arange(3)))
        first = probe.first_weight()
        other = {name: 3 * neuron.surrogate.width for name, neuron in neurons(model).items()}
        changed = 0.5 * probe.parameter(first)
        found.append(
            [
                *probe.gradients().values(),
                *probe.frozen().part(1).gradients().values(),
                probe.grad(first, other, changed),
            ]
        )
        assert model.checkpoint == checkpoint
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("how", ["parameters", "mode"])
def test_what_is_not_the_same_in_the_backward_pass_is_refused(how):
    model = network("small_resnet")
    model.checkpoint = True
    if how == "mode":
        out = model(images())
        model.eval()
    else:
        others = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
        out = functional_call(model, others, (images(),))
    with pytest.raises(BadValue, match="between the two passes it got other parameters"):
        out.sum().backward()


def test_padding_is_left_out_in_the_backward_pass_too():
    """Though the context has ended then."""
    torch.manual_seed(0)
    x = torch.randn(5, 4, 3, 16, 16)
    lengths = torch.tensor([2, 5, 3, 1])
    gradients = []
    for checkpoint in (False, True):
        model = network("small_resnet")
        model.checkpoint = checkpoint
        with padded(lengths):
            loss = cross_entropy(model(x), torch.arange(4))
        loss.backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("where", ["body", "body.2"])
def test_a_hook_runs_once(where):
    model = network("small_resnet")
    model.checkpoint = True
    calls = []
    handle = model.get_submodule(where).register_forward_hook(lambda *_: calls.append(1))
    model(images()).sum().backward()
    handle.remove()
    model(images()).sum().backward()
    assert len(calls) == 1


class Held:
    """A tensor that is saved for the backward pass."""

    def __init__(self, tensor):
        self.tensor = tensor


def kept_bytes(model, x):
    """Of the storages that a forward pass keeps for the backward pass, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    alive = weakref.WeakSet()

    def hold(tensor):
        held = Held(tensor)
        alive.add(held)
        return held

    with saved_tensors_hooks(hold, lambda held: held.tensor):
        out = model(x)
    storages = [held.tensor.untyped_storage() for held in alive]
    kept = {storage.data_ptr(): storage.nbytes() for storage in storages}
    out.sum().backward()
    return sum(size for pointer, size in kept.items() if pointer not in own)


def test_blocks_keep_their_inputs_alone():
    """ResNet-18 has eight blocks; what lies within one is half a dozen times its input."""
    model, x = network("resnet18"), images()
    plain = kept_bytes(model, x)
    model.checkpoint = True
    assert kept_bytes(model, x) < plain / 2


def test_what_is_kept_between_blocks_is_packed():
    from surgrad.kernels import packing

    model, x = network("resnet18"), images()
    model.checkpoint = model.pack_spikes = True
    packed = []
    plain = packing._to_bits
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_to_bits", lambda flat: packed.append(flat.numel()) or plain(flat))
        model(x).sum().backward()
    assert len(packed) >= len(blocks(model.body)) - 1


def test_blocks_end_with_neurons():
    parts = blocks(network("vgg11_ws").body)
    assert all(neurons(part) for part in parts[:-1])
    assert sum(len(part) for part in parts) == len(network("vgg11_ws").body)
    assert blocks(nn.Linear(2, 2))[0].weight.shape == (2, 2)


def test_without_a_gradient_nothing_is_kept():
    model = network("small_cnn")
    model.checkpoint = True
    with torch.no_grad():
        assert not model(torch.randn(2, 1, 16, 16)).requires_grad


def test_a_whole_training_is_the_same(tmp_path):
    rows = []
    for setting in ("run.checkpoint=false", "run.checkpoint=true"):
        recipe = set_fields(find_recipe("lsg_fashion_small_t4"), (*SMALL, setting))
        out = train(recipe, tmp_path / setting)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        rows.append([(row["train_loss"], row["test_loss"]) for row in lines])
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (("gradient.name=ottt",), "gradient.name = ottt changes what they compute"),
        (("gradient.name=rate",), "gradient.name = rate changes what they compute"),
        (("run.compile=true",), "run.compile and run.checkpoint are both true"),
    ],
)
def test_what_cannot_be_computed_again_is_refused(settings, error):
    recipe = set_fields(find_recipe("lsg_fashion_small_t4"), (*SMALL, "run.checkpoint=true", *settings))
    with pytest.raises(BadValue, match=error):
        build(recipe)
