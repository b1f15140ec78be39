"""Parallel spiking neurons: no recurrence; every potential is a weighted sum of the currents of several steps."""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from surgrad import padding
from surgrad.broadcasting import broadcast_channels
from surgrad.config.values import Count, Fraction, Positive
from surgrad.errors import BadValue
from surgrad.kernels.lif import LIFOutput, Norm, StepCounter
from surgrad.neurons.base import Neuron, new_surrogate
from surgrad.surrogates import Surrogate, SurrogateFunction, spike


class ParallelNeuron(Neuron):
    """A neuron whose potentials are H = W·X over the time steps, with S = Θ(H - B) (Fang et al. 2023).

    W is a trained matrix, one per layer, which the subclass defines (`weights_over_time`); B is `step_threshold`,
    trained, one per step or one for all. There is no reset, no decay and no carried potential.

    Defaults of the paper: threshold 1, and SpikingJelly's ATan with α = 2 (width 1/π).

    Args:
        threshold: the initial B, in units of potential.
        surrogate: as in `Neuron`; None for the paper's.
        channels: must be None: there is one weight matrix for the whole layer.
        carry: must be False: there is no potential to carry.
        backend: as in `Neuron`; all are the same here.

    Raises:
        BadValue: for `channels` or `carry`.
    """

    per_time_step = True
    has_decay = False
    supports_streaming = False
    backends = ("auto", "reference")

    step_threshold: nn.Parameter

    def __init__(
        self,
        *,
        threshold: Positive = 1.0,
        surrogate: Surrogate | SurrogateFunction | str | None = None,
        channels: Count | None = None,
        carry: bool = False,
        backend: str = "auto",
    ):
        if carry or channels is not None:
            raise BadValue(
                f"{type(self).__name__} has one weight matrix for the whole layer and no potential to carry; give "
                "neither channels nor carry"
            )
        super().__init__(
            0.0,
            threshold=threshold,
            surrogate=new_surrogate("atan", 1 / math.pi, None) if surrogate is None else surrogate,
            reset="none",
            backend=backend,
        )

    def _register_threshold(self, threshold: Tensor) -> None:
        """The subclass registers the trained thresholds of the steps."""

    @property
    def threshold(self) -> Tensor:  # type: ignore[override]  # a buffer there
        """Mean of the steps' thresholds."""
        return self.step_threshold.mean()

    @abstractmethod
    def weights_over_time(self, steps: int) -> Tensor:
        """W for a sequence of that many steps, [steps, steps]: row t weighs the currents for the potential of t."""

    def forward(
        self,
        x: Tensor,
        norm: Norm | None = None,
        plus: Tensor | None = None,
        plus_norm: Norm | None = None,
        steps: int | None = None,
    ) -> Tensor:
        """See `Neuron.forward`."""
        arguments = self._arguments(x, norm, plus, plus_norm, steps)
        current = padding.zeroed(arguments.current())  # a step may see later ones
        length = len(current)
        threshold = broadcast_channels(self.step_threshold[:length].to(current.dtype), current, 0)
        weights = self.weights_over_time(length).to(current.dtype)
        with torch.autocast(x.device.type, enabled=False):  # which would round the potentials
            above = torch.tensordot(weights, current, 1) - threshold
        spikes = spike(above, arguments.step_widths(), arguments.surrogate).to(x.dtype)
        counts = self._histograms(above, arguments.threshold) if self.recording else None
        history = above + arguments.threshold if self.needs_history else None
        self._store(LIFOutput(spikes, None, counts, history))
        return self._output(spikes)

    def _histograms(self, above: Tensor, threshold: Tensor) -> Tensor | None:
        """The histograms of all steps, above [T, N, C, ...]."""
        counter = StepCounter(self.histogram_shape)
        mask = padding.valid(above)
        for step, x in enumerate(above.detach()):
            counter.add(step, x, threshold, None if mask is None else mask[step])
        return counter.counts

    def extra_repr(self) -> str:
        return f"steps={len(self.step_threshold)}, threshold={self.threshold.item():.4g}"


class PSN(ParallelNeuron):
    """Parallel spiking neuron (Fang et al. 2023): W is `weight` [T, T], so that a step sees the later ones too.

    W is drawn as a linear layer's. `MaskedPSN` and `SlidingPSN` see past steps only. The other parameters are those of
    `ParallelNeuron`.

    Args:
        steps: T, the longest sequence; a shorter one uses the first rows and columns.
        threshold: the initial thresholds of the steps.
    """

    def __init__(
        self,
        *,
        steps: Count = 4,
        threshold: Positive = 1.0,
        surrogate: Surrogate | SurrogateFunction | str | None = None,
        channels: Count | None = None,
        carry: bool = False,
        backend: str = "auto",
    ):
        super().__init__(threshold=threshold, surrogate=surrogate, channels=channels, carry=carry, backend=backend)
        self.weight = _drawn_weights(steps)
        self.step_threshold = nn.Parameter(torch.full((steps,), float(threshold)))

    def weights_over_time(self, steps: int) -> Tensor:
        return _first(self.weight, steps)


class MaskedPSN(ParallelNeuron):
    """PSN with a lower triangular W of `order` diagonals: a step sees itself and the order - 1 steps before it.

    The other parameters are those of `ParallelNeuron`.

    Args:
        order: the number of diagonals, at least 1; None for all.
        steps: T, the longest sequence; a shorter one uses the first rows and columns.
        masking: 0 for no mask to 1 for the whole mask; the paper raises it during training.
        threshold: the initial thresholds of the steps.
    """

    mask: Tensor

    def __init__(
        self,
        *,
        order: Count | None = None,
        steps: Count = 4,
        masking: Fraction = 1.0,
        threshold: Positive = 1.0,
        surrogate: Surrogate | SurrogateFunction | str | None = None,
        channels: Count | None = None,
        carry: bool = False,
        backend: str = "auto",
    ):
        order = steps if order is None else order
        _check_order(order)
        super().__init__(threshold=threshold, surrogate=surrogate, channels=channels, carry=carry, backend=backend)
        self.weight = _drawn_weights(steps)
        self.step_threshold = nn.Parameter(torch.full((steps,), float(threshold)))
        self.register_buffer("mask", torch.ones(steps, steps).tril().triu(1 - order))
        self.masking = masking

    def weights_over_time(self, steps: int) -> Tensor:
        kept = self.masking * self.mask + (1 - self.masking)
        return _first(self.weight, steps) * kept[:steps, :steps]


class SlidingPSN(ParallelNeuron):
    """PSN with the same weights at every step, so that a sequence may have any length.

    H_t = Σ_i w_i·X_{t-i} over the last `order` steps, i = 0 ... order - 1, with one trained threshold. `weight` [order]
    starts at 2^-i. The other parameters are those of `ParallelNeuron`.

    Args:
        order: the number of weights, at least 1.
        threshold: the initial threshold.
        steps: accepted as in `PSN`, and not used.
    """

    def __init__(
        self,
        *,
        order: Count = 2,
        steps: Count = 4,
        threshold: Positive = 1.0,
        surrogate: Surrogate | SurrogateFunction | str | None = None,
        channels: Count | None = None,
        carry: bool = False,
        backend: str = "auto",
    ):
        _check_order(order)
        super().__init__(threshold=threshold, surrogate=surrogate, channels=channels, carry=carry, backend=backend)
        self.weight = nn.Parameter(0.5 ** torch.arange(order))
        self.step_threshold = nn.Parameter(torch.full((1,), float(threshold)))

    def weights_over_time(self, steps: int) -> Tensor:
        past = self.weight[:steps]
        diagonals = [torch.diag(weight.expand(steps - before), -before) for before, weight in enumerate(past)]
        return torch.stack(diagonals).sum(0)


def _check_order(order: int) -> None:
    if order < 1:
        raise BadValue(f"order must be at least 1 time step, got {order}")


def _drawn_weights(steps: int) -> nn.Parameter:
    """W [steps, steps], drawn as a linear layer's."""
    weight = nn.Parameter(torch.empty(steps, steps))
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    return weight


def _first(weight: Tensor, steps: int) -> Tensor:
    """The first rows and columns of W."""
    if steps > len(weight):
        raise BadValue(
            f"this neuron was built for {len(weight)} steps, got a sequence of {steps}; build it with steps={steps}"
        )
    return weight[:steps, :steps]
