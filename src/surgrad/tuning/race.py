"""Successive halving (Jamieson & Talwalkar 2016): many candidates by short trainings, the best ones by longer ones."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from surgrad.errors import BadValue
from surgrad.tuning.candidates import Candidate
from surgrad.tuning.outcome import Standing

KEPT = 4
"""One of this number of candidates continues in the next rung."""
FINALISTS = 2
"""Besides the network as it is."""
GROWTH = 3
"""By this factor the trainings of a rung are longer than those of the one before."""
LEAST_STEPS = 20
"""The shortest training that says anything."""
FAILED = -math.inf
"""The score of a training that failed."""

Question = tuple[Candidate, int]
"""A candidate and a seed."""


@dataclass(frozen=True)
class Rung:
    """A round of the race.

    Attributes:
        candidates: the number of candidates in it.
        seeds: trainings of each.
        steps: training steps of each training.
    """

    candidates: int
    seeds: int
    steps: int


Measure = Callable[[int, Rung, Sequence[Question]], Iterable[tuple[Question, float]]]
"""(number of the rung, rung, questions) -> scores, in any order; higher is better."""


def planned(
    candidates: int, seconds: float, *, step: float, start: float = 0.0, seeds: int = 3, longest: int | None = None
) -> list[Rung]:
    """The rungs of a race that takes about so long; the trainings of a rung are `GROWTH` times as long as those before.

    Args:
        candidates: the number of candidates.
        seconds: the time for all trainings.
        step: seconds of a training step.
        start: seconds that a training takes besides its steps.
        seeds: trainings of each finalist.
        longest: the largest number of steps of a training.

    Raises:
        BadValue: the time is too short.
    """
    rungs = [(count, 1) for count in narrowing(candidates)] + [(min(FINALISTS + 1, candidates), seeds)]
    trainings = sum(count * repeats for count, repeats in rungs)
    weights = sum(count * repeats * GROWTH**place for place, (count, repeats) in enumerate(rungs))
    first = (seconds - trainings * start) / (weights * step)
    if first < LEAST_STEPS:
        needed = (trainings * start + LEAST_STEPS * weights * step) / 60
        raise BadValue(
            f"{seconds / 60:.3g} minutes are too short: {trainings} trainings of {candidates} candidates need at least "
            f"{needed:.2g} minutes here; give more, or fewer candidates or seeds"
        )
    steps = [int(first * GROWTH**place) for place in range(len(rungs))]
    return [
        Rung(count, repeats, number if longest is None else min(number, longest))
        for (count, repeats), number in zip(rungs, steps, strict=True)
    ]


def narrowing(candidates: int) -> list[int]:
    """The numbers of candidates in the rungs before the final."""
    counts = [candidates]
    while counts[-1] > KEPT * FINALISTS:
        counts.append(math.ceil(counts[-1] / KEPT))
    return counts


class Race:
    """A race of candidates, whose scores are kept in an Optuna study, so that it can be stopped and resumed.

    Args:
        candidates: what is raced; the first is what the others are compared with.
        file: the journal of the study (`optuna-dashboard FILE` shows it); None keeps it in memory.

    Raises:
        BadValue: there are fewer than two candidates; Optuna is not installed; or the file holds a race of others.
    """

    def __init__(self, candidates: Sequence[Candidate], file: Path | None = None):
        if len(candidates) < 2:
            raise BadValue(f"a race needs two candidates or more, got {[candidate.label for candidate in candidates]}")
        optuna = _optuna()
        self.candidates = candidates
        labels = [candidate.label for candidate in candidates]
        storage = None
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(file)))
        study = optuna.create_study(study_name="race", storage=storage, direction="maximize", load_if_exists=True)
        self._study = study
        self._trials: dict[str, Any] = {
            frozen.params["candidate"]: optuna.trial.Trial(study, frozen._trial_id) for frozen in study.get_trials()
        }
        if self._trials and set(self._trials) != set(labels):
            raise BadValue(f"{file} holds a race of other candidates; give another folder, or delete that one")
        for label in labels if not self._trials else ():
            study.enqueue_trial({"candidate": label})
            trial = study.ask({"candidate": optuna.distributions.CategoricalDistribution(labels)})
            self._trials[label] = trial

    def scores(self, rung: int, candidate: Candidate) -> dict[int, float]:
        """The scores so far, by seed."""
        kept: dict[str, float] = self._trials[candidate.label].user_attrs.get(str(rung), {})
        return {int(seed): score for seed, score in kept.items()}

    def run(self, rungs: Sequence[Rung], measure: Measure, say: Callable[[str], None] = print) -> list[Standing]:
        """Race, or continue.

        Args:
            rungs: see `planned`.
            measure: trains the candidates of a rung, and yields their scores as they come.
            say: called with every line of progress.

        Returns:
            The candidates, the best first.
        """
        racing = list(self.candidates)
        out: list[Standing] = []
        for number, rung in enumerate(rungs):
            final = number == len(rungs) - 1
            if number:
                racing, lost = self._divided(number - 1, racing, rung.candidates, final)
                out = [self._standing(number - 1, candidate) for candidate in lost] + out
            say(f"rung {number + 1} of {len(rungs)}: {len(racing)} candidates, {rung.steps} steps each")
            self._ask(number, rung, racing, measure)
        return [self._standing(len(rungs) - 1, candidate) for candidate in self._ranked(len(rungs) - 1, racing)] + out

    def _ask(self, number: int, rung: Rung, racing: Sequence[Candidate], measure: Measure) -> None:
        """Measure what is not known yet, and keep it."""
        questions = [
            (candidate, seed)
            for seed in range(rung.seeds)
            for candidate in racing
            if seed not in self.scores(number, candidate)
        ]
        for (candidate, seed), score in measure(number, rung, questions) if questions else ():
            kept = {str(key): value for key, value in self.scores(number, candidate).items()}
            self._trials[candidate.label].set_user_attr(str(number), kept | {str(seed): score})

    def _ranked(self, number: int, racing: Sequence[Candidate]) -> list[Candidate]:
        return sorted(racing, key=lambda candidate: -mean(self.scores(number, candidate).values()))

    def _divided(
        self, number: int, racing: Sequence[Candidate], count: int, final: bool
    ) -> tuple[list[Candidate], list[Candidate]]:
        """Who continues after a rung, and who does not, the best first. The final has the network as it is, too."""
        ranked = self._ranked(number, racing)
        first = self.candidates[0]
        others = [candidate for candidate in ranked if candidate != first]
        going = [*others[: count - 1], first] if final else ranked[:count]
        if not final and first not in going:
            going = [*going[: count - 1], first]
        return going, [candidate for candidate in ranked if candidate not in going]

    def _standing(self, number: int, candidate: Candidate) -> Standing:
        return Standing(candidate, number + 1, self.scores(number, candidate))


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise BadValue("tuning needs the package optuna; pip install 'surgrad[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
