"""What a race has shown: a sentence, a table with intervals, and what to set."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from surgrad.sweep.table import Sample, paired
from surgrad.tuning.candidates import Candidate


@dataclass(frozen=True)
class Standing:
    """How far a candidate came.

    Attributes:
        candidate: it.
        rung: the last rung that it ran in, from 1.
        scores: of that rung, by seed; higher is better, -inf for a training that failed.
    """

    candidate: Candidate
    rung: int
    scores: Mapping[int, float]

    @property
    def sample(self) -> Sample:
        return Sample((*self.scores.values(),))

    def minus(self, other: "Standing") -> Sample:
        """The differences to another one, seed by seed."""
        return paired(self.scores, other.scores)


@dataclass(frozen=True)
class Outcome:
    """The result of a race.

    Attributes:
        standings: the candidates, the best first.
        measure: what the scores are, as in "accuracy on held-out samples".
        percent: whether the scores are shares, shown in per cent.
        steps: training steps of the final.
        baseline: the label of the candidate with which the others are compared.
    """

    standings: Sequence[Standing]
    measure: str
    percent: bool
    steps: int
    baseline: str

    @property
    def best(self) -> Candidate:
        """The candidate to use."""
        return self.standings[0].candidate

    @property
    def set_line(self) -> str:
        """The options for `surgrad train`; empty where nothing is to be changed."""
        return " ".join(f"--set {setting}" for setting in self.best.settings)

    @cached_property
    def finalists(self) -> list[Standing]:
        """Those that ran in the last rung."""
        last = max(standing.rung for standing in self.standings)
        return [standing for standing in self.standings if standing.rung == last]

    @property
    def sentence(self) -> str:
        """What to use, with its score, and how sure that is."""
        first, *others = self.finalists
        as_it_is = next(standing for standing in self.finalists if standing.candidate.label == self.baseline)
        seeds = "1 seed" if first.sample.n == 1 else f"{first.sample.n} seeds"
        score = f"{self.measure} {self._score(first.sample)}, {seeds}, {self.steps} steps each"
        if first is as_it_is:
            return f"Keep the surrogate as it is: {score}. No candidate was better; {self._distance(first, others[0])}."
        text = f"Use {first.candidate.label}: {score}. As it is: {self._score(as_it_is.sample)}; "
        text += f"{self._distance(first, as_it_is)}."
        rival = next((other for other in others if other is not as_it_is), None)
        return text if rival is None else f"{text} The next best: {self._distance(first, rival)}."

    @property
    def table(self) -> str:
        """A Markdown table of all candidates, the best first."""
        as_it_is = next(standing for standing in self.standings if standing.candidate.label == self.baseline)
        lines = [
            f"| candidate | rung | {self.measure} | 95 % interval of the mean | minus {self.baseline} | n |",
            "|---|---|---|---|---|---|",
        ]
        for standing in self.standings:
            sample = standing.sample
            difference = standing.minus(as_it_is) if standing.rung == as_it_is.rung else Sample(())
            apart = "–" if standing is as_it_is else self._interval(difference, "+")
            cells = [standing.candidate.label, str(standing.rung), self._score(sample), self._interval(sample), apart]
            lines.append(f"| {' | '.join([*cells, str(sample.n)])} |")
        return "\n".join(lines)

    def _distance(self, one: Standing, other: Standing) -> str:
        difference = one.minus(other)
        if not math.isfinite(difference.mean):
            return f"{other.candidate.label} failed"
        lower = f"{100 * difference.mean:.2f} points" if self.percent else f"{difference.mean:.4g}"
        found = f"{other.candidate.label} is {lower} lower"
        if difference.n < 2:
            return found
        words = f"{found} (95 % interval {self._interval(difference)})"
        return words if difference.mean - difference.interval > 0 else f"{words}, which is not established"

    def _score(self, sample: Sample) -> str:
        if not sample.n:
            return "–"
        if not math.isfinite(sample.mean):
            return "failed"
        if self.percent:
            return f"{sample.words()[0]} %"
        return f"{sample.mean:.4g}" + (f" ± {sample.sd:.2g}" if sample.n > 1 else "")

    def _interval(self, sample: Sample, sign: str = "") -> str:
        if sample.n < 2 or not math.isfinite(sample.mean):
            return "–"
        low, high = sample.mean - sample.interval, sample.mean + sample.interval
        factor = 100 if self.percent else 1
        return f"{factor * low:{sign}.2f} to {factor * high:{sign}.2f}"
