"""The interface that all spiking neurons share.

A neuron maps currents [T, N, C, ...] to spikes of the same shape. Each call starts from the initial potential, so that
nothing leaks from one batch to the next. With `carry=True` a call continues where the last one ended, until `reset`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn

from surgrad import padding
from surgrad.broadcasting import broadcast_channels
from surgrad.config.values import Count, Fraction, Positive, Range
from surgrad.deprecated import warn
from surgrad.errors import BadValue, unknown
from surgrad.kernels.lif import BACKENDS, RESETS, LIFArguments, LIFOutput, Norm, Reset, lif_arguments
from surgrad.kernels.packing import mark_spikes
from surgrad.noted import Noted
from surgrad.state import Stateful
from surgrad.surrogates import Surrogate, SurrogateFunction

TimeConstant = Annotated[float, Range(1)]
"""A membrane time constant τ in time steps."""


class Neuron(Noted, Stateful, ABC):
    """A layer of spiking neurons: decay, threshold and surrogate, and the state of the last call.

    Abstract: derive from `FusedNeuron` where the recurrence is the LIF's, from `SteppedNeuron` where a loop over the
    time steps computes it, and from `ParallelNeuron` where there is no recurrence.

    While `record_histogram` is set, `histogram` holds the histogram of the potentials of the last call in training
    (`surgrad.kernels.lif`), [BINS]; with `histogram_by_width` those that each width meets, [*shape of the width, BINS].
    While `penalty_fn` is set, `penalty` holds its value for the last call in training (`surgrad.penalties`). While
    `watcher` is set, it is called with the potentials before the reset [T, N, ...], the spikes and the neuron, after
    every call (`surgrad.measure.record`).

    Args:
        decay: factor β of the potential from one step to the next, in [0, 1]; 0.2 where neither `decay` nor `tau` is
            given (Lian et al. 2023).
        tau: membrane time constant in steps, at least 1; another way to give the decay, β = 1 - 1/τ.
        train_decay: train β = σ(b) with the parameter b (`logit_decay`); the initial β must lie in (0, 1).
        threshold: v_th > 0, in units of potential.
        surrogate: the surrogate gradient and its width. A surrogate function or its name stands for a new `Surrogate`
            of width 1. Give each neuron a separate `Surrogate`.
        reset: what a spike does to the potential: "zero" sets it to 0, "subtract" subtracts the threshold, "none"
            leaves it.
        detach_reset: whether the reset is a constant in the backward pass; the papers keep its gradient.
        channels: None for one decay, threshold and width for the whole layer; C for one of each per channel.
        carry: keep the potential from call to call, until `surgrad.reset`; `surgrad.detach` cuts its gradient.
        backend: see `surgrad.lif`.

    Raises:
        BadValue: for a decay outside [0, 1], a threshold that is not positive, or both `decay` and `tau`.
        UnknownName: for an unknown surrogate function, reset or backend.
    """

    per_time_step = False
    """Whether it has parameters for each time step, so that its constructor takes `steps`."""
    threshold_units = False
    """Whether its potentials are in units of the threshold; `threshold` is then 1."""
    positive_parameters: tuple[str, ...] = ()
    """Names of parameters that must stay positive (`surgrad.neurons.keep_positive`)."""
    has_decay = True
    """Whether its constructor takes `decay`."""
    supports_streaming = True
    """Whether a sequence may come in several calls (`carry`)."""
    tracks_batch_statistics = False
    """Whether it uses statistics of the batch in training, and a running estimate of them in evaluation."""
    couples_samples = False
    """Whether, in training, the spikes of one sample may depend on the other samples of the batch or on random
    numbers."""
    shares_batches = True
    """Whether processes that have shares of a batch compute what one computes that has all of it (`surgrad.ranks`)."""
    backends: tuple[str, ...] = (*BACKENDS, "auto")
    """Backends that its constructor accepts."""

    histogram: Tensor | None
    penalty: Tensor | None
    penalty_fn: "Callable[[Tensor, Tensor, Neuron], Tensor] | None"
    watcher: "Callable[[Tensor, Tensor, Neuron], None] | None"
    potential: Tensor | None
    threshold: Tensor
    fixed_decay: Tensor

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
        super().__init__()
        check_threshold(threshold)
        if reset not in RESETS:
            raise unknown("reset", reset, RESETS)
        if backend not in self.backends:
            raise unknown("backend", backend, self.backends)
        size = () if channels is None else (channels,)
        self._register_decay(torch.full(size, _decay_of(decay, tau)), train_decay)
        self._register_threshold(torch.full(size, float(threshold)))
        self.surrogate = surrogate if isinstance(surrogate, Surrogate) else Surrogate(surrogate, torch.ones(size))
        self.reset_mode: Reset = reset
        self.detach_reset = detach_reset
        self.carry = carry
        self.backend = backend
        self.record_histogram = False
        self.histogram_by_width = False
        self.penalty_fn = None
        self.watcher = None
        self._register_states()

    def _register_states(self) -> None:
        """Declare the state; a subclass with more of it adds to this."""
        self.register_state("potential", carried=True)
        self.register_state("histogram")
        self.register_state("penalty")

    def _register_decay(self, decay: Tensor, train: bool) -> None:
        if train and not ((decay > 0) & (decay < 1)).all():
            raise BadValue(
                f"a trained decay is a sigmoid, so it must start between 0 and 1, not at {decay.max():g}; "
                "give another decay or train_decay=False"
            )
        if train:
            self.logit_decay = nn.Parameter(torch.logit(decay))
        else:
            self.register_buffer("fixed_decay", decay)

    def _register_threshold(self, threshold: Tensor) -> None:
        """Store the initial threshold. A subclass that trains it stores a parameter, and defines `threshold` as a
        property."""
        self.register_buffer("threshold", threshold)

    @abstractmethod
    def forward(
        self,
        x: Tensor,
        norm: Norm | None = None,
        plus: Tensor | None = None,
        plus_norm: Norm | None = None,
        steps: int | None = None,
    ) -> Tensor:
        """Compute the spikes of norm(x) + plus_norm(plus).

        Args:
            x: currents [T, N, C, ...].
            norm: normalisation of x, computed in the same pass.
            plus: a second summand of the shape and dtype of x.
            plus_norm: normalisation of `plus`.
            steps: T, where x or `plus` is [1, N, C, ...] and the same at every step.

        Returns:
            Spikes [T, N, C, ...] of the dtype of x.
        """

    @property
    def decay(self) -> Tensor:
        """β: 0-d, or [C]."""
        return self._own_decay()

    def _own_decay(self) -> Tensor:
        return torch.sigmoid(self.logit_decay) if "logit_decay" in self._parameters else self.fixed_decay

    @property
    def gain(self) -> Tensor | None:
        """Factor of the current before it is integrated, 0-d or [C]; None stands for 1."""
        return None

    @property
    def amplitude(self) -> Tensor | None:
        """Factor of the spikes, 0-d or [C]; None stands for 1."""
        return None

    @property
    def binary(self) -> bool:
        """Whether the output is 0 or 1."""
        return self.amplitude is None

    @property
    def recording(self) -> bool:
        """Whether the next call records a histogram: in training mode only."""
        return self.record_histogram and self.training

    @property
    def penalised(self) -> bool:
        """Whether the next call computes a penalty: in training mode only."""
        return self.penalty_fn is not None and self.training

    @property
    def needs_history(self) -> bool:
        """Whether the next call computes the potentials of every step."""
        return self.penalised or self.watcher is not None

    @property
    def counts_by_step(self) -> bool:
        """Whether the next call counts potentials step by step: those of padded sequences, or of each width."""
        return self.recording and (padding.active() or len(self.histogram_shape) > 0)

    @property
    def histogram_shape(self) -> tuple[int, ...]:
        """The shape of the widths whose potentials are counted apart; () for one histogram."""
        return tuple(self.surrogate.width.shape) if self.histogram_by_width else ()

    @property
    def watch(self) -> bool:
        """Old name of `record_histogram`."""
        warn("Neuron.watch", "record_histogram")
        return self.record_histogram

    @watch.setter
    def watch(self, on: bool) -> None:
        warn("Neuron.watch", "record_histogram")
        self.record_histogram = on

    @property
    def penalise(self) -> "Callable[[Tensor, Tensor, Neuron], Tensor] | None":
        """Old name of `penalty_fn`."""
        warn("Neuron.penalise", "penalty_fn")
        return self.penalty_fn

    @penalise.setter
    def penalise(self, function: "Callable[[Tensor, Tensor, Neuron], Tensor] | None") -> None:
        warn("Neuron.penalise", "penalty_fn")
        self.penalty_fn = function

    @property
    def membrane(self) -> Tensor | None:
        """Old name of `histogram`."""
        warn("Neuron.membrane", "histogram")
        return self.histogram

    def notes(self) -> dict[str, str | int | bool]:
        """See `surgrad.noted.Noted`."""
        function = getattr(self.surrogate, "function", None)
        name = getattr(function, "name", type(self.surrogate).__name__)
        return {"neuron": type(self).__name__, "reset": self.reset_mode, "surrogate": name}

    def initial_potential(self, x: Tensor) -> Tensor | None:
        """The potential [N, C, ...] before the first step of a sequence x; None stands for 0."""
        return None

    def state_size(self, x: Tensor) -> tuple[int, ...]:
        """The shape of `potential` for inputs like x."""
        return tuple(x.shape[1:])

    def _starting_potential(self, x: Tensor) -> Tensor | None:
        """The carried potential, or the initial one at the start of a sequence."""
        if self.carry and self.surrogate.width.ndim > 1 and torch.is_grad_enabled():
            raise BadValue(
                "this neuron carries its potential over calls, and its surrogate has the widths of several time steps, "
                "which need all steps in one call; set carry=False, or give a Surrogate with steps=1"
            )
        if self.carry and padding.active():
            raise BadValue(
                "this neuron carries its potential over calls, and padded sequences need all their steps in one call; "
                "set carry=False, or call it outside of surgrad.padded"
            )
        v = self.potential
        if v is None:
            return self.initial_potential(x)
        if v.shape == self.state_size(x) and v.device == x.device:
            return v
        raise BadValue(
            f"this neuron carries a potential {list(v.shape)} on {v.device} from its last call, which does not fit "
            f"the input {list(x.shape)} on {x.device}; call surgrad.reset(network) before a new sequence"
        )

    def _arguments(
        self, x: Tensor, norm: Norm | None, plus: Tensor | None, plus_norm: Norm | None, steps: int | None
    ) -> LIFArguments:
        """The checked arguments of a call, for neurons that no kernel computes."""
        return lif_arguments(
            x,
            self.decay,
            self.surrogate.positive_width,
            surrogate=self.surrogate.function,
            threshold=self.threshold,
            reset=self.reset_mode,
            norm=norm,
            plus=plus,
            plus_norm=plus_norm,
            steps=steps,
        )

    def _store(self, out: LIFOutput) -> None:
        """Keep the results of a call; where `needs_history`, `out.history` has the potentials of every step."""
        if self.carry:
            self.potential = out.potential
        if self.recording:
            self.histogram = out.histogram
        if self.penalty_fn is not None:
            history = out.history if self.penalised else None
            self.penalty = None if history is None else self._penalty_of(history, out.spikes)
        if self.watcher is not None and out.history is not None:
            self.watcher(out.history.detach(), out.spikes.detach(), self)

    def _penalty_of(self, history: Tensor, spikes: Tensor) -> Tensor:
        assert self.penalty_fn is not None
        return self.penalty_fn(padding.only_valid(history), padding.only_valid(spikes), self)

    def _output(self, spikes: Tensor) -> Tensor:
        """The spikes with their amplitude."""
        amplitude = self.amplitude
        if amplitude is not None:
            spikes = spikes * broadcast_channels(amplitude, spikes, 2).to(spikes.dtype)
        return mark_spikes(spikes) if self.binary else spikes

    def extra_repr(self) -> str:
        trained = "trained " if "logit_decay" in self._parameters else ""
        carry = ", carry=True" if self.carry else ""
        beta = self.decay.mean().item()
        threshold = self.threshold.mean().item()
        return f"{trained}decay={beta:.4g}, threshold={threshold:.4g}, reset={self.reset_mode!r}{carry}"


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that is not positive."""
    if not threshold > 0:
        raise BadValue(f"threshold must be positive, got {threshold:g}")


def new_surrogate(
    function: SurrogateFunction | str, width: float, channels: int | None, *, learn: bool = False
) -> Surrogate:
    """A surrogate of that width, or with that width for each channel."""
    return Surrogate(function, torch.full(() if channels is None else (channels,), width), learn=learn)


def _decay_of(decay: float | None, tau: float | None) -> float:
    """β from the given one of the two; 0.2 where neither is given (Lian et al. 2023)."""
    if decay is not None and tau is not None:
        raise BadValue(f"decay {decay:g} and tau {tau:g} are both given; give one of them (decay = 1 - 1/tau)")
    if tau is not None and not tau >= 1:
        raise BadValue(f"tau must be at least 1 time step, got {tau:g}")
    beta = 1 - 1 / tau if tau is not None else 0.2 if decay is None else decay
    if not 0 <= beta <= 1:
        raise BadValue(f"decay must be from 0 (forgets everything) to 1 (forgets nothing), got {beta:g}")
    return beta
