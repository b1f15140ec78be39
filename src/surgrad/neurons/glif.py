"""GLIF: gates choose between kinds of leak, input and reset."""

import torch
from torch import Tensor, nn

from surgrad.errors import BadValue
from surgrad.neurons.lif import broadcast_channels
from surgrad.neurons.stepped import Stepped


class GLIF(Stepped):
    """Gated LIF (Yao et al. 2022), one set of parameters a layer or a channel, all sigmoids of trained numbers:

        u_t = (1 - a·(1 - τ))·u_{t-1}·(1 - g·o_{t-1}) - (1 - a)·λ + (1 - b·(1 - c_t))·I_t - (1 - g)·v_re·o_{t-1}

    a, b, g (`gates` [3] or [3, C]) choose leak by a factor τ (`decay` is the whole factor) or by a constant λ, weight
    c_t of a step or none, reset to zero or by v_re. At the start τ = 0.25, c = ½, v_re = v_th, λ = v_th/(2·steps), and,
    which the text at hand does not state, gates of ½. steps: those that have a c of their own; later ones share the
    last. The threshold is trained too. State: [2, N, C, ...], u·(1 - g·o) and (1 - g)·v_re·o.
    """

    per_time_step = True

    def __init__(self, *args, steps: int = 4, threshold: float = 0.5, channels: int | None = None, **options):
        if not 0 < threshold < 1:
            raise BadValue(
                f"threshold {threshold} is not a threshold; give a positive potential below 1, as a sigmoid is"
            )
        if not args and "tau" not in options:
            options.setdefault("decay", 0.25)
        super().__init__(*args, threshold=threshold, channels=channels, **options)
        size = () if channels is None else (channels,)
        self.gates = nn.Parameter(torch.zeros(3, *size))
        self.logit_leak = nn.Parameter(torch.logit(torch.full(size, threshold / (2 * steps))))
        self.logit_reset = nn.Parameter(torch.logit(torch.full(size, float(threshold))))
        self.logit_inputs = nn.Parameter(torch.zeros(steps, *size))

    def _hold_threshold(self, threshold: Tensor) -> None:
        self.logit_threshold = nn.Parameter(torch.logit(threshold))

    @property
    def threshold(self) -> Tensor:  # type: ignore[override]  # a buffer there
        return torch.sigmoid(self.logit_threshold)

    @property
    def decay(self) -> Tensor:
        """The whole factor of the potential, 1 - a·(1 - τ)."""
        return 1 - torch.sigmoid(self.gates[0]) * (1 - super().decay)

    def state_size(self, x: Tensor) -> tuple[int, ...]:
        return (2, *x.shape[1:])

    def charge(self, state: Tensor | None, current: Tensor, decay: Tensor, step: int) -> Tensor:
        by_factor, weighted, _ = torch.sigmoid(self.gates)
        own = torch.sigmoid(self.logit_inputs[min(step, len(self.logit_inputs) - 1)])
        leak = (1 - by_factor) * torch.sigmoid(self.logit_leak)
        u = broadcast_channels(1 - weighted * (1 - own), current) * current - broadcast_channels(leak, current)
        return u if state is None else u + decay * state[0] - state[1]

    def left(self, state: Tensor | None, u: Tensor, fired: Tensor, threshold: Tensor) -> Tensor:
        to_zero = torch.sigmoid(self.gates[2])
        by_voltage = (1 - to_zero) * torch.sigmoid(self.logit_reset)
        return torch.stack(
            [u * (1 - broadcast_channels(to_zero, u) * fired), broadcast_channels(by_voltage, u) * fired]
        )
