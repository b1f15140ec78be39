"""The seam of adaptation: what an Adapter promises, over every controller."""

import gc
import inspect
import math
import warnings
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.parallel import DistributedDataParallel

from surgrad import LIF, PerStep, Surrogate
from surgrad.adapt import (
    CONTROLLERS,
    Adapter,
    Probe,
    clip,
    compete,
    every,
    fixed,
    follow,
    lsg_width,
    schedule,
    search,
    steer,
)
from surgrad.config.recipe import AdaptConfig
from surgrad.errors import BadValue, UnknownName
from surgrad.losses import cross_entropy
from surgrad.models import small_cnn
from surgrad.neurons import DSATGO, neurons
from surgrad.norm import TDBN

MAKERS = {
    "search": lambda: search(count=4, reliable=-1.0),
    "search by layer": lambda: search(estimator="directions", count=4, scope="layer", reliable=-1.0),
    "compete": lambda: compete(iterations=2, move=0.5),
    "steer": lambda: steer(0.3, target="exact", period=1, warmup=0.0),
    "steer globally": lambda: steer(0.3, 0.4, period=2, scope="global"),
    "follow the spread": lambda: follow("ds_atgo"),
    "follow the norm": lambda: follow("mpd_agl"),
    "fixed": fixed,
    "fixed width": lambda: fixed(0.7),
    "schedule": lambda: schedule(lambda progress: 1.0 - 0.5 * progress),
    "follow": lambda: follow(lsg_width),
    "clip": lambda: clip(follow(), 0.5, 1.01),
    "every": lambda: every(3, schedule(lambda progress: 1.0 - 0.5 * progress)),
}
MOVERS = ("search", "steer", "schedule", "follow", "follow the spread", "follow the norm", "every")
"""Those that move every width in a few steps."""
STEPS = 6


def network(seed=0, neuron=LIF):
    torch.manual_seed(seed)
    return nn.Sequential(
        PerStep(nn.Linear(6, 16)),
        TDBN(16),
        neuron(train_decay=True),
        PerStep(nn.Linear(16, 16), nn.Dropout(0.2)),
        TDBN(16),
        neuron(train_decay=True),
        PerStep(nn.Linear(16, 3)),  # a norm before its neuron: a gain
    )


def batches(seed=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        yield (torch.randn(3, 32, 6, generator=generator), torch.randint(0, 3, (32,), generator=generator))


def adapter(model, controller):
    return Adapter(model, controller, loss=cross_entropy, steps=STEPS, steps_per_epoch=STEPS // 2)


def train(model, adapt, data):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for batch in data:
        if adapt is not None:
            adapt.step(batch)
        loss = cross_entropy(model(batch[0]), batch[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def widths(model):
    return {name: neuron.surrogate.width.clone() for name, neuron in neurons(model).items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def snapshot(model):
    state = {name: value.clone() for name, value in model.state_dict().items()}
    return {name: value for name, value in state.items() if not name.endswith("surrogate.width")}


def test_every_registered_controller_is_under_contract():
    made = {type(make()) for make in MAKERS.values()}
    assert {type(make()) for make in CONTROLLERS.values()} <= made


def test_every_controller_has_a_card():
    cards = (Path(inspect.getfile(Adapter)).parent / "README.md").read_text().split("\n## ")
    by_name = {card.split("\n")[0]: card for card in cards}
    for name, kind in CONTROLLERS.items():
        for part in ("What", "Formula", "Knobs", "Interactions", "Cost", "Reproduced"):
            assert f"- **{part}**: " in by_name[name], (name, part)
        knobs = by_name[name].split("**Knobs**")[1].split("- **")[0]
        for knob in {*inspect.signature(kind).parameters} - {"first"}:
            assert f"`{knob}`" in knobs, (name, knob)


def test_every_knob_of_a_controller_is_a_field_of_a_recipe():
    known = {field.name for field in fields(AdaptConfig)}
    for name, kind in CONTROLLERS.items():
        assert {*inspect.signature(kind).parameters} - {"first"} <= known, name  # a function, which no JSON holds


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("neuron", [LIF, DSATGO])  # whose buffers move with every training forward
def test_step_changes_width_slots_only(name, neuron):
    model = network(neuron=neuron)
    adapt = adapter(model, MAKERS[name]())
    for batch in batches():
        cross_entropy(model(batch[0]), batch[1]).backward()
        grads = [p.grad.clone() for p in model.parameters()]
        before = snapshot(model)
        random = torch.get_rng_state()
        membranes = {n: m.histogram for n, m in neurons(model).items()}
        adapt.step(batch)
        assert equal(before, snapshot(model))
        assert torch.equal(random, torch.get_rng_state())
        assert all(torch.equal(g, p.grad) for g, p in zip(grads, model.parameters(), strict=True))
        assert all(m.histogram is membranes[n] and m.potential is None for n, m in neurons(model).items())
        assert model.training


@pytest.mark.parametrize("name", MAKERS)
def test_same_evidence_same_widths(name):
    one = network()
    other = network()
    for model in (one, other):
        torch.manual_seed(5)
        train(model, adapter(model, MAKERS[name]()), batches())
    assert equal(widths(one), widths(other))


@pytest.mark.parametrize("name", MOVERS)
def test_controller_does_move_widths(name):
    model = network()
    start = widths(model)
    train(model, adapter(model, MAKERS[name]()), batches())
    assert all(not torch.equal(start[n], w) for n, w in widths(model).items())


@pytest.mark.parametrize("name", MAKERS)
def test_loss_is_invariant_to_widths(name):
    one = network()
    other = network()
    adapt = adapter(one, MAKERS[name]())
    data = list(batches())
    start = widths(network())
    for batch in data[:3]:
        adapt.step(batch)
        for model in (one, other):
            torch.manual_seed(5)
            model(batch[0])
    adapt.step(data[3])
    plain, adapted = (cross_entropy(model.eval()(data[4][0]), data[4][1]) for model in (other, one))
    assert torch.equal(plain, adapted)
    assert name not in MOVERS or not equal(widths(one), start)


@pytest.mark.parametrize("name", MAKERS)
def test_one_graph_and_no_recompilation(name):
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    model = network()
    adapt = adapter(model, MAKERS[name]())
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    train(compiled, adapt, batches())
    assert counter.frame_count == 1


@pytest.mark.parametrize("name", MAKERS)
def test_under_autocast_in_bf16(name):
    """Widths stay float32, and move or stay as they do without; a search may choose otherwise by what is rounded."""
    model = network()
    adapt = adapter(model, MAKERS[name]())
    with torch.autocast("cpu", torch.bfloat16):
        losses = train(model, adapt, batches())
    assert all(math.isfinite(loss) for loss in losses)
    plain = network()
    train(plain, adapter(plain, MAKERS[name]()), batches())
    for key, width in widths(model).items():
        assert width.dtype == torch.float32
        if not name.startswith(("search", "compete")):
            assert width.item() == pytest.approx(widths(plain)[key].item(), rel=0.05)


def of_rank(rank, folder):
    """Train every controller as one of two ranks, on data of its own, by DistributedDataParallel; save the widths."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save({name: in_parallel(make, seed=1 + rank) for name, make in MAKERS.items()}, f"{folder}/{rank}.pt")
    gc.collect()  # a DistributedDataParallel that outlives its group may never end: it waits for it, holding the GIL
    dist.destroy_process_group()


def in_parallel(make, seed):
    model = network()
    parallel = DistributedDataParallel(model)
    train(parallel, adapter(parallel, make()), batches(seed))
    return widths(model)


def test_two_ranks_with_different_data_agree(tmp_path):
    mp.spawn(of_rank, (str(tmp_path),), nprocs=2)
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert one.keys() == MAKERS.keys()
    for name in MAKERS:
        assert equal(one[name], other[name]), name


def test_fixed_is_plain_training_bit_for_bit():
    plain = network()
    adapted = network()
    torch.manual_seed(5)
    losses = train(plain, None, batches())
    torch.manual_seed(5)
    assert losses == train(adapted, adapter(adapted, fixed()), batches())
    assert equal(dict(plain.state_dict()), dict(adapted.state_dict()))


def test_lsg_width_of_the_paper():
    assert lsg_width(torch.tensor(0.2), torch.tensor(0.5)).item() == pytest.approx(1.0198, abs=5e-5)


def test_follow_uses_the_fresh_decay():
    model = network()
    adapt = adapter(model, follow())
    assert widths(model)["2"].item() == pytest.approx(1.0198, abs=5e-5)  # written when built
    with torch.no_grad():
        model[2].logit_decay.fill_(torch.logit(torch.tensor(0.75)))
    adapt.step(next(batches()))
    assert widths(model)["2"].item() == pytest.approx(1.25)


def test_follow_writes_one_width_a_channel():
    model = nn.Sequential(LIF(channels=3, train_decay=True))
    with torch.no_grad():
        model[0].logit_decay[1] = 0.0
    Adapter(model, follow(), loss=cross_entropy, steps=1, steps_per_epoch=1)
    assert model[0].surrogate.width.tolist() == pytest.approx([1.0198, 1.25**0.5, 1.0198], abs=5e-5)


def test_widths_that_do_not_fit_their_slot_are_refused():
    with pytest.raises(BadValue, match=r"neuron '2' widths \[3\] for its slot \[\]"):
        adapter(network(), lambda moment: {"2": torch.ones(3)})


def test_state_of_a_controller_that_is_only_like_one_is_kept():
    class Counter:
        count = 0

        def __call__(self, moment):
            self.count += 1
            return {}

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

    for wrap in (lambda inner: inner, lambda inner: clip(inner, 0.1, 1.0)):
        counter = Counter()
        saved = adapter(network(), wrap(counter)).state_dict()
        counter.count = 7
        adapter(network(), wrap(counter)).load_state_dict(saved)
        assert counter.count == 1


def test_follow_leaves_the_decay_without_gradient_of_the_width():
    model = network()
    adapter(model, follow())
    assert not model[2].surrogate.width.requires_grad


def test_attach_steps_before_each_training_forward():
    model = network()
    adapt = adapter(model, schedule(lambda progress: 1.0 - 0.5 * progress))
    adapt.attach()
    seen = []
    for batch in batches():
        model(batch[0])
        seen.append(widths(model)["2"].item())
    assert seen == pytest.approx([1.0 - 0.5 * n / STEPS for n in range(STEPS)])
    model.eval()(next(batches())[0])
    assert widths(model)["2"].item() == pytest.approx(seen[-1])
    adapt.detach()
    model.train()(next(batches())[0])
    assert widths(model)["2"].item() == pytest.approx(seen[-1])


def test_attach_refuses_a_controller_that_probes():
    with pytest.raises(BadValue, match=r"probes the coming batch; call adapter\.step\(batch\)"):
        adapter(network(), search()).attach()


def test_forgotten_step_warns_once():
    model = network()
    adapter(model, fixed())
    x = next(batches())[0]
    model(x)
    with pytest.warns(UserWarning, match=r"two training forward passes without adapter\.step\(\)"):
        model(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(x)


def test_shared_surrogate_is_refused():
    slot = Surrogate()
    model = nn.Sequential(LIF(surrogate=slot), LIF(surrogate=slot))
    with pytest.raises(BadValue, match="neurons '0' and '1' share one Surrogate; give each its own"):
        adapter(model, fixed())


def test_model_without_neurons_is_refused():
    for controller in (fixed(0.5), follow()):
        with pytest.raises(BadValue, match="no neuron with a Surrogate"):
            adapter(nn.Linear(2, 2), controller)
    adapter(nn.Linear(2, 2), fixed()).step(None)  # which never writes, so that an ANN can be trained by it


@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_evaluated_is_no_evidence(compiled):
    torch._dynamo.reset()
    model = network()
    adapt = adapter(model, steer())
    run = torch.compile(model, backend="eager", fullgraph=True) if compiled else model
    batch = next(batches())
    other = next(batches(seed=2))
    run(batch[0])
    seen = neurons(model)["2"].histogram.clone()
    model.eval()
    run(other[0])
    assert torch.equal(neurons(model)["2"].histogram, seen)
    model.train()
    adapt.step(other)
    run(other[0])
    assert not torch.equal(neurons(model)["2"].histogram, seen)


@pytest.mark.parametrize("name", MAKERS)
def test_neurons_that_carry_their_potential_keep_it(name):
    """Through every step of a controller, whatever the sizes of the batches that it probes with."""
    model = network()
    for neuron in neurons(model).values():
        neuron.carry = True
    adapt = adapter(model, MAKERS[name]())
    for batch in batches():
        before = [neuron.potential for neuron in neurons(model).values()]
        adapt.step(batch)
        assert all(a is b for a, b in zip([n.potential for n in neurons(model).values()], before, strict=True))
        cross_entropy(model(batch[0]), batch[1]).backward()
        for neuron in neurons(model).values():
            neuron.potential = neuron.potential.detach()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_resumes_exactly(name, stop, tmp_path):
    whole = network()
    data = list(batches())
    adapt = adapter(whole, MAKERS[name]())
    train(whole, adapt, data[:stop])
    torch.save((whole.state_dict(), adapt.state_dict(), torch.get_rng_state()), tmp_path / "state")
    train(whole, adapt, data[stop:])
    weights, state, rng = torch.load(tmp_path / "state", weights_only=True)
    resumed = network(seed=3)
    again = adapter(resumed, MAKERS[name]())
    resumed.load_state_dict(weights)
    again.load_state_dict(state)
    torch.set_rng_state(rng)
    train(resumed, again, data[stop:])
    assert equal(widths(resumed), widths(whole))
    assert equal(resumed.state_dict(), whole.state_dict())


def test_a_learned_width_is_not_written():
    model = nn.Sequential(LIF(surrogate=Surrogate(learn=True)))
    with pytest.raises(BadValue, match="neuron '0' learns its width, and this controller writes it"):
        adapter(model, follow())
    adapter(model, fixed())


def test_every_controller_writes_the_first_step_too():
    model = nn.Sequential(LIF(surrogate=Surrogate(first=True)))
    adapter(model, fixed(0.3))
    assert model[0].surrogate.width.item() == model[0].surrogate.first_width.item() == pytest.approx(0.3)


def test_every_leaves_controllers_with_a_clock_of_their_own():
    with pytest.raises(BadValue, match="steer chooses itself in which steps it acts"):
        every(3, steer())


def test_bad_widths_and_names_are_refused_before_any_write():
    model = network()
    adapt = adapter(model, fixed())
    before = widths(model)
    adapt.controller = lambda moment: {"2": torch.tensor(0.5), "55": torch.tensor(1.0)}
    with pytest.raises(UnknownName, match="unknown neuron '55'; did you mean '5'"):
        adapt.step(next(batches()))
    assert equal(before, widths(model))
    adapt.controller = lambda moment: {"2": torch.tensor(0.5), "5": torch.tensor(float("nan"))}
    with pytest.raises(BadValue, match="neuron '5' the width nan; widths are positive"):
        adapt.step(next(batches()))
    assert equal(before, widths(model))


def test_moment_counts_steps_and_epochs():
    seen = []
    model = network()
    adapt = adapter(model, lambda moment: seen.append((moment.step, moment.epoch, moment.progress)) or {})
    for batch in batches():
        adapt.step(batch)
    assert seen[1:] == [(n, n // 3, n / 6) for n in range(6)]


def test_histograms_come_only_to_those_who_watch():
    for controller, watched in ((steer(), True), (search(), False)):
        model = network()
        adapter(model, controller)
        model(next(batches())[0])
        assert all((neuron.histogram is not None) is watched for neuron in neurons(model).values())


def test_compiled_model_is_adapted_through_its_own_module():
    model = network()
    adapt = adapter(torch.compile(model, backend="eager"), fixed(0.3))
    assert adapt.model is model
    assert widths(model)["2"].item() == pytest.approx(0.3)


class TestProbe:
    def test_loss_is_the_training_loss_in_float64(self):
        model = network()
        batch = next(batches())
        torch.manual_seed(3)
        probe = Probe(model, cross_entropy, batch)
        asked = probe.loss()
        loss = cross_entropy(model(batch[0]).double(), batch[1])
        assert asked.dtype == torch.float64
        assert torch.equal(asked, loss)

    def test_every_question_sees_the_same_random_numbers(self):
        probe = Probe(network(), cross_entropy, next(batches()))
        assert torch.equal(probe.loss(), probe.loss())

    def test_grad_is_the_surrogate_gradient_at_those_widths(self):
        model = network()
        batch = next(batches())
        asked = Probe(model, cross_entropy, batch).grad("0.0.weight", {"2": torch.tensor(0.4)})
        with torch.no_grad():
            model[2].surrogate.width.fill_(0.4)
        cross_entropy(model(batch[0]).double(), batch[1]).backward()
        torch.testing.assert_close(asked, model[0][0].weight.grad)
        assert all(neuron.surrogate.width.item() in (pytest.approx(0.4), 1.0) for neuron in neurons(model).values())

    def test_difference_is_the_slope_of_a_smooth_loss(self):
        model = nn.Sequential(PerStep(nn.Linear(6, 4)), nn.Tanh(), PerStep(nn.Linear(4, 3))).double()
        batch = next(batches())
        probe = Probe(model, cross_entropy, (batch[0].double(), batch[1]))
        torch.testing.assert_close(probe.difference("0.0.weight", 1e-5), probe.grad("0.0.weight").flatten())

    def test_difference_in_any_memory_layout(self):
        """Networks train in channels_last, whose weights cannot be viewed flat; coordinates count as in flatten()."""
        torch.manual_seed(0)
        model = small_cnn(steps=2, width_multiplier=0.125)
        batch = (torch.rand(8, 1, 8, 8), torch.randint(0, 10, (8,)))
        plain = Probe(model, cross_entropy, batch).difference("body.0.0.weight", 0.3, [3, 20, 41])
        model.to(memory_format=torch.channels_last)
        assert not model.get_parameter("body.0.0.weight").is_contiguous()
        laid_out = Probe(model, cross_entropy, batch).difference("body.0.0.weight", 0.3, [3, 20, 41])
        torch.testing.assert_close(plain, laid_out)

    def test_difference_that_is_all_zero_is_refused(self):
        model = network()  # a bias before a normalisation moves nothing
        with pytest.raises(BadValue, match=r"every finite difference of '0\.0\.bias' .* is zero"):
            Probe(model.double(), cross_entropy, _double(next(batches()))).difference("0.0.bias", 0.5, [0, 1])

    def test_autocast_is_off(self):
        model = network()
        batch = next(batches())
        probe = Probe(model, cross_entropy, batch)
        plain = probe.loss()
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(plain, probe.loss())

    def test_membranes_count_every_unit(self):
        model = network()
        batch = next(batches())
        counts = Probe(model, cross_entropy, batch).membranes()
        assert {name: c.sum().item() for name, c in counts.items()} == {"2": 3 * 32 * 16, "5": 3 * 32 * 16}
        assert all(neuron.histogram is None and not neuron.record_histogram for neuron in neurons(model).values())

    def test_unknown_parameter_offers_the_nearest(self):
        probe = Probe(network(), cross_entropy, next(batches()))
        with pytest.raises(UnknownName, match=r"unknown parameter '0\.0\.weigth'; did you mean '0\.0\.weight'"):
            probe.grad("0.0.weigth")
        with pytest.raises(UnknownName, match="unknown parameter or buffer"):
            probe.loss({"nothing": torch.zeros(1)})


def _double(batch):
    return batch[0].double(), batch[1]
