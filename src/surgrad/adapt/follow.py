"""A parameter writes: the width follows what the neuron has learned."""

from collections.abc import Callable

from torch import Tensor

from surgrad.adapt.base import Controller, Moment

Rule = Callable[[Tensor, Tensor], Tensor]


def lsg_width(decay: Tensor, threshold: Tensor) -> Tensor:
    """α = 2·v_th·√(1 + β²), the width of the rectangle in LSG (Lian et al. 2023, section on learnable surrogates).

    It spans one standard deviation of the potential on either side of the threshold, after two steps without reset of
    a current N(0, v_th²) (their Theorem 1). decay, threshold: 0-d or [C]."""
    return 2 * threshold * (1 + decay.square()).sqrt()


class follow(Controller):  # noqa: N801
    """Each width follows its own layer: width = rule(decay, threshold). α is a constant of the backward pass, so no
    gradient reaches the decay through it."""

    def __init__(self, rule: Rule = lsg_width):
        self.rule = rule

    def __call__(self, moment: Moment) -> dict[str, Tensor]:
        return {
            name: self.rule(neuron.decay.detach(), neuron.threshold.detach()) for name, neuron in moment.neurons.items()
        }
