"""Racing the surrogates of any module, by trainings in this process."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surgrad.adapt import Adapter
from surgrad.adapt.probe import Batch, Loss
from surgrad.errors import BadValue
from surgrad.surrogates import find_surrogate, find_surrogates
from surgrad.tuning.candidates import Candidate, default_candidates
from surgrad.tuning.outcome import Outcome
from surgrad.tuning.race import FAILED, FINALISTS, GROWTH, Question, Race, Rung, narrowing

VALIDATED = 5
"""One of this number of batches is for validation, where none are given."""

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Score = Callable[[nn.Module, Iterable[Batch]], float]


def tune(
    make_network: Callable[[], nn.Module],
    batches: Iterable[Batch],
    loss: Loss,
    *,
    validation: Iterable[Batch] | None = None,
    score: Score | None = None,
    optimizer: MakeOptimizer = torch.optim.Adam,
    steps: int = 300,
    seeds: int = 3,
    candidates: Sequence[Candidate] | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Find the surrogate function and the controller for a network, by a race of short trainings.

    Args:
        make_network: makes a new network, whose neurons have a `Surrogate`; called after the seed is set.
        batches: (inputs, targets), which can be iterated over again and again, such as a DataLoader.
        loss: of (output, targets).
        validation: batches by which candidates are compared; None: every fifth of `batches`, on which none trains.
        score: of (network in evaluation mode, validation batches), higher is better; None: minus the mean loss.
        optimizer: makes the optimiser of the parameters.
        steps: training steps in the final; earlier rungs have fewer.
        seeds: trainings of each finalist.
        candidates: what is raced; by default `default_candidates`. The first is what the others are compared with.
        out: a folder that keeps the scores, so that the same call continues a race that was stopped.
        say: called with every line of progress.

    Returns:
        The outcome: print its `sentence` and `table`; `best` has the names for `Surrogate` and `Adapter`.

    Raises:
        BadValue: there is no batch to train or to validate on, or every training failed.
    """
    racing = default_candidates() if candidates is None else candidates

    def training() -> Iterator[Batch]:
        return _chosen(batches, lambda place: validation is not None or place % VALIDATED != VALIDATED - 1)

    def measure(number: int, rung: Rung, questions: Sequence[Question]) -> Iterator[tuple[Question, float]]:
        for candidate, seed in questions:
            torch.manual_seed(seed)
            network = make_network()
            held = validation or _chosen(batches, lambda place: place % VALIDATED == VALIDATED - 1)
            found = FAILED
            try:
                _train(network, candidate, training, loss, optimizer, rung.steps)
                found = (score or _minus(loss))(network.eval(), held)
            except _Failed as error:
                say(f"{candidate.label}: {error}")
            say(f"{candidate.label}, seed {seed}: {found:.4g}")
            yield (candidate, seed), found

    race = Race(racing, None if out is None else out / "race.log")
    rungs = _rungs(len(racing), steps, seeds)
    standings = race.run(rungs, measure, say)
    if standings[0].sample.mean == FAILED:
        raise BadValue("every training failed, also that of the network as it is; lower the learning rate")
    measured = "minus the loss on validation batches" if score is None else "score on validation batches"
    return Outcome(standings, measured, False, steps, racing[0].label)


class _Failed(Exception):
    """A training that cannot continue."""


def _rungs(candidates: int, steps: int, seeds: int) -> list[Rung]:
    """The rungs up to a final with that number of steps."""
    counts = [*narrowing(candidates), min(FINALISTS + 1, candidates)]
    last = len(counts) - 1
    return [
        Rung(count, seeds if place == last else 1, max(1, steps // GROWTH ** (last - place)))
        for place, count in enumerate(counts)
    ]


def _chosen(batches: Iterable[Batch], wanted: Callable[[int], bool]) -> Iterator[Batch]:
    """The batches at some places."""
    return (batch for place, batch in enumerate(batches) if wanted(place))


def _train(
    network: nn.Module,
    candidate: Candidate,
    training: Callable[[], Iterator[Batch]],
    loss: Loss,
    optimizer: MakeOptimizer,
    steps: int,
) -> None:
    """Train a network with a candidate's surrogate function and controller."""
    if candidate.surrogate is not None:
        for slot in find_surrogates(network).values():
            slot.function = find_surrogate(candidate.surrogate)
    first = next(training(), None)
    if first is None:
        raise BadValue("there is no batch to train on; give batches that can be iterated over again and again")
    name = candidate.controller or "fixed"
    try:
        adapter = Adapter(network, name, options=candidate.options, loss=loss, steps=steps, steps_per_epoch=steps)
    except BadValue as error:
        raise _Failed(str(error)) from error
    updates = optimizer(network.parameters())
    network.train()
    again = chain.from_iterable(training() for _ in repeat(None))
    for inputs, targets in islice(again, steps):
        adapter.step((inputs, targets))
        value = loss(network(inputs), targets)
        if not torch.isfinite(value):
            raise _Failed(f"the loss became {value.item()}")
        updates.zero_grad()
        value.backward()
        updates.step()


def _minus(loss: Loss) -> Score:
    """The score that is minus the mean loss of the batches."""

    @torch.no_grad()
    def score(network: nn.Module, batches: Iterable[Batch]) -> float:
        values: list[Tensor] = [loss(network(inputs), targets) for inputs, targets in batches]
        if not values:
            raise BadValue(f"there is no batch to validate on; give validation=, or {VALIDATED} batches or more")
        found: Any = -torch.stack(values).mean().item()
        return float(found)

    return score
