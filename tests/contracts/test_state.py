"""The contract of state: declared once, reset, detached, preserved, and never copied, whatever module holds it."""

import copy
import inspect
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from surgrad import state
from surgrad.coding import CODINGS
from surgrad.errors import BadValue
from surgrad.layers import Dropout, ModerateDropout, PerStep, Vote
from surgrad.models import small_cnn
from surgrad.neurons import MPBN, NEURONS, Neuron, Readout, SteppedNeuron, neurons, streaming
from surgrad.norm import NORMS, TDBN, NormNeuron
from surgrad.state import Stateful, preserved_state, state_bytes, stateful_modules
from surgrad.surrogates import SURROGATES, Surrogate

T = 4
N = 3
C = 5
H = 8
CARRYING = [name for name, kind in NEURONS.items() if kind.supports_streaming]
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "dropout": Dropout,
    "moderate_dropout": ModerateDropout,
    "per_step": lambda: PerStep(nn.Linear(H, H)),
    "vote": lambda: Vote(2),
    "readout": Readout,
    "norm_neuron": lambda: NormNeuron(TDBN(C), NEURONS["mpbn"]()),
    "step_widths": lambda: NEURONS["lif"](surrogate=Surrogate(steps=2)),
}
MAKERS: dict[str, Callable[[], nn.Module]] = {
    **{f"neuron {name}": lambda name=name: NEURONS[name]() for name in NEURONS},
    **{f"neuron {name} by channel": lambda name=name: NEURONS[name](channels=C) for name in CARRYING},
    **{f"neuron {name} carrying": lambda name=name: NEURONS[name](carry=True) for name in CARRYING},
    **{f"norm {name}": lambda name=name: NORMS.build(name, channels=C, steps=T, threshold=0.5) for name in NORMS},
    **{f"layer {name}": maker for name, maker in LAYERS.items()},
    **{f"coding {name}": maker for name, maker in CODINGS.items() if inspect.isclass(maker)},
}
every_module = pytest.mark.parametrize("name", MAKERS)
every_neuron = pytest.mark.parametrize("name", NEURONS)
every_carrying = pytest.mark.parametrize("name", CARRYING)


def penalty(potentials: Tensor, spikes: Tensor, neuron: Neuron) -> Tensor:
    return potentials.square().mean()


def made(name: str) -> nn.Module:
    """In training, with all that a neuron can keep of a call."""
    torch.manual_seed(0)
    module = MAKERS[name]().train()
    for neuron in neurons(module).values():
        neuron.record_histogram = True
        neuron.penalty_fn = penalty
    return module


def inputs(name: str, seed: int = 1, dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(seed)
    if name.startswith("coding"):
        return torch.randn(N, 3, H, H, generator=generator).to(dtype), T
    size = (T, N, 6) if name == "layer vote" else (T, N, C, H)
    return (torch.randn(size, generator=generator).to(dtype),)


def run(module: nn.Module, args: tuple[Any, ...]) -> Tensor:
    """The output, always of the same random numbers."""
    torch.manual_seed(2)
    return module(*args)


def snapshot(model: nn.Module) -> dict[str, dict[str, Any]]:
    """All attributes of every module, by its path; those that are dicts of tensors with the tensors' values."""
    return {name: {key: copied(value) for key, value in vars(m).items()} for name, m in model.named_modules()}


def copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return (value, value.detach().clone())
    return {key: copied(part) for key, part in value.items()} if isinstance(value, dict) else value


def same(one: Any, other: Any) -> bool:
    """Whether two attributes are the same; tensors are where they are the same object with the same values."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(part, other[key]) for key, part in one.items())
    if isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], Tensor):
        return one[0] is other[0] and torch.equal(one[1].nan_to_num(7.0), other[1].nan_to_num(7.0))
    return one is other or bool(one == other)


def assert_unchanged(before: dict[str, dict[str, Any]], model: nn.Module) -> None:
    after = snapshot(model)
    assert after.keys() == before.keys()
    for name, attributes in before.items():
        assert attributes.keys() == after[name].keys()
        for key, value in attributes.items():
            assert same(value, after[name][key]), f"{name}.{key}"


def saved(module: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "deepcopy": copy.deepcopy,
    "torch.save": saved,
}


@every_module
@pytest.mark.parametrize("by", COPIES)
def test_copies_after_a_forward_pass_do_what_the_original_does_at_its_start(name: str, by: str):
    module = made(name)
    args = inputs(name)
    run(module, args)
    twin = COPIES[by](module)
    assert twin.state_dict().keys() == module.state_dict().keys()
    for one, other in zip(stateful_modules(module).values(), stateful_modules(twin).values(), strict=True):
        assert type(one) is type(other)
        assert other.state() == other._initial_state, "no state is copied"
        assert other.penalty_fn is penalty
    state.reset(module)
    assert torch.equal(run(twin, args), run(module, args))
    for key, value in module.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[key], value, equal_nan=True, rtol=0, atol=0)


@every_module
def test_preserved_state_leaves_every_attribute_as_it_was(name: str):
    """As a probe does it: in training, with separate buffers."""
    module = made(name)
    run(module, inputs(name, seed=1))
    random = torch.random.get_rng_state()
    before = snapshot(module)
    with preserved_state(module), torch.no_grad():
        buffers = {key: buffer.clone() for key, buffer in module.named_buffers()}
        torch.func.functional_call(module, buffers, inputs(name, seed=2))
        torch.func.functional_call(module, buffers, inputs(name, seed=2))
    assert_unchanged(before, module)
    assert torch.equal(torch.random.get_rng_state(), random)


@every_module
@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_a_call_adds_no_attribute(name: str, mode: str):
    """Every attribute exists from construction on, so that a list of attributes is complete."""
    module = made(name).train(mode == "training")
    before = {path: set(vars(m)) for path, m in module.named_modules()}
    run(module, inputs(name))
    assert {path: set(vars(m)) for path, m in module.named_modules()} == before


@every_module
def test_only_declared_state_changes_in_a_call(name: str):
    module = made(name)
    module(*inputs(name))
    before = snapshot(module)
    buffers = {key: buffer.clone() for key, buffer in module.named_buffers()}
    torch.func.functional_call(module, buffers, inputs(name, seed=2))
    after = snapshot(module)
    for path, part in module.named_modules():
        declared = part._initial_state if isinstance(part, Stateful) else {}
        changed = {key for key, value in before[path].items() if not same(value, after[path][key])}
        assert changed <= set(declared), path


@every_module
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_comes_out_as_it_went_in(name: str, dtype: torch.dtype):
    module = made(name)
    if dtype == torch.float64 or name in ("layer per_step",):
        module = module.to(dtype)
    out = run(module, inputs(name, dtype=dtype))
    wanted = torch.promote_types(dtype, torch.float32) if name == "layer readout" else dtype
    assert out.dtype == wanted
    assert out.isfinite().all()


@every_module
def test_double_keeps_the_declared_state_declared(name: str):
    module = made(name)
    kept = {path: m.state() for path, m in stateful_modules(module).items()}
    module = module.double()
    assert {path: m.state() for path, m in stateful_modules(module).items()} == kept
    run(module, inputs(name, dtype=torch.float64))
    assert all(p.dtype == torch.float64 for p in module.parameters())


# --- uses of declared state -----------------------------------------------------------------------------------------


@every_neuron
def test_every_neuron_declares_what_it_promises(name: str):
    neuron = NEURONS[name]()
    assert {"potential", "histogram", "penalty"} <= set(neuron.state())
    assert "potential" in neuron._carried
    assert not {"histogram", "penalty"} & neuron._carried


@every_carrying
def test_a_probe_in_the_middle_of_a_sequence_changes_nothing(name: str):
    """The number of steps of the carried sequence stays, which GLIF needs for its weight of each step."""
    generator = torch.Generator().manual_seed(3)
    first, second, other = (torch.randn(2, N, C, generator=generator) for _ in range(3))
    probed, alone = (NEURONS[name](carry=True, **({"steps": 6} if name == "glif" else {})).eval() for _ in range(2))
    if name == "glif":
        for neuron in (probed, alone):
            torch.nn.init.uniform_(neuron.logit_inputs, -3, 3, generator=torch.Generator().manual_seed(4))
    probed(first)
    with preserved_state(probed):
        from_the_start = probed(other)
    alone(first)
    assert torch.equal(probed(second), alone(second))
    state.reset(alone)
    assert torch.equal(from_the_start, alone(other)), "a probe begins with reset state"


@every_carrying
def test_reset_forgets_the_sequence_and_keeps_the_last_histogram(name: str):
    neuron = made(f"neuron {name} carrying")
    neuron(*inputs(f"neuron {name}"))
    state.reset(neuron)
    kept = neuron.state()
    assert {key: kept[key] for key in neuron._carried} == {key: neuron._initial_state[key] for key in neuron._carried}
    assert kept["histogram"] is not None
    assert kept["penalty"] is not None


def test_a_module_of_another_kind_is_reset_too():
    class Counter(Stateful):
        def __init__(self) -> None:
            super().__init__()
            self.register_state("count", 0, carried=True)

        def forward(self, x: Tensor) -> Tensor:
            self.count += len(x)
            return x

    network = nn.Sequential(Counter(), NEURONS["lif"](0.9))
    with streaming(network):
        network(torch.zeros(3, 2, 2))
        assert network[0].count == 3
        assert state_bytes(network) == 2 * 2 * 4
    assert network[0].count == 0
    with pytest.raises(AttributeError, match="Counter declares no state 'potential'"):
        network[0].load_state({"potential": None})


def test_steps_within_a_call_are_state_as_well():
    """MPBN without momentum averages over the steps of the newest call."""
    neuron = MPBN(momentum=None)
    neuron(torch.randn(3, 4, 5))
    assert neuron.state()["steps_in_call"] == 3
    with preserved_state(neuron):
        neuron(torch.randn(5, 4, 5))
    assert neuron.steps_in_call == 3


def test_a_stepped_neuron_of_two_states_needs_no_attribute():
    """A synaptic current and a potential (CUBA): the current of the step is given to `next_state`."""

    class Synaptic(SteppedNeuron):
        def state_size(self, x: Tensor) -> tuple[int, ...]:
            return (2, *x.shape[1:])

        def charge(self, state: Tensor | None, current: Tensor, decay: Tensor, step: int) -> Tensor:
            return current if state is None else decay * state[0] + 0.5 * state[1] + current

        def next_state(self, state: Any, current: Tensor, u: Tensor, fired: Tensor, threshold: Tensor) -> Tensor:
            synaptic = current if state is None else 0.5 * state[1] + current
            return torch.stack([u - threshold * fired, synaptic])

    x = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    neuron = Synaptic(0.9, carry=True)
    spikes = torch.cat([neuron(x[:1]), neuron(x[1:])])
    v = synaptic = torch.zeros(3, 2)
    for current, fired in zip(x, spikes, strict=True):
        synaptic = 0.5 * synaptic + current
        u = 0.9 * v + synaptic
        assert torch.equal(fired, (u >= 0.5).float())
        v = u - 0.5 * fired
    assert torch.equal(copy.deepcopy(neuron)(x), spikes)


@pytest.mark.parametrize(("old", "new"), [("left", "next_state"), ("seen", "readable_potential")])
def test_methods_of_old_names_are_refused(old: str, new: str):
    with pytest.raises(TypeError, match=rf"Mine\.{old} is never called: SteppedNeuron\.{old} is now {new}; rename it"):
        type("Mine", (SteppedNeuron,), {old: lambda self: None})


@pytest.mark.parametrize("layer", [Dropout, ModerateDropout])
@pytest.mark.parametrize("p", [1.0, -0.1, float("nan")])
def test_impossible_dropout_probabilities_are_refused(layer: type[nn.Module], p: float):
    with pytest.raises(BadValue, match=rf"^dropout probability must be in \[0, 1\), got {p:g}$"):
        layer(p)


def test_modules_declare_what_a_probe_must_know():
    """As the probe reads them: a module without a declaration has neither property."""

    def having(key: str) -> set[str]:
        return {name for name in MAKERS if " by " not in name and getattr(MAKERS[name](), key, False)}

    norms = {f"norm {name}" for name in NORMS if name != "none"}
    assert having("tracks_batch_statistics") == norms | {"coding dct", "neuron mpbn", "neuron mpbn carrying"}
    stepped = {name for name, kind in NEURONS.items() if issubclass(kind, SteppedNeuron)}
    of_neurons = {f"neuron {name}{end}" for name in stepped for end in ("", " carrying")}
    assert having("couples_samples") == {"layer dropout", "layer moderate_dropout"} | of_neurons


DEVICES = ["meta", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NEURONS)
def test_a_neuron_moves_to_a_device_with_all_it_holds(name: str, device: str):
    neuron = NEURONS[name]()
    neuron(torch.randn(T, N, C))
    moved = neuron.to(device)
    assert moved is neuron
    held = [*neuron.parameters(), *neuron.buffers()]
    assert {value.device.type for value in held} == {device}


def test_spawned_processes_get_neurons_and_networks(tmp_path: Any):
    """As `torch.multiprocessing.spawn` sends them: pickled, after a forward pass in training mode."""
    x = torch.randn(T, N, 1, H, H)
    modules: dict[str, nn.Module] = {name: kind() for name, kind in NEURONS.items()}
    modules |= {f"surrogate {name}": Surrogate(name, 0.7) for name in SURROGATES}
    modules["network"] = small_cnn(width_multiplier=0.125, steps=T)
    for module in modules.values():
        module(x)
        module.eval()
    torch.multiprocessing.spawn(_spawned, args=(modules, x, str(tmp_path / "outputs.pt")), nprocs=1)
    found = torch.load(tmp_path / "outputs.pt")
    for name, module in modules.items():
        assert torch.equal(found[name], module(x)), name


def _spawned(rank: int, modules: dict[str, nn.Module], x: Tensor, path: str) -> None:
    torch.set_num_threads(1)
    torch.save({name: module(x) for name, module in modules.items()}, path)
