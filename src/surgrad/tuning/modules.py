"""Racing the surrogates of any module, by trainings in this process."""

import math
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
        validation: batches by which candidates are compared; None: every fifth of `batches`, on which none trains. All
            of them are then kept in memory, so that a loader that shuffles gives every candidate the same ones.
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
        BadValue: there is no batch to train or to validate on, a network is given in place of a function, or every
            training failed.
    """
    if isinstance(make_network, nn.Module):
        raise BadValue(
            f"tune trains many new networks, and was given one ({type(make_network).__name__}); give a function that "
            "makes it, such as `lambda: Network()`"
        )
    racing = default_candidates() if candidates is None else candidates
    training, held = _divided(batches) if validation is None else (batches, validation)
    if next(iter(training), None) is None:
        raise BadValue("there is no batch to train on; give batches that can be iterated over again and again")

    def measure(number: int, rung: Rung, questions: Sequence[Question]) -> Iterator[tuple[Question, float]]:
        for candidate, seed in questions:
            torch.manual_seed(seed)
            network = make_network()
            try:
                _train(network, candidate, training, loss, optimizer, rung.steps)
            except BadValue as error:
                say(f"{candidate.label}: {error}")
                yield (candidate, seed), FAILED
                continue
            found = (score or _minus(loss))(network.eval(), held)
            say(f"{candidate.label}, seed {seed}: {found:.4g}")
            yield (candidate, seed), found if math.isfinite(found) else FAILED

    race = Race(racing, None if out is None else out / "race.log")
    standings = race.run(_rungs(len(racing), steps, seeds), measure, say)
    if standings[0].sample.mean == FAILED:
        raise BadValue("every training failed, also that of the network as it is; lower the learning rate")
    measured = "minus the loss on validation batches" if score is None else "score on validation batches"
    return Outcome(standings, measured, False, steps, racing[0].label)


def _divided(batches: Iterable[Batch]) -> tuple[list[Batch], list[Batch]]:
    """The batches to train on, and those to validate on. They are kept, since a loader may shuffle its samples."""
    kept = list(batches)
    held = kept[VALIDATED - 1 :: VALIDATED]
    if kept and not held:
        raise BadValue(f"there is no batch to validate on; give validation=, or {VALIDATED} batches or more")
    return [batch for place, batch in enumerate(kept) if place % VALIDATED != VALIDATED - 1], held


def _rungs(candidates: int, steps: int, seeds: int) -> list[Rung]:
    """The rungs up to a final with that number of steps."""
    counts = [*narrowing(candidates), min(FINALISTS + 1, candidates)]
    last = len(counts) - 1
    return [
        Rung(count, seeds if place == last else 1, max(1, steps // GROWTH ** (last - place)))
        for place, count in enumerate(counts)
    ]


def _train(
    network: nn.Module,
    candidate: Candidate,
    training: Iterable[Batch],
    loss: Loss,
    optimizer: MakeOptimizer,
    steps: int,
) -> None:
    """Train a network with a candidate's surrogate function and controller; BadValue where that is not possible."""
    if candidate.surrogate is not None:
        for slot in find_surrogates(network).values():
            slot.function = find_surrogate(candidate.surrogate)
    name = candidate.controller or "fixed"
    adapter = Adapter(network, name, options=candidate.options, loss=loss, steps=steps, steps_per_epoch=steps)
    updates = optimizer(network.parameters())
    network.train()
    again = chain.from_iterable(repeat(training))
    for inputs, targets in islice(again, steps):
        adapter.step((inputs, targets))
        value = loss(network(inputs), targets)
        if not torch.isfinite(value):
            raise BadValue(f"the loss became {value.item()}")
        updates.zero_grad()
        value.backward()
        updates.step()


def _minus(loss: Loss) -> Score:
    """The score that is minus the mean loss of the batches."""

    @torch.no_grad()
    def score(network: nn.Module, batches: Iterable[Batch]) -> float:
        values: list[Tensor] = [loss(network(inputs), targets) for inputs, targets in batches]
        if not values:
            raise BadValue("there is no batch to validate on; give validation= batches that can be iterated over again")
        found: Any = -torch.stack(values).mean().item()
        return float(found)

    return score
