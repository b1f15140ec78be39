"""Training: fields, batches, optimisers, and that a run is what its recipe says, bit for bit."""

import json
import math
from dataclasses import fields, replace
from itertools import islice

import pytest
import torch
from safetensors.torch import load_file
from torch._dynamo.testing import CompileCounterWithBackend

from surgrad.adapt import CONTROLLERS, Controller, lsg_width
from surgrad.config import Recipe, from_dict, parts, set_fields
from surgrad.config.text import differences
from surgrad.data import DATASETS, ArraySource, BatchSettings, ImageData, ImageSource, Split, as_source, load
from surgrad.data.sampling import seeded
from surgrad.errors import BadValue, CheckpointError, Interrupted, UnknownName
from surgrad.files import append_rows, keep_rows, replace_file
from surgrad.kernels.lif import BACKENDS, BINS
from surgrad.measure import Finding, LayerEvidence
from surgrad.models.fast import Whitening
from surgrad.neurons import neurons
from surgrad.optim import OPTIMIZERS, SCHEDULES, Muon, build_optimizers, scale_lr
from surgrad.optim.device import keep_on_device, plain_state
from surgrad.penalties import penalty
from surgrad.recipes import find_recipe
from surgrad.train import build, derive, evaluate_run, train
from surgrad.train.building import build_loss, build_model, build_neuron
from surgrad.train.events import Observer
from surgrad.train.logs import Alarms, LayerLog
from surgrad.train.loop import Loop
from surgrad.train.progress import Lines, clock

CPU = torch.device("cpu")
METRICS = {
    "epoch",
    "epochs",
    "step",
    "lr",
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "epoch_seconds",
    "train_seconds",
    "cpu_seconds",
    "images_per_second",
}
LAYER = {"epoch", *(field.name for field in fields(LayerEvidence) if field.name != "histogram")}


def rows(folder, name):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def weights(folder, name="last"):
    return load_file(folder / f"{name}.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def ready(recipe, folder, *observers):
    """A loop at step 0, with its parts."""
    made = build(recipe)
    made.model.train()
    return Loop(made, recipe.optim, folder, Lines(recipe.optim.epochs), observers), made


class Stopper(Observer):
    """Stops a training within its step of that number, and counts the steps."""

    def __init__(self, number):
        self.number = number
        self.steps = 0

    def step_begins(self, loop, batch):
        self.steps += 1
        if loop.step_number == self.number:
            loop.stop()


# settings


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("optim.lr=1", 1.0),
        ("optim.lr=5e-2", 0.05),
        ("optim.epochs=7", 7),
        ("data.limit=64", 64),
        ("data.limit=none", None),
        ("data.flip=TRUE", True),
        ("data.flip=false", False),
        ("surrogate.name=atan", "atan"),
        ("init_from=a=b", "a=b"),
        ("source=a=b", "a=b"),
    ],
)
def test_set_fields_reads_the_type_of_the_setting(assignment, value):
    found = set_fields(find_recipe(), [assignment]).to_dict()
    for key in assignment.partition("=")[0].split("."):
        found = found[key]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("assignment", "text"),
    [
        ("optim.lr=fast", "optim.lr = 'fast' cannot be read; give a number"),
        ("optim.epochs=4.5", "optim.epochs = '4.5' cannot be read; give a whole number"),
        ("optim.epochs=none", "optim.epochs = 'none' cannot be read; give a whole number"),
        ("data.limit=all", "data.limit = 'all' cannot be read; give a whole number or none"),
        ("data.flip=yes", "data.flip = 'yes' cannot be read; give true or false"),
        ("optim.lr", "'optim.lr' does not set anything; write path=value, as in optim.lr=0.05"),
    ],
)
def test_set_fields_says_what_it_wants(assignment, text):
    with pytest.raises(BadValue) as caught:
        set_fields(find_recipe(), [assignment])
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("path", "nearest"),
    [("optim.epoch", "optim.epochs"), ("neurons.decay", "neuron.decay"), ("epochs", "optim.epochs")],
)
def test_set_fields_offers_the_nearest_path(path, nearest):
    with pytest.raises(UnknownName, match=f"did you mean '{nearest}'"):
        set_fields(find_recipe(), [f"{path}=1"])


def test_set_fields_changes_one_setting():
    recipe = find_recipe()
    assert differences(recipe, set_fields(recipe, ["optim.lr=0.5"])) == ["optim.lr: 0.15 -> 0.5"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"name": "a", "optim": {"lr": "0.1"}}, "optim.lr = '0.1' is of type str; give a number"),
        ({"name": "a", "optim": {"epochs": True}}, "optim.epochs = True is of type bool; give a whole number"),
        ({"name": "a", "optim": {"epochs": 2.0}}, "optim.epochs = 2.0 is of type float; give a whole number"),
        ({"name": 3}, "name = 3 is of type int; give a name"),
    ],
)
def test_from_dict_refuses_wrong_types(values, text):
    with pytest.raises(BadValue) as caught:
        from_dict(values)
    assert str(caught.value) == text


@pytest.mark.parametrize("form", [{}, {"format": 2}], ids=["earlier", "today"])
def test_unknown_settings_of_json_are_refused(form):
    with pytest.raises(UnknownName, match=r"unknown setting 'seeed'; did you mean 'seed'"):
        from_dict({"name": "a", "seeed": 1, **form})
    with pytest.raises(UnknownName, match=r"unknown setting 'run\.presicion'; did you mean 'run\.precision'"):
        from_dict({"name": "a", "run": {"presicion": "fp32"}, **form})
    with pytest.raises(UnknownName, match=r"unknown setting 'optim\.lrr'; did you mean 'optim\.lr'"):
        build(from_dict({"name": "a", "optim": {"lrr": 0.1}, **form}))


def test_from_dict_takes_a_whole_number_for_a_number():
    assert type(from_dict({"name": "a", "optim": {"lr": 1}}).optim.lr) is float


def test_derive_leaves_the_base_alone():
    base = Recipe("a")
    made = derive(base, name="b", optim={"lr": 0.3}, data={"flip": True})
    assert made.data.options == {"flip": True}
    assert differences(base, made) == ["name: 'a' -> 'b'", "data.flip: False -> True", "optim.lr: 0.1 -> 0.3"]
    assert base == Recipe("a")


# batches


def numbered(count=20):
    """Images that all carry their own number, as do the labels."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    split = Split(images, torch.arange(count))
    return ImageData("numbered", split, split, tuple("abc"), (0.5,), (0.25,))


def batches(seed=0, options=None, batch=6, **settings):
    source = as_source(numbered(), options)
    return source.batches(BatchSettings(batch, seed, CPU, channels_last=False, **settings))


def labels_of(iterator):
    return [label for _, labels in iterator for label in labels.tolist()]


def test_the_order_depends_on_seed_and_epoch_alone():
    order = labels_of(batches(seed=1).train(3))
    torch.manual_seed(99)  # whatever the global state is
    assert labels_of(batches(seed=1).train(3)) == order
    assert labels_of(batches(seed=1).train(4)) != order
    assert labels_of(batches(seed=2).train(3)) != order


def test_the_global_random_numbers_are_left_alone():
    state = torch.get_rng_state()
    list(batches(options={"crop": 2, "flip": True, "cutout": 2}).train(0))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_augmentation_depends_on_seed_epoch_and_batch_alone():
    every = {"crop": 2, "flip": True, "cutout": 3}
    whole = list(batches(options=every).train(5))
    for first in (1, 2):  # a resumed epoch begins in its middle
        for (images, labels), (again, same_labels) in zip(
            batches(options=every).train(5, first), whole[first:], strict=True
        ):
            assert torch.equal(images, again)
            assert torch.equal(labels, same_labels)
    keys = [(seed, 1, epoch, batch) for seed in range(2) for epoch in range(4) for batch in range(4)]
    assert len({tuple(torch.randint(1000, (4,), generator=seeded(*key)).tolist()) for key in keys}) == 32


def test_a_partial_last_batch_is_left_out():
    made = batches()
    assert made.per_epoch == 3
    seen = labels_of(made.train(0))
    assert len(seen) == len(set(seen)) == 18
    left_out = {tuple(set(range(20)) - set(labels_of(made.train(e)))) for e in range(5)}
    assert len(left_out) > 1  # not always the same images


def test_the_test_images_come_in_order_all_of_them():
    made = batches()
    assert labels_of(made.test()) == list(range(20))
    assert made.test_count == 20


def test_images_are_normalised():
    images, labels = next(batches().test())
    expected = (labels.float() / 255 - 0.5) / 0.25
    torch.testing.assert_close(images[:, 0, 3, 5], expected)


def test_limit_takes_the_first_images():
    made = batches(limit=12)
    assert set(labels_of(made.train(0))) == set(range(12))
    assert labels_of(made.test()) == list(range(12))


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(BadValue, match=r"data\.batch = 21 of 20 training samples"):
        batches(batch=21)


# optimisers


def test_neuron_parameters_train_with_adam_without_decay(tiny):
    model = build_model(tiny("surrogate.learn=true"), ImageSource("fashion_mnist_small"))
    options = {"weight_decay": 0.01, "momentum": 0.8, "nesterov": True}
    network, own = build_optimizers(model, "sgd", options, lr=0.2, neuron_lr=0.003)
    named = {id(p): name for name, p in model.named_parameters()}
    decayed, bare, neuron = ([named[id(p)] for p in g["params"]] for g in network.param_groups + own.param_groups)
    assert isinstance(network, torch.optim.SGD)
    assert isinstance(own, torch.optim.Adam)
    assert all(name.endswith((".logit_decay", ".surrogate.width")) for name in neuron)
    assert len(neuron) == 2 * len(neurons(model))
    assert all(dict(model.named_parameters())[name].ndim > 1 for name in decayed)
    assert any(name.endswith("bias") for name in bare)
    assert any(name.endswith("weight") for name in bare)  # a norm's
    assert sorted(decayed + bare + neuron) == sorted(named.values())
    groups = network.param_groups
    assert [g["weight_decay"] for g in groups] == [0.01, 0.0]
    assert {(g["lr"], g["momentum"], g["nesterov"]) for g in groups} == {(0.2, 0.8, True)}
    assert (own.param_groups[0]["weight_decay"], own.param_groups[0]["lr"]) == (0, 0.003)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_adam_and_adamw(name, kind):
    model = torch.nn.Linear(3, 2)
    options = {"beta1": 0.85, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.1}
    (optimizer,) = build_optimizers(model, name, options, lr=0.01, neuron_lr=0.1)
    assert type(optimizer) is kind
    assert optimizer.param_groups[0]["betas"] == (0.85, 0.99)
    assert optimizer.param_groups[0]["eps"] == 1e-6
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.1, 0.0]


def test_decay_norms_is_the_weight_decay_of_all_parameters():
    """As `torch.optim.SGD(network.parameters(), weight_decay=...)` in the codes of many papers."""
    torch.manual_seed(0)
    ours, plain = (torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)) for _ in range(2))
    plain.load_state_dict(ours.state_dict())
    (optimizer,) = build_optimizers(ours, "sgd", {"weight_decay": 0.1, "decay_norms": True}, lr=0.1, neuron_lr=0.1)
    reference = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        x = torch.randn(5, 3)
        for network, stepped in ((ours, optimizer), (plain, reference)):
            stepped.zero_grad()
            network(x).square().mean().backward()
            stepped.step()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert not torch.allclose(ours[1].weight, torch.ones(4), atol=0.02)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_has_options_with_defaults(name):
    """The contract of the registry: made without options, it trains every parameter once, at the rates given."""
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Linear(4, 2))
    optimizers = build_optimizers(model, name, lr=0.25, neuron_lr=0.125)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    trained = [id(p) for group in groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in model.parameters())
    assert {group["lr"] for group in optimizers[0].param_groups} == {0.25}
    assert all(group["peak_lr"] == group["lr"] for group in groups)
    assert all(option.default is not option.REQUIRED for option in OPTIMIZERS.options(name).values())


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("sgd", {"momentum": 1.0}, "optimiser.momentum = 1.0 is out of range; give a number from 0 to 0.9999"),
        ("sgd", {"beta1": 0.9}, "optimiser.beta1: optimiser 'sgd' has no option 'beta1'; it has momentum, "),
        ("adamw", {"weight_decay": -1.0}, "optimiser.weight_decay = -1.0 is out of range; give a number from 0"),
        ("muon", {"weight_decay": 0.1}, "optimiser 'muon' has no option 'weight_decay'"),
        ("sgd", {"nesterov": True, "momentum": 0.0}, "optim.nesterov needs momentum; give optim.momentum above 0"),
    ],
)
def test_options_of_an_optimiser_are_checked(name, options, text):
    with pytest.raises(BadValue) as caught:
        OPTIMIZERS.build(name, options)
    assert text in str(caught.value)


def test_muon_trains_the_convolutions_and_adam_the_rest(tiny):
    model = build_model(tiny(), ImageSource("fashion_mnist_small"))
    muon, rest = build_optimizers(model, "muon", {"momentum": 0.8}, lr=0.03, neuron_lr=0.003)
    named = {id(p): p for p in model.parameters()}
    assert (type(muon), type(rest)) == (Muon, torch.optim.Adam)
    assert {id(p) for p in muon.param_groups[0]["params"]} == {key for key, p in named.items() if p.ndim == 4}
    assert {id(p) for p in rest.param_groups[0]["params"]} == {key for key, p in named.items() if p.ndim != 4}
    assert (muon.param_groups[0]["lr"], muon.param_groups[0]["momentum"]) == (0.03, 0.8)
    assert rest.param_groups[0]["lr"] == 0.003


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_resumes_exactly(tiny, tmp_path, name):
    recipe = tiny(f"optim.name={name}", "optim.lr=0.01")
    whole = train(recipe, tmp_path / "whole")
    stopper = Stopper(5)  # within the second epoch
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "run", observers=[stopper])
    resumed = train(recipe, tmp_path / "run", resume=True, observers=[stopper])
    assert stopper.steps == 8
    assert all(torch.equal(value, weights(whole)[key]) for key, value in weights(resumed).items())


@pytest.mark.parametrize("name", ["psn", "masked_psn", "sliding_psn", "lif"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_matrix_inside_a_neuron_trains_with_the_weights(tiny, name, optimizer):
    """With the network's optimiser, learning rate and weight decay; its scalars and vectors with the neurons' Adam."""
    recipe = tiny(f"neuron.name={name}", "adapt.name=fixed")
    model = build_model(recipe, as_source(load("fashion_mnist_small"), {}))
    network, own = build_optimizers(model, optimizer, {"weight_decay": 0.01}, lr=0.2, neuron_lr=0.003)
    decayed = {id(p) for p in network.param_groups[0]["params"]}
    inside = [p for neuron in neurons(model).values() for p in neuron.parameters()]
    assert {id(p) for p in inside if p.ndim > 1} <= decayed
    assert {id(p) for p in inside if p.ndim <= 1} == {id(p) for p in own.param_groups[0]["params"]}
    assert any(p.ndim > 1 for p in inside) == (name in ("psn", "masked_psn"))
    assert network.param_groups[0]["weight_decay"] == 0.01


def test_muon_without_convolutions():
    with pytest.raises(BadValue, match="trains convolutions, and this network has none"):
        build_optimizers(torch.nn.Linear(2, 2), "muon", lr=0.1, neuron_lr=0.1)


def test_the_support_of_dspike_ends_where_the_potential_is_nothing():
    for threshold in (0.5, 1.0):
        recipe = derive(find_recipe(), surrogate={"name": "dspike"}, neuron={"threshold": threshold})
        neuron = build_neuron(recipe, 2)
        assert neuron.surrogate.function.window(neuron.surrogate.width) == threshold


def test_unknown_optimiser(tiny):
    with pytest.raises(UnknownName, match="unknown optimiser 'sgdd'; did you mean 'sgd'"):
        build(tiny("optim.name=sgdd"))


@pytest.mark.parametrize(
    ("step", "angle"), [(4, 0), (5, 1 / 8), (7, 3 / 8), (8, 1 / 2), (11, 7 / 8)], ids=lambda value: f"{value:g}"
)
def test_the_learning_rate_follows_a_cosine(step, angle):
    factor = SCHEDULES.build("cosine", {"warmup": 4}).lr_factor(step, 1, 12)
    assert factor == pytest.approx((1 + math.cos(math.pi * angle)) / 2, abs=1e-15)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_warms_up_linearly(name):
    more = {"drops": "4:0.5"} if name == "steps" else {}
    whole = SCHEDULES.build(name, {"warmup": 2, **more})
    half = SCHEDULES.build(name, {"warmup": 2.5, **more})
    assert [whole.lr_factor(step, 2, 6) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert [half.lr_factor(step, 1, 12) for step in range(3)] == [0.4, 0.8, 1.0]  # half an epoch may be half a step


def test_a_constant_learning_rate():
    assert {SCHEDULES.build("constant").lr_factor(step, 5, 3) for step in range(15)} == {1.0}


def test_the_cosine_ends_near_zero_and_never_rises_after_the_warm_up():
    schedule = SCHEDULES.build("cosine", {"warmup": 50.5})
    factors = [schedule.lr_factor(step, 1, 1000) for step in range(1000)]
    assert 0 < factors[-1] < 1e-5
    assert max(factors) == 1
    assert factors[51:] == sorted(factors[51:], reverse=True)
    assert SCHEDULES.build("cosine").lr_factor(0, 1, 10) == 1


def test_the_schedule_scales_every_group_from_its_own_peak():
    optimizers = build_optimizers(torch.nn.Linear(2, 2), "sgd", lr=0.4, neuron_lr=0.1)
    optimizers[0].param_groups[1]["peak_lr"] = 0.2
    for _ in range(2):  # factors are of the peak, not of the last learning rate
        scale_lr(optimizers, 0.5)
    assert [g["lr"] for g in optimizers[0].param_groups] == [0.2, 0.1]


def test_learning_rates_in_memory_are_numbers_in_a_checkpoint():
    """On a GPU they are tensors, which a recorded step reads; a checkpoint of it continues on any device."""
    optimizer = build_optimizers(torch.nn.Linear(2, 2), "adamw", lr=0.5, neuron_lr=0.1)[0]
    memory = torch.zeros(())
    for group in optimizer.param_groups:
        group |= {"lr": memory, "capturable": True}
    scale_lr([optimizer], 0.5)
    assert memory == 0.25
    groups = plain_state(optimizer)["param_groups"]
    assert [(group["lr"], group["capturable"]) for group in groups] == [(0.25, False)] * 2
    assert all(group["lr"] is memory and group["capturable"] for group in optimizer.param_groups)
    keep_on_device([optimizer], CPU)  # changes nothing
    assert all(group["lr"] is memory for group in optimizer.param_groups)


def test_a_whitening_layer_is_fitted_to_the_first_batch():
    recipe = derive(Recipe("whitened"), model={"name": "fast_resnet", "width_multiplier": 0.05}, data={"batch": 16})
    images = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0)).cumsum(-1)
    labels = torch.arange(32) % 3
    parts = build(recipe, ArraySource((images, labels), (images, labels)))
    first, _ = next(parts.batches.train(0))
    expected = Whitening(3)
    expected.fit(first)
    assert torch.equal(parts.model.stem[0].weight, expected.weight)


# runs


def test_a_run_writes_its_folder(finished, tiny):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "recipe.json",
        "env.json",
        "model.json",
        "metrics.jsonl",
        "widths.jsonl",
        "best.safetensors",
        "last.safetensors",
        "last.pt",
        "previous.safetensors",
        "previous.pt",
    }
    written = from_dict(json.loads((finished / "recipe.json").read_text()))
    assert written == parts.resolved(tiny()), "with the value of every option"
    assert differences(written, tiny()) == []
    env = json.loads((finished / "env.json").read_text())
    assert (env["device"], env["precision"], env["torch"]) == ("cpu", "fp32", torch.__version__)
    assert env["resumed"] == []
    assert env["best_by"] == "test"


def test_metrics_rows(finished):
    found = rows(finished, "metrics")
    assert [row["epoch"] for row in found] == [1, 2]
    assert [row["step"] for row in found] == [4, 8]
    for row in found:
        assert row.keys() == METRICS
        assert 0 <= row["test_accuracy"] <= 1
        assert 0 <= row["train_accuracy"] <= 1
        assert math.isfinite(row["train_loss"] + row["test_loss"])
        assert row["epoch_seconds"] > 0
    assert 0 < found[0]["cpu_seconds"] < found[1]["cpu_seconds"]
    assert found[1]["train_seconds"] == pytest.approx(sum(row["epoch_seconds"] for row in found))
    # the last step's rate: 2 steps of warm-up (half an epoch), then cosine over 6
    assert found[1]["lr"] == pytest.approx(0.15 * (1 + math.cos(math.pi * 5 / 6)) / 2)


def test_the_last_row_is_what_evaluation_finds(finished):
    last = rows(finished, "metrics")[-1]
    result = evaluate_run(finished)
    assert (result["test_accuracy"], result["test_loss"]) == (last["test_accuracy"], last["test_loss"])
    assert (result["run"], result["weights"]) == (str(finished), "last")


def own_images(count=64, classes=3, side=12):
    """Images that show their class by their brightness."""
    labels = torch.arange(count) % classes
    noise = torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(0))
    return noise + labels.view(-1, 1, 1, 1), labels


def test_own_data_trains_resumes_and_is_evaluated(tmp_path):
    """A data source in place of the data set that the recipe names."""
    source = ArraySource(own_images(), own_images(32), classes=("dark", "grey", "light"), flip=True)
    recipe = derive(
        Recipe("own"),
        data={"batch": 16},
        model={"width_multiplier": 0.125, "steps": 2},
        optim={"epochs": 2},
        run={"precision": "fp32", "device": "cpu"},
    )
    whole = train(recipe, tmp_path / "whole", data=source)
    last = rows(whole, "metrics")[-1]
    assert last["step"] == 8
    assert evaluate_run(whole, data=source)["test_accuracy"] == last["test_accuracy"]
    assert len(build_model(recipe, source)(source.train.images[:5]).mean(0)[0]) == 3

    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "run", data=source, observers=[Stopper(5)])
    written = from_dict(json.loads((tmp_path / "run" / "recipe.json").read_text()))
    resumed = train(written, tmp_path / "run", data=source, resume=True)
    assert same(weights(resumed), weights(whole))


def test_loaded_images_get_the_augmentation_of_the_recipe(finished, tiny, tmp_path):
    run = train(tiny(), tmp_path / "run", data=load("fashion_mnist_small"))
    assert same(weights(run), weights(finished))


def test_a_registered_data_set_trains_by_its_name(finished, tiny, tmp_path, request):
    data = load("fashion_mnist_small")

    def mine(root=None, *, crop: int = 0, flip: bool = False):
        return ImageSource(data, crop=crop, flip=flip)

    DATASETS.add("mine", mine)
    request.addfinalizer(lambda: DATASETS.remove("mine"))
    run = train(tiny("data.name=mine", "data.crop=2", "data.flip=true"), tmp_path / "run")
    assert same(weights(run), weights(finished))


def test_data_that_does_not_fit_the_run_is_refused(tiny, tmp_path):
    other = ArraySource(own_images(), own_images(32))
    text = r"was trained on images \[1, 28, 28\] of 10 classes \(T-shirt/top, Trouser, Pullover, \.\.\.\), and this "
    recipe = tiny("optim.epochs=1")
    run = train(recipe, tmp_path / "run", data=as_source(load("fashion_mnist_small")))
    with pytest.raises(CheckpointError, match=text + r"data has images \[1, 12, 12\] of 3 classes \(0, 1, 2\)"):
        evaluate_run(run, data=other)
    with pytest.raises(CheckpointError, match=text):
        train(recipe, run, data=other, resume=True)


def test_a_run_on_given_data_says_so(tiny, tmp_path):
    """The options of the recipe's data set end with it: a data source has those with which it was made."""
    run = train(tiny("optim.epochs=1"), tmp_path / "run", data=ArraySource(own_images(), own_images(32)))
    written = json.loads((run / "recipe.json").read_text())
    assert written["data"] == {"name": "given", "batch": 32, "limit": 128, "holdout": 0.0}
    with pytest.raises(BadValue, match=r"this training is on data given in Python; give the data again: data=\.\.\."):
        evaluate_run(run)


def test_best_is_the_first_best_epoch(finished):
    best = max(row["test_accuracy"] for row in rows(finished, "metrics"))
    assert evaluate_run(finished, which="best")["test_accuracy"] == best


def test_widths_rows(finished):
    found = rows(finished, "widths")
    layers = [row["layer"] for row in found if row["epoch"] == 0]
    assert len(layers) == 4
    assert [(row["epoch"], row["layer"]) for row in found] == [(e, name) for e in range(3) for name in layers]
    for row in found:
        assert row.keys() - {"histogram"} == LAYER
        assert 0 <= row["firing_rate"] <= 1
        assert 0 <= row["share"] <= 1
        # the width is the one of the epoch's last step, and one step moves the decay by less than 5e-5
        rule = lsg_width(torch.tensor(row["decay"]), torch.tensor(row["threshold"])).item()
        assert row["width"] == pytest.approx(rule, abs=2e-5)
    start, end = (next(r["width"] for r in found if (r["epoch"], r["layer"]) == (e, layers[0])) for e in (0, 2))
    assert start == pytest.approx(math.sqrt(1 + 0.2**2), abs=1e-7)
    assert start != end


def test_every_step_uses_the_width_of_its_own_decay(tiny, tmp_path):
    """A width follows the decay at once: to the bit the rule of the decay at the top of the same step."""
    seen = []

    class Watcher(Observer):
        def step_begins(self, loop, batch):
            for neuron in loop.parts.adapter.neurons.values():
                assert torch.equal(neuron.surrogate.width, lsg_width(neuron.decay.detach(), neuron.threshold))
            self.widths = [neuron.surrogate.width.clone() for neuron in loop.parts.adapter.neurons.values()]
            seen.append(loop.parts.adapter.neurons["fire.neuron"].decay.item())

        def step_ends(self, loop, loss):  # no width was written in between
            now = [neuron.surrogate.width for neuron in loop.parts.adapter.neurons.values()]
            assert all(torch.equal(a, b) for a, b in zip(self.widths, now, strict=True))

    loop, parts = ready(tiny("optim.neuron_lr=0.05"), tmp_path, Watcher())
    for batch in parts.batches.train(0):
        loop.train_step(batch)
    assert len(set(seen)) == 4


def test_the_seed_decides_everything(finished, tiny, tmp_path):
    again = train(tiny(), tmp_path / "again")
    other = train(derive(tiny(), seed=1), tmp_path / "other")
    assert same(weights(again), weights(finished))
    assert same(weights(again, "best"), weights(finished, "best"))
    assert [row["train_loss"] for row in rows(again, "metrics")] == [
        row["train_loss"] for row in rows(finished, "metrics")
    ]
    assert not same(weights(other), weights(finished))


def test_bf16_keeps_parameters_widths_and_potentials_in_float32(tiny, tmp_path, monkeypatch):
    potentials = set()
    currents = set()
    plain = BACKENDS["reference"]

    def watched(call):
        out = plain(replace(call, return_potential=True))
        currents.add(call.x.dtype)
        potentials.add(out[1].dtype)
        return out

    monkeypatch.setitem(BACKENDS, "reference", watched)
    words = ("run.precision=bf16", "optim.epochs=1", "neuron.backend=reference")
    run = train(tiny(*words), tmp_path / "run")
    assert torch.bfloat16 in currents
    assert potentials == {torch.float32}
    kept = weights(run)
    assert {value.dtype for value in kept.values() if value.is_floating_point()} == {torch.float32}
    assert any(name.endswith("surrogate.width") for name in kept)
    assert json.loads((run / "env.json").read_text())["precision"] == "bf16"


def plain_training(recipe):
    """The loop that anyone would write, with nothing that adapts."""
    torch.manual_seed(recipe.seed)
    data = load(recipe.data.name)
    config = recipe.optim
    source = as_source(data, {"crop": 2, "flip": True})
    model = build_model(recipe, source).to(memory_format=torch.channels_last)
    made = source.batches(BatchSettings(recipe.data.batch, recipe.seed, CPU, limit=recipe.data.limit))
    own = [p for name, p in model.named_parameters() if name.endswith("logit_decay")]
    rest = [p for name, p in model.named_parameters() if not name.endswith("logit_decay")]
    matrices = [p for p in rest if p.ndim > 1]
    vectors = [p for p in rest if p.ndim < 2]
    sgd = torch.optim.SGD(
        [{"params": matrices, "weight_decay": parts.value(recipe, "optim", "weight_decay")}, {"params": vectors}],
        lr=config.lr,
        momentum=parts.value(recipe, "optim", "momentum"),
        nesterov=parts.value(recipe, "optim", "nesterov"),
        fused=True,
    )
    adam = torch.optim.Adam(own, lr=config.neuron_lr, fused=True)
    schedule = SCHEDULES.build("cosine", {"warmup": parts.value(recipe, "schedule", "warmup")})
    for epoch in range(config.epochs):
        for number, (images, labels) in enumerate(made.train(epoch), start=epoch * made.per_epoch):
            share = schedule.lr_factor(number, made.per_epoch, config.epochs)
            for group in sgd.param_groups:
                group["lr"] = config.lr * share
            adam.param_groups[0]["lr"] = config.neuron_lr * share
            loss = torch.nn.functional.cross_entropy(model(images).mean(0), labels)
            sgd.zero_grad()
            adam.zero_grad()
            loss.backward()
            sgd.step()
            adam.step()
    return model.state_dict()


def test_the_fixed_controller_is_plain_training_to_the_bit(tiny, tmp_path):
    recipe = tiny("adapt.name=fixed", "surrogate.width=0.7")
    run = train(recipe, tmp_path / "run")
    assert same(weights(run), plain_training(recipe))


def test_the_schedule_runs_from_start_to_end(tiny, tmp_path):
    run = train(tiny("adapt.name=schedule", "adapt.start=2", "adapt.end=0.5"), tmp_path / "run")
    found = {row["epoch"]: row["width"] for row in rows(run, "widths")}
    # epoch e's row has the width of its last step, step 4e - 1 of 8
    assert found == {e: pytest.approx(2 * 0.25 ** (max(4 * e - 1, 0) / 8), rel=1e-6) for e in range(3)}


def test_learned_widths_move_each_for_itself(tiny, tmp_path):
    run = train(tiny("surrogate.learn=true", "adapt.name=fixed", "optim.neuron_lr=0.01"), tmp_path / "run")
    final = [value.item() for name, value in weights(run).items() if name.endswith("surrogate.width")]
    assert len(final) == len(set(final)) == 4
    assert 1.0 not in final


def test_clipping_bounds_the_gradient_and_keeps_its_direction(tiny, tmp_path):
    def gradient(*assignments):
        loop, parts = ready(tiny(*assignments), tmp_path)
        loop.train_step(next(parts.batches.train(0)))
        return torch.cat([p.grad.flatten() for p in parts.model.parameters()])

    free = gradient()
    clipped = gradient("optim.clip=0.01")
    loose = gradient("optim.clip=1000")
    assert free.norm() > 0.1
    assert clipped.norm() == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(clipped / clipped.norm(), free / free.norm())
    assert torch.equal(loose, free)


def test_tet_and_label_smoothing_reach_the_loss(tiny):
    output = torch.randn(3, 5, 10, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(5)
    smooth = torch.full((5, 10), 0.02).scatter(1, labels[:, None], 0.82)  # 0.8 on the label, 0.2 over ten classes

    def entropy(logits):
        return -(smooth * logits.log_softmax(1)).sum(1).mean()

    plain = build_loss(tiny("loss.label_smoothing=0.2"))(output, labels)
    torch.testing.assert_close(plain, entropy(output.mean(0)))
    recipe = tiny("loss.name=tet", "loss.label_smoothing=0.2", "loss.weight=0.3", "loss.target=0.5")
    expected = 0.7 * torch.stack([entropy(step) for step in output]).mean() + 0.3 * ((output - 0.5) ** 2).mean()
    torch.testing.assert_close(build_loss(recipe)(output, labels), expected)


def test_tet_trains_otherwise_than_cross_entropy(finished, tiny, tmp_path):
    run = train(tiny("loss.name=tet", "loss.label_smoothing=0.1"), tmp_path / "run")
    assert all(math.isfinite(row["train_loss"]) for row in rows(run, "metrics"))
    assert not same(weights(run), weights(finished))


def test_a_controller_never_sees_the_test_count(tiny, tmp_path, monkeypatch):
    """A Moment's histograms are of the last training forward: 32 images, where a test batch has 64."""
    counted = []

    class Watcher(Controller):
        needs_histograms = True

        def __call__(self, moment):
            counted.extend(counts.sum().item() for counts in islice(moment.histograms.values(), 1))
            return {}

    CONTROLLERS.add("watcher", Watcher)
    try:
        train(tiny("adapt.name=watcher"), tmp_path / "run")
    finally:
        CONTROLLERS.remove("watcher")
    assert len(counted) == 7  # all steps but the first
    assert len(set(counted)) == 1


# files and words


def test_rows_of_epochs_to_repeat_and_a_cut_line_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_rows(path, [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}])
    with path.open("a") as file:
        file.write('{"epoch": 2, "tr')  # cut by a kill
    keep_rows(path, lambda row: row["epoch"] <= 2)
    assert path.read_text() == '{"epoch": 1}\n{"epoch": 2}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("fault", ["in writing", "in flushing", "in renaming"])
def test_a_file_that_could_not_be_replaced_is_the_old_one_and_alone(tmp_path, monkeypatch, fault):
    path = tmp_path / "some.json"
    path.write_text("old")

    def write(temporary):
        assert temporary == tmp_path / "some.tmp.json"
        temporary.write_text("new")
        assert path.read_text() == "old"
        if fault == "in writing":
            raise OSError("broken")

    def broken(*_args):
        raise OSError("broken")

    if fault != "in writing":
        monkeypatch.setattr("os.fsync" if fault == "in flushing" else "os.replace", broken)
    with pytest.raises(OSError, match="broken"):
        replace_file(path, write)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["some.json"]
    assert path.read_text() == "old"
    assert replace_file(path, lambda temporary: temporary.write_text("new")) == path
    assert [p.name for p in tmp_path.iterdir()] == ["some.json"]
    assert path.read_text() == "new"


def test_times_are_told_by_the_clock():
    assert [clock(s) for s in (0, 61, 3599.6, 7325)] == ["00:00", "01:01", "1:00:00", "2:02:05"]


@pytest.mark.parametrize(
    ("share", "cheap", "steps"), [(0, 0, "1"), (0.5, 4, "1"), (0.7, 6, "1"), (0.5, 4, "none"), (1, 8, "1")]
)
def test_the_first_share_of_a_training_is_cheaper(tiny, tmp_path, share, cheap, steps):
    """By smaller images and by fewer time steps, or by smaller images alone."""
    seen = {True: [], False: []}
    cheaper = (f"progressive.fraction={share}", "progressive.image_size=20", f"progressive.steps={steps}")
    recipe = tiny(*(cheaper if share else []))
    loop, parts = ready(recipe, tmp_path)
    parts.model.register_forward_hook(
        lambda model, inputs, output: seen[model.training].append((len(output), inputs[0].shape[-1]))
    )
    loop.run()
    assert seen[True] == [(1 if steps == "1" else 2, 20)] * cheap + [(2, 28)] * (8 - cheap)
    assert set(seen[False]) == {(2, 28)}


def test_a_start_that_does_not_fit_is_refused(tiny):
    with pytest.raises(BadValue, match=r"progressive\.image_size = 29 is larger than the images of 28 pixels"):
        build(tiny("progressive.fraction=0.5", "progressive.image_size=29"))
    with pytest.raises(
        BadValue, match=r"'vggsnn' is built for one image size, .* = 20; set progressive\.image_size=none"
    ):
        build(tiny("progressive.fraction=0.5", "progressive.image_size=20", "model.name=vggsnn"))
    with pytest.raises(BadValue, match=r"progressive\.image_size = 20 has no effect with progressive.fraction = 0"):
        build(tiny("progressive.image_size=20"))
    with pytest.raises(BadValue, match=r"progressive\.steps = 3 is more than model\.steps = 2; give at most that"):
        build(tiny("progressive.fraction=0.5", "progressive.steps=3"))


def test_a_faulty_layer_is_reported_once(tiny, tmp_path, capsys):
    """Also where the training was stopped in between."""
    words = ("adapt.name=fixed", "surrogate.width=0.001", "optim.lr=1e-6", "optim.neuron_lr=1e-6", "optim.epochs=3")
    whole = train(tiny(*words), tmp_path / "whole")
    assert capsys.readouterr().out.count("width 0.001 is too narrow") == 1
    alarms = rows(whole, "alarms")
    assert [(row["epoch"], row["kind"]) for row in alarms] == [(1, "narrow")]
    assert len(alarms[0]["layers"]) == 4

    with pytest.raises(Interrupted):
        train(tiny(*words), tmp_path / "run", observers=[Stopper(5)])
    train(tiny(*words), tmp_path / "run", resume=True)
    assert capsys.readouterr().out.count("width 0.001 is too narrow") == 1
    assert rows(tmp_path / "run", "alarms") == alarms


def test_an_alarm_of_a_kind_comes_again_only_when_twice_as_many_layers_have_it(tiny, tmp_path):
    class Listener(Lines):
        def __init__(self):
            super().__init__(3)
            self.said = []

        def say(self, text):
            self.said.append(text)

    listener = Listener()
    loop = Loop(build(tiny()), tiny().optim, tmp_path, listener)
    alarms = Alarms(LayerLog())
    for count in (1, 2, 3, 3, 1, 4, 0, 7, 8, 8):
        found = [Finding("dead", tuple(map(str, range(count))), f"{count} layers are dead")] if count else []
        alarms.warn(loop, found)
    assert [text.split(": ")[1][0] for text in listener.said] == ["1", "2", "4", "8"]
    assert [len(row["layers"]) for row in rows(tmp_path, "alarms")] == [1, 2, 4, 8]


def test_histograms_are_kept_of_the_start_and_the_end(finished):
    kept = [row["epoch"] for row in rows(finished, "widths") if "histogram" in row]
    assert sorted({*kept}) == [0, 2]
    assert all(len(row["histogram"]) == BINS for row in rows(finished, "widths") if "histogram" in row)


def test_a_sound_training_raises_no_alarm(finished):
    assert not (finished / "alarms.jsonl").exists()


def test_evidence_of_a_controller_is_logged(tiny, tmp_path):
    """esg's, every period; rows of steps that a resumed training repeats are dropped."""
    words = ("adapt.name=esg", "adapt.period=2", "adapt.warmup=0", "adapt.target=exact", "adapt.low=0.3")
    run = train(tiny(*words), tmp_path / "run")
    logged = rows(run, "adapt")
    assert [row["step"] for row in logged] == [step for step in (2, 4, 6) for _ in range(4)]
    assert {"epoch", "layer", "chi", "half_width"} <= set(logged[0])
    assert [row["epoch"] for row in logged[::4]] == [1, 2, 2]


def test_two_trainings_do_not_share_a_folder(tiny, tmp_path):
    """The second is refused while the first writes, and not after it."""
    fcntl = pytest.importorskip("fcntl")
    run = train(tiny(), tmp_path / "run")
    assert not (run / ".lock").exists()
    with (run / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError, match="another training is writing in"):
            train(tiny(), run, resume=True)
    train(tiny(), run, resume=True)


def test_asgl_trains_its_width(tiny):
    with pytest.raises(BadValue, match=r"asgl trains its width, .*; set surrogate\.learn=true and adapt\.name=fixed"):
        build(tiny("neuron.name=asgl"))
    with pytest.raises(BadValue, match=r"surrogate\.learn is true, and the controller 'esg' writes the width; set ad"):
        build(tiny("neuron.name=asgl", "surrogate.learn=true", "adapt.name=esg"))
    with pytest.raises(BadValue, match=r"surrogate\.learn is true, and the controller 'fixed' writes the width"):
        build(tiny("surrogate.learn=true", "adapt.name=fixed", "adapt.width=0.5"))
    build(tiny("neuron.name=asgl", "surrogate.learn=true", "adapt.name=fixed"))


def test_learned_widths_stay_positive(tiny, tmp_path):
    """An optimiser knows no sign: at this rate the first step would take a width of 0.05 below zero."""
    words = ("surrogate.learn=true", "adapt.name=fixed", "surrogate.width=0.05", "surrogate.name=exponential")
    run = train(tiny(*words, "optim.neuron_lr=1"), tmp_path / "run")
    learned = [row["width"] for row in rows(run, "widths") if row["epoch"]]
    assert min(learned) == pytest.approx(1e-3)
    assert all(math.isfinite(width) for width in learned)


def test_resuming_in_another_environment_is_told(tiny, tmp_path):
    run = train(tiny(), tmp_path / "run")
    env = json.loads((run / "env.json").read_text())
    (run / "env.json").write_text(json.dumps({**env, "torch": "1.0"}))
    said = []

    class Listener(Lines):
        def say(self, text):
            said.append(text)

    train(tiny(), run, resume=True, show=Listener(2))
    assert said == [f"resumed in another environment, so perhaps not bit for bit: torch: 1.0 -> {torch.__version__}"]
    resumed = json.loads((run / "env.json").read_text())["resumed"]
    assert [entry["torch"] for entry in resumed] == [torch.__version__]


def test_other_words_do_not_hinder_resuming(tiny, tmp_path):
    run = train(tiny(), tmp_path / "run")
    train(derive(tiny(), summary="said otherwise", published=0.5), run, resume=True)
    assert json.loads((run / "recipe.json").read_text())["summary"] == "said otherwise"


def test_compiled_training_is_one_graph_whatever_the_widths(finished, tiny, tmp_path, monkeypatch):
    """run.compile: one graph for training and one for each size of test batch, though every step moves every width."""
    real = torch.compile
    graphs = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(torch, "compile", lambda model, **options: real(model, backend=graphs, **options))
    run = train(tiny("run.compile=true"), tmp_path / "run")
    sizes = {len(labels) for _, labels in build(tiny()).batches.test()}
    assert graphs.frame_count == 1 + len(sizes)
    for name, weight in weights(finished).items():
        torch.testing.assert_close(weights(run)[name], weight, rtol=1e-3, atol=1e-4)


def test_the_learning_rate_goes_down_and_up_again_in_periods():
    """Fang et al. 2021: the cosine's half-period is 64 of 1024 epochs."""
    schedule = SCHEDULES.build("cosine", {"period": 10})
    factors = [schedule.lr_factor(step, 1, 100) for step in range(41)]
    assert factors[0] == factors[20] == factors[40] == 1
    assert factors[10] == factors[30] == pytest.approx(0, abs=1e-15)
    assert (factors[5], factors[15]) == pytest.approx((0.5, 0.5))


def test_the_learning_rate_drops_in_steps():
    """Feng et al. 2022, MLF: to a tenth every 40 epochs; here after a warm-up of two."""
    schedule = SCHEDULES.build("steps", {"warmup": 2, "drops": "40:0.1, 80:0.01"})
    factors = [schedule.lr_factor(step, 5, 110) for step in range(550)]
    assert factors[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert factors[10:] == [1.0] * 190 + [0.1] * 200 + [0.01] * 150


@pytest.mark.parametrize("text", ["", "40", "40:x", "80:0.1,40:0.01", "40:0", "0:1", "40:0.1,", "40:0.1:2"])
def test_drops_that_cannot_be_read(text: str):
    with pytest.raises(BadValue, match=r"drops = '.*' cannot be read; give increasing epochs .* 40:0.1,80:0.01"):
        SCHEDULES.build("steps", {"drops": text})


def test_a_rate_follows_one_rule(tiny):
    for words in (("schedule.drops=1:0.1",), ("schedule.drops=1:0.1", "schedule.period=2")):
        with pytest.raises(BadValue, match=r"schedule 'cosine' has no option 'drops', but 'steps' has it"):
            build(tiny(*words))
    with pytest.raises(BadValue, match=r"schedule 'steps' has no option 'period', but 'cosine' has it"):
        build(tiny("schedule.name=steps", "schedule.drops=1:0.1", "schedule.period=2"))


def test_a_penalty_grows_and_ends(tiny):
    words = ("penalty.name=im_loss", "penalty.weight=3", "penalty.until=0.8", "penalty.ramp=true")
    parts = build(tiny(*words))
    parts.model.train()(next(iter(parts.batches.train(0)))[0])
    whole = sum(neuron.penalty.item() for neuron in neurons(parts.model).values())
    assert whole > 0
    assert [torch.as_tensor(parts.penalty(p)).item() for p in (0, 0.4, 0.8)] == pytest.approx([0, 1.5 * whole, 0])
    assert all(neuron.penalty_fn is None for neuron in neurons(parts.model).values()), "the penalty is over"
    assert build(tiny()).penalty(0.5) == 0


def test_a_penalty_moves_the_potentials(tiny, tmp_path):
    """IM-Loss draws their middle to the threshold: what it asks for is lower after a training with it."""

    def asked(*words):
        weights = load_file(train(tiny("norm.name=batchnorm", *words), tmp_path / str(len(words))) / "last.safetensors")
        parts = build(tiny("norm.name=batchnorm", "penalty.name=im_loss"))
        parts.model.load_state_dict(weights)
        parts.model.train()(next(iter(parts.batches.train(0)))[0])
        return penalty(parts.model).item()

    assert asked("penalty.name=im_loss", "penalty.weight=2") < 0.8 * asked()


def test_an_unknown_penalty_is_named(tiny):
    with pytest.raises(UnknownName, match="unknown penalty 'im-loss'; did you mean 'im_loss'"):
        build(tiny("penalty.name=im-loss"))
