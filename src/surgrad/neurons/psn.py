"""Parallel spiking neurons: no recurrence, every potential a weighted sum of the steps' currents."""

import math

import torch
from torch import Tensor, nn

from surgrad.errors import BadValue
from surgrad.kernels.lif import LIFOutput, Norm, histogram, lif_arguments
from surgrad.neurons.lif import LIF
from surgrad.surrogates import Surrogate, spike


class PSN(LIF):
    """Parallel spiking neuron (Fang et al. 2023): H = W·X over the steps, S = Θ(H - B),

    with trained `weight` [T, T] and `step_threshold` [T] (B, `threshold` at the start), one each a layer. It has no
    reset, and a step sees the later ones too; `MaskedPSN` and `SlidingPSN` see the past alone. steps: T, the longest
    sequence; a shorter one uses the first rows and columns. W is drawn as a linear layer's. The defaults are the
    paper's: threshold 1, ATan of SpikingJelly's α = 2."""

    per_time_step = True
    has_decay = supports_streaming = False

    def __init__(
        self,
        *,
        steps: int = 4,
        threshold: float = 1.0,
        surrogate: Surrogate | str | None = None,
        carry: bool = False,
        channels: int | None = None,
        **options,
    ):
        if carry or channels is not None:
            raise BadValue(
                f"{type(self).__name__} has one weight matrix a layer and no potential to carry; give "
                "neither channels nor carry"
            )
        surrogate = Surrogate("atan", 1 / math.pi) if surrogate is None else surrogate
        super().__init__(0.0, threshold=threshold, surrogate=surrogate, **options)
        self._hold_weights(steps, threshold)

    def _hold_weights(self, steps: int, threshold: float) -> None:
        self.weight = nn.Parameter(torch.empty(steps, steps))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.step_threshold = nn.Parameter(torch.full((steps,), float(threshold)))

    def _hold_threshold(self, threshold: Tensor) -> None:
        """The trained thresholds of the steps are held with the weights."""

    @property
    def threshold(self) -> Tensor:  # type: ignore[override]  # a buffer there
        """Mean of the steps' thresholds."""
        return self.step_threshold.mean()

    def over_time(self, steps: int) -> Tensor:
        """What maps currents to potentials, [T, T]."""
        if steps > len(self.weight):
            raise BadValue(
                f"a sequence of {steps} steps, and this neuron was made for {len(self.weight)}; give it "
                "steps = the network's"
            )
        return self.weight[:steps, :steps]

    def forward(
        self,
        x: Tensor,
        norm: Norm | None = None,
        plus: Tensor | None = None,
        plus_norm: Norm | None = None,
        steps: int | None = None,
    ) -> Tensor:
        """x [T, N, C, ...] -> spikes of the same shape and dtype; the rest as in `surgrad.lif`."""
        self._check_backend("auto", "reference")
        arguments = lif_arguments(
            x,
            self.decay,
            self.surrogate.width,
            surrogate=self.surrogate.function,
            threshold=self.threshold,
            reset=self.reset_mode,
            norm=norm,
            plus=plus,
            plus_norm=plus_norm,
            steps=steps,
        )
        current = arguments.current()
        length = len(current)
        threshold = self.step_threshold[:length].to(current.dtype).view(-1, *[1] * (current.ndim - 1))
        weight = self.over_time(length).to(current.dtype)
        with torch.autocast(x.device.type, enabled=False):  # which would round the potentials
            above = torch.tensordot(weight, current, 1) - threshold
        spikes = spike(above, arguments.width, arguments.surrogate).to(x.dtype)
        counts = histogram(above, arguments.threshold) if self.recording else None
        self._remember(LIFOutput(spikes, None, counts), above + arguments.threshold if self.penalised else None)
        return self._emitted(spikes)


class MaskedPSN(PSN):
    """The same with W lower triangular, of `order` diagonals (all by default): a step sees itself and the order - 1
    before it. masking: from 0 (none) to 1 (whole, the default); the paper raises it over the training."""

    def __init__(self, *, order: int | None = None, steps: int = 4, masking: float = 1.0, **options):
        super().__init__(steps=steps, **options)
        order = steps if order is None else order
        if order < 1:
            raise BadValue(f"order {order} is no number of steps; give 1 or more")
        rows = torch.ones(steps, steps)
        self.register_buffer("mask", rows.tril().triu(1 - order))
        self.masking = masking

    def over_time(self, steps: int) -> Tensor:
        assert isinstance(self.mask, Tensor)
        kept = self.masking * self.mask + (1 - self.masking)
        return super().over_time(steps) * kept[:steps, :steps]


class SlidingPSN(PSN):
    """The same weights at every step, so that a sequence may have any length: H_t = Σ_i w_i·X_{t-i} over the last
    `order` steps, i = 0 ... order - 1; `weight` [order], 2^-i at the start, and one trained threshold."""

    def __init__(self, *, order: int = 2, steps: int = 4, **options):
        if order < 1:
            raise BadValue(f"order {order} is no number of steps; give 1 or more")
        self._order = order
        super().__init__(steps=steps, **options)

    def _hold_weights(self, steps: int, threshold: float) -> None:
        self.weight = nn.Parameter(0.5 ** torch.arange(self._order))
        self.step_threshold = nn.Parameter(torch.full((1,), float(threshold)))

    def over_time(self, steps: int) -> Tensor:
        past = self.weight[:steps]
        diagonals = [torch.diag(weight.expand(steps - before), -before) for before, weight in enumerate(past)]
        return torch.stack(diagonals).sum(0)
