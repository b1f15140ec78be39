"""The temperature whose weight step lowers the loss of other images most (DGS)."""

from typing import Any

import torch
from torch import Tensor

from surgrad.adapt.base import Controller, StepContext
from surgrad.adapt.probe import Probe
from surgrad.adapt.temperatures import Temperatures, width_at
from surgrad.config.values import Count, Positive
from surgrad.errors import BadValue


class DGS(Controller):
    """Differentiable surrogate gradient search (DGS; Che et al. 2022, SpikeDHS).

    Each layer searches among its candidate temperatures b + k·delta, |k| <= per_side.

    In the first `iterations` steps of an epoch, for each layer with weights W before it:

        W_k = W - weight_lr·∂L₁/∂W, the gradient by the surrogate of temperature b_k in this layer, on one half of the
              batch;
        the candidates' currents are mixed by softmax(a). The layer is linear, so this equals the weight
              Σ softmax(a)_k·W_k;
        a follows the negative gradient of the loss L₂ that this mixture has on the other half, by Adam.

    Then b becomes the candidate with the largest a, clipped to [low, high], and a is reset to 0. The weights do not
    change.

    b = 2·v_th/width. The authors use start 3, delta 0.2, per_side 2, low 0.2, mixture_lr 0.01, and a training set split
    into two halves; the number of iterations is not stated.

    Args:
        start: the first temperature.
        delta: the distance between two candidates.
        per_side: candidates on each side of b.
        low: the lowest temperature.
        high: the highest temperature.
        iterations: steps of an epoch in which a is trained.
        weight_lr: learning rate of the candidates' weight steps.
        mixture_lr: learning rate of a, by Adam.

    Raises:
        BadValue: unless 0 < low <= start <= high, and the other numbers are positive.
    """

    needs_probe = True
    has_own_period = True

    def __init__(
        self,
        *,
        start: Positive = 3.0,
        delta: Positive = 0.2,
        per_side: Count = 2,
        low: Positive = 0.2,
        high: Positive = 20.0,
        iterations: Count = 5,
        weight_lr: Positive = 0.025,
        mixture_lr: Positive = 0.01,
    ):
        if per_side < 1 or iterations < 1:
            raise BadValue(
                f"per_side and iterations must be 1 or more, got per_side {per_side}, iterations {iterations}"
            )
        if not (weight_lr > 0 and mixture_lr > 0):
            raise BadValue(f"learning rates must be positive, got weight_lr {weight_lr} and mixture_lr {mixture_lr}")
        self.temperatures = Temperatures(start, delta, low, high)
        self.per_side = per_side
        self.iterations = iterations
        self.weight_lr = weight_lr
        self.mixture_lr = mixture_lr
        self.temperature: dict[str, float] = {}  # by neuron
        self.mixture: dict[str, list[Tensor]] = {}  # by neuron: a, and Adam's two moments

    def __call__(self, context: StepContext) -> dict[str, Tensor]:
        turn = context.step_of_epoch
        turns = min(self.iterations, context.steps_per_epoch or self.iterations)
        if not self.temperature:
            self.temperature = dict.fromkeys(context.neurons, self.temperatures.start)
        if context.probe is not None and turn < turns:
            with context.probe.whole() as probe:
                self._compare(context, probe, turn)
            if turn == turns - 1:
                self._decide(context)
        return {name: width_at(neuron, self.temperature[name]) for name, neuron in context.neurons.items()}

    def _compare(self, context: StepContext, probe: Probe, turn: int) -> None:
        """Train the mixture of each layer by one step."""
        if len(probe) < 2:
            raise BadValue("DGS compares two halves of the batch, and this batch has one image; give 2 images or more")
        half = len(probe) // 2
        ours = probe.part(half)
        others = probe.part(half, half)
        for name, weights in probe.weights_before().items():
            if not weights or name not in context.neurons:
                continue
            old = self.mixture.get(name) or [torch.zeros(2 * self.per_side + 1, dtype=torch.float64) for _ in range(3)]
            gradient = self._gradient(context, name, weights[0], ours, others, old[0])
            self.mixture[name] = _adam(old, gradient, self.mixture_lr, turn + 1)

    def _gradient(self, context: StepContext, name: str, weight: str, ours: Probe, others: Probe, a: Tensor) -> Tensor:
        """The gradient of the other half's loss with respect to a."""
        value = ours.parameter(weight)
        neuron = context.neurons[name]
        steps = [ours.grad(weight, {name: width_at(neuron, b)}) for b in self._candidates(name)]
        share = a.softmax(0)
        moved = [value - self.weight_lr * step for step in steps]
        mixed = sum((s * w for s, w in zip(share.to(value), moved, strict=True)), torch.zeros_like(value))
        at_mixture = others.grad(weight, at=mixed)
        slopes = torch.stack([(at_mixture.double() * w.double()).sum() for w in moved]).cpu()
        return share * (slopes - (share * slopes).sum())

    def _decide(self, context: StepContext) -> None:
        for name, (a, *_) in self.mixture.items():
            best = self._candidates(name)[int(a.argmax())] if a.any() else self.temperature[name]
            self.note(step=context.step, layer=name, temperature=best, mixture=a.softmax(0).tolist())
            self.temperature[name] = best
        self.mixture = {}

    def _candidates(self, name: str) -> list[float]:
        return self.temperatures.around(self.temperature[name], range(-self.per_side, self.per_side + 1))

    def state_dict(self) -> dict[str, Any]:
        mixture = {name: [part.clone() for part in parts] for name, parts in self.mixture.items()}
        return {"temperature": dict(self.temperature), "mixture": mixture}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.temperature = dict(state["temperature"])
        self.mixture = dict(state["mixture"])


def _adam(old: list[Tensor], gradient: Tensor, lr: float, step: int) -> list[Tensor]:
    """One step of Adam from (value, first moment, second moment), all new."""
    value, first, second = old
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient.square()
    move = lr * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
    return [value - move, first, second]
