"""Candidates write: the temperature whose step of the weights serves other images best."""

from typing import Any

import torch
from torch import Tensor

from surgrad.adapt.base import Controller, StepContext
from surgrad.adapt.probe import Probe
from surgrad.errors import BadValue


class compete(Controller):  # noqa: N801
    """Differentiable surrogate gradient search (DGS; Che et al. 2022, SpikeDHS): in each layer the candidate
    temperatures b + k·move, |k| <= reach, compete.

    In the first `iterations` steps of an epoch, for each layer with weights W before it:
        W_k = W - lr·∂L₁/∂W, the gradient by the surrogate of temperature b_k in this layer, on one half of the batch;
        the candidates' currents are mixed by softmax(a), which is, the layer being linear, the weight
        Σ softmax(a)_k·W_k;
        a goes down the gradient of the loss L₂ that this mixture has on the other half, by Adam at `rate`.
    Then b becomes the candidate of the largest a, at least `low`, and a starts anew. The weights themselves stay.

    b = 2·v_th/width, starting at `start`. lr: of the candidates' steps. Theirs: start 3, move 0.2, reach 2, floor 0.2,
    rate 0.01, a training set split in two halves; how many iterations is not stated.
    """

    needs_probe = True
    has_own_period = True

    def __init__(
        self,
        *,
        start: float = 3.0,
        move: float = 0.2,
        reach: int = 2,
        low: float = 0.2,
        high: float = 20.0,
        iterations: int = 5,
        lr: float = 0.025,
        rate: float = 0.01,
    ):
        if not 0 < low <= start <= high or not move > 0 or reach < 1:
            raise BadValue(
                f"temperature {start} by {move}, {reach} to each side, in [{low}, {high}] is no search; "
                "give low <= start <= high, and a move and reach above 0"
            )
        if iterations < 1 or not (lr > 0 and rate > 0):
            raise BadValue(f"iterations {iterations}, lr {lr}, rate {rate}: give 1 or more, and rates above 0")
        self.start = start
        self.move = move
        self.reach = reach
        self.low = low
        self.high = high
        self.iterations = iterations
        self.lr = lr
        self.rate = rate
        self.temperature: dict[str, float] = {}
        self.mixture: dict[str, list[Tensor]] = {}  # by neuron: a, and Adam's two moments

    def __call__(self, moment: StepContext) -> dict[str, Tensor]:
        self.temperature = self.temperature or dict.fromkeys(moment.neurons, self.start)
        turn = moment.step % moment.steps_per_epoch
        if moment.probe is not None and turn < min(self.iterations, moment.steps_per_epoch):
            self._compete(moment, moment.probe, turn)
            if turn == min(self.iterations, moment.steps_per_epoch) - 1:
                self._decide(moment)
        return {name: self._width(neuron, self.temperature[name]) for name, neuron in moment.neurons.items()}

    def _compete(self, moment: StepContext, probe: Probe, turn: int) -> None:
        if len(probe) < 2:
            raise BadValue("a batch of one has no other half to serve; give 2 images or more")
        half = len(probe) // 2
        ours = probe.part(half)
        others = probe.part(half, half)
        for name, weights in probe.weights_before().items():
            if not weights or name not in moment.neurons:
                continue
            old = self.mixture.get(name) or [torch.zeros(2 * self.reach + 1, dtype=torch.float64) for _ in range(3)]
            gradient = self._gradient(moment, name, weights[0], ours, others, old[0])
            self.mixture[name] = _adam(old, gradient, self.rate, turn + 1)

    def _gradient(self, moment: StepContext, name: str, weight: str, ours: Probe, others: Probe, a: Tensor) -> Tensor:
        """Of the other half's loss with respect to a."""
        value = ours.parameter(weight)
        neuron = moment.neurons[name]
        steps = [ours.grad(weight, {name: self._width(neuron, b)}) for b in self._candidates(name)]
        share = a.softmax(0)
        moved = [value - self.lr * step for step in steps]
        mixed = sum((s * w for s, w in zip(share.to(value), moved, strict=True)), torch.zeros_like(value))
        back = others.grad(weight, at=mixed)
        slopes = torch.stack([(back.double() * w.double()).sum() for w in moved]).cpu()
        return share * (slopes - (share * slopes).sum())

    def _decide(self, moment: StepContext) -> None:
        for name, (a, *_) in self.mixture.items():
            best = self._candidates(name)[int(a.argmax())] if a.any() else self.temperature[name]
            self.note(step=moment.step, layer=name, temperature=best, mixture=a.softmax(0).tolist())
            self.temperature[name] = best
        self.mixture = {}

    def _candidates(self, name: str) -> list[float]:
        now = self.temperature[name]
        return [min(max(now + k * self.move, self.low), self.high) for k in range(-self.reach, self.reach + 1)]

    def _width(self, neuron: Any, temperature: float) -> Tensor:
        return 2 * neuron.threshold.detach() / temperature

    def state_dict(self) -> dict[str, Any]:
        mixture = {name: [part.clone() for part in parts] for name, parts in self.mixture.items()}
        return {"temperature": dict(self.temperature), "mixture": mixture}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.temperature = dict(state["temperature"])
        self.mixture = dict(state["mixture"])


def _adam(old: list[Tensor], gradient: Tensor, rate: float, step: int) -> list[Tensor]:
    """One step of Adam from (value, first moment, second moment), all new."""
    value, first, second = old
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient.square()
    move = rate * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
    return [value - move, first, second]
