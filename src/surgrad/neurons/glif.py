"""GLIF: gates choose between kinds of leak, input and reset."""

import torch
from torch import Tensor, nn

from surgrad.broadcasting import broadcast_channels
from surgrad.config.values import Count, Fraction, NonNegative, Positive
from surgrad.errors import BadValue
from surgrad.kernels.lif import Reset
from surgrad.neurons.base import TimeConstant
from surgrad.neurons.stepped import SteppedNeuron
from surgrad.surrogates import Surrogate, SurrogateFunction


class GLIF(SteppedNeuron):
    """Gated LIF (Yao et al. 2022), with trained gates between two leaks, two inputs and two resets.

    It has one set of parameters per layer or per channel, each the sigmoid of a trained number:

        u_t = (1 - a·(1 - τ))·u_{t-1}·(1 - g·o_{t-1}) - (1 - a)·λ + (1 - b·(1 - c_t))·I_t - (1 - g)·v_re·o_{t-1}

    a, b, g (`gates` [3] or [3, C]) choose between a leak by a factor τ and by a constant λ, between a weight c_t for
    each step and none, and between a reset to zero and by v_re. `decay` is the whole factor of the potential. At the
    start τ = 0.25, c = ½, v_re = v_th, λ = v_th/(2·steps), and the gates are ½ or near it (`gate_spread`), which the
    paper does not state. The threshold is trained too. `reset` changes nothing. The other parameters are those of
    `Neuron`. State: [2, N, C, ...], u·(1 - g·o) and (1 - g)·v_re·o.

    Args:
        threshold: the initial v_th, in (0, 1).
        steps: the number of time steps with a separate c_t; later steps share the last one.
        gate_spread: the numbers whose sigmoids are the gates start uniformly in ±gate_spread; 0.1 in the authors' code.
    """

    per_time_step = True

    def __init__(
        self,
        decay: Fraction | None = None,
        *,
        tau: TimeConstant | None = None,
        train_decay: bool = False,
        threshold: Positive = 0.5,
        surrogate: Surrogate | SurrogateFunction | str = "rect",
        reset: Reset = "zero",
        detach_reset: bool = False,
        channels: Count | None = None,
        carry: bool = False,
        backend: str = "auto",
        steps: Count = 4,
        gate_spread: NonNegative = 0.0,
    ):
        if decay is None and tau is None:
            decay = 0.25
        super().__init__(
            decay,
            tau=tau,
            train_decay=train_decay,
            threshold=threshold,
            surrogate=surrogate,
            reset=reset,
            detach_reset=detach_reset,
            channels=channels,
            carry=carry,
            backend=backend,
        )
        size = () if channels is None else (channels,)
        self.gates = nn.Parameter(torch.zeros(3, *size))
        if gate_spread > 0:
            nn.init.uniform_(self.gates, -gate_spread, gate_spread)
        self.logit_leak = nn.Parameter(torch.logit(torch.full(size, threshold / (2 * steps))))
        self.logit_reset = nn.Parameter(torch.logit(torch.full(size, float(threshold))))
        self.logit_inputs = nn.Parameter(torch.zeros(steps, *size))

    def _register_threshold(self, threshold: Tensor) -> None:
        if not (threshold < 1).all():
            raise BadValue(f"the threshold of GLIF is a sigmoid and must be below 1, got {threshold.max():g}")
        self.logit_threshold = nn.Parameter(torch.logit(threshold))

    @property
    def threshold(self) -> Tensor:  # type: ignore[override]  # a buffer there
        return torch.sigmoid(self.logit_threshold)

    @property
    def decay(self) -> Tensor:
        """The whole factor of the potential, 1 - a·(1 - τ)."""
        return 1 - torch.sigmoid(self.gates[0]) * (1 - self._own_decay())

    def state_size(self, x: Tensor) -> tuple[int, ...]:
        return (2, *x.shape[1:])

    def charge(self, state: Tensor | None, current: Tensor, decay: Tensor, step: int) -> Tensor:
        by_factor, weighted, _ = torch.sigmoid(self.gates)
        weight = torch.sigmoid(self.logit_inputs[min(step, len(self.logit_inputs) - 1)])
        leak = (1 - by_factor) * torch.sigmoid(self.logit_leak)
        u = broadcast_channels(1 - weighted * (1 - weight), current) * current - broadcast_channels(leak, current)
        return u if state is None else u + decay * state[0] - state[1]

    def next_state(self, state: Tensor | None, current: Tensor, u: Tensor, fired: Tensor, threshold: Tensor) -> Tensor:
        to_zero = torch.sigmoid(self.gates[2])
        by_voltage = (1 - to_zero) * torch.sigmoid(self.logit_reset)
        kept = u * (1 - broadcast_channels(to_zero, u) * fired)
        return torch.stack([kept, broadcast_channels(by_voltage, u) * fired])
