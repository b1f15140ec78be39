"""MPBN: a norm between the potential and the threshold."""

from functools import partial

import torch
from torch import Tensor, nn

from surgrad import padding, ranks
from surgrad.config.values import Count, Fraction, Positive
from surgrad.errors import BadValue
from surgrad.kernels.lif import Norm, Reset
from surgrad.neurons.base import TimeConstant
from surgrad.neurons.fused import FusedNeuron
from surgrad.neurons.stepped import SteppedNeuron
from surgrad.surrogates import Surrogate, SurrogateFunction


class MPBN(SteppedNeuron):
    """Membrane potential batch normalisation (Guo et al. 2023): a norm between potential and threshold.

    Compared with the threshold is

        û_t = γ·(u_t - mean_t)/√(var_t + ε) + μ.

    The reset acts on u_t. In training mean_t and var_t are those of the step's batch. In evaluation they are a running
    estimate over all steps. A batch of one value per channel has no variance and uses that estimate too. γ is
    `norm_weight` (1 at the start), μ `norm_bias` (0). The other parameters are those of `Neuron`.

    `folded` gives the neuron that needs no norm in evaluation.

    Args:
        layer_channels: C, the channels of the layer's input, for one norm per channel, as published; None for one norm
            for the whole layer, or one per channel where `channels` is given. `NormNeuron` gives a neuron with one norm
            for the layer one per channel.
        eps: ε.
        momentum: weight of the newest step in the running estimate, in [0, 1]; None: the estimate is the mean over the
            steps of the newest call.

    Raises:
        BadValue: for `channels` and `layer_channels` that differ; also as in `Neuron`.
    """

    tracks_batch_statistics = True
    one_batch_momentum = None
    """The momentum that makes the running estimate that of one batch: here the mean over its steps."""
    norm_mean: Tensor
    norm_variance: Tensor
    steps_in_call: int
    """Time steps of the present call so far."""

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
        layer_channels: Count | None = None,
        eps: Positive = 1e-5,
        momentum: Fraction | None = 0.1,
    ):
        if None not in (channels, layer_channels) and channels != layer_channels:
            raise BadValue(f"channels {channels} and layer_channels {layer_channels} differ; give the layer's channels")
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
        self.eps = eps
        self.momentum = momentum
        self._register_norm(channels if layer_channels is None else layer_channels)

    def _register_states(self) -> None:
        super()._register_states()
        self.register_state("steps_in_call", 0)

    def _register_norm(self, channels: int | None) -> None:
        size = () if channels is None else (channels,)
        self.norm_weight = nn.Parameter(torch.ones(size))
        self.norm_bias = nn.Parameter(torch.zeros(size))
        self.register_buffer("norm_mean", torch.zeros(size))
        self.register_buffer("norm_variance", torch.ones(size))

    def set_norm_channels(self, channels: int) -> None:
        """Replace one norm for the whole layer by a new one per channel; norms per channel stay as they are."""
        if self.norm_weight.ndim == 0:
            self._register_norm(channels)

    def forward(
        self,
        x: Tensor,
        norm: Norm | None = None,
        plus: Tensor | None = None,
        plus_norm: Norm | None = None,
        steps: int | None = None,
    ) -> Tensor:
        """See `Neuron.forward`."""
        self.steps_in_call = 0
        return super().forward(x, norm, plus, plus_norm, steps)

    def readable_potential(self, u: Tensor) -> Tensor:
        if self.training:
            ranks.refuse_padding(type(self).__name__)
        self.steps_in_call += 1
        share = 1 / self.steps_in_call if self.momentum is None else self.momentum
        step = self.steps_in_call - 1
        return padding.per_sample(partial(self._normalised, share=share), u[None], padding.valid(u[None], step))[0]

    def _normalised(self, u: Tensor, share: float) -> Tensor:
        values = (u if self.norm_weight.ndim else u.reshape(1, 1, -1)).to(self.norm_mean.dtype)
        by_batch = self.training and ranks.has_variance(values.numel() // self.norm_weight.numel())
        mean = self.norm_mean.view(-1)  # views, so that batch_norm writes to the buffers
        variance = self.norm_variance.view(-1)
        weight = self.norm_weight.view(-1)
        out = ranks.batch_norm(values, mean, variance, weight, self.norm_bias.view(-1), by_batch, share, self.eps)
        return out.view_as(u).to(u.dtype)

    @torch.no_grad()
    def folded(self) -> FusedNeuron:
        """Build the neuron without a norm that spikes in evaluation where this one does (Guo et al. 2023).

        Its threshold, for the layer or for each channel, is

            v' = (v_th - μ)·√(var + ε)/γ + mean,

        so that a kernel computes it. Where γ < 0, which reverses the comparison, the current and the threshold change
        their sign. The slope differs from this neuron's: use the result for evaluation only.

        Raises:
            BadValue: where the reset subtracts the threshold.
        """
        if self.reset_mode == "subtract":
            raise BadValue(
                "the reset subtracts the original threshold, and folding changes the threshold; use reset='zero' or do "
                "not fold this neuron"
            )
        scale = self.norm_weight / torch.sqrt(self.norm_variance + self.eps)
        above = self.threshold - self.norm_bias
        level = torch.where(scale == 0, torch.where(above > 0, torch.inf, -torch.inf), above / scale + self.norm_mean)
        return _Folded(self, torch.where(scale < 0, -1.0, 1.0), level)


class _Folded(FusedNeuron):
    """An LIF with any threshold, also 0 or negative, and a sign of its input."""

    sign: Tensor

    def __init__(self, original: MPBN, sign: Tensor, level: Tensor):
        super().__init__(
            0.5,
            surrogate=original.surrogate,
            reset=original.reset_mode,
            detach_reset=original.detach_reset,
            carry=original.carry,
            backend=original.backend,
        )
        self.fixed_decay = original.decay.clone()
        self.threshold = sign * level
        self.register_buffer("sign", sign)
        self.train(original.training)

    @property
    def gain(self) -> Tensor:
        return self.sign
