"""Neurons whose threshold is trained; their recurrence is the LIF's, and so are their kernels."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgrad.errors import BadValue
from surgrad.kernels.lif import LIFOutput, Reset
from surgrad.neurons.lif import LIF, broadcast_channels
from surgrad.surrogates import Surrogate


class LTMD(LIF):
    """Learnable thresholding (Wang et al. 2022a): v_th = tanh(w) with a trained w (`atanh_threshold`), 0.5 at the start
    in the authors' code, which is a threshold of 0.462; one a layer or a channel. `threshold` is the initial v_th."""

    def __init__(self, *args, threshold: float = 0.46211716, **options):
        if not 0 < threshold < 1:
            raise BadValue(f"threshold {threshold} is not a threshold; give a positive potential below 1, as a tanh is")
        super().__init__(*args, threshold=threshold, **options)

    positive = ("atanh_threshold",)

    def _hold_threshold(self, threshold: Tensor) -> None:
        self.atanh_threshold = nn.Parameter(torch.atanh(threshold))

    @property
    def threshold(self) -> Tensor:  # type: ignore[override]  # a buffer there
        return torch.tanh(self.atanh_threshold)


class DietLIF(LIF):
    """Diet-SNN (Rathi and Roy 2021): leak and threshold trained, reset by subtraction, the slope a function of
    u/v_th - 1. So potentials here are in units of the threshold: the input is divided by it (`trained_threshold`,
    `threshold` at the start; one a layer or a channel), and `threshold` itself is 1.

    damping: what the slope, a function of unit mass, is multiplied by; theirs is 0.3·max(0, 1 - |u/v_th - 1|), the
    shape `triangle`. So that it is exactly that, the reset is detached, as theirs is.

    Their leak is a free number, and leaves what the reset takes alone; here it is a sigmoid, and leaks that too, as
    everywhere."""

    threshold_units = True
    positive = ("trained_threshold",)

    def __init__(
        self,
        *args,
        threshold: float = 1.0,
        train_decay: bool = True,
        reset: Reset = "subtract",
        surrogate: Surrogate | str = "triangle",
        detach_reset: bool = True,
        damping: float = 0.3,
        **options,
    ):
        super().__init__(
            *args,
            threshold=1.0,
            train_decay=train_decay,
            reset=reset,
            surrogate=surrogate,
            detach_reset=detach_reset,
            **options,
        )
        if not threshold > 0:
            raise BadValue(f"threshold {threshold} is not a threshold; give a positive potential")
        if not detach_reset and damping != 1:
            raise BadValue(
                f"damping {damping} is of the way from the spikes, and the reset's gradient goes by another "
                "one; give detach_reset=True, or damping=1"
            )
        self.damping = damping
        self.trained_threshold = nn.Parameter(torch.full(self.threshold.shape, float(threshold)))

    @property
    def gain(self) -> Tensor:
        return 1 / self.trained_threshold

    def _emitted(self, spikes: Tensor) -> Tensor:
        return super()._emitted(_Damped.apply(spikes, self.damping))


class _Damped(torch.autograd.Function):
    """What it is given, and a share of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float) -> Tensor:
        ctx.share = share
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.share, None


class TrLIF(LIF):
    """Threshold-robust surrogate gradient (WACV 2026, TrSG): a spike is as large as the trained threshold, and the
    slope is 1 for u/v_th within ½ and 1½. Potentials are in units of the threshold, softplus of
    `inverse_softplus_threshold`; one a layer or a channel; `threshold` itself is 1. Reset by subtraction.

    mp_init (the same paper's MP-Init): sequences begin where others ended, at the running average, by `momentum`, of
    the last potential of those neurons that fired at all; in units of the threshold here (`running_rest`)."""

    running_rest: Tensor
    threshold_units = True

    def __init__(
        self,
        *args,
        threshold: float = 1.0,
        train_decay: bool = True,
        reset: Reset = "subtract",
        mp_init: bool = True,
        momentum: float = 0.1,
        **options,
    ):
        super().__init__(*args, threshold=1.0, train_decay=train_decay, reset=reset, **options)
        if not threshold > 0:
            raise BadValue(f"threshold {threshold} is not a threshold; give a positive potential")
        value = torch.full(self.threshold.shape, float(threshold))
        self.inverse_softplus_threshold = nn.Parameter(value + torch.log(-torch.expm1(-value)))
        self.mp_init = mp_init
        self.momentum = momentum
        self.register_buffer("running_rest", torch.zeros(()))

    @property
    def amplitude(self) -> Tensor:
        return F.softplus(self.inverse_softplus_threshold)

    @property
    def gain(self) -> Tensor:
        return 1 / self.amplitude

    @property
    def needs_final_potential(self) -> bool:
        return self.carry or (self.mp_init and self.training)

    @property
    def supports_streaming(self) -> bool:  # type: ignore[override]  # a constant there
        return not (self.mp_init and self.training)  # every call ends a sequence

    def rest(self, x: Tensor) -> Tensor | None:
        return self.running_rest.clone().expand(x.shape[1:]) if self.mp_init else None

    def _remember(self, out: LIFOutput, history: Tensor | None) -> None:
        super()._remember(out, history)
        if self.mp_init and self.training and out.potential is not None:
            with torch.no_grad():
                fired = out.spikes.any(0)
                mean = (out.potential * fired).sum() / fired.sum().clamp(min=1)
                self.running_rest.lerp_(
                    torch.where(fired.any(), mean.to(self.running_rest), self.running_rest), self.momentum
                )


class IMPLIF(LIF):
    """A trained initial potential (NeurIPS 2024, IMP): sequences begin at `initial` (0 at the start) in place of rest;
    one a layer or a channel. The paper's loss looks at the last step alone (`SpikingNetwork.last_step`)."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.initial = nn.Parameter(torch.zeros(self.threshold.shape))

    def rest(self, x: Tensor) -> Tensor | None:
        if self.initial.ndim and x.shape[2:3] != self.initial.shape:
            return None  # the kernel will say what does not fit
        return broadcast_channels(self.initial, x[0]).expand(x.shape[1:])
