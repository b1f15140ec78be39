"""What an Adapter promises, over every controller."""

import inspect
import io
import math
import warnings
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from controller_cases import CASES, STEPS, adapter, batches, network, of_rank, train, widths
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from surgrad import LIF, PerStep, Surrogate, adapt
from surgrad.adapt import (
    CONTROLLERS,
    DGS,
    ESG,
    LSG,
    Adapter,
    Clip,
    Controller,
    Dspike,
    Every,
    Fixed,
    Follow,
    Probe,
    Schedule,
    StepContext,
    lsg_width,
)
from surgrad.errors import BadValue, UnknownName
from surgrad.losses import cross_entropy
from surgrad.models import small_cnn
from surgrad.neurons import DSATGO, NEURONS, neurons
from surgrad.norm import TDBN
from surgrad.penalties import penalise

every_case = pytest.mark.parametrize("name", CASES)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def snapshot(model):
    state = {name: value.clone() for name, value in model.state_dict().items()}
    return {name: value for name, value in state.items() if not name.endswith("surrogate.width")}


def moves(name):
    """Whether a controller writes any width."""
    return not getattr(CASES[name](), "writes_nothing", False)


def probes(name):
    return getattr(CASES[name](), "needs_probe", False)


def test_every_controller_has_a_card():
    cards = (Path(inspect.getfile(Adapter)).parent / "README.md").read_text().split("\n## ")
    by_name = {card.split("\n")[0]: card for card in cards}
    for name in CONTROLLERS:
        heading = CONTROLLERS[name].__name__
        assert heading in by_name, f"controller '{name}' has no card; write '## {heading}' in adapt/README.md"
        card = by_name[heading]
        assert f"`{name}`" in card, f"the card '## {heading}' does not name `{name}`"
        for part in ("Method", "Formula", "Interactions", "Cost", "Reproduced"):
            assert f"- **{part}**: " in card, (name, part)
        for option in CONTROLLERS.options(name):
            assert f"| `{option}` |" in card, (name, option)


@pytest.mark.parametrize("name", CONTROLLERS)
def test_every_option_of_a_controller_can_be_set_from_a_recipe(name):
    """Every parameter is a plainly annotated option, but for functions."""
    takes = {*inspect.signature(CONTROLLERS[name]).parameters} - {"function"}
    assert takes == {*CONTROLLERS.options(name)}


@every_case
@pytest.mark.parametrize("neuron", [LIF, DSATGO])  # whose buffers move with every training forward
def test_step_changes_width_slots_only(name, neuron):
    model = network(neuron=neuron)
    adapt = adapter(model, CASES[name]())
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


@every_case
def test_same_evidence_same_widths(name):
    one = network()
    other = network()
    for model in (one, other):
        torch.manual_seed(5)
        train(model, adapter(model, CASES[name]()), batches())
    assert equal(widths(one), widths(other))


@pytest.mark.parametrize("name", [name for name in CASES if moves(name)])
def test_controller_does_move_widths(name):
    model = network()
    start = widths(model)
    train(model, adapter(model, CASES[name]()), batches())
    assert all(not torch.equal(start[n], w) for n, w in widths(model).items())


@every_case
def test_loss_is_invariant_to_widths(name):
    one = network()
    other = network()
    adapt = adapter(one, CASES[name]())
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
    assert not moves(name) or not equal(widths(one), start)


@every_case
def test_one_graph_and_no_recompilation(name):
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    model = network()
    adapt = adapter(model, CASES[name]())
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    train(compiled, adapt, batches())
    graphs = 2 if name == "share" else 1  # with and without histograms, which it reads in some steps alone
    assert counter.frame_count == graphs


@every_case
def test_under_autocast_in_bf16(name):
    """Widths stay float32, and move or stay as they do without; a search may choose otherwise by what is rounded."""
    model = network()
    adapt = adapter(model, CASES[name]())
    with torch.autocast("cpu", torch.bfloat16):
        losses = train(model, adapt, batches())
    assert all(math.isfinite(loss) for loss in losses)
    plain = network()
    train(plain, adapter(plain, CASES[name]()), batches())
    for key, width in widths(model).items():
        assert width.dtype == torch.float32
        if not probes(name):
            assert width.item() == pytest.approx(widths(plain)[key].item(), rel=0.05)


def test_two_ranks_with_different_data_agree(tmp_path):
    forks = mp.get_context("forkserver")  # which imports torch once for both
    forks.set_forkserver_preload(["controller_cases", "torch._dynamo"])
    mp.start_processes(of_rank, (str(tmp_path),), nprocs=2, start_method="forkserver")
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert one.keys() == CASES.keys()
    for name in CASES:
        assert equal(one[name], other[name]), name


def test_fixed_is_plain_training_bit_for_bit():
    plain = network()
    adapted = network()
    torch.manual_seed(5)
    losses = train(plain, None, batches())
    torch.manual_seed(5)
    assert losses == train(adapted, adapter(adapted, Fixed()), batches())
    assert equal(dict(plain.state_dict()), dict(adapted.state_dict()))


def test_lsg_width_of_the_paper():
    assert lsg_width(torch.tensor(0.2), torch.tensor(0.5)).item() == pytest.approx(1.0198, abs=5e-5)


def test_follow_uses_the_fresh_decay():
    model = network()
    adapt = adapter(model, LSG())
    assert widths(model)["2"].item() == pytest.approx(1.0198, abs=5e-5)  # written when built
    with torch.no_grad():
        model[2].logit_decay.fill_(torch.logit(torch.tensor(0.75)))
    adapt.step(next(batches()))
    assert widths(model)["2"].item() == pytest.approx(1.25)


def test_follow_writes_one_width_a_channel():
    model = nn.Sequential(LIF(channels=3, train_decay=True))
    with torch.no_grad():
        model[0].logit_decay[1] = 0.0
    Adapter(model, LSG(), loss=cross_entropy, steps=1, steps_per_epoch=1)
    assert model[0].surrogate.width.tolist() == pytest.approx([1.0198, 1.25**0.5, 1.0198], abs=5e-5)


class TestWhatAnAdapterIsGiven:
    """A controller by name, object or function, and what that controller needs."""

    def test_a_name_with_options(self):
        model = network()
        assert isinstance(Adapter(model, "lsg").controller, LSG)
        assert widths(model)["2"].item() == pytest.approx(1.0198, abs=5e-5)
        controller = Adapter(network(), "esg", options={"low": 0.3, "target": "floor"}, steps=10).controller
        assert (controller.low, controller.target) == (0.3, "floor")

    @pytest.mark.parametrize(
        ("name", "options", "text"),
        [
            ("esq", None, "unknown controller 'esq'; did you mean 'esg'"),
            ("esg", {"lo": 0.3}, "has no option 'lo'; did you mean 'low'"),
            ("esg", {"low": 2}, r"controller.low = 2 is out of range; give a number from 0 to 1"),
            ("esg", {"scope": "layers"}, "unknown scope 'layers'; did you mean 'layer'"),
        ],
    )
    def test_a_name_or_an_option_that_is_wrong(self, name, options, text):
        with pytest.raises((BadValue, UnknownName), match=text):
            Adapter(network(), name, options=options, steps=10)

    def test_options_of_an_object(self):
        with pytest.raises(BadValue, match="options belong to a controller given by name"):
            Adapter(network(), LSG(), options={"low": 0.3})

    @pytest.mark.parametrize("given", [3, LSG])
    def test_neither_a_controller_nor_a_function(self, given):
        with pytest.raises(BadValue, match=r"as controller; give a name, a Controller object or a function"):
            Adapter(network(), given)

    @pytest.mark.parametrize("controller", [lambda context: None, Clip(lambda context: None, 0.1, 1.0)])
    def test_a_controller_that_returns_none(self, controller):
        with pytest.raises(
            BadValue, match=r"returned None; return a mapping from neuron names to widths, \{\} to keep"
        ):
            Adapter(network(), controller)

    def test_the_loss_where_the_controller_probes(self):
        for controller in ("dspike", Dspike(), Clip(Dspike(), 0.1, 1.0)):
            with pytest.raises(BadValue, match=r"(Dspike|Clip) probes the loss; give loss="):
                Adapter(network(), controller, steps=10, steps_per_epoch=5)

    def test_the_batch_where_the_controller_probes(self):
        with pytest.raises(BadValue, match=r"DGS probes the coming batch; call adapter\.step\(batch\)"):
            adapter(network(), DGS()).step()

    @pytest.mark.parametrize(
        ("name", "missing"),
        [("schedule", "steps"), ("esg", "steps"), ("dspike", "steps_per_epoch"), ("dgs", "steps_per_epoch")],
    )
    def test_the_length_of_the_training_where_the_controller_depends_on_it(self, name, missing):
        with pytest.raises(BadValue, match=rf"depends on {missing}, which the Adapter was not given; give {missing}="):
            Adapter(network(), name, loss=cross_entropy)
        for count in ("steps", "steps_per_epoch"):
            with pytest.raises(BadValue, match=f"{count} must be 1 or more, got 0"):
                Adapter(network(), name, loss=cross_entropy, **{count: 0})

    @pytest.mark.parametrize("name", ["fixed", "lsg", "mpd_agl", "ds_atgo"])
    def test_nothing_else_where_it_does_not(self, name):
        model = network()
        adapt = Adapter(model, name)
        train(model, adapt, batches())
        assert len(widths(model)) == 2


@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("fixed", "Fixed"),
        ("schedule", "Schedule"),
        ("follow", "Follow"),
        ("steer", "ESG"),
        ("search", "Dspike"),
        ("compete", "DGS"),
        ("clip", "Clip"),
        ("every", "Every"),
        ("Moment", "StepContext"),
        ("make", "controllers.build"),
    ],
)
def test_former_names_say_the_new_one(old, new):
    with pytest.warns(FutureWarning, match=rf"surgrad\.adapt\.{old} is deprecated .*; use surgrad\.adapt\.{new}$"):
        assert getattr(adapt, old).__name__ == new.rpartition(".")[2]


def test_former_ways_to_choose_a_rule_a_law_and_histograms():
    with pytest.warns(FutureWarning, match="LSG"):
        assert Follow("lsg").rule is lsg_width
    with pytest.raises(UnknownName, match="unknown rule 'lgs'; did you mean 'lsg'"):
        Follow("lgs")
    with pytest.warns(FutureWarning, match=r"Schedule\(function=\.\.\.\)"):
        assert Schedule(lambda progress: 0.5)(StepContext(1, 2, 1, {"a": LIF()})) == {"a": torch.tensor(0.5)}
    with pytest.warns(FutureWarning, match=r"Controller\.watch is deprecated .* use Controller\.needs_histograms"):

        class Former(Controller):
            watch = True

    assert Former.needs_histograms


def test_widths_that_do_not_fit_their_slot_are_refused():
    with pytest.raises(BadValue, match=r"neuron '2' widths \[3\] for its slot \[\]"):
        adapter(network(), lambda context: {"2": torch.ones(3)})


def test_state_of_a_controller_that_is_only_like_one_is_kept():
    class Counter:
        count = 0

        def __call__(self, context):
            self.count += 1
            return {}

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

    for wrap in (lambda inner: inner, lambda inner: Clip(inner, 0.1, 1.0)):
        counter = Counter()
        saved = adapter(network(), wrap(counter)).state_dict()
        counter.count = 7
        adapter(network(), wrap(counter)).load_state_dict(saved)
        assert counter.count == 1


def test_follow_leaves_the_decay_without_gradient_of_the_width():
    model = network()
    adapter(model, LSG())
    assert not model[2].surrogate.width.requires_grad


def test_attach_steps_before_each_training_forward():
    model = network()
    adapt = adapter(model, Schedule(function=lambda progress: 1.0 - 0.5 * progress))
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
    with pytest.raises(BadValue, match=r"probes the coming batch; call adapter\.step\(batch\) before"):
        adapter(network(), Dspike()).attach()


def test_forgotten_step_warns_once():
    model = network()
    adapter(model, Fixed())
    x = next(batches())[0]
    model(x)
    with pytest.warns(UserWarning, match=r"2 training forward passes without adapter\.step\(\)"):
        model(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(x)


def test_shared_surrogate_is_refused():
    slot = Surrogate()
    model = nn.Sequential(LIF(surrogate=slot), LIF(surrogate=slot))
    with pytest.raises(BadValue, match="neurons '0' and '1' share one Surrogate; give each its own"):
        adapter(model, Fixed())


def test_model_without_neurons_is_refused():
    for controller in (Fixed(0.5), LSG()):
        with pytest.raises(BadValue, match="no neuron with a Surrogate"):
            adapter(nn.Linear(2, 2), controller)
    adapter(nn.Linear(2, 2), Fixed()).step(None)  # which never writes, so that an ANN can be trained by it


@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_evaluated_is_no_evidence(compiled):
    torch._dynamo.reset()
    model = network()
    adapt = adapter(model, ESG())
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


@every_case
def test_neurons_that_carry_their_potential_keep_it(name):
    """Through every step of a controller, whatever the sizes of the batches that it probes with."""
    model = network()
    for neuron in neurons(model).values():
        neuron.carry = True
    adapt = adapter(model, CASES[name]())
    for batch in batches():
        before = [neuron.potential for neuron in neurons(model).values()]
        adapt.step(batch)
        assert all(a is b for a, b in zip([n.potential for n in neurons(model).values()], before, strict=True))
        cross_entropy(model(batch[0]), batch[1]).backward()
        for neuron in neurons(model).values():
            neuron.potential = neuron.potential.detach()


@every_case
def test_resumes_exactly(name):
    """From every step of the training."""
    whole = network()
    data = list(batches())
    adapt = adapter(whole, CASES[name]())
    saved = []
    for batch in data:
        train(whole, adapt, [batch])
        file = io.BytesIO()
        torch.save((whole.state_dict(), adapt.state_dict(), torch.get_rng_state()), file)
        saved.append(file)
    for stop, file in enumerate(saved[:-1], 1):
        file.seek(0)
        weights, state, rng = torch.load(file, weights_only=True)
        resumed = network(seed=3)
        again = adapter(resumed, CASES[name]())
        resumed.load_state_dict(weights)
        again.load_state_dict(state)
        torch.set_rng_state(rng)
        train(resumed, again, data[stop:])
        assert equal(widths(resumed), widths(whole)), stop
        assert equal(resumed.state_dict(), whole.state_dict()), stop


def test_a_state_replaces_what_was_counted_before():
    """Loaded into an adapter that has already run: going back ends where it ended the first time."""
    model = network()
    data = list(batches())
    adapt = adapter(model, ESG(period=3))
    train(model, adapt, data[:2])
    weights, state, rng = deepcopy(model.state_dict()), deepcopy(adapt.state_dict()), torch.get_rng_state()
    assert sum(counts.sum() for counts in state["histograms"].values()) > 0
    ends = []
    for _ in range(2):
        train(model, adapt, data[2:])
        ends.append(deepcopy(model.state_dict()))
        model.load_state_dict(weights)
        adapt.load_state_dict(state)
        torch.set_rng_state(rng)
    assert equal(*ends)


def test_a_learned_width_is_not_written():
    model = nn.Sequential(LIF(surrogate=Surrogate(learn=True)))
    with pytest.raises(BadValue, match="neuron '0' learns its width, and this controller writes it"):
        adapter(model, LSG())
    adapter(model, Fixed())


def test_one_width_or_one_for_each_channel_is_written_for_all_steps():
    model = nn.Sequential(LIF(surrogate=Surrogate("rect", torch.ones(3), steps=2), channels=3))
    adapter(model, Fixed(0.3))
    assert model[0].surrogate.width.flatten().tolist() == pytest.approx([0.3] * 6)
    adapter(model, lambda context: {"0": torch.tensor([0.1, 0.2, 0.3])})
    assert model[0].surrogate.width.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3] * 2)
    with pytest.raises(BadValue, match=r"gave neuron '0' widths \[2\] for its slot \[2, 3\]"):
        adapter(model, lambda context: {"0": torch.ones(2)})


def test_every_leaves_controllers_with_a_clock_of_their_own():
    with pytest.raises(BadValue, match="ESG chooses itself in which steps it acts"):
        Every(3, ESG())


def test_bad_widths_and_names_are_refused_before_any_write():
    answers = [
        {},  # when built
        {"2": torch.tensor(0.5), "55": torch.tensor(1.0)},
        {"2": torch.tensor(0.5), "5": torch.tensor(float("nan"))},
    ]
    model = network()
    adapt = adapter(model, lambda context: answers.pop(0))
    before = widths(model)
    with pytest.raises(UnknownName, match="unknown neuron '55'; did you mean '5'"):
        adapt.step(next(batches()))
    assert equal(before, widths(model))
    with pytest.raises(BadValue, match="neuron '5' the width nan; widths are positive"):
        adapt.step(next(batches()))
    assert equal(before, widths(model))


def test_a_context_counts_steps_and_epochs():
    seen = []
    model = network()
    adapt = adapter(model, lambda context: seen.append((context.step, context.epoch, context.progress)) or {})
    for batch in batches():
        adapt.step(batch)
    assert seen[1:] == [(n, n // 3, n / 6) for n in range(6)]


def test_histograms_come_only_to_those_who_watch():
    for controller, watched in ((ESG(), True), (Dspike(), False)):
        model = network()
        adapter(model, controller)
        model(next(batches())[0])
        assert all((neuron.histogram is not None) is watched for neuron in neurons(model).values())


def test_compiled_model_is_adapted_through_its_own_module():
    model = network()
    adapt = adapter(torch.compile(model, backend="eager"), Fixed(0.3))
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

    def test_histograms_count_every_unit(self):
        model = network()
        batch = next(batches())
        counts = Probe(model, cross_entropy, batch).histograms()
        assert {name: c.sum().item() for name, c in counts.items()} == {"2": 3 * 32 * 16, "5": 3 * 32 * 16}
        assert all(neuron.histogram is None and not neuron.record_histogram for neuron in neurons(model).values())

    def test_unknown_parameter_offers_the_nearest(self):
        probe = Probe(network(), cross_entropy, next(batches()))
        with pytest.raises(UnknownName, match=r"unknown parameter '0\.0\.weigth'; did you mean '0\.0\.weight'"):
            probe.grad("0.0.weigth")
        with pytest.raises(UnknownName, match="unknown parameter or buffer"):
            probe.loss({"nothing": torch.zeros(1)})


def _attributes(model):
    """What every attribute of every module refers to, and what its dicts hold."""
    return {
        name: {key: dict(value) if isinstance(value, dict) else value for key, value in vars(module).items()}
        for name, module in model.named_modules()
    }


def _same_objects(one, other):
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same_objects(one[key], other[key]) for key in one)
    return one is other or (not isinstance(one, Tensor) and one == other)


QUESTIONS = {
    "loss": lambda probe: probe.loss(),
    "gradients": lambda probe: probe.gradients(),
    "grad": lambda probe: probe.grad("0.0.weight", {"2": torch.tensor(0.4)}),
    "difference": lambda probe: probe.difference("3.0.bias", 0.1),
    "slopes": lambda probe: probe.slopes("0.0.weight", torch.ones(2, 16, 6), 0.1),
    "frozen slopes": lambda probe: probe.frozen().slopes("0.0.weight", torch.ones(2, 16, 6), 0.1),
    "frozen part": lambda probe: probe.frozen().part(4, 2).loss(),
    "sizes": lambda probe: probe.sizes(),
    "histograms": lambda probe: probe.histograms(),
    "weights_before": lambda probe: probe.weights_before(),
}


def _streaming_network(name):
    """A neuron in training, with all state that it can have: carried, recorded, and of a penalty."""
    torch.manual_seed(0)
    kind = NEURONS[name]
    options = {"steps": 3} if "steps" in inspect.signature(kind).parameters else {}
    neuron = kind(carry=kind.supports_streaming, **options)
    model = nn.Sequential(PerStep(nn.Linear(6, 16)), TDBN(16), neuron, PerStep(nn.Linear(16, 3)))
    neuron.record_histogram = True
    penalise(model, "im_loss")
    data = list(batches())
    for x, _ in data[:2]:
        model(x)
    return model, data


@pytest.mark.parametrize("name", NEURONS)
def test_a_probe_changes_no_attribute_of_any_module(name):
    model, data = _streaming_network(name)
    before = _attributes(model)
    values = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    for question, ask in QUESTIONS.items():
        ask(Probe(model, cross_entropy, data[2]))
        after = _attributes(model)
        for module, attributes in before.items():
            assert _same_objects(attributes, after[module]), (question, module)
        assert equal(values, model.state_dict()), question
        assert torch.equal(random, torch.get_rng_state()), question
    assert model[2].penalty is None or model[2].penalty.requires_grad
    other, _ = _streaming_network(name)
    torch.set_rng_state(random)
    unasked = other(data[3][0])
    torch.set_rng_state(random)
    assert torch.equal(unasked, model(data[3][0])), "the sequence continues as if nothing had been asked"


def test_a_probe_that_fails_changes_nothing_either():
    model, data = _streaming_network("glif")
    before = _attributes(model)
    with pytest.raises(RuntimeError):
        Probe(model, cross_entropy, (torch.zeros(3, 4, 5), data[0][1])).frozen()
    assert _same_objects(before, _attributes(model))


def test_what_a_sequence_is_says_the_model():
    """A batch of recordings [T, N, C, L] has as many dimensions as one of images."""

    class Recordings(nn.Sequential):
        def is_sequence(self, x):
            return x.shape[-1] == 2

    x = torch.arange(32.0).view(4, 4, 1, 2)
    for model, expected in ((Recordings(), x[:, 1:3]), (nn.Sequential(), x[1:3])):
        part = Probe(model, cross_entropy, (x, torch.zeros(4))).part(2, 1)
        assert torch.equal(part._batch[0], expected)


def _double(batch):
    return batch[0].double(), batch[1]
