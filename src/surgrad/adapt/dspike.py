"""A search writes: the temperature whose surrogate gradient points most like a finite-difference gradient."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from surgrad.adapt.base import Controller, StepContext
from surgrad.adapt.probe import Probe
from surgrad.errors import BadValue, unknown

Estimator = Literal["all", "coordinates", "directions"]
Scope = Literal["global", "stage", "layer"]
ESTIMATORS = get_args(Estimator)
SCOPES = get_args(Scope)


class search(Controller):  # noqa: N801
    """Once an epoch, on the coming batch (Li et al. 2021, Dspike, Algorithm 1): of the temperatures b, b + move and
    b - move, the one whose surrogate gradient of the first layer's weights has the largest cosine with their
    finite-difference gradient [L(w + ε·d) - L(w - ε·d)]/(2ε), hard spikes forward.

    b = 2·v_th/width, which for the shape `dspike` is the paper's temperature; any shape of one width can be searched.
    b starts at `start` and stays within [low, high]. The paper states neither b₀, nor Δb, nor ε: ours are start, move,
    and eps·std(W₁); eps is by default 1 for single weights and 0.5 for directions, which move every weight.

    parameter: whose gradients are compared; the first weight by default.
    estimator: d runs over "all" coordinates, as published; over `count` random ones ("coordinates"); or over `count`
        random vectors of signs ("directions", the default: single weights of a convolution change the loss so little
        that it takes many more images to tell it from noise).
    scope: one b for all layers ("global", as published), for layers of one image size ("stage"), or for each "layer",
        the later ones given the earlier ones' choice.
    reliable: b moves only where the finite-difference gradients of the two halves of the batch have a cosine of at
        least this, since at too small an ε they are noise.
    Normalisation takes the batch's own statistics, as constants, for both gradients.
    """

    needs_probe = True
    has_own_period = True

    def __init__(
        self,
        parameter: str | None = None,
        *,
        start: float = 3.0,
        move: float = 0.2,
        low: float = 0.2,
        high: float = 20.0,
        eps: float | None = None,
        estimator: Estimator = "directions",
        count: int = 32,
        scope: Scope = "global",
        reliable: float = 0.3,
        seed: int = 0,
    ):
        if not 0 < low <= start <= high or not move > 0:
            raise BadValue(f"temperature {start} by {move} in [{low}, {high}] is no search; give low <= start <= high")
        if not (eps is None or eps > 0) or count < 1:
            raise BadValue(f"eps {eps}, count {count}: give a step above 0, in units of std(W₁), and 1 or more")
        if estimator not in ESTIMATORS:
            raise unknown("estimator", estimator, ESTIMATORS)
        if scope not in SCOPES:
            raise unknown("scope", scope, SCOPES)
        self.parameter = parameter
        self.start = start
        self.move = move
        self.low = low
        self.high = high
        self.eps = eps
        self.estimator = estimator
        self.count = count
        self.scope = scope
        self.reliable = reliable
        self.seed = seed
        self.temperature: dict[str, float] = {}  # by neuron

    def __call__(self, moment: StepContext) -> dict[str, Tensor]:
        if moment.probe is not None and moment.step % moment.steps_per_epoch == 0:
            self._search(moment, moment.probe.frozen())
        elif self.temperature:
            return {}
        if not self.temperature:
            self.temperature = dict.fromkeys(moment.neurons, self.start)
        return self._widths(moment, self.temperature)

    def _search(self, moment: StepContext, probe: Probe) -> None:
        self.temperature = self.temperature or dict.fromkeys(moment.neurons, self.start)
        name = self.parameter or probe.first_weight()
        seed = self.seed * 1_000_003 + moment.epoch
        finite = difference(probe, name, self.estimator, self.count, self.eps, seed)
        for group, members in self._groups(moment, probe).items():
            now = self.temperature[members[0]]
            trials = dict.fromkeys([now, *(min(max(now + d, self.low), self.high) for d in (self.move, -self.move))])
            cosines = {}
            for b in trials:
                widths = self._widths(moment, {**self.temperature, **dict.fromkeys(members, b)})
                cosines[b] = finite.cosine(probe.grad(name, widths))
            best = max(cosines, key=cosines.__getitem__) if finite.reliability >= self.reliable else now
            self.temperature.update(dict.fromkeys(members, best))
            self.note(
                step=moment.step,
                group=group,
                temperature=best,
                moved=best != now,
                reliability=finite.reliability,
                zeros=finite.zeros,
                cosines={f"{b:g}": cosine for b, cosine in cosines.items()},
            )

    def _groups(self, moment: StepContext, probe: Probe) -> dict[str, list[str]]:
        if self.scope == "global":
            return {"all": [*moment.neurons]}
        if self.scope == "layer":
            return {name: [name] for name in moment.neurons}
        groups: dict[str, list[str]] = {}
        for name, size in probe.sizes().items():
            groups.setdefault("×".join(map(str, size)) or "flat", []).append(name)
        return groups

    def _widths(self, moment: StepContext, temperature: Mapping[str, float]) -> dict[str, Tensor]:
        return {name: 2 * neuron.threshold / temperature[name] for name, neuron in moment.neurons.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"temperature": dict(self.temperature)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.temperature = dict(state["temperature"])


@dataclass(frozen=True)
class Difference:
    """A finite-difference gradient along `directions` [K, ...]: `slopes` [K], float64. reliability: the cosine of those
    of the batch's two halves. zeros: share of the slopes that are exactly 0."""

    directions: Tensor
    slopes: Tensor
    reliability: float
    zeros: float

    def cosine(self, gradient: Tensor) -> float:
        """With a gradient of the parameter, along the same directions."""
        along = self.directions.flatten(1).double() @ gradient.double().flatten()
        return torch.cosine_similarity(self.slopes, along, dim=0).item()


def difference(
    probe: Probe,
    parameter: str,
    estimator: Estimator = "directions",
    count: int = 32,
    eps: float | None = None,
    seed: int = 0,
) -> Difference:
    """The finite-difference gradient of a parameter; see `search` for the options. probe: one that is `frozen`."""
    weight = probe.parameter(parameter)
    along = _directions(weight, estimator, count, seed)
    if eps is None:
        eps = 0.5 if estimator == "directions" else 1.0
    halves = probe.slopes(parameter, along, eps * weight.double().std().item())
    first = len(probe) // 2 / len(probe)
    slopes = first * halves[0] + (1 - first) * halves[1]
    reliability = torch.cosine_similarity(halves[0], halves[1], dim=0).item()
    return Difference(along, slopes, reliability, (slopes == 0).double().mean().item())


def _directions(weight: Tensor, estimator: Estimator, count: int, seed: int) -> Tensor:
    """[K, *weight.shape]: what the weight is moved along."""
    generator = torch.Generator().manual_seed(seed)
    size = weight.numel()
    if estimator == "directions":
        flat = torch.randint(0, 2, (count, size), generator=generator) * 2.0 - 1
    else:
        few = estimator == "coordinates" and count < size
        chosen = torch.randperm(size, generator=generator)[:count] if few else torch.arange(size)
        flat = torch.nn.functional.one_hot(chosen, size).float()
    return flat.view(-1, *weight.shape).to(weight)
