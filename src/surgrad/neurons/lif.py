"""Spiking neurons over time: they hold decay, threshold and surrogate, and call a kernel.

Every neuron maps currents [T, N, C, ...] to spikes of the same shape, and starts each call from rest, so that
nothing leaks from one batch to the next; with `carry=True` it goes on from where the last call ended, until `reset`.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from surgrad.broadcasting import broadcast_channels as broadcast_channels
from surgrad.errors import BadValue, unknown
from surgrad.kernels.lif import LIFOutput, Norm, Reset, lif
from surgrad.kernels.packing import mark_spikes
from surgrad.surrogates import Surrogate, SurrogateFunction


class LIF(nn.Module):
    """Leaky integrate-and-fire (Lian et al. 2023, eqs. 1 and 2): u_t = β·v_{t-1} + I_t, spike at u_t >= v_th.

    decay: β in [0, 1]; or tau >= 1, with β = 1 - 1/τ. A trained decay is σ(b), b the parameter `logit_decay`, and
        its initial β lies in (0, 1).
    channels: None for one decay, threshold and width a layer, C for one a channel.
    threshold: v_th > 0. reset: to "zero", "subtract" the threshold, or "none".
    detach_reset: whether the reset is a constant in the backward pass; the papers keep its gradient.
    surrogate: the slot of its width; a shape, or its name, stands for a new one of width 1. Give each neuron its own.
    carry: keep the potential from call to call, until `surgrad.reset`; `surgrad.detach` cuts its gradient.
    backend: see `surgrad.lif`.

    While `watch` is set and it trains, `histogram` holds the last call's histogram (`surgrad.kernels.lif`). While
    `penalise` is set and it trains, `penalty` holds what that says of the last call's potentials
    (`surgrad.penalties`); the neuron then runs on the reference.
    """

    per_time_step = False
    """Whether it does another thing in every step, and so is made with their number (`steps`)."""
    threshold_units = False
    """Whether its potentials are in units of the threshold, which is then 1 to all who ask."""
    positive: tuple[str, ...] = ()
    """Its parameters that an optimiser must leave above 0 (`surgrad.neurons.keep_positive`)."""
    has_decay = True
    """Whether it has a decay to be told."""
    supports_streaming = True
    """Whether a sequence may come in several calls (`carry`)."""

    histogram: Tensor | None
    penalty: Tensor | None
    penalise: "Callable[[Tensor, Tensor, LIF], Tensor] | None"
    potential: Tensor | None
    threshold: Tensor
    fixed_decay: Tensor

    def __init__(
        self,
        decay: float | None = None,
        *,
        tau: float | None = None,
        train_decay: bool = False,
        threshold: float = 0.5,
        surrogate: Surrogate | SurrogateFunction | str = "rect",
        reset: Reset = "zero",
        detach_reset: bool = False,
        channels: int | None = None,
        carry: bool = False,
        backend: str = "auto",
    ):
        super().__init__()
        if not threshold > 0:
            raise BadValue(f"threshold {threshold} is not a threshold; give a positive potential")
        size = () if channels is None else (channels,)
        self._hold_decay(torch.full(size, _decay_of(decay, tau)), train_decay)
        self._hold_threshold(torch.full(size, float(threshold)))
        self.surrogate = surrogate if isinstance(surrogate, Surrogate) else Surrogate(surrogate, torch.ones(size))
        self.reset_mode: Reset = reset
        self.detach_reset = detach_reset
        self.carry = carry
        self.backend = backend
        self.watch = False
        self.histogram = None
        self.penalise = self.penalty = None
        self.potential = None

    def _hold_decay(self, decay: Tensor, train: bool) -> None:
        if train and not ((decay > 0) & (decay < 1)).all():
            raise BadValue(f"a trained decay is a sigmoid and cannot start at {decay.max():g}; start within (0, 1)")
        if train:
            self.logit_decay = nn.Parameter(torch.logit(decay))
        else:
            self.register_buffer("fixed_decay", decay)

    def _hold_threshold(self, threshold: Tensor) -> None:
        """For a subclass that trains it, and then has a property of that name."""
        self.register_buffer("threshold", threshold)

    @property
    def decay(self) -> Tensor:
        """β: 0-d, or [C]."""
        return torch.sigmoid(self.logit_decay) if "logit_decay" in self._parameters else self.fixed_decay

    @property
    def recording(self) -> bool:
        """Whether potentials are counted: what is evaluated is no evidence."""
        return self.watch and self.training

    @property
    def binary(self) -> bool:
        """Whether what it returns is 0 or 1."""
        return self.amplitude is None

    @property
    def amplitude(self) -> Tensor | None:
        """What its spikes are multiplied by, 0-d or [C]; None: nothing."""
        return None

    @property
    def penalised(self) -> bool:
        """Whether `penalise` is asked: of a training, and no evaluation."""
        return self.penalise is not None and self.training

    @property
    def needs_final_potential(self) -> bool:
        """Whether the last potential is of use after a call."""
        return self.carry

    @property
    def gain(self) -> Tensor | None:
        """What the input is multiplied by before it is integrated, 0-d or [C]; None: nothing."""
        return None

    def for_channels(self, channels: int) -> None:
        """Told, while it is built, of the channels that the norm before it has; for a subclass that has a use for
        that."""

    def rest(self, x: Tensor) -> Tensor | None:
        """The potential [N, C, ...] that a sequence x begins with; None: 0."""
        return None

    def forward(
        self,
        x: Tensor,
        norm: Norm | None = None,
        plus: Tensor | None = None,
        plus_norm: Norm | None = None,
        steps: int | None = None,
    ) -> Tensor:
        """x [T, N, C, ...] -> spikes of the same shape and dtype; the rest as in `surgrad.lif`."""
        gain = self.gain
        if gain is not None:
            norm = _scaled(norm, gain, x)
            plus_norm = None if plus is None else _scaled(plus_norm, gain, x)
        first = self.surrogate.first_width
        if first is None:
            out, history = self._run(
                x,
                self.surrogate.width,
                self._start(x),
                self.needs_final_potential,
                norm=norm,
                plus=plus,
                plus_norm=plus_norm,
                steps=steps,
            )
        else:
            out, history = self._run_apart(x, first, norm, plus, plus_norm, steps)
        self._remember(out, history)
        return self._emitted(out.spikes)

    def _emitted(self, spikes: Tensor) -> Tensor:
        amplitude = self.amplitude
        if amplitude is not None:
            spikes = spikes * broadcast_channels(amplitude, spikes, 2).to(spikes.dtype)
        return mark_spikes(spikes) if self.binary else spikes

    def _remember(self, out: LIFOutput, history: Tensor | None) -> None:
        """What is asked of this call later."""
        if self.carry:
            self.potential = out.potential
        if self.recording:
            self.histogram = out.histogram
        if self.penalise is not None:
            self.penalty = None if history is None else self.penalise(history, out.spikes, self)

    def _run(
        self, x: Tensor, width: Tensor, start: Tensor | None, keep: bool, *, above: float = 0.0, **fused: Any
    ) -> tuple[LIFOutput, Tensor | None]:
        """The output, and while penalised the potentials of every step. above: what is added to the threshold."""
        threshold = self.threshold + above if above else self.threshold
        fused |= {
            "surrogate": self.surrogate.function,
            "threshold": threshold,
            "reset": self.reset_mode,
            "initial_potential": start,
            "detach_reset": self.detach_reset,
            "return_histogram": self.recording,
            "return_potential": keep,
            "return_history": self.penalised,
            "backend": self.backend,
        }
        out = lif(x, self.decay, width, **fused)
        return out, out.history

    def _run_apart(
        self,
        x: Tensor,
        first_width: Tensor,
        norm: Norm | None,
        plus: Tensor | None,
        plus_norm: Norm | None,
        steps: int | None,
    ) -> tuple[LIFOutput, Tensor | None]:
        """The first step with a width of its own, then the others from where it ended."""
        if any(given is not None and given.batch for given in (norm, plus_norm)):
            raise BadValue(
                "a norm by the batch's statistics needs all steps at once, and this neuron's first step has "
                "a width of its own; put the norm before it"
            )
        total = max(len(x), 0 if plus is None else len(plus), steps or 1)
        early = None if plus is None else plus[:1]
        first, before = self._run(x[:1], first_width, self._start(x), True, norm=norm, plus=early, plus_norm=plus_norm)
        if total == 1:
            return first, before
        x = x if len(x) == 1 else x[1:]
        plus = plus if plus is None or len(plus) == 1 else plus[1:]
        rest, after = self._run(
            x,
            self.surrogate.width,
            first.potential,
            self.needs_final_potential,
            norm=norm,
            plus=plus,
            plus_norm=plus_norm,
            steps=total - 1,
        )
        counts = None if first.histogram is None or rest.histogram is None else first.histogram + rest.histogram
        history = None if before is None or after is None else torch.cat([before, after])
        return LIFOutput(torch.cat([first.spikes, rest.spikes]), rest.potential, counts), history

    def state_size(self, x: Tensor) -> tuple[int, ...]:
        """The shape of what it carries between two calls on inputs like x."""
        return tuple(x.shape[1:])

    def _check_backend(self, *known: str) -> None:
        """For a subclass that no kernel serves."""
        if self.backend not in known:
            raise unknown("backend", self.backend, known)

    def _start(self, x: Tensor) -> Tensor | None:
        v = self.potential
        if v is None:
            return self.rest(x)
        if v.shape == self.state_size(x) and v.device == x.device:
            return v
        raise BadValue(
            f"this neuron carries a potential {list(v.shape)} on {v.device} from its last call, which does not fit "
            f"the input {list(x.shape)} on {x.device}; call surgrad.reset(network) before a new sequence"
        )

    def __getstate__(self) -> dict[str, Any]:
        """What a copy gets: all but the state of the last call."""
        return {**self.__dict__, "potential": None, "histogram": None, "penalty": None}

    def extra_repr(self) -> str:
        trained = "trained " if "logit_decay" in self._parameters else ""
        carry = ", carry=True" if self.carry else ""
        beta = self.decay.mean().item()
        threshold = self.threshold.mean().item()
        return f"{trained}decay={beta:.4g}, threshold={threshold:.4g}, reset={self.reset_mode!r}{carry}"


class PLIF(LIF):
    """Parametric LIF (Fang et al. 2021): v += (x - v)/τ, that is β = 1 - 1/τ and an input scaled by 1/τ.

    Defaults as in the paper's code: τ₀ = 2 trained, threshold 1, hard reset detached, ATan of SpikingJelly's α = 2
    (width 1/π)."""

    def __init__(
        self,
        decay: float | None = None,
        *,
        tau: float | None = None,
        train_decay: bool = True,
        threshold: float = 1.0,
        surrogate: Surrogate | SurrogateFunction | str | None = None,
        detach_reset: bool = True,
        **options,
    ):
        if decay is None and tau is None:
            tau = 2.0
        surrogate = Surrogate("atan", 1 / math.pi) if surrogate is None else surrogate
        super().__init__(
            decay,
            tau=tau,
            train_decay=train_decay,
            threshold=threshold,
            surrogate=surrogate,
            detach_reset=detach_reset,
            **options,
        )

    @property
    def gain(self) -> Tensor:
        return 1 - self.decay


class IF(LIF):
    """Integrate-and-fire: a LIF that leaks nothing (β = 1). Threshold 1 by default (Fang et al. 2021, SEW-ResNet)."""

    has_decay = False

    def __init__(self, *, threshold: float = 1.0, **options):
        super().__init__(decay=1.0, threshold=threshold, **options)


def _decay_of(decay: float | None, tau: float | None) -> float:
    """β from what was given; 0.2 where nothing was (Lian et al. 2023)."""
    if decay is not None and tau is not None:
        raise BadValue(f"decay {decay} and tau {tau} both given; give one, they are tied by decay = 1 - 1/tau")
    if tau is not None and not tau >= 1:
        raise BadValue(f"tau {tau} is not a membrane time constant; give steps, at least 1")
    beta = 1 - 1 / tau if tau is not None else 0.2 if decay is None else decay
    if not 0 <= beta <= 1:
        raise BadValue(f"decay {beta} is not a decay; give a number from 0 (forgets all) to 1 (forgets nothing)")
    return beta


def _scaled(norm: Norm | None, gain: Tensor, x: Tensor) -> Norm:
    """The norm whose outcome is multiplied by `gain`; None stands for the one that changes nothing."""
    if norm is None:
        size = gain.shape if gain.ndim else x.shape[2:3] if x.ndim > 2 else (1,)
        nothing = torch.zeros(size, dtype=gain.dtype, device=x.device)
        norm = Norm(nothing, nothing + 1, nothing + 1, nothing, 0.0, batch=False)
    return norm._replace(weight=norm.weight * gain, bias=norm.bias * gain)
