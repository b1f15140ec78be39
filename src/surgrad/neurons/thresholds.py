"""Neurons with a trained threshold or initial potential. Their recurrence is the LIF's, so the fused kernels compute
them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgrad import padding
from surgrad.broadcasting import broadcast_channels
from surgrad.config.values import Count, Fraction, Positive
from surgrad.errors import BadValue
from surgrad.kernels.lif import LIFOutput, Reset
from surgrad.neurons.base import TimeConstant, check_threshold
from surgrad.neurons.fused import FusedNeuron
from surgrad.surrogates import Surrogate, SurrogateFunction


class LTMD(FusedNeuron):
    """Learnable thresholding (Wang et al. 2022a): v_th = tanh(w) with a trained w.

    w is `atanh_threshold`, one per layer or per channel. In the authors' code w starts at 0.5, so the threshold starts
    at 0.462. The other parameters are those of `Neuron`.

    Args:
        threshold: the initial v_th, in (0, 1).

    Raises:
        BadValue: for a threshold of 1 or above; also as in `Neuron`.
    """

    positive_parameters = ("atanh_threshold",)

    def __init__(
        self,
        decay: Fraction | None = None,
        *,
        tau: TimeConstant | None = None,
        train_decay: bool = False,
        threshold: Positive = 0.46211716,
        surrogate: Surrogate | SurrogateFunction | str = "rect",
        reset: Reset = "zero",
        detach_reset: bool = False,
        channels: Count | None = None,
        carry: bool = False,
        backend: str = "auto",
    ):
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

    def _register_threshold(self, threshold: Tensor) -> None:
        if not (threshold < 1).all():
            raise BadValue(f"the threshold of LTMD is a tanh and must be below 1, got {threshold.max():g}")
        self.atanh_threshold = nn.Parameter(torch.atanh(threshold))

    @property
    def threshold(self) -> Tensor:  # type: ignore[override]  # a buffer there
        return torch.tanh(self.atanh_threshold)


class DietLIF(FusedNeuron):
    """Diet-SNN (Rathi and Roy 2021): leak and threshold are trained.

    The reset subtracts, and the slope is a function of u/v_th - 1.

    Potentials are in units of the threshold: the input is divided by it (`trained_threshold`, one per layer or per
    channel), and `threshold` is 1. Their leak is a free number and does not act on what the reset subtracts. Here it is
    a sigmoid and acts on that too, as in the other neurons. The other parameters are those of `Neuron`.

    Args:
        threshold: the initial value of the trained threshold.
        detach_reset: as in their code, the reset is detached; `damping` requires it.
        damping: factor of the slope, which is a function of unit mass. Theirs is 0.3·max(0, 1 - |u/v_th - 1|), the
            surrogate function `triangle` with damping 0.3.

    Raises:
        BadValue: for a damping other than 1 without a detached reset; also as in `Neuron`.
    """

    threshold_units = True
    positive_parameters = ("trained_threshold",)

    def __init__(
        self,
        decay: Fraction | None = None,
        *,
        tau: TimeConstant | None = None,
        train_decay: bool = True,
        threshold: Positive = 1.0,
        surrogate: Surrogate | SurrogateFunction | str = "triangle",
        reset: Reset = "subtract",
        detach_reset: bool = True,
        channels: Count | None = None,
        carry: bool = False,
        backend: str = "auto",
        damping: Positive = 0.3,
    ):
        check_threshold(threshold)
        if not detach_reset and damping != 1:
            raise BadValue(
                f"damping {damping:g} scales the gradient of the spikes only, not that of the reset; give "
                "detach_reset=True or damping=1"
            )
        super().__init__(
            decay,
            tau=tau,
            train_decay=train_decay,
            threshold=1.0,
            surrogate=surrogate,
            reset=reset,
            detach_reset=detach_reset,
            channels=channels,
            carry=carry,
            backend=backend,
        )
        self.damping = damping
        self.trained_threshold = nn.Parameter(torch.full(self.threshold.shape, float(threshold)))

    @property
    def gain(self) -> Tensor:
        return 1 / self.trained_threshold

    def _output(self, spikes: Tensor) -> Tensor:
        return super()._output(_ScaledGradient.apply(spikes, self.damping))


class _ScaledGradient(torch.autograd.Function):
    """The identity, with a gradient multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.factor, None


class TrLIF(FusedNeuron):
    """Threshold-robust surrogate gradient (WACV 2026, TrSG): a spike is as large as the trained threshold.

    The slope is 1 for u/v_th between ½ and 1½.

    Potentials are in units of the threshold, which is softplus of `inverse_softplus_threshold`, one per layer or per
    channel; `threshold` is 1. The reset subtracts. The other parameters are those of `Neuron`.

    Args:
        threshold: the initial value of the trained threshold.
        mp_init: MP-Init of the same paper: sequences begin at `running_rest`, the running average of the last potential
            of those neurons that fired at least once, in units of the threshold.
        momentum: weight of the newest batch in that average, in [0, 1].
        decay_input: multiply the current by 1 - β = 1/τ, as the authors' code does.
    """

    running_rest: Tensor
    threshold_units = True

    def __init__(
        self,
        decay: Fraction | None = None,
        *,
        tau: TimeConstant | None = None,
        train_decay: bool = True,
        threshold: Positive = 1.0,
        surrogate: Surrogate | SurrogateFunction | str = "rect",
        reset: Reset = "subtract",
        detach_reset: bool = False,
        channels: Count | None = None,
        carry: bool = False,
        backend: str = "auto",
        mp_init: bool = True,
        momentum: Fraction = 0.1,
        decay_input: bool = False,
    ):
        check_threshold(threshold)
        super().__init__(
            decay,
            tau=tau,
            train_decay=train_decay,
            threshold=1.0,
            surrogate=surrogate,
            reset=reset,
            detach_reset=detach_reset,
            channels=channels,
            carry=carry,
            backend=backend,
        )
        value = torch.full(self.threshold.shape, float(threshold))
        self.inverse_softplus_threshold = nn.Parameter(value + torch.log(-torch.expm1(-value)))
        self.mp_init = mp_init
        self.momentum = momentum
        self.decay_input = decay_input
        self.register_buffer("running_rest", torch.zeros(()))

    @property
    def amplitude(self) -> Tensor:
        return F.softplus(self.inverse_softplus_threshold)

    @property
    def gain(self) -> Tensor:
        return ((1 - self.decay) if self.decay_input else 1) / self.amplitude

    @property
    def needs_final_potential(self) -> bool:
        return self.carry or (self.mp_init and self.training)

    @property
    def supports_streaming(self) -> bool:  # type: ignore[override]  # a constant there
        return not (self.mp_init and self.training)  # every call counts as the end of a sequence

    def initial_potential(self, x: Tensor) -> Tensor | None:
        return self.running_rest.clone().expand(x.shape[1:]) if self.mp_init else None

    def _store(self, out: LIFOutput) -> None:
        super()._store(out)
        if self.mp_init and self.training and out.potential is not None:
            padding.refuse("TrLIF's initial potential, learned in training (mp_init),")
            with torch.no_grad():
                fired = out.spikes.any(0)
                mean = (out.potential * fired).sum() / fired.sum().clamp(min=1)
                self.running_rest.lerp_(
                    torch.where(fired.any(), mean.to(self.running_rest), self.running_rest), self.momentum
                )


class IMPLIF(FusedNeuron):
    """A trained initial potential (NeurIPS 2024, IMP): sequences begin at `initial` in place of 0.

    `initial` is 0 before training; one per layer or per channel. The paper's loss reads the last step only
    (`SpikingNetwork.last_step`). The parameters are those of `Neuron`.
    """

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
    ):
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
        self.initial = nn.Parameter(torch.zeros(self.threshold.shape))

    def initial_potential(self, x: Tensor) -> Tensor | None:
        if self.initial.ndim and x.shape[2:3] != self.initial.shape:
            return None  # the kernel raises the error about the shapes
        return broadcast_channels(self.initial, x[0]).expand(x.shape[1:])
