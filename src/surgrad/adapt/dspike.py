"""The temperature whose surrogate gradient points most like a finite-difference gradient (Dspike)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from surgrad.adapt.base import Controller, StepContext
from surgrad.adapt.probe import Probe
from surgrad.adapt.temperatures import Temperatures, width_at
from surgrad.config.values import Count, Positive, Range, Size, checked
from surgrad.criteria import RELIABLE_COSINE
from surgrad.errors import BadValue

Estimator = Literal["all", "coordinates", "directions"]
Scope = Literal["global", "stage", "layer"]
Cosine = Annotated[float, Range(-1, 1)]


class Dspike(Controller):
    """Chooses a temperature once an epoch, on the coming batch (Li et al. 2021, Dspike, Algorithm 1).

    Of the temperatures b, b + delta and b - delta it takes the one whose surrogate gradient of the first layer's
    weights has the largest cosine with their finite-difference gradient [L(w + ε·d) - L(w - ε·d)]/(2ε), with hard
    spikes in the forward pass.

    b = 2·v_th/width, which is the paper's temperature for the surrogate function `dspike`; any surrogate function of
    one width can be used. The paper states neither b₀, nor Δb, nor ε: here they are `start`, `delta` and eps·std(W₁).
    Normalisation takes the batch's own statistics, as constants, for both gradients.

    Args:
        parameter: the name of the parameter whose gradients are compared; None is the first weight.
        start: the first temperature.
        delta: Δb, by which the temperature moves.
        low: the lowest temperature.
        high: the highest temperature.
        eps: ε in units of std(W₁); None is 1 for single weights and 0.5 for directions, which move every weight.
        estimator: the directions d: "all" coordinates, as published; `samples` random "coordinates"; or `samples`
            random vectors of signs ("directions"). Single weights of a convolution change the loss so little that many
            more images are needed to distinguish the change from noise.
        samples: how many coordinates or directions.
        scope: one b for all layers ("global", as published), for layers of one image size ("stage"), or for each
            "layer", where later layers are searched with the temperatures just chosen for the earlier ones.
        min_reliability: b moves only where the finite-difference gradients of the two halves of the batch have at
            least this cosine; at too small an ε they are noise.
        seed: of the random coordinates and directions.

    Raises:
        BadValue: unless 0 < low <= start <= high, and `delta`, `eps` and `samples` are positive.
        UnknownName: for an unknown estimator or scope.
    """

    needs_probe = True
    has_own_period = True

    def __init__(
        self,
        parameter: str | None = None,
        *,
        start: Positive = 3.0,
        delta: Positive = 0.2,
        low: Positive = 0.2,
        high: Positive = 20.0,
        eps: Positive | None = None,
        estimator: Estimator = "directions",
        samples: Count = 32,
        scope: Scope = "global",
        min_reliability: Cosine = RELIABLE_COSINE,
        seed: Size = 0,
    ):
        if not (eps is None or eps > 0) or samples < 1:
            raise BadValue(
                f"eps must be positive (in units of std(W₁)) and samples 1 or more, got eps {eps}, samples {samples}"
            )
        checked("estimator", estimator, Estimator)
        checked("scope", scope, Scope)
        self.temperatures = Temperatures(start, delta, low, high)
        self.parameter = parameter
        self.eps = eps
        self.estimator = estimator
        self.samples = samples
        self.scope = scope
        self.min_reliability = min_reliability
        self.seed = seed
        self.temperature: dict[str, float] = {}  # by neuron

    def __call__(self, context: StepContext) -> dict[str, Tensor]:
        epoch_begins = context.step_of_epoch == 0
        started = bool(self.temperature)
        if not started:
            self.temperature = dict.fromkeys(context.neurons, self.temperatures.start)
        if context.probe is not None and epoch_begins:
            with context.probe.whole() as probe:
                self._search(context, probe.frozen())
        elif started:
            return {}
        return self._widths(context, self.temperature)

    def _search(self, context: StepContext, probe: Probe) -> None:
        name = self.parameter or probe.first_weight()
        seed = self.seed * 1_000_003 + context.epoch
        finite = difference(probe, name, self.estimator, self.samples, self.eps, seed)
        for group, members in self._groups(context, probe).items():
            now = self.temperature[members[0]]
            cosines = {}
            for b in dict.fromkeys(self.temperatures.around(now, (0, 1, -1))):
                widths = self._widths(context, {**self.temperature, **dict.fromkeys(members, b)})
                cosines[b] = finite.cosine(probe.grad(name, widths))
            best = max(cosines, key=cosines.__getitem__) if finite.reliability >= self.min_reliability else now
            self.temperature.update(dict.fromkeys(members, best))
            self.note(
                step=context.step,
                group=group,
                temperature=best,
                moved=best != now,
                reliability=finite.reliability,
                zeros=finite.zeros,
                cosines={f"{b:g}": cosine for b, cosine in cosines.items()},
            )

    def _groups(self, context: StepContext, probe: Probe) -> dict[str, list[str]]:
        """The neurons that share a temperature, by the group's name in the log."""
        if self.scope == "global":
            return {"all": [*context.neurons]}
        if self.scope == "layer":
            return {name: [name] for name in context.neurons}
        groups: dict[str, list[str]] = {}
        for name, size in probe.sizes().items():
            groups.setdefault("×".join(map(str, size)) or "flat", []).append(name)
        return groups

    def _widths(self, context: StepContext, temperature: Mapping[str, float]) -> dict[str, Tensor]:
        return {name: width_at(neuron, temperature[name]) for name, neuron in context.neurons.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"temperature": dict(self.temperature)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.temperature = dict(state["temperature"])


@dataclass(frozen=True)
class Difference:
    """A finite-difference gradient of a parameter.

    Attributes:
        directions: [K, *shape of the parameter].
        slopes: the loss's slope along each direction, [K], float64.
        reliability: the cosine between the slopes of the batch's two halves.
        zeros: fraction of the slopes that are exactly 0.
    """

    directions: Tensor
    slopes: Tensor
    reliability: float
    zeros: float

    def cosine(self, gradient: Tensor) -> float:
        """The cosine with a gradient of the parameter, along the same directions."""
        along = self.directions.flatten(1).double() @ gradient.double().flatten()
        return torch.cosine_similarity(self.slopes, along, dim=0).item()


def difference(
    probe: Probe,
    parameter: str,
    estimator: Estimator = "directions",
    samples: int = 32,
    eps: float | None = None,
    seed: int = 0,
) -> Difference:
    """The finite-difference gradient of a parameter.

    Args:
        probe: a probe that is `frozen`.
        parameter: the parameter's name.
        estimator: as in `Dspike`.
        samples: as in `Dspike`.
        eps: as in `Dspike`.
        seed: as in `Dspike`.
    """
    weight = probe.parameter(parameter)
    along = _directions(weight, estimator, samples, seed)
    if eps is None:
        eps = 0.5 if estimator == "directions" else 1.0
    halves = probe.slopes(parameter, along, eps * weight.double().std().item())
    first = len(probe) // 2 / len(probe)
    slopes = first * halves[0] + (1 - first) * halves[1]
    reliability = torch.cosine_similarity(halves[0], halves[1], dim=0).item()
    return Difference(along, slopes, reliability, (slopes == 0).double().mean().item())


def _directions(weight: Tensor, estimator: Estimator, samples: int, seed: int) -> Tensor:
    """[K, *weight.shape]: along which the weight is moved."""
    generator = torch.Generator().manual_seed(seed)
    size = weight.numel()
    if estimator == "directions":
        flat = torch.randint(0, 2, (samples, size), generator=generator) * 2.0 - 1
    else:
        some = estimator == "coordinates" and samples < size
        chosen = torch.randperm(size, generator=generator)[:samples] if some else torch.arange(size)
        flat = torch.nn.functional.one_hot(chosen, size).float()
    return flat.view(-1, *weight.shape).to(weight)
