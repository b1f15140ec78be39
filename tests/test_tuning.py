"""Which surrogate, and how wide: the race, and what it recommends."""

import json
import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from surgrad import LIF, TDBN, NormNeuron, PerStep, Surrogate, cli, tune
from surgrad.config import from_dict, set_fields
from surgrad.errors import BadValue
from surgrad.losses import cross_entropy
from surgrad.recipes import find_recipe
from surgrad.surrogates import find_surrogates
from surgrad.tuning import AS_IT_IS, Candidate, Outcome, Race, Rung, Standing, default_candidates, planned, tune_recipe
from surgrad.tuning.recipes import _shortened

A, B, C = (Candidate(label) for label in "abc")
TRUTH = {"as_it_is": 0.1, "a": 0.3, "b": 0.5, "c": 0.4}


def quiet(text):
    """Where no progress is to be shown."""


def asked(truth, log):
    """A measure whose scores are known, which notes what it was asked for."""

    def measure(number, rung, questions):
        for candidate, seed in questions:
            log.append((number, candidate.label, seed))
            yield (candidate, seed), truth[candidate.label] + seed / 100

    return measure


# --- the race -------------------------------------------------------------------------------------------------------

RUNGS = [Rung(4, 1, 10), Rung(2, 1, 20), Rung(3, 2, 40)]


def test_the_best_go_on_and_the_network_as_it_is_is_in_the_final():
    log = []
    standings = Race([AS_IT_IS, A, B, C]).run(RUNGS, asked(TRUTH, log), quiet)
    assert [standing.candidate.label for standing in standings] == ["b", "as_it_is", "c", "a"]
    assert [standing.rung for standing in standings] == [3, 3, 1, 1]
    assert standings[0].scores == {0: 0.5, 1: 0.51}
    assert [label for rung, label, _ in log if rung == 0] == ["as_it_is", "a", "b", "c"]
    assert len(log) == 4 + 2 + 2 * 2


def test_a_race_that_was_stopped_asks_for_the_rest_only(tmp_path):
    """Stopped after any score, it ends as if it had not been stopped, and nothing is measured twice."""
    whole = Race([AS_IT_IS, A, B, C]).run(RUNGS, asked(TRUTH, []), quiet)
    log = []

    class Stopped(Exception):
        pass

    def until(count):
        def measure(number, rung, questions):
            for place, answer in enumerate(asked(TRUTH, log)(number, rung, questions)):
                yield answer
                if place + 1 == count:
                    raise Stopped

        return measure

    for count in (1, 2, 1, 1):
        with pytest.raises(Stopped):
            Race([AS_IT_IS, A, B, C], tmp_path / "race.log").run(RUNGS, until(count), quiet)
    found = Race([AS_IT_IS, A, B, C], tmp_path / "race.log").run(RUNGS, asked(TRUTH, log), quiet)
    assert found == whole
    assert len(log) == len(set(log))


def test_a_race_of_others_is_not_continued(tmp_path):
    Race([AS_IT_IS, A], tmp_path / "race.log")
    with pytest.raises(BadValue, match=r"race\.log holds a race of other candidates"):
        Race([AS_IT_IS, B], tmp_path / "race.log")


def test_a_candidate_that_fails_is_last():
    truth = TRUTH | {"b": -math.inf}
    standings = Race([AS_IT_IS, A, B, C]).run(RUNGS, asked(truth, []), quiet)
    assert standings[0].candidate.label == "c"
    assert standings[-1].candidate.label == "b"
    assert "| b | 1 | failed |" in Outcome(standings, "accuracy", True, 40, "as_it_is").table


@pytest.mark.parametrize("candidates", [2, 8, 15, 100])
def test_a_plan_takes_the_time_that_is_given(candidates):
    rungs = planned(candidates, 6000, step=0.1, start=2.0)
    spent = sum(rung.candidates * rung.seeds * (2.0 + 0.1 * rung.steps) for rung in rungs)
    assert 5700 < spent <= 6000
    assert rungs[0].candidates == candidates
    assert [rung.steps for rung in rungs] == sorted(rung.steps for rung in rungs) or candidates < 9
    assert (rungs[-1].seeds, max(rung.steps for rung in planned(candidates, 6000, step=0.1, longest=50))) == (3, 50)


def test_too_little_time_is_refused():
    with pytest.raises(
        BadValue, match=r"1 minutes are too short: 28 trainings of 15 candidates need at least .* minutes here"
    ):
        planned(15, 60, step=1.0)


# --- what is said ---------------------------------------------------------------------------------------------------


def outcome(scores, percent=True):
    standings = [Standing(candidate, rung, dict(enumerate(values))) for candidate, rung, values in scores]
    return Outcome(standings, "accuracy on held-out samples", percent, 100, "as_it_is")


def test_the_sentence_says_what_to_use_and_how_sure_it_is():
    share = Candidate("share_0.3_atan", "atan", "share", {"share": 0.3})
    found = outcome([(share, 2, (0.81, 0.80, 0.82)), (A, 2, (0.80, 0.81, 0.79)), (AS_IT_IS, 2, (0.1, 0.1, 0.1))])
    assert found.sentence == (
        "Use share_0.3_atan: accuracy on held-out samples 81.00 ± 1.00 %, 3 seeds, 100 steps each. As it is: 10.00 ± "
        "0.00 %; as_it_is is 71.00 points lower (95 % interval 68.52 to 73.48). The next best: a is 1.00 points lower "
        "(95 % interval -3.97 to 5.97), which is not established."
    )
    assert found.set_line == "--set surrogate.name=atan --set adapt.name=share --set adapt.share=0.3"
    assert set_fields(find_recipe("lsg_fashion_small_t4"), share.settings).adapt.options == {"share": 0.3}


def test_nothing_is_changed_where_nothing_is_better():
    found = outcome([(AS_IT_IS, 1, (0.9, 0.9)), (A, 1, (0.8, 0.8))])
    assert found.sentence.startswith("Keep the surrogate as it is: accuracy on held-out samples 90.00 ± 0.00 %")
    assert (found.best, found.set_line) == (AS_IT_IS, "")


def test_the_table_has_intervals():
    found = outcome([(A, 2, (1.5, 2.5)), (AS_IT_IS, 2, (1.0, 1.0)), (B, 1, (0.5,))], percent=False)
    assert found.table.splitlines()[2:] == [
        "| a | 2 | 2 ± 0.71 | -4.35 to 8.35 | -5.35 to +7.35 | 2 |",
        "| as_it_is | 2 | 1 ± 0 | 1.00 to 1.00 | – | 2 |",
        "| b | 1 | 0.5 | – | – | 1 |",
    ]


def test_candidates_are_what_can_be_set():
    recipe = find_recipe("lsg_fashion_small_t4")
    labels = [candidate.label for candidate in default_candidates()]
    assert len(set(labels)) == len(labels) == 15
    for candidate in default_candidates():
        set_fields(recipe, candidate.settings)


# --- recipes --------------------------------------------------------------------------------------------------------


def test_a_shorter_training_goes_through_its_whole_schedule():
    recipe = find_recipe("lsg_fashion_small_t4")  # 5 epochs, warm-up 0.5, batch 60
    assert _shortened(recipe, 230, 90) == ("data.holdout=0.1", "optim.epochs=2", "schedule.warmup=0.2")
    assert _shortened(recipe, 30, 90) == (
        "data.holdout=0.1",
        "optim.epochs=1",
        "data.limit=1800",
        "schedule.warmup=0.1",
    )
    stepped = set_fields(recipe, ("schedule.name=steps", "schedule.drops=2:0.1,4:0.01", "data.holdout=0.2"))
    assert _shortened(stepped, 90, 90)[-1] == "schedule.drops=0.4:0.1,0.8:0.01"
    assert not any("holdout" in change for change in _shortened(stepped, 90, 90))
    set_fields(stepped, _shortened(stepped, 90, 90))


SICK = ("adapt.name=fixed", "neuron.train_decay=false", "model.width_multiplier=0.25", "data.limit=1200")


@pytest.mark.slow
def test_from_a_sick_start_it_recommends_another_one(tmp_path):
    candidates = (AS_IT_IS, Candidate("share", "rect", "share"))
    settings = (*SICK, "surrogate.width=0.002", "optim.epochs=2")
    said = []
    found = tune_recipe(
        "lsg_fashion_small_t4",
        settings,
        out=tmp_path / "tune",
        minutes=10,
        seeds=1,
        candidates=candidates,
        say=said.append,
    )
    assert found.best.label == "share"
    best, sick = found.standings
    assert best.minus(sick).mean > 0.2
    assert any("fire.neuron: " in line and "(set: 0.002" in line for line in said)
    table = (tmp_path / "tune" / "table.md").read_text()
    assert table.splitlines()[2].startswith("| share |")
    assert (tmp_path / "tune" / "table.png").stat().st_size > 1000


def test_the_same_command_continues_and_another_is_refused(tmp_path, tiny_words, capsys):
    words = [
        "tune",
        "lsg_fashion_small_t4",
        *tiny_words,
        "--minutes",
        "12",
        "--seeds",
        "1",
        "--out",
        str(tmp_path / "t"),
    ]
    plan = {"candidates": 15, "minutes": 12.0, "recipe": "lsg_fashion_small_t4", "seeds": 1}
    settings = [word for word in tiny_words if word != "--set"]
    (tmp_path / "t").mkdir()
    held = {"asked": {**plan, "set": settings}, "rungs": [vars(Rung(3, 1, 3))], "per_epoch": 3}
    (tmp_path / "t" / "plan.json").write_text(json.dumps(held))
    assert cli.main([*words[:-1], str(tmp_path / "t"), "--set", "seed=3"]) == 2
    assert "has a race that was asked for otherwise" in capsys.readouterr().err


def test_a_run_is_tuned_by_its_recipe(finished):
    recipe = find_recipe(str(finished / "recipe.json"))
    assert recipe == from_dict(json.loads((finished / "recipe.json").read_text()))


def test_without_optuna_the_error_names_the_extra():
    code = (
        "import sys; sys.modules['optuna'] = None\n"
        "from surgrad.tuning import AS_IT_IS, Race\n"
        "try:\n    Race([AS_IT_IS, AS_IT_IS])\n"
        "except Exception as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "tuning needs the package optuna; pip install 'surgrad[tune]'"


# --- any module -----------------------------------------------------------------------------------------------------


def network(width, surrogate="rect"):
    layers = []
    for inputs in (6, 24):
        layers += [
            PerStep(nn.Linear(inputs, 24)),
            NormNeuron(TDBN(24), LIF(0.5, surrogate=Surrogate(surrogate, width))),
        ]
    return nn.Sequential(*layers, PerStep(nn.Linear(24, 3)))


def batches():
    draws = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 6, generator=draws)
    found = []
    for _ in range(10):
        labels = torch.randint(3, (32,), generator=draws)
        found.append((centres[labels] + 0.5 * torch.randn(4, 32, 6, generator=draws), labels))
    return found


def loss(output, labels):
    return cross_entropy(output, labels)


def accuracy(model, held):
    right = torch.cat([model(inputs).mean(0).argmax(1) == labels for inputs, labels in held])
    return right.float().mean().item()


@pytest.mark.parametrize("width", [1e-3, 300.0])
def test_any_module_is_tuned_away_from_a_sick_start(width):
    torch.manual_seed(5)
    found = tune(lambda: network(width), batches(), loss, steps=40, seeds=2, say=quiet)
    assert found.best.controller in ("share", "lsg", "fixed")
    assert found.best != AS_IT_IS
    assert "minus the loss on validation batches" in found.sentence
    assert len(found.finalists) == 3


def test_scores_and_candidates_of_ones_own(tmp_path):
    candidates = (AS_IT_IS, Candidate("mine", "triangle", "fixed", {"width": 0.7}))
    made = []

    def make():
        made.append(network(1.0))
        return made[-1]

    given = {"validation": batches()[8:], "score": accuracy, "candidates": candidates, "out": tmp_path, "say": quiet}
    found = tune(make, batches()[:8], loss, steps=20, seeds=2, **given)
    assert "score on validation batches" in found.table
    assert {slot.function.name for model in made for slot in find_surrogates(model).values()} == {"rect", "triangle"}
    mine = [model for model in made if model[1].neuron.surrogate.function.name == "triangle"]
    assert all(slot.width == pytest.approx(0.7) for model in mine for slot in find_surrogates(model).values())
    before = len(made)
    again = tune(make, batches()[:8], loss, steps=20, seeds=2, **given)
    assert (again.sentence, len(made)) == (found.sentence, before)


def test_a_loader_that_shuffles_gives_all_candidates_the_same_batches():
    """And none of the samples that validate is trained on."""
    samples = [(x, torch.tensor(number)) for number, x in enumerate(torch.randn(100, 4, 6))]
    loader = torch.utils.data.DataLoader(samples, batch_size=10, shuffle=True)
    trained, validated = [], []

    def watched(output, numbers):
        (trained if torch.is_grad_enabled() else validated).append(frozenset(numbers.tolist()))
        return output.square().mean()

    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network(1.0)

        def forward(self, x):
            return self.network(x.transpose(0, 1))

    tune(First, loader, watched, steps=20, seeds=2, candidates=(AS_IT_IS, Candidate("lsg", "rect", "lsg")), say=quiet)
    assert len(set(validated)) == 2
    assert not frozenset().union(*trained) & frozenset().union(*validated)


def test_a_candidate_that_a_network_does_not_allow_is_last():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 3)
            self.spike = Surrogate()  # and no threshold, which `share` reads

        def forward(self, x):
            return self.spike(self.layer(x))

    said = []
    share = Candidate("share", "rect", "share")
    found = tune(Own, batches(), loss, steps=4, seeds=1, candidates=(AS_IT_IS, share), say=said.append)
    assert found.standings[-1].candidate == share
    assert any("share: " in line and "threshold" in line for line in said)
    assert "share failed" in found.sentence


def test_what_cannot_be_trained_is_said():
    with pytest.raises(BadValue, match=r"a race needs two candidates or more, got \['as_it_is'\]"):
        tune(lambda: network(1.0), batches(), loss, candidates=(AS_IT_IS,), say=quiet)
    with pytest.raises(BadValue, match="there is no batch to train on"):
        tune(lambda: network(1.0), [], loss, candidates=(AS_IT_IS, A), say=quiet)
    with pytest.raises(BadValue, match="there is no batch to validate on"):
        tune(lambda: network(1.0), batches()[:3], loss, steps=2, candidates=(AS_IT_IS, A), say=quiet)
    with pytest.raises(BadValue, match="every training failed"):
        tune(
            lambda: network(1.0),
            batches(),
            lambda out, y: out.mean() * math.nan,
            steps=2,
            candidates=(AS_IT_IS, A),
            say=quiet,
        )
