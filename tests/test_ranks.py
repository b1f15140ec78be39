"""Several processes train as one does: they share the batches, and all get the result of the whole ones."""

import fcntl
import os
import traceback
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from event_files import published
from picture_tree import picture_shards, picture_tree
from torch import nn

from surgrad import padded, ranks
from surgrad.adapt import CONTROLLERS
from surgrad.adapt.probe import Probe
from surgrad.config import set_fields
from surgrad.data.events.cache import Slicing
from surgrad.errors import BadValue, DataError, TrainingStopped
from surgrad.gradients import GRADIENTS
from surgrad.layers import Dropout, ModerateDropout
from surgrad.losses import LOSSES
from surgrad.models.recomputing import run_in_blocks
from surgrad.neurons import NEURONS
from surgrad.norm import NORMS
from surgrad.penalties import PENALTIES
from surgrad.ranks import Place
from surgrad.recipes import find_recipe
from surgrad.train import building
from surgrad.train import loop as loop_module
from surgrad.train.evaluation import evaluate
from surgrad.train.loop import Loop
from surgrad.train.progress import Silent

STEPS = 12
FEW = 8
"""Of trainings that differ from others in one function alone."""
SMALL = (
    "data.limit=44", "data.batch=11", "model.name=mlp", "model.width_multiplier=0.125", "model.steps=2",
    "run.precision=fp32", "optim.epochs=3",
)  # fmt: skip
"""11 samples are 6 + 5, and 3 + 3 + 3 + 2."""
CASES = {
    "default": (),
    "default network": ("model.name=small_cnn", "model.width_multiplier=0.0625", "model.steps=4"),
    "short": ("optim.epochs=2", "run.device=cpu"),
    "convolutions": ("model.name=small_cnn", "model.width_multiplier=0.0625"),
    "clipped": ("optim.clip=0.1",),
    "a period": ("adapt.name=esg", "adapt.period=4"),  # of which two steps are over where the training is cut
    "accumulated": ("optim.accumulate=2",),
    # the halves of a batch, and not of what ranks put together
    "accumulated dspike": ("optim.accumulate=2", "adapt.name=dspike"),
    "accumulated dgs": ("optim.accumulate=3", "adapt.name=dgs"),
    "some steps": ("gradient.name=sltt", "gradient.steps=1", "norm.name=none", "neuron.train_decay=false",
                   "adapt.name=fixed"),
    "checkpointed": ("run.checkpoint=true", "model.name=small_cnn", "model.width_multiplier=0.0625"),
    "learned widths": ("surrogate.learn=true", "adapt.name=fixed"),
    "membrane norm": ("neuron.name=mpbn", "neuron.train_decay=false", "adapt.name=fixed"),
    "progressive": ("model.name=small_cnn", "model.width_multiplier=0.0625", "progressive.fraction=0.5",
                    "progressive.steps=1", "progressive.image_size=20"),
    "recordings": ("data.name=n_mnist", "model.name=vggsnn", "model.width_multiplier=0.03125", "data.flip=true",
                   "data.side=34", "data.workers=0", "data.limit=none",
                   "optim.clip=0.1"),  # unclipped, it amplifies rounding by 1e14
    "pictures": ("data.name=image_folder", "model.name=small_resnet", "data.side=16", "data.resize=20",
                 "data.workers=0", "data.limit=none", "data.flip=true"),
    "shards": ("data.name=image_shards", "model.name=small_resnet", "data.side=16", "data.resize=20",
               "data.workers=0", "data.limit=none", "data.flip=true", "data.window=2"),
    **{f"norm {name}": (f"norm.name={name}",) for name in NORMS},
    **{f"loss {name}": (f"loss.name={name}",) for name in LOSSES},
    **{f"penalty {name}": (f"penalty.name={name}", "penalty.weight=0.1") for name in PENALTIES},
    **{f"gradient {name}": (f"gradient.name={name}", "norm.name=none", "neuron.train_decay=false", "adapt.name=fixed")
       for name in GRADIENTS},
    **{f"gradient {name} with norms": (f"gradient.name={name}", "norm.name=batchnorm", "neuron.train_decay=false",
                                       "adapt.name=fixed")
       for name in GRADIENTS if name != "ottt"},
    **{f"controller {name}": (f"adapt.name={name}",) for name in CONTROLLERS},
}  # fmt: skip


SOME = (
    *(case for case in CASES if case.startswith(("controller", "gradient", "penalty"))),
    "default", "default network", "accumulated", "recordings", "pictures", "membrane norm", "norm tebn", "loss tet",
)  # fmt: skip
"""What four ranks train too."""
NO_RECIPE = ("gradient ottt with norms",)
"""What a recipe refuses."""
RESUMED = ("default", "a period")
"""What one number of processes begins, and another one continues."""
PAIRS = [*((2, case) for case in CASES), *((4, case) for case in SOME)]


REFUSED = {
    "ASGL": ("neuron.name=asgl", "surrogate.learn=true", "neuron.train_decay=false", "adapt.name=fixed"),
    "DSATGO": ("neuron.name=ds_atgo",),
    "DCT": ("coding.name=dct",),
    "run.compile": ("run.compile=true",),
}
"""What several processes would not compute as one does, by what the error names."""


SINGLE = ("default", "convolutions", "checkpointed", "accumulated", "controller share")
"""What is trained in float32 too, by the native kernels where they are built."""
EVALUATED = (("data.limit=4",), ("data.limit=45",), ("data.limit=45", "data.holdout=0.2"))
"""Of 4 and 45 test samples, by batches of 4: fewer batches than ranks, and an uneven last one."""


TALKING = {
    "fixed": ("adapt.name=fixed",),
    "lsg": ("adapt.name=lsg",),
    "esg": ("adapt.name=esg", "adapt.period=4"),
    "share": ("adapt.name=share", "adapt.period=4"),
    "dspike": ("adapt.name=dspike",),
}
"""Whose exchanges are counted."""


def recipe_of(settings):
    augmented = () if any(setting.startswith("data.name") for setting in settings) else ("data.crop=2",)
    return set_fields(find_recipe("lsg_fashion_small_t4"), (*SMALL, *augmented, *settings))


def data_of(recipe, folder):
    """Where the data of a recipe is: what the fixture wrote, or nothing for the bundled images."""
    places = {"n_mnist": folder, "image_folder": folder / "tree", "image_shards": folder / "shards"}
    return places.get(recipe.data.name)


def loop_of(case, folder, dtype=torch.float64):
    recipe = recipe_of(CASES[case])
    parts = building.build(recipe, data_of(recipe, folder))
    parts.model.to(dtype).train()
    folder.mkdir(exist_ok=True)
    return Loop(parts, recipe.optim, folder, Silent())


def steps_of(loop, numbers):
    """Train the steps with these numbers."""
    batches = loop.parts.batches
    for step in numbers:
        loop.at.epoch, loop.at.batch = divmod(step, batches.per_epoch)
        x, labels = next(iter(batches.train(loop.at.epoch, loop.at.batch)))
        loop.train_step((x.to(next(loop.parts.model.parameters()).dtype), labels))
    loop.at.epoch, loop.at.batch = divmod(numbers.stop, batches.per_epoch)


def result(loop):
    state = {name: value for name, value in loop.parts.model.state_dict().items() if value.is_floating_point()}
    return {**state, "loss": torch.tensor(loop.at.loss_sum), "correct": torch.tensor(float(loop.at.correct))}


def trained(case, folder):
    """The weights, and the sums of the losses and of the correct predictions, after some steps in float64."""
    loop = loop_of(case, folder)
    whole = case in (*SOME, *RESUMED) or case.startswith(("controller", "gradient", "progressive"))
    steps_of(loop, range(STEPS if whole else FEW))
    return result(loop)


def process(rank, count, folder, work):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting{count}", rank=rank, world_size=count)
    try:
        with ranks.joined():
            found = work(Path(folder))
    except Exception:
        (Path(folder) / f"error{rank}").write_text(traceback.format_exc())
        raise
    if rank == 0:
        torch.save(found, f"{folder}/of{count}")
    dist.destroy_process_group()


def by_ranks(count, folder, work):
    """What rank 0 of several finds."""
    torch.multiprocessing.spawn(process, (count, str(folder), work), nprocs=count)
    return torch.load(f"{folder}/of{count}")


def all_cases(folder):
    found = {}
    for case in SOME if ranks.place().count == 4 else CASES:
        try:
            found[case] = trained(case, folder)
        except BadValue as error:
            found[case] = str(error)
    for what, settings in REFUSED.items():
        found[what] = refusal(recipe_of(settings))
    for case in SINGLE:
        loop = loop_of(case, folder, torch.float32)
        steps_of(loop, range(1))
        found["single", case] = result(loop)
    for settings in EVALUATED:
        parts = building.build(recipe_of((*settings, "data.batch=4")))
        splits = ("test", "holdout") if parts.batches.holdout_count else ("test",)
        found["evaluated", settings] = [evaluate(parts, split) for split in splits]
    return found


def half(folder):
    """Train half of the steps, and save."""
    for case in RESUMED:
        loop = loop_of(case, folder / f"{case}{ranks.place().count}")
        steps_of(loop, range(STEPS // 2))
        loop.save()


def other_half(folder):
    """Continue, by as many processes as there are, what two or one began."""
    found = {}
    for case, began in product(RESUMED, (1, 2)):
        loop = loop_of(case, folder / f"{case}{began}")
        loop.resume()
        assert loop.step_number == STEPS // 2
        steps_of(loop, range(STEPS // 2, STEPS))
        found[case, began] = result(loop)
    return found


def saves(folder):
    """A training in which the clock of each rank asks for a checkpoint at other moments: rank 0 decides."""
    plain_seconds = loop_module.SAVE_SECONDS
    loop_module.SAVE_SECONDS = 1e9 if ranks.place().rank else 0.0
    loop = loop_of("short", folder / "run")
    loop.parts.model.float()  # as the batches are that it takes itself
    saved = []
    plain = loop.save
    loop.save = lambda: (saved.append(loop.step_number), plain())
    loop.run()
    loop_module.SAVE_SECONDS = plain_seconds
    return saved


EXCHANGES = ("all_reduce", "broadcast", "all_gather_object", "broadcast_object_list")


def exchanges(folder):
    """How often each of some steps exchanges anything, by controller."""
    counts = []
    plain = {name: getattr(dist, name) for name in EXCHANGES}

    def counted(function):
        return lambda *given, **options: (counts.append(1), function(*given, **options))[1]

    for name, function in plain.items():
        setattr(dist, name, counted(function))
    try:
        return {case: steps_that_exchange(recipe_of(settings), folder, counts) for case, settings in TALKING.items()}
    finally:
        for name, function in plain.items():
            setattr(dist, name, function)


def steps_that_exchange(recipe, folder, counts):
    parts = building.build(recipe)
    parts.model.train()
    loop = Loop(parts, recipe.optim, folder, Silent())
    found = []
    for _ in range(9):
        counts.clear()
        loop.train_step(next(iter(parts.batches.train(*divmod(loop.step_number, parts.batches.per_epoch)))))
        loop.at.epoch, loop.at.batch = divmod(loop.step_number + 1, parts.batches.per_epoch)
        found.append(len(counts))
    return found


def refusal(recipe):
    """The error of the check for several processes; empty where it has none."""
    try:
        building.check_for_ranks(building.build(recipe))
    except BadValue as error:
        return str(error)
    return ""


def computed_once(factory, name, compute):
    """What `compute` finds; of the processes that run tests, the first one computes it for all."""
    folder = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.mktemp("r")
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / f"{name}.pt").exists():
            torch.save(compute(factory.mktemp(name)), folder / f"{name}.pt")
    return torch.load(folder / f"{name}.pt")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What one process and several find."""
    return computed_once(tmp_path_factory, "ranks", computed)


def computed(folder):
    published(folder / "n_mnist", "n_mnist", 24)
    picture_shards(folder / "shards", picture_tree(folder / "tree"))
    return {1: all_cases(folder), **{count: by_ranks(count, folder, all_cases) for count in (2, 4)}}


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """What two processes find in the functions of BY_TWO, or their errors; started once for all, which is most of the
    time."""
    return computed_once(tmp_path_factory, "two", lambda folder: by_ranks(2, folder, all_by_two))


def all_by_two(folder):
    found = {}
    for work in BY_TWO:
        place = folder / work.__name__
        place.mkdir(exist_ok=True)
        try:
            found[work.__name__] = work(place)
        except AssertionError:
            found[work.__name__] = traceback.format_exc()
    return found


@pytest.mark.parametrize(("count", "case"), PAIRS)
def test_ranks_train_as_one_process_does(results, count, case):
    wanted, found = results[1][case], results[count][case]
    if case in NO_RECIPE:
        assert isinstance(wanted, str)
        return
    assert not isinstance(wanted, str), wanted
    assert not isinstance(found, str), found
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.allclose(found[name], value, rtol=1e-10, atol=1e-10), name


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("case", SINGLE)
def test_a_step_in_single_precision_is_equal_up_to_rounding(results, count, case):
    """The kernels that find statistics and gradients of shared norms themselves take no float64."""
    wanted, found = results[1]["single", case], results[count]["single", case]
    for name, value in wanted.items():
        assert torch.allclose(found[name], value, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("settings", EVALUATED, ids=" ".join)
def test_evaluation_counts_each_sample_once(results, count, settings):
    for own, alone in zip(results[count]["evaluated", settings], results[1]["evaluated", settings], strict=True):
        assert own[0] == pytest.approx(alone[0], rel=1e-6)
        assert own[1] == alone[1]


def cached(folder):
    """How many recordings each rank slices for an empty cache, and how many there are."""
    ranks.from_first(lambda: published(folder / "n_mnist", "n_mnist", 24))
    sliced = []
    plain = Slicing.apply
    Slicing.apply = lambda self, *given: (sliced.append(1), plain(self, *given))[1]
    try:
        recipe = recipe_of((*CASES["recordings"], f"data.cache={folder / 'cache'}"))
        batches = building.build(recipe, folder).batches
    finally:
        Slicing.apply = plain
    return ranks.gathered_objects(len(sliced)), batches.train_count + batches.test_count


def unreadable(folder):
    """What each rank says of a recording in the share of the last one."""
    ranks.from_first(lambda: damaged(folder))
    try:
        building.build(recipe_of((*CASES["recordings"], f"data.cache={folder / 'cache'}")), folder)
    except DataError as error:
        return ranks.gathered_objects(str(error))


LENGTHS = (3, 1, 5, 2, 4)
BY_STEP = ("bntt", "step_batchnorm", "tab", "mpbn")
"""Norms with statistics of each time step, whose exchanges would not match where sequences are padded."""


def padded_sequences(_folder):
    """What each norm makes of a rank's sequences of different lengths, or its refusal; with gradients."""
    lengths = torch.tensor(LENGTHS)[ranks.place().share(len(LENGTHS))]
    torch.manual_seed(0)
    sequences = torch.randn(max(LENGTHS), len(LENGTHS), 2, 3, dtype=torch.float64)
    own = sequences[: int(lengths.max()), ranks.place().share(len(LENGTHS))].clone().requires_grad_()
    found = {}
    for name in (*NORMS, "mpbn"):
        steps = {"steps": max(LENGTHS)} if name in NORMS and NORMS.takes(name, "steps") else {}
        norm = NEURONS[name]() if name == "mpbn" else NORMS[name](2, **steps)
        try:
            with padded(lengths):
                out = norm.double()(own)
            gradient = torch.autograd.grad(out.square().sum(), own)[0]
        except BadValue as error:
            found[name] = str(error)
            continue
        found[name] = [rows[:length, n] for rows in (out.detach(), gradient) for n, length in enumerate(lengths)]
    return ranks.gathered_objects(found)


def test_padded_sequences_are_normalised_as_by_one_process_or_refused(by_two, tmp_path):
    """One rank has sequences of up to 5 steps, and the other one of up to 4."""
    (wanted,) = padded_sequences(tmp_path)
    shares = by_two["padded_sequences"]
    for name, whole in wanted.items():
        if name in BY_STEP:
            assert all("give each process its own statistics" in share[name] for share in shares), name
            continue
        outputs, gradients = (
            [row for share in shares for row in share[name][half * len(share[name]) // 2 :][: len(share[name]) // 2]]
            for half in (0, 1)
        )
        for found, row in zip([*outputs, *gradients], whole, strict=True):
            assert torch.allclose(found, row, rtol=1e-10, atol=1e-10), name


def damaged(folder):
    published(folder / "n_mnist", "n_mnist", 24)
    sorted((folder / "n_mnist").rglob("*.bin"))[-1].write_bytes(b"12")


def test_the_cache_is_made_by_the_ranks_together(by_two):
    sliced, total = by_two["cached"]
    assert sum(sliced) == total
    assert min(sliced) >= total // 2


def test_all_ranks_refuse_what_one_cannot_read(by_two):
    first, second = by_two["unreadable"]
    assert first == second
    assert "2 of the 5 bytes of an event" in first


def test_other_numbers_of_ranks_continue(results, tmp_path):
    """One process, and four, continue what one or two began: all end where one that does it all ends."""
    half(tmp_path)
    by_ranks(2, tmp_path, half)
    for ends in (other_half(tmp_path), by_ranks(4, tmp_path, other_half)):
        for (case, began), found in ends.items():
            for name, value in results[1][case].items():
                assert torch.allclose(found[name], value, rtol=1e-10, atol=1e-10), (case, began, name)


def test_ranks_save_together(by_two):
    """After every step but those in the end of an epoch, after which there is one anyway; the checkpoint before the
    first step is the first rank's alone."""
    assert by_two["saves"] == [0, 1, 2, 3, 4, 5, 6, 7, 8]


def test_controllers_exchange_no_more_than_they_read(by_two):
    """Potentials of all layers go in one exchange, in the steps in which they are read."""
    found = by_two["exchanges"]
    usual = found["fixed"]
    more = {case: [own - others for own, others in zip(found[case], usual, strict=True)] for case in TALKING}
    assert more["lsg"] == [0] * 9
    assert more["esg"] == [0, 0, 0, 0, 1, 0, 0, 0, 1]  # once in its period of four steps
    assert more["share"][1:] == [int(step in (1, 2, 4, 8)) for step in range(1, 9)]  # it calibrates before, with norms
    assert more["dspike"][1:4] == [0, 0, 0]  # it searches once an epoch, of four steps


def of_one_rank(folder):
    """What each rank says where the second has a number that is not finite in its share: NaN in a picture, and a loss
    whose gradient alone is infinite."""
    said = {}
    for what in ("picture", "gradient"):
        loop = loop_of("convolutions", folder / f"{what}{ranks.place().rank}", torch.float32)
        x, labels = next(iter(loop.parts.batches.train(0, 0)))
        if ranks.place().rank == 1 and what == "picture":
            x[0, ..., 0, 0] = torch.nan
        if ranks.place().rank == 1 and what == "gradient":
            loop.parts.model.register_forward_hook(lambda module, given, out: out + (out - out.detach()) * torch.inf)
        before = {name: value.clone() for name, value in loop.parts.model.named_parameters()}
        try:
            loop.train_step((x, labels))
        except TrainingStopped as error:
            same = all(torch.equal(before[name], value) for name, value in loop.parts.model.named_parameters())
            said[what] = (str(error), same)
    return ranks.gathered_objects(said)


def test_a_number_of_one_rank_that_is_not_finite_stops_all(by_two):
    """With one message, before it reaches the weights."""
    first, second = by_two["of_one_rank"]
    assert first.keys() == {"picture", "gradient"}
    for what, (said, same) in first.items():
        assert same
        assert second[what][1]
        assert said.replace(f"{what}0", f"{what}1") == second[what][0]
    assert "on rank 1" in first["picture"][0]
    assert all("at step 0 (epoch 1, batch 1)" in said for said, _ in first.values())


def averaged(folder):
    """The samples that each rank evaluates by the average of the weights, after an epoch, and what it finds."""
    recipe = recipe_of(("average.name=ema", "optim.epochs=1", "data.limit=45"))
    parts = building.build(recipe)
    counts = []
    plain = parts.loss
    evaluating = replace(parts, loss=lambda out, labels: (counts.append(len(labels)), plain(out, labels))[1])
    loop = Loop(evaluating, recipe.optim, folder, Silent(), [parts.average])
    average = parts.average
    average.run_begins(loop)
    row = {}
    loop.observers.epoch_ends(loop, row)
    return ranks.gathered_objects((sum(counts), row))


def test_an_average_of_the_weights_is_evaluated_by_all(by_two, tmp_path):
    ((whole, wanted),) = averaged(tmp_path)
    (first, found), (second, other) = by_two["averaged"]
    assert whole == 45
    assert sorted((first, second)) != [0, 45]
    assert first + second == 45
    assert found == other
    assert found["test_accuracy_average"] == wanted["test_accuracy_average"]
    assert found["test_loss_average"] == pytest.approx(wanted["test_loss_average"], rel=1e-6)


def disagreements(folder):
    """What each rank says where the second has another recipe or other data, where data does not divide its batches,
    the network has torch's batch norm, and where the first has a hook on a network that is computed in blocks."""
    second = ranks.place().rank == 1
    loop = loop_of("checkpointed", folder / str(ranks.place().rank), torch.float32)
    x, labels = next(iter(loop.parts.batches.train(0, 0)))
    foreign = building.build(recipe_of(()))
    foreign.model.stem.append(nn.BatchNorm1d(3))

    def blocks():
        if not second:
            loop.parts.model.body[0].register_forward_hook(lambda *given: None)
            run_in_blocks(loop.parts.model.body, x)

    tried = {
        "recipe": lambda: building.check_recipe_for_ranks(recipe_of(("optim.lr=0.5",) if second else ())),
        "samples": lambda: building.check_for_ranks(building.build(recipe_of(("data.limit=40",) if second else ()))),
        "share": lambda: loop.train_step((torch.cat([x, x]), torch.cat([labels, labels]))),
        "norm": lambda: building.check_for_ranks(foreign),
        "hook": blocks,
    }
    return {name: said_by(call) for name, call in tried.items()}


def said_by(call):
    try:
        ranks.on_each(call)
    except BadValue as error:
        return str(error)
    return ""


def test_what_ranks_do_not_have_in_common_is_refused(by_two):
    said = by_two["disagreements"]
    assert "rank 1 has optim.lr = 0.5, and rank 0 has" in said["recipe"]
    assert "rank 1 has training samples = 40, and rank 0 has 44; give all processes the same command" in said["samples"]
    assert "rank 0 of 2 got 12 samples of a batch of 11, and its share is 6; let " in said["share"]
    assert "with BatchNorm1d the result for a sample depends on the others of its batch" in said["norm"]
    assert "the forward hook on 0 would run twice" in said["hook"]


def searched(folder):
    """By rank, the samples of the largest pass of a search that finds a gradient."""
    passes = []
    plain = Probe._run

    def noted(self, over, inputs):
        passes.append((torch.is_grad_enabled(), len(inputs)))
        return plain(self, over, inputs)

    Probe._run = noted
    try:
        recipe = recipe_of(TALKING["dspike"])
        parts = building.build(recipe)
        parts.model.train()
        parts.adapter.step(next(iter(parts.batches.train(0))))
    finally:
        Probe._run = plain
    return ranks.gathered_objects(max(size for grad, size in passes if grad))


def test_a_search_is_divided_among_the_ranks(by_two, tmp_path):
    """Its directions (see above), and the batch of the gradient that it compares, so that memory does not grow."""
    assert searched(tmp_path) == [11]
    assert by_two["searched"] == [6, 5]


BY_TWO = (
    cached, unreadable, saves, exchanges, padded_sequences, of_one_rank, searched, averaged, disagreements,
)  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_ranks_cannot_share_is_refused(results, what):
    assert results[1][what] == ""
    assert what in results[2][what]
    assert "processes" in results[2][what]


def test_dropout_does_not_share_batches():
    assert not any(map(ranks.shares_batches, (Dropout(), ModerateDropout(), nn.Dropout(), nn.Dropout2d())))
    assert ranks.shares_batches(nn.Linear(1, 1))


@pytest.mark.parametrize(("total", "count"), [(11, 4), (12, 4), (3, 4), (1, 1)])
def test_shares_are_complete_and_even(total, count):
    shares = [range(total)[Place(rank, count).share(total)] for rank in range(count)]
    assert [member for share in shares for member in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_nothing_is_exchanged():
    x = torch.randn(3, 4)
    assert ranks.place() == Place(0, 1)
    assert ranks.total(x) is x
    assert torch.equal(ranks.mean(x, [0]), x.mean(0))
    assert not os.environ.get("WORLD_SIZE")
