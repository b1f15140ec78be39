"""The contract of every network, and the definition of each, counted out by hand."""

import copy
import inspect
import io
import math
import pickle
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode

from surgrad.errors import BadValue, UnknownName
from surgrad.kernels.lif import BINS, native
from surgrad.layers import PerStep
from surgrad.models import MODELS, MembraneBlock, ResidualBlock, SpikeBlock, SpikingNetwork, in_chunks
from surgrad.models.blocks import init_kaiming, linear, lsg_neuron, make_neuron, summand_norm
from surgrad.models.fast import CurrentBlock, Whitening, mean_of_four, mean_of_four_by_views
from surgrad.models.ms_resnet import PreActivationBlock
from surgrad.models.sew import CONNECTIONS
from surgrad.neurons import LIF, NEURONS, neurons
from surgrad.norm import NORMS, TDBN, BatchNorm, NoNorm, NormNeuron
from surgrad.state import stateful_modules
from surgrad.surrogates import SurrogateFunction, find_surrogates

CLASSES = 7
SIDES = {"plif_gesture": 32, "vgg11": 32, "vgg16": 32}  # of the images; 16 elsewhere
LEAST = {"sew_resnet50": {1, 4}, "densenet": {1, 4, 6, 9}, "fast_resnet": {1, 2, 4}}
"""Channels of convolutions where a layer has one: a bottleneck's ends are four times as wide, dense blocks add up, and
shortcuts without weights repeat channels."""
every_model = pytest.mark.parametrize("name", MODELS)


def channels_of(name: str) -> int:
    return inspect.signature(MODELS[name]).parameters["in_channels"].default


def build(name: str, **options: Any) -> SpikingNetwork:
    """A small network for small images."""
    torch.manual_seed(0)
    sized = {"image_size": SIDES.get(name, 16)} if "image_size" in inspect.signature(MODELS[name]).parameters else {}
    return MODELS[name](CLASSES, **({"width_multiplier": 0.125, "steps": 3} | sized | options))


def images(name: str, *leading: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    side = SIDES.get(name, 16)
    return torch.randn(*leading, channels_of(name), side, side, generator=generator)


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def weighted(network: SpikingNetwork) -> dict[str, nn.Module]:
    """The layers with trained weights by name: convolutions, and linear layers before the head."""
    return {
        key: module
        for key, module in network.named_modules()
        if (isinstance(module, nn.Conv2d) and module.weight.requires_grad)
        or (isinstance(module, nn.Linear) and not key.startswith("head"))
    }


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are trained, by name; those of a whitening layer are not."""
    return {key: parameter for key, parameter in module.named_parameters() if parameter.requires_grad}


def awake(network: SpikingNetwork) -> SpikingNetwork:
    """Give every norm weights that let its neurons fire, also those that start at 0."""
    generator = torch.Generator().manual_seed(2)
    for module in network.modules():
        if isinstance(module, BatchNorm):
            nn.init.uniform_(module.weight, 1.5, 3.0, generator=generator)
            nn.init.uniform_(module.bias, -0.2, 0.4, generator=generator)
            module.eps = 1e-12  # whatever the scale of the weights before it
    return network


class Counted(TorchDispatchMode):
    """How often each operator runs under it."""

    def __init__(self) -> None:
        super().__init__()
        self.times: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.times[func.name()] += 1
        return func(*args, **(kwargs or {}))


# --- the contract ---------------------------------------------------------------------------------------------------


@every_model
def test_images_give_one_output_a_step(name: str):
    network = build(name)
    assert isinstance(network, SpikingNetwork)
    for steps in (3, 1):
        network.steps = steps
        out = network(images(name, 4))
        assert out.shape == (steps, 4, CLASSES)
        assert out.isfinite().all()


@every_model
def test_recordings_bring_their_own_steps(name: str):
    network = awake(build(name, steps=3)).eval()
    recording = images(name, 5, 4)
    out = network(recording)
    assert out.shape == (5, 4, CLASSES)
    altered = recording.clone()
    altered[3] += 1.0
    assert torch.equal(network(altered)[:3], out[:3]), "no step sees a later one"


@every_model
def test_a_static_image_is_the_same_recording_shown_often(name: str):
    network = build(name)
    image = images(name, 4)
    network(image)  # running statistics that fit the network
    awake(network).eval()
    shown = network(image.unsqueeze(0).repeat(3, 1, 1, 1, 1))
    torch.testing.assert_close(network(image), shown, rtol=1e-5, atol=1e-6)
    assert not torch.equal(shown[0], shown[1]), "the membrane makes the steps differ"


@every_model
def test_the_stem_is_computed_once_for_an_image(name: str):
    network = build(name, steps=3)
    seen: list[tuple[str, int]] = []
    for key, module in weighted(network).items():
        module.register_forward_hook(lambda _m, args, _o, key=key: seen.append((key, len(args[0]))))
    network(images(name, 4))
    first, *others = seen
    assert first[0].startswith("stem.")
    assert first[1] == 4
    assert sorted(key for key, _ in seen) == sorted({key for key, _ in seen}), "each layer runs once"
    assert others
    assert all(count == 3 * 4 for _, count in others), "all else runs at every step, T and N as one batch"
    seen.clear()
    network(images(name, 2, 4))
    assert [count for _, count in seen] == [2 * 4] * len(seen)
    assert len([key for key in weighted(network) if key.startswith("stem.")]) == 1


@every_model
def test_gradients_reach_every_parameter(name: str):
    """In evaluation, where a bias before a norm counts; with a slope without an end, so that no unit is cut off."""
    neuron = partial(LIF, 0.5, train_decay=True, surrogate="fast_sigmoid")
    network = build(name, neuron=neuron, norm=partial(TDBN, momentum=1.0))
    awake(network)(images(name, 8))  # statistics of this very batch
    network.eval()
    out = network(images(name, 8))
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    for key, parameter in trained(network).items():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.ne(0).any(), f"{key} learns nothing"


@every_model
def test_every_layer_fires_at_the_start(name: str):
    """A layer that no image makes fire teaches nothing to the weights behind it."""
    network = build(name, width_multiplier=0.25)
    for neuron in neurons(network).values():
        neuron.record_histogram = True
    network(images(name, 16))
    for key, neuron in neurons(network).items():
        assert neuron.histogram is not None
        rate = (neuron.histogram[BINS // 2 :].sum() / neuron.histogram.sum()).item()
        assert 0.005 < rate < 0.9, f"{key} fires at {rate:.4f}"


@every_model
def test_the_first_gradient_reaches_the_stem(name: str):
    """As built, nothing woken: else no training with the defaults would ever get off the ground."""
    network = build(name, width_multiplier=0.25)
    out = network(images(name, 16))
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    silent = [key for key, parameter in trained(network.stem).items() if not parameter.grad.any()]  # type: ignore[union-attr]
    assert not [key for key in silent if not key.endswith("0.0.bias")], "a bias before a norm counts for nothing"
    first = next(iter(neurons(network).values()))
    assert first.logit_decay.grad is not None
    assert first.logit_decay.grad.ne(0)


@every_model
def test_no_two_neurons_share_a_surrogate_or_a_decay(name: str):
    network = build(name)
    found = neurons(network)
    assert len(find_surrogates(network)) == len(found)
    assert len({id(neuron) for neuron in found.values()}) == len(found)
    assert len({id(neuron.surrogate) for neuron in found.values()}) == len(found)
    assert len({neuron.surrogate.width.data_ptr() for neuron in found.values()}) == len(found)
    assert len({id(neuron.logit_decay) for neuron in found.values()}) == len(found)


@every_model
def test_neurons_and_norms_come_from_the_factories(name: str):
    made: list[nn.Module] = []

    def neuron() -> LIF:
        made.append(LIF(0.3, surrogate="tanh"))
        return made[-1]  # type: ignore[return-value]

    def norm(channels: int) -> BatchNorm:
        made.append(TDBN(channels, threshold=0.7))
        return made[-1]  # type: ignore[return-value]

    network = build(name, neuron=neuron, norm=norm)
    used = [m for m in network.modules() if isinstance(m, LIF | BatchNorm | nn.modules.batchnorm._BatchNorm)]
    assert {id(module) for module in used} == {id(module) for module in made}
    norms = [module for module in made if isinstance(module, TDBN)]
    more = {"resnet19_normed": 1, "vgg11_dct": 2, "resnet18_preact": -3}.get(name, 0)  # -3: shortcuts without a norm
    assert len(norms) == len(weighted(network)) + more, "a norm after every layer with weights"


@every_model
def test_neuron_factories_are_told_the_channels(name: str):
    """Of the tensor that each neuron receives, in heads too; with one decay, threshold and width per channel."""
    told: list[int] = []

    def neuron(channels: int) -> LIF:
        told.append(channels)
        return lsg_neuron(channels)

    network = build(name, neuron=neuron)
    received: dict[str, int] = {}

    def record(key: str, currents: Tensor) -> None:
        received[key] = currents.shape[2]

    for key, one in neurons(network).items():
        one.register_forward_pre_hook(lambda _m, args, key=key: record(key, args[0]))
    network(images(name, 2)).sum().backward()
    assert sorted(told) == sorted(received.values())
    for key, one in neurons(network).items():
        for tensor in (one.decay, one.threshold, one.surrogate.width, one.logit_decay.grad):
            assert tensor.shape == (received[key],), key


def test_a_neuron_factory_without_a_required_argument_makes_one_neuron_per_layer():
    assert make_neuron(LIF, 5).decay.ndim == 0
    assert make_neuron(lsg_neuron, 5).decay.ndim == 0
    assert make_neuron(partial(LIF, channels=3), 5).decay.shape == (3,)
    assert make_neuron(lambda: LIF(0.5), 5).decay.item() == 0.5
    assert isinstance(make_neuron(nn.ReLU, 5), nn.ReLU)
    assert make_neuron(lambda channels: LIF(channels=channels), 5).decay.shape == (5,)
    assert make_neuron(lambda channels, decay=0.1: LIF(decay, channels=channels), 5).decay.shape == (5,)


def test_the_lsg_neuron_is_the_same_per_layer_and_per_channel():
    one = lsg_neuron()
    many = lsg_neuron(4)
    for ours, theirs in ((one.decay, many.decay), (one.surrogate.width, many.surrogate.width)):
        assert torch.equal(ours.expand(4), theirs)
    x = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one(x), many(x))


def norm_of(name: str) -> Any:
    return partial(NORMS[name], steps=3) if NORMS[name].per_time_step else NORMS[name]


@every_model
@pytest.mark.parametrize(
    ("neuron", "norm"),
    [*((neuron, "tdbn") for neuron in NEURONS), *(("lif", norm) for norm in NORMS if norm != "tdbn")],
)
def test_every_neuron_and_norm_fits(name: str, neuron: str, norm: str):
    network = build(name, neuron=NEURONS[neuron], norm=norm_of(norm), width_multiplier=0.05)
    out = network(images(name, 2))
    out.sum().backward()
    assert out.shape == (3, 2, CLASSES)
    assert out.isfinite().all()


@every_model
def test_defaults_are_those_of_the_lsg_paper(name: str):
    network = build(name)
    for neuron in neurons(network).values():
        assert neuron.decay.item() == pytest.approx(0.2)
        assert neuron.logit_decay.item() == pytest.approx(-1.38629, abs=1e-5)
        assert neuron.threshold.item() == 0.5
        assert neuron.surrogate.function.name == "rect"
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    assert all(isinstance(norm, TDBN) and norm.scale == 0.5 for norm in norms)


@pytest.mark.skipif(not native.available(), reason="the native kernel was not built")
@every_model
@pytest.mark.parametrize("training", [True, False])
def test_norms_and_neurons_are_one_pass(name: str, training: bool):
    network = build(name).train(training)
    with Counted() as counted:
        network(images(name, 4))
    fused = [module for module in network.modules() if isinstance(module, NormNeuron)]
    assert counted.times["surgrad::native"] == len(neurons(network))
    if name != "ms_resnet18":  # whose shortcuts carry what a norm gives, past every neuron
        assert not [operator for operator in counted.times if "batch_norm" in operator]
    assert len(fused) >= len(neurons(network)) / 3


COMPILED: dict[str, dict[str, Any]] = {
    "small_cnn": {},  # a chain; currents are pooled before the neurons
    "small_resnet": {},  # membrane blocks
    "fast_resnet": {},  # a shortcut for every convolution; a norm and a neuron in the head
    "mlp": {},  # linear layers
    "resnet18": {},  # residual blocks whose shortcuts pool
    "resnet18_preact": {},  # a norm on the sum; convolutions with a bias
    "resnet18_plain": {},
    "resnet19": {"summand_alpha": 0.5},  # residual blocks with two kinds of norm; a neuron without a norm in the head
    "resnet20": {},  # residual blocks whose shortcuts are convolutions
    "resnet18_imagenet": {},  # a wide stem, whose spikes are pooled
    "sew_resnet18": {"connect": "iand"},  # spike blocks, with a function of two spikes
    "sew_resnet50": {},  # bottlenecks
    "ds_resnet20": {},  # spike blocks on the stem's size
    "ms_resnet18": {},  # neurons without a norm, and norms without a neuron
    "densenet": {"layers": (2, 1, 1)},  # concatenation, transitions, moderate dropout
    "vgg11": {},  # a chain; spikes are pooled
    "vgg11_dct": {},  # dropout in the body, norms in the head
    "vgg11_ws": {},  # standardised weights
    "vggsnn": {},  # convolutions with a bias
    "plif_cifar": {},  # dropout and votes in the head
    "plif_dvs": {},  # spikes pooled after every convolution
}
"""Models that are compiled, one for every builder and for every kind of block that its options make. Tracing takes time
for every layer, so that repeated blocks are left out (`shallow`)."""


def shallow(network: SpikingNetwork) -> SpikingNetwork:
    """Without the blocks that keep the shape, but for the first one: all others have the same structure."""
    body = []
    kept = False
    for module in network.body:
        keeps_shape = isinstance(getattr(module, "shortcut", None), nn.Identity)
        if not (keeps_shape and kept):
            body.append(module)
        kept = kept or keeps_shape
    network.body = nn.Sequential(*body)
    return network


def builder_of(name: str) -> Any:
    return getattr(MODELS[name], "func", MODELS[name])


def test_every_builder_is_compiled():
    assert {builder_of(name) for name in MODELS} == {builder_of(name) for name in COMPILED}


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_whole_and_once_whatever_the_widths(name: str):
    torch.compiler.reset()
    graphs = CompileCounterWithBackend("eager")
    network = shallow(build(name, steps=2, **COMPILED[name]))
    run = torch.compile(network, fullgraph=True, backend=graphs)
    for width in (1.0, 0.5, 2.0):
        for surrogate in find_surrogates(network).values():
            surrogate.width.fill_(width)
        run(images(name, 2)).sum().backward()
    assert graphs.frame_count == 1
    torch.compiler.reset()


@every_model
def test_no_step_count_below_one(name: str):
    with pytest.raises(BadValue, match=r"steps must be at least 1, got 0"):
        build(name, steps=0)


@every_model
def test_a_vanishing_multiplier_leaves_one_channel(name: str):
    network = build(name, width_multiplier=1e-6)
    assert {len(layer.get_parameter("weight")) for layer in weighted(network).values()} == LEAST.get(name, {1})
    assert network(images(name, 2)).shape == (3, 2, CLASSES)


# --- options --------------------------------------------------------------------------------------------------------


@every_model
def test_every_parameter_of_a_builder_is_given_by_the_build_or_is_an_option(name: str):
    parameters = inspect.signature(MODELS[name]).parameters
    options = MODELS.options(name)
    assert set(parameters) == {*options} | (set(parameters) & MODELS.context)
    assert {"classes", "in_channels", "steps", "neuron", "norm"} <= set(parameters)
    assert "width_multiplier" in options
    defaults = {key: option.default for key, option in options.items()}
    assert MODELS.check(name, defaults) == defaults
    with pytest.raises(BadValue, match=r"model.width_multiplier = 0 is out of range; give a number above 0"):
        MODELS.check(name, {"width_multiplier": 0})


@every_model
def test_models_are_built_by_name_and_options(name: str):
    context = {"classes": CLASSES, "in_channels": channels_of(name), "image_size": SIDES.get(name, 16), "steps": 3}
    torch.manual_seed(0)
    network = MODELS.build(name, {"width_multiplier": 0.125}, **context, neuron=lsg_neuron, norm=TDBN)
    expected = build(name).state_dict()
    assert {key: value.shape for key, value in network.state_dict().items()} == {
        key: value.shape for key, value in expected.items()
    }
    assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("resnet19", {"connect": "add"}, r"model.connect: model 'resnet19' has no option 'connect'"),
        ("sew_resnet18", {"connect": "or"}, r"unknown connect 'or'; choose from add, and, iand"),
        ("resnet44", {"count": 0}, r"model.count = 0 is out of range; give a number from 1"),
        ("sew_resnet34", {"counts": (1, 2, 3)}, r"model.counts = \(1, 2, 3\) is of type tuple; give several"),
        ("densenet", {"dropout": 1.5}, r"model.dropout = 1.5 is out of range; give a number from 0 to 1"),
        ("vgg16", {"configuration": "E"}, r"unknown configuration 'E'; choose from A, D, DCT"),
        ("vgg11", {"in_channels": 2}, r"'in_channels' of model 'vgg11' is given by the network or the training"),
        ("mlp", {"hidden": 0}, r"model.hidden = 0 is out of range; give a number from 1"),
        ("mlp", {"layers": 0}, r"model.layers = 0 is out of range; give a number from 1"),
    ],
)
def test_options_out_of_range_are_refused(name: str, options: dict[str, Any], text: str):
    with pytest.raises((BadValue, UnknownName), match=text):
        MODELS.check(name, options)


@pytest.mark.parametrize("name", [name for name in MODELS if "summand_alpha" in MODELS.options(name)])
def test_summands_of_additions_have_their_own_alpha(name: str):
    torch.manual_seed(0)
    network = build(name, summand_alpha=0.5)
    for path, module in network.named_modules():
        if isinstance(module, TDBN):
            assert module.scale == (0.25 if path.endswith(("fire2.norm", "plus_norm")) else 0.5), path
    with pytest.raises(BadValue, match=r"summand_alpha = 0.5 is tdBN's scale .* this norm has no 'alpha'; give summ"):
        build(name, summand_alpha=0.5, norm=BatchNorm)


def test_an_alpha_of_one_is_every_norms():
    for norm in (BatchNorm, NoNorm, TDBN, partial(TDBN, threshold=1.0)):
        assert summand_norm(norm, 1.0) is norm
    assert summand_norm(partial(TDBN, threshold=2.0), 0.5)(3).scale == 1.0


# --- samples of other dimensions --------------------------------------------------------------------------------------


def network_of(sample_dims: int, steps: int = 4) -> SpikingNetwork:
    """On features [.., 6], or on 1-D recordings of 2 channels."""
    torch.manual_seed(0)
    if sample_dims == 1:
        stem: nn.Module = linear(6, 8)
        head: nn.Module = linear(8, CLASSES)
    else:
        stem = PerStep(nn.Conv1d(2, 8, 3, padding=1))
        head = nn.Sequential(PerStep(nn.AdaptiveAvgPool1d(1), nn.Flatten()), linear(8, CLASSES))
    fire = NormNeuron(TDBN(8), lsg_neuron(8))
    return SpikingNetwork(stem, fire, nn.Sequential(), head, steps, sample_dims=sample_dims)


@pytest.mark.parametrize(("sample_dims", "sample"), [(1, (6,)), (2, (2, 10))])
def test_networks_of_features_and_of_one_dimensional_recordings(sample_dims: int, sample: tuple[int, ...]):
    network = network_of(sample_dims)
    static = torch.randn(5, *sample, generator=torch.Generator().manual_seed(1))
    sequence = torch.randn(3, 5, *sample, generator=torch.Generator().manual_seed(2))
    assert (network.is_sequence(static), network.is_sequence(sequence)) == (False, True)
    assert (network.time_steps(static), network.time_steps(sequence)) == (4, 3)
    assert network(static).shape == (4, 5, CLASSES)
    assert network(sequence).shape == (3, 5, CLASSES)
    network.eval()
    torch.testing.assert_close(network(static), network(static.expand(4, *static.shape)))
    for x in (static, sequence):
        torch.testing.assert_close(in_chunks(network, x, 4, chunk=2), network(x))


@pytest.mark.parametrize(("dims", "sample"), [(1, (6,)), (2, (6, 5)), (3, (6, 5, 5))])
def test_the_mlp_takes_samples_of_any_number_of_dimensions(dims: int, sample: tuple[int, ...]):
    network = MODELS["mlp"](CLASSES, in_channels=6, image_size=5, sample_dims=dims, steps=2, hidden=8, layers=3)
    assert network(torch.randn(4, *sample)).shape == (2, 4, CLASSES)
    assert network(torch.randn(3, 4, *sample)).shape == (3, 4, CLASSES)
    assert [len(layer.get_parameter("weight")) for layer in weighted(network).values()] == [8, 8, 8]


def test_inputs_of_other_dimensions_are_refused():
    with pytest.raises(
        BadValue, match=r"input \[3, 2, 10\] does not .* \[N, C, H, W\], or sequences \[T, N, C, H, W\]"
    ):
        build("small_cnn")(torch.zeros(3, 2, 10))
    with pytest.raises(BadValue, match=r"give static samples \[N, C, L\], or sequences \[T, N, C, L\]"):
        network_of(2)(torch.zeros(3, 2, 10, 10, 1))
    with pytest.raises(BadValue, match=r"sample_dims must be at least 1"):
        SpikingNetwork(nn.Identity(), NormNeuron(TDBN(1), LIF()), nn.Identity(), nn.Identity(), 1, 0)


# --- copies, pickles, precisions --------------------------------------------------------------------------------------


@every_model
def test_copies_after_a_forward_pass_in_training(name: str):
    network = build(name)
    for neuron in neurons(network).values():
        neuron.record_histogram = True
    network(images(name, 2)).sum().backward()
    twin = copy.deepcopy(network)
    assert all(neuron.histogram is None for neuron in neurons(twin).values())
    assert not {id(parameter) for parameter in network.parameters()} & {
        id(parameter) for parameter in twin.parameters()
    }
    assert_same_outputs(network, twin, name)


def assert_same_outputs(network: SpikingNetwork, twin: SpikingNetwork, name: str) -> None:
    assert network.state_dict().keys() == twin.state_dict().keys()
    x = images(name, 2)
    assert torch.equal(network.eval()(x), twin.eval()(x))


@pytest.mark.skipif("__reduce__" not in vars(SurrogateFunction), reason="surrogate functions cannot be pickled yet")
@every_model
def test_pickled_and_saved_whole_after_a_forward_pass_in_training(name: str):
    network = build(name)
    network(images(name, 2)).sum().backward()
    network.zero_grad()
    assert_same_outputs(network, pickle.loads(pickle.dumps(network)), name)
    file = io.BytesIO()
    torch.save(network.train(), file)
    file.seek(0)
    assert_same_outputs(network, torch.load(file, weights_only=False), name)


@every_model
def test_state_dicts_are_saved_and_loaded(name: str):
    network = build(name)
    network(images(name, 2))
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    torch.manual_seed(9)
    other = build(name)
    other.load_state_dict(torch.load(file))
    assert_same_outputs(network, other, name)


@every_model
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_runs_under_autocast(name: str, dtype: torch.dtype):
    network = awake(build(name, steps=2))
    x = images(name, 4)
    if "image_size" not in inspect.signature(MODELS[name]).parameters:
        # At 16 pixels ResNets for ImageNet end in 3×3 convolutions of 1×1 maps with stride 2. In bfloat16 torch 2.13
        # returns uninitialised memory in the gradient of their weights.
        x = torch.nn.functional.interpolate(x, size=32)
    with torch.autocast("cpu", dtype):
        out = network(x)
    out.float().square().mean().backward()
    assert out.shape == (2, 4, CLASSES)
    assert out.isfinite().all()
    for key, parameter in network.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is None or parameter.grad.isfinite().all(), key


def test_kaimings_rule_draws_in_the_order_of_the_modules():
    layers = nn.Sequential(nn.Linear(3, 4), nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1))
    before = layers[0].weight.clone()
    bias = layers[1].bias.clone()
    torch.manual_seed(0)
    init_kaiming(layers, "fan_out")
    torch.manual_seed(0)
    for layer in layers[1:]:
        expected = torch.empty_like(layer.weight)
        nn.init.kaiming_normal_(expected, mode="fan_out", nonlinearity="relu")
        assert torch.equal(layer.weight, expected)
    assert torch.equal(layers[0].weight, before)
    assert torch.equal(layers[1].bias, bias)
    init_kaiming(layers, convolutions=False, linears=True)
    assert not torch.equal(layers[0].weight, before)


# --- the definitions ------------------------------------------------------------------------------------------------
# Parameters: a convolution k×k of a to b channels has k²·a·b (+ b with a bias) and its norm 2b, a linear layer
# a·b + b, a neuron of the LSG paper one decay.


def convolved(a: int, b: int, kernel: int = 3, bias: bool = False) -> int:
    return kernel * kernel * a * b + bias * b + 2 * b


def block(a: int, b: int, projected: bool) -> int:
    return convolved(a, b) + convolved(b, b) + projected * convolved(a, b, 1) + 2


def resnet19_parameters(classes: int) -> int:
    """Stem of 128, blocks of 128 ×3, 256 ×3, 512 ×2, and 512 -> 256 -> classes."""
    blocks = 3 * block(128, 128, False) + block(128, 256, True) + 2 * block(256, 256, False)
    blocks += block(256, 512, True) + block(512, 512, False)
    head = 512 * 256 + 256 + 1 + 256 * classes + classes
    return convolved(3, 128) + 1 + blocks + head


def resnet18_parameters(classes: int) -> int:
    """Stem of three 3×3 convolutions to 64, two blocks each of 64, 128, 256, 512, and a linear layer."""
    blocks = 2 * block(64, 64, False)
    for a in (64, 128, 256):
        blocks += block(a, 2 * a, True) + block(2 * a, 2 * a, False)
    return convolved(3, 64) + 2 * convolved(64, 64) + 3 + blocks + 512 * classes + classes


def vggsnn_parameters(classes: int) -> int:
    """64-128-256-256-512-512-512-512, all with bias, and a linear layer on 512·3·3."""
    widths = (2, 64, 128, 256, 256, 512, 512, 512, 512)
    layers = sum(convolved(a, b, bias=True) + 1 for a, b in pairwise(widths))
    return layers + 512 * 3 * 3 * classes + classes


def small_cnn_parameters(classes: int) -> int:
    widths = (1, 32, 64, 64, 128)
    return sum(convolved(a, b) + 1 for a, b in pairwise(widths)) + 128 * classes + classes


def small_resnet_parameters(classes: int) -> int:
    stages = sum(convolved(a, 2 * a) + 1 + block(2 * a, 2 * a, False) for a in (64, 128))
    return convolved(3, 64) + 1 + stages + 256 * classes + classes


@pytest.mark.parametrize("size", [(6, 8), (5, 4), (3, 7), (1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_means_of_cpu_and_gpu_are_the_same(size, dtype):
    """Also at odd edges, and so are their gradients."""
    x = torch.randn(6, 8, *size).to(dtype, memory_format=torch.channels_last).unflatten(0, (2, 3))
    means, gradients = [], []
    for mean in (mean_of_four, mean_of_four_by_views):
        leaf = x.clone().requires_grad_()
        means.append(mean(leaf))
        gradients.append(torch.autograd.grad(means[-1].square().sum(), leaf)[0])
    assert means[0].shape == (2, 3, 8, (size[0] + 1) // 2, (size[1] + 1) // 2)
    assert all(mean.flatten(0, 1).is_contiguous(memory_format=torch.channels_last) for mean in means)
    torch.testing.assert_close(*means)
    torch.testing.assert_close(*gradients)


def fast_resnet_parameters(classes: int) -> int:
    """24 whitened channels to 128; two convolutions of 128; one that doubles and two of 256; the same of 512; a norm
    and a decay before each, and before the linear layer."""
    pairs = [*[(128, 128)] * 2, (128, 256), *[(256, 256)] * 2, (256, 512), *[(512, 512)] * 2]
    body = sum(9 * a * b + 2 * a + 1 for a, b in pairs)
    return 24 * 27 + 24 * 9 * 128 + body + 2 * 512 + 1 + 512 * classes + classes


def plif_parameters(layers: int, channels: int, inputs: int, side: int, hidden: int) -> Callable[[int], int]:
    """`layers` convolutions of as many channels, then hidden neurons and ten a class, none with a bias."""

    def count(classes: int) -> int:
        convolutions = convolved(inputs, channels) + (layers - 1) * convolved(channels, channels)
        return convolutions + channels * side * side * hidden + hidden * 10 * classes + layers + 2

    return count


def stages(inputs: int, widths: tuple[int, ...], counts: tuple[int, ...], neurons_of_shortcuts: int = 0) -> int:
    """Basic blocks with 1×1 shortcuts where the width changes; in SEW-ResNet those fire."""
    total = 0
    for width, count in zip(widths, counts, strict=True):
        for number in range(count):
            a = inputs if number == 0 else width
            total += block(a, width, a != width) + neurons_of_shortcuts * (a != width)
        inputs = width
    return total


def wide_stem(counts: tuple[int, ...], neurons_of_shortcuts: int) -> Callable[[int], int]:
    """7×7 to 64, then blocks of 64, 128, 256, 512."""
    body = stages(64, (64, 128, 256, 512), counts, neurons_of_shortcuts)
    return lambda classes: convolved(3, 64, 7) + 1 + body + 512 * classes + classes


def cifar_resnet_parameters(
    widths: tuple[int, int, int], count: int, neurons_of_shortcuts: int
) -> Callable[[int], int]:
    body = stages(widths[0], widths, (count,) * 3, neurons_of_shortcuts)
    return lambda classes: convolved(3, widths[0]) + 1 + body + widths[2] * classes + classes


def sew_resnet50_parameters(classes: int) -> int:
    """Bottlenecks, four times as wide at their ends; every stage's first has a shortcut that fires."""
    total = convolved(3, 64, 7) + 1
    inputs = 64
    for width, count in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        for number in range(count):
            total += convolved(inputs, width, 1) + convolved(width, width) + convolved(width, 4 * width, 1) + 3
            if number == 0:
                total += convolved(inputs, 4 * width, 1) + 1
            inputs = 4 * width
    return total + 2048 * classes + classes


def ms_resnet18_parameters(classes: int) -> int:
    """As the modified ResNet-18 without two convolutions of its stem; a neuron in the head and none on the stem."""
    return convolved(3, 64) + 1 + stages(64, (64, 128, 256, 512), (2, 2, 2, 2)) + 512 * classes + classes


def resnet18_plain_parameters(classes: int) -> int:
    return convolved(3, 64) + 1 + stages(64, (64, 128, 256, 512), (2, 2, 2, 2)) + 512 * classes + classes


def resnet18_preact_parameters(classes: int) -> int:
    """Two convolutions with bias and two norms a block, as its shortcut has no norm; one norm and neuron in front."""
    total = 9 * 3 * 64 + 2 * 64 + 1
    inputs = 64
    for width in (64, 128, 256, 512):
        total += convolved(inputs, width, bias=True) + convolved(width, width, bias=True) + 2
        total += (inputs * width + width) * (inputs != width)
        total += 2 * convolved(width, width, bias=True) + 2
        inputs = width
    return total + 512 * classes + classes


def vgg_parameters(*widths: int) -> Callable[[int], int]:
    layers = sum(convolved(a, b) + 1 for a, b in pairwise((3, *widths)))
    return lambda classes: layers + 512 * classes + classes


def densenet_parameters(classes: int) -> int:
    """norm-neuron-conv 1×1 to 128, norm-neuron-conv 3×3 to 32, 48 times; halved twice; no norm behind a convolution."""
    channels = 256
    total = convolved(3, 256) + 1 + 9 * 256 * 256
    for number, count in enumerate((12, 12, 24)):
        if number:
            total += 2 * channels + 1 + channels * (channels // 2)
            channels //= 2
        for _ in range(count):
            total += 2 * channels + 1 + channels * 128 + 2 * 128 + 1 + 9 * 128 * 32
            channels += 32
    return total + 2 * channels + 1 + channels * 256 + 256 + 1 + 256 * classes + classes


def resnet19_tet_parameters(classes: int) -> int:
    """A stem of 64, so that the first block has a shortcut of its own."""
    stem = convolved(3, 64) + block(64, 128, True)
    return resnet19_parameters(classes) - convolved(3, 128) - block(128, 128, False) + stem


def vgg11_ws_parameters(classes: int) -> int:
    """Every convolution has a bias and a gain."""
    widths = (3, 64, 128, 256, 256, 512, 512, 512, 512)
    return sum(convolved(a, b, bias=True) + b + 1 for a, b in pairwise(widths)) + 512 * classes + classes


def vgg11_dct_parameters(classes: int) -> int:
    """Four poolings to 2×2 of 32×32, two layers of 4,096 without bias, and a norm behind each."""
    widths = (3, 64, 128, 256, *[512] * 5)
    layers = sum(convolved(a, b) + 1 for a, b in pairwise(widths))
    return layers + 512 * 4 * 4096 + 4096 * 4096 + 2 * (2 * 4096 + 1) + 4096 * classes + classes


COUNTED: dict[str, tuple[Callable[[int], int], float]] = {  # by hand; in millions at 10 classes, as documented
    "resnet19": (resnet19_parameters, 12.7),
    "resnet18": (resnet18_parameters, 11.2),
    "resnet18_plain": (resnet18_plain_parameters, 11.2),
    "resnet18_preact": (resnet18_preact_parameters, 11.2),
    "vggsnn": (vggsnn_parameters, 9.3),
    "resnet19_tet": (resnet19_tet_parameters, 12.6),
    "resnet19_normed": (lambda classes: resnet19_parameters(classes) - 256 + 2 * 256, 12.7),
    "plif_cifar": (plif_parameters(6, 256, 3, 8, 2048), 36.7),
    "plif_dvs": (plif_parameters(4, 128, 2, 8, 512), 4.7),
    "plif_gesture": (plif_parameters(5, 128, 2, 4, 512), 1.7),
    "resnet20": (cifar_resnet_parameters((16, 32, 64), 3, 0), 0.27),
    "resnet44": (cifar_resnet_parameters((16, 32, 64), 7, 0), 0.66),
    "ds_resnet20": (cifar_resnet_parameters((64, 128, 256), 3, 1), 4.3),
    "resnet18_imagenet": (wide_stem((2, 2, 2, 2), 0), 11.2),
    "resnet34_imagenet": (wide_stem((3, 4, 6, 3), 0), 21.3),
    "sew_resnet18": (wide_stem((2, 2, 2, 2), 1), 11.2),
    "sew_resnet34": (wide_stem((3, 4, 6, 3), 1), 21.3),
    "sew_resnet50": (sew_resnet50_parameters, 23.5),
    "ms_resnet18": (ms_resnet18_parameters, 11.2),
    "densenet": (densenet_parameters, 6.8),
    "vgg11": (vgg_parameters(64, 128, 256, 256, 512, 512, 512, 512), 9.2),
    "vgg16": (vgg_parameters(64, 64, 128, 128, 256, 256, 256, *[512] * 6), 14.7),
    "vgg11_ws": (vgg11_ws_parameters, 9.2),
    "vgg11_dct": (vgg11_dct_parameters, 36.2),
    "small_cnn": (small_cnn_parameters, 0.13),
    "small_resnet": (small_resnet_parameters, 1.8),
    "fast_resnet": (fast_resnet_parameters, 7.7),
    "mlp": (lambda classes: 784 * 128 + 128 * 128 + 2 * (2 * 128 + 1) + 128 * classes + classes, 0.12),
}


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_are_those_of_the_definition(name: str):
    by_hand, millions = COUNTED[name]
    network = MODELS[name](10)
    assert sum(parameter.numel() for parameter in network.parameters()) == by_hand(10)
    digits = len(str(millions).split(".")[1])
    assert round(by_hand(10) / 1e6, digits) == millions
    own = None if isinstance(MODELS[name], partial) else MODELS[name].__doc__  # a variant says nothing of its own
    documented = re.findall(r"([\d.]+) M parameters", own or "")
    assert all(float(count) == millions for count in documented)


def test_a_block_of_the_preactivation_resnet_is_that_of_he():
    """Written as in the paper: norm, neuron, then convolutions, with a shortcut from the neuron's spikes."""
    torch.manual_seed(0)
    network = MODELS["resnet18_preact"](10, steps=2, neuron=nn.ReLU, norm=BatchNorm, width_multiplier=0.125)
    x = torch.randn(3, 3, 16, 16)
    current = network.stem(x.expand(2, *x.shape))
    fires = [network.fire, *(block.fire2 for block in network.body)]
    for fire, block in zip(fires, network.body, strict=False):
        active = fire(current)
        current = block.conv2(block.fire1(block.conv1(active))) + block.shortcut(active)
    assert torch.allclose(network(x), network.head(fires[-1](current)), atol=1e-5)


def test_resnet19_has_16_convolutions_in_blocks_and_spikes_after_the_addition():
    network = build("resnet19")
    kernels = [conv.kernel_size[0] for conv in convolutions(network)]
    assert (kernels.count(3), kernels.count(1)) == (1 + 16, 2)
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    assert len(blocks) == 8
    x = torch.randn(2, 2, 16, 6, 6)
    one = ResidualBlock(16, 16, 1, lsg_neuron, TDBN).eval()
    assert torch.equal(one(x), one.fire2.neuron(one.fire2.norm(one.conv2(one.fire1(one.conv1(x)))) + x))
    assert set(one(x).unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("side", [6, 5])
def test_a_current_block_adds_to_the_currents(side: int):
    """Its shortcut takes means and repeats channels, without a weight."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, side, side)
    same = CurrentBlock(4, 4, lsg_neuron, TDBN).eval()
    assert torch.equal(same(x), same.conv(same.fire(x)) + x)
    wider = CurrentBlock(4, 8, lsg_neuron, TDBN, halves=True).eval()
    most = nn.functional.max_pool2d(wider.conv(wider.fire(x)).flatten(0, 1), 2, ceil_mode=True).unflatten(0, (2, 3))
    means = nn.functional.avg_pool2d(x.flatten(0, 1), 2, ceil_mode=True, count_include_pad=False).unflatten(0, (2, 3))
    torch.testing.assert_close(wider(x), most + torch.cat([means, means], 2))


@pytest.mark.parametrize("packed", [False, True])
@every_model
def test_blocks_that_are_computed_again_change_nothing(name: str, packed: bool):
    """Gradients, running statistics, histograms and random numbers are the same, bit for bit."""
    plain, again = two_steps(name, False, False), two_steps(name, True, packed)
    assert len(plain) == len(again)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def two_steps(name: str, checkpoint: bool, packed: bool) -> list[Tensor]:
    """What two steps in training leave."""
    network = build(name)
    network.checkpoint, network.pack_spikes = checkpoint, packed
    for neuron in neurons(network).values():
        neuron.record_histogram = True
    torch.manual_seed(2)
    for step in range(2):
        network(images(name, 3, seed=step)).float().square().sum().backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    state = [value for module in stateful_modules(network).values() for value in module.state().values()]
    return [*gradients, *network.buffers(), *(v for v in state if isinstance(v, Tensor)), torch.rand(3)]


@pytest.mark.parametrize("sequence", [False, True])
def test_whitening_makes_patches_uncorrelated(sequence: bool):
    torch.manual_seed(0)
    images = torch.randn(60, 3, 12, 12).cumsum(-1).cumsum(-2)
    layer = Whitening(3, eps=1e-6)
    assert torch.equal(layer(images)[:, 4, 3, 3], images[:, 0, 3, 3])  # not fitted: the patch itself
    layer.fit(images.view(5, 12, 3, 12, 12) if sequence else images)
    inside = layer(images)[:, :, 1:-1, 1:-1].transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.cov(inside), torch.eye(24), atol=0.02, rtol=0)
    assert not layer.weight.requires_grad


def test_whitening_looks_at_so_many_patches():
    torch.manual_seed(0)
    images = torch.randn(3, 1, 1024, 1024)
    one, all_of_them = Whitening(1), Whitening(1)
    one.fit(images[:1])
    all_of_them.fit(images)
    assert torch.equal(one.weight, all_of_them.weight)


def test_a_membrane_blocks_shortcut_meets_no_neuron():
    one = MembraneBlock(8, lsg_neuron, TDBN)
    x = torch.randn(2, 2, 8, 6, 6, requires_grad=True)
    with torch.no_grad():
        for conv in (one.conv1[0], one.conv2[0]):
            conv.weight.zero_()
    out = one(x)
    assert torch.equal(out, x)
    out.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize(("head", "layers", "fires"), [("neurons", 2, 1), ("two_linear", 2, 0), ("linear", 1, 0)])
def test_resnet19_has_the_heads_of_several_codes(head: str, layers: int, fires: int):
    network = build("resnet19", head=head)
    assert sum(isinstance(module, nn.Linear) for module in network.head.modules()) == layers
    assert len(neurons(network.head)) == fires
    assert network(images("resnet19", 2)).shape == (network.steps, 2, CLASSES)
    if not fires:
        with pytest.raises(BadValue, match=f"head = {head} has none; set one of them"):
            build("resnet19", head=head, hidden_norm=True)


def test_resnet19_halves_the_picture_twice():
    network = build("resnet19")
    sizes: list[tuple[int, ...]] = []
    network.head[0].register_forward_hook(lambda _m, args, _o: sizes.append(tuple(args[0].shape)))  # type: ignore[index]
    network(torch.randn(2, 3, 32, 32))
    assert sizes == [(3, 2, 64, 8, 8)]


def test_resnet18_halves_the_picture_four_times():
    """Average pooling after the stem, then strides 1, 2, 2, 2."""
    network = build("resnet18")
    sizes: list[tuple[int, ...]] = []
    network.head[0].register_forward_hook(lambda _m, args, _o: sizes.append(tuple(args[0].shape)))  # type: ignore[index]
    network(torch.randn(2, 3, 32, 32))
    assert sizes == [(3, 2, 64, 2, 2)]
    kernels = [conv.kernel_size[0] for conv in convolutions(network)]
    assert (kernels.count(3), kernels.count(1)) == (3 + 16, 3)


def test_resnet18_residual_branches_start_at_zero():
    network = build("resnet18")
    outputs: list[Tensor] = []
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    assert len(blocks) == 8
    for block in blocks:
        block.fire2.norm.register_forward_hook(lambda _m, _a, out: outputs.append(out))
    network(images("resnet18", 4))
    assert len(outputs) == 8
    assert all(not out.any() for out in outputs)
    zero = [key for key, module in network.named_modules() if isinstance(module, BatchNorm) and not module.weight.any()]
    assert len(zero) == 8
    assert all(key.endswith("fire2.norm") for key in zero), "only the last norm of each block"


def test_vggsnn_is_drawn_by_kaimings_rule_and_pools_four_times():
    network = MODELS["vggsnn"](10)
    for conv in convolutions(network)[1:]:
        fan_out = conv.out_channels * 9
        assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.02)
        assert conv.bias is not None
    linear = next(module for module in network.modules() if isinstance(module, nn.Linear))
    assert linear.in_features == 512 * 3 * 3
    for size in (16, 32, 48, 50):
        narrow = MODELS["vggsnn"](CLASSES, width_multiplier=0.02, steps=2, image_size=size)
        assert narrow(torch.randn(2, 2, size, size)).shape == (2, 2, CLASSES)
    with pytest.raises(BadValue, match=r"image_size 15 is too small for 4 poolings; give at least 16"):
        MODELS["vggsnn"](image_size=15)


@pytest.mark.parametrize("connect", ["add", "and", "iand"])
def test_a_spike_block_can_start_as_the_identity(connect: str):
    """Fang et al. 2021a, section 3.3: ADD and IAND with a branch that never fires, AND with one that always does."""
    torch.manual_seed(0)
    network = MODELS["sew_resnet18"](CLASSES, steps=3, width_multiplier=0.125, connect=connect)
    x = (torch.rand(3, 4, 8, 6, 6) > 0.7).float()
    block = next(module for module in network.modules() if isinstance(module, SpikeBlock))
    assert not torch.equal(block(x), x)
    block.start_as_identity()
    assert torch.equal(block(x), x)


def test_connections_of_spikes():
    """Fang et al. 2021a, Table 1: a + s, a ∧ s, (¬a) ∧ s."""
    a = torch.tensor([0.0, 0, 1, 1])
    s = torch.tensor([0.0, 1, 0, 1])
    assert {name: g(a, s).tolist() for name, g in CONNECTIONS.items()} == {
        "add": [0, 1, 1, 2],
        "and": [0, 0, 0, 1],
        "iand": [0, 1, 0, 0],
    }
    with pytest.raises(UnknownName, match=r"unknown connection 'or'"):
        MODELS["sew_resnet18"](connect="or")


def test_sums_of_spikes_are_no_longer_binary():
    network = build("ds_resnet20")
    values: list[Tensor] = []
    network.head[0].register_forward_hook(lambda _m, args, _o: values.append(args[0]))  # type: ignore[index]
    network(images("ds_resnet20", 4))
    assert values[0].max() > 1
    assert torch.equal(values[0], values[0].round())


@pytest.mark.parametrize(("name", "side"), [("sew_resnet18", 2), ("resnet18_imagenet", 2), ("ms_resnet18", 4)])
def test_residual_networks_halve_the_picture(name: str, side: int):
    """Of 64 pixels: the ImageNet stems halve twice and the stages thrice; the CIFAR form's stages alone, of 32."""
    sizes: list[tuple[int, ...]] = []
    network = build(name)
    body = network.body
    body.register_forward_hook(lambda _m, _a, out: sizes.append(tuple(out.shape[-2:])))
    pixels = 64 if name != "ms_resnet18" else 32
    network(torch.randn(1, 3, pixels, pixels))
    assert sizes == [(side, side)]


def test_a_preactivation_blocks_shortcut_meets_no_neuron():
    one = PreActivationBlock(8, 8, 1, lsg_neuron, TDBN)
    x = torch.randn(2, 2, 8, 6, 6)
    with torch.no_grad():
        one.norm.weight.zero_()
    assert torch.equal(one(x), x)


def test_a_network_that_predicts_by_its_last_step():
    network = build("small_cnn").eval()
    out = network(images("small_cnn", 4))
    network.last_step = True
    assert torch.equal(network(images("small_cnn", 4)), out[-1:])


def test_a_network_asked_twice_drops_anew():
    """Wang et al. 2022a: the body runs once, the head on every sample twice, in training alone."""
    network = build("densenet")
    x = images("densenet", 4)
    network.duplicate_batch = True
    seen: list[int] = []
    network.body.register_forward_hook(lambda _m, args, _o: seen.append(args[0].shape[1]))
    out = network(x)
    assert (out.shape, seen) == ((3, 8, CLASSES), [4])
    assert not torch.equal(out[:, :4], out[:, 4:])
    assert network.eval()(x).shape == (3, 4, CLASSES)
