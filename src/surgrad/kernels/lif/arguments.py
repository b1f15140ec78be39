"""The arguments of one call of `surgrad.lif`, checked, as they travel from a neuron to a backend."""

from dataclasses import dataclass, fields
from typing import Any, Generic, Literal, NamedTuple, TypeVar, get_args

import torch
from torch import Tensor

from surgrad import ranks
from surgrad.broadcasting import broadcast_channels
from surgrad.deprecated import warn
from surgrad.errors import BadValue, unknown
from surgrad.surrogates import SurrogateFunction, find_surrogate

Reset = Literal["zero", "subtract", "none"]
RESETS: tuple[str, ...] = get_args(Reset)
T = TypeVar("T")


class Norm(NamedTuple):
    """A batch normalisation, applied to each channel: (x - mean)/√(variance + eps)·scale·weight + bias.

    Args:
        mean: [C], float32; it receives no gradient.
        variance: [C], float32; it receives no gradient.
        weight: [C].
        bias: [C].
        eps: ε.
        batch: whether mean and variance are those of x itself (the biased variance), so that the gradient of x also
            flows through them.
        rows: the first four as one tensor [4, C], where they are its rows.
        scale: s, a factor of the weight.
        shared: whether x is this rank's share of the values of mean and variance, with `batch` (`surgrad.ranks`).
    """

    mean: Tensor
    variance: Tensor
    weight: Tensor
    bias: Tensor
    eps: float
    batch: bool
    rows: Tensor | None = None
    scale: float = 1.0
    shared: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise x [T, N, C, ...] (or [T, N], one channel); the result is float32 or better."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        channel = 2 if x.ndim > 2 else x.ndim  # a current [T, N] is one channel

        def shaped(row: Tensor) -> Tensor:
            return broadcast_channels(row, x, 2) if x.ndim > 2 else row.view(())

        x = x.to(dtype)
        mean, variance, weight, bias = (shaped(row.to(dtype)) for row in self[:4])
        if self.batch:
            mean, variance = map(shaped, self._moments(x, channel))
        return (x - mean) * torch.rsqrt(variance + self.eps) * (self.scale * weight) + bias

    def _moments(self, x: Tensor, channel: int) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of x, with their gradients."""
        if self.shared:
            found = ranks.moments(x, channel)
            return found.mean, found.variance
        others = [axis for axis in range(x.ndim) if axis != channel]
        variance, mean = torch.var_mean(x, others, correction=0)
        return mean, variance


class Summand(NamedTuple):
    """A summand of the current.

    Attributes:
        x: [T, N, C, ...], or [1, N, C, ...] where it is the same at every time step.
        norm: [4, C], the tensors of its `Norm` in that order, or None.
        eps: see `Norm`.
        batch: see `Norm`.
        scale: see `Norm`.
        shared: see `Norm`.
    """

    x: Tensor
    norm: Tensor | None
    eps: float
    batch: bool
    scale: float
    shared: bool

    def current(self, steps: int) -> Tensor:
        """Compute it, [T, N, C, ...], float32 or better."""
        dtype = torch.promote_types(self.x.dtype, torch.float32)
        if self.norm is None:
            x = self.x.to(dtype)
        else:
            mean, variance, weight, bias = self.norm.unbind(0)
            norm = Norm(mean, variance, weight, bias, self.eps, self.batch, scale=self.scale, shared=self.shared)
            x = norm(self.x)
        return x if len(x) == steps else x.expand(steps, *x.shape[1:])


class LIFOutput(NamedTuple):
    """The result of `surgrad.lif`.

    Attributes:
        spikes: [T, N, ...], 0 or 1, in the current's dtype.
        potential: [N, ...], float32 or better: the membrane potential after the last step's reset. Give it to the next
            call as `initial_potential` to continue the sequence. None without `return_potential`.
        histogram: int64 [BINS], of (u - threshold)/threshold: PER_THRESHOLD bins per threshold, bin BINS/2 starts at 0,
            the first and last bins also count the values beyond them. None without `return_histogram`.
        history: [T, N, ...], float32 or better: the potential u of every step, before its reset; differentiable. None
            without `return_history`.
    """

    spikes: Tensor
    potential: Tensor | None
    histogram: Tensor | None
    history: Tensor | None = None

    @property
    def membrane(self) -> Tensor | None:
        """Old name of `histogram`."""
        warn("LIFOutput.membrane", "histogram")
        return self.histogram


class PerTensor(NamedTuple, Generic[T]):
    """One value for each tensor of `LIFArguments`, by the same names in the same order: the tensors themselves, whether
    they want a gradient, or their gradients."""

    x: T
    norm: T
    plus: T
    plus_norm: T
    decay: T
    threshold: T
    width: T
    initial_potential: T


@dataclass(slots=True)
class LIFArguments:
    """One call of `surgrad.lif`, with its parameters checked and converted; `lif_arguments` builds it.

    The tensors come first (`PerTensor` names them), then numbers, then whole numbers and switches, then the rest:
    `operators.py` derives the signature of the compiled backends' operators from these fields.

    Attributes:
        x: the first summand of the current; its dtype, layout and device are those of the call.
        norm: [4, C] in the state's dtype, the norm of `x`; see `Summand`.
        plus: the second summand, or None.
        plus_norm: as `norm`, of `plus`.
        decay: 0-d or [C], in the state's dtype, on the current's device.
        threshold: as `decay`.
        width: as `decay`, or [S, 1] or [S, C]: row t holds at step t, the last row at all later steps.
        initial_potential: [N, C, ...] in the state's dtype, or None for 0.
        eps: ε of `norm`.
        plus_eps: ε of `plus_norm`.
        scale: of `norm`.
        plus_scale: of `plus_norm`.
        batch: whether the statistics of `norm` are those of `x` itself.
        plus_batch: as `batch`, of `plus`.
        shared: whether such statistics are those of the shares of all ranks.
        steps: T.
        detach_reset: as in `surgrad.lif`, like all that follow.
        return_histogram: whether the result has the histogram.
        return_potential: whether the result has the potential after the last step.
        return_history: whether the result has the potentials of every step.
        reset: "zero", "subtract" or "none".
        surrogate: the surrogate function of the backward pass.
    """

    x: Tensor
    norm: Tensor | None
    plus: Tensor | None
    plus_norm: Tensor | None
    decay: Tensor
    threshold: Tensor
    width: Tensor
    initial_potential: Tensor | None
    eps: float
    plus_eps: float
    scale: float
    plus_scale: float
    batch: bool
    plus_batch: bool
    shared: bool
    steps: int
    detach_reset: bool
    return_histogram: bool
    return_potential: bool
    return_history: bool
    reset: str
    surrogate: SurrogateFunction

    @property
    def summands(self) -> tuple[Summand, ...]:
        """The one or two summands of the current."""
        first = Summand(self.x, self.norm, self.eps, self.batch, self.scale, self.shared)
        if self.plus is None:
            return (first,)
        return (
            first,
            Summand(self.plus, self.plus_norm, self.plus_eps, self.plus_batch, self.plus_scale, self.shared),
        )

    @property
    def channels(self) -> int:
        """C, or 1 for currents [T, N]."""
        return self.x.shape[2] if self.x.ndim > 2 else 1

    @property
    def size(self) -> torch.Size:
        """The shape of the spikes, [T, N, C, ...]."""
        return torch.Size((self.steps, *self.x.shape[1:]))

    def current(self) -> Tensor:
        """Compute the current, [T, N, C, ...], float32 or better: the sum of the summands, each with its norm."""
        first, *others = self.summands
        return sum((summand.current(self.steps) for summand in others), first.current(self.steps))

    def step_width(self, step: int) -> Tensor:
        """The width at a step, from 0, shaped so that it broadcasts against one step [N, C, ...]."""
        width = self.width if self.width.ndim < 2 else self.width[min(step, len(self.width) - 1)]
        return self.broadcast_to_step(width)

    def step_widths(self) -> Tensor:
        """The widths of all steps, shaped so that they broadcast against the sequence [T, N, C, ...]."""
        if self.width.ndim < 2:
            return self.broadcast_to_step(self.width)
        return torch.stack([self.step_width(step) for step in range(self.steps)]).unsqueeze(1)

    def broadcast_to_step(self, parameter: Tensor) -> Tensor:
        """Shape a parameter, 0-d or [C], so that it broadcasts against one step [N, C, ...]."""
        return broadcast_channels(parameter, self.x, 2)


def per_channel(parameter: Tensor) -> bool:
    """Whether a parameter, 0-d, [C], or a width [S, 1] or [S, C], differs between channels."""
    return parameter.ndim > 0 and parameter.shape[-1] > 1


TENSORS = PerTensor._fields
OPTIONS = tuple(field.name for field in fields(LIFArguments))[len(TENSORS) :]
"""The fields that are not tensors."""


def lif_arguments(
    current: Tensor,
    decay: Tensor | float,
    width: Tensor | float,
    *,
    surrogate: str | SurrogateFunction = "rect",
    threshold: Tensor | float = 0.5,
    reset: str = "zero",
    detach_reset: bool = False,
    initial_potential: Tensor | None = None,
    return_histogram: bool = False,
    return_potential: bool = True,
    return_history: bool = False,
    norm: Norm | None = None,
    plus: Tensor | None = None,
    plus_norm: Norm | None = None,
    steps: int | None = None,
) -> LIFArguments:
    """Check the arguments of `surgrad.lif`, for a backend or for a neuron that computes its steps itself.

    The parameters are those of `surgrad.lif`.

    Raises:
        BadValue: if shapes, devices or numbers of time steps do not fit together.
        UnknownName: if there is no such reset or surrogate function.
    """
    if reset not in RESETS:
        raise unknown("reset", reset, RESETS)
    if plus is None and plus_norm is not None:
        raise BadValue("plus_norm is given without plus; give the summand that it normalises")
    plus = None if plus is None else plus.to(current.dtype)
    steps = _checked_steps(current, plus, steps)
    dtype = torch.promote_types(current.dtype, torch.float32)
    decay, threshold = (_parameter(value, current, dtype) for value in (decay, threshold))
    width = _width(width, current, dtype)
    _check_norm("current", current, norm)
    if plus is not None:
        _check_norm("plus", plus, plus_norm)
    _check_devices(current, plus, norm, plus_norm, initial_potential)
    return LIFArguments(
        x=current,
        norm=_rows(norm, dtype),
        plus=plus,
        plus_norm=_rows(plus_norm, dtype),
        decay=decay,
        threshold=threshold,
        width=width,
        initial_potential=_checked_potential(initial_potential, current, dtype),
        eps=0.0 if norm is None else float(norm.eps),
        plus_eps=0.0 if plus_norm is None else float(plus_norm.eps),
        scale=1.0 if norm is None else float(norm.scale),
        plus_scale=1.0 if plus_norm is None else float(plus_norm.scale),
        batch=norm is not None and norm.batch,
        plus_batch=plus_norm is not None and plus_norm.batch,
        shared=any(given is not None and given.shared for given in (norm, plus_norm)),
        steps=steps,
        detach_reset=detach_reset,
        return_histogram=return_histogram,
        return_potential=return_potential,
        return_history=return_history,
        reset=reset,
        surrogate=find_surrogate(surrogate),
    )


def _checked_steps(current: Tensor, plus: Tensor | None, steps: int | None) -> int:
    if current.ndim < 2 or current.shape[0] < 1 or not current.is_floating_point():
        given = f"{current.dtype} of shape {list(current.shape)}"
        raise BadValue(f"current is {given}; give floating-point currents [T, N, ...] with T >= 1")
    steps = max(current.shape[0], 0 if plus is None else plus.shape[0]) if steps is None else steps
    if steps < 1:
        raise BadValue(f"steps must be at least 1, got {steps}")
    _check_summand("current", current, current, steps)
    if plus is not None:
        _check_summand("plus", plus, current, steps)
    return steps


def _check_summand(name: str, x: Tensor, current: Tensor, steps: int) -> None:
    if x.shape[0] not in (1, steps) or (x is not current and x.shape[1:] != current.shape[1:]):
        raise BadValue(
            f"{name} {list(x.shape)} does not fit {steps} steps of currents {list(current.shape[1:])}; give "
            f"{[steps, *current.shape[1:]]}, or {[1, *current.shape[1:]]} where it is the same at every step"
        )


def _check_norm(name: str, x: Tensor, norm: Norm | None) -> None:
    size = x.shape[2:3] if x.ndim > 2 else (1,)
    if norm is not None and any(row.shape != size for row in norm[:4]):
        sizes = ", ".join(str(list(row.shape)) for row in norm[:4])
        raise BadValue(
            f"the norm of {name} has mean, variance, weight and bias of shapes {sizes}; give one number per channel, "
            f"{list(size)}"
        )


def _check_devices(
    current: Tensor,
    plus: Tensor | None,
    norm: Norm | None,
    plus_norm: Norm | None,
    initial_potential: Tensor | None,
) -> None:
    others = {
        "plus": plus,
        "norm": norm and norm.weight,
        "plus_norm": plus_norm and plus_norm.weight,
        "initial_potential": initial_potential,
    }
    for name, value in others.items():
        if value is not None and value.device != current.device:
            raise BadValue(f"{name} is on {value.device} and current on {current.device}; move one to the other")


def _checked_potential(potential: Tensor | None, current: Tensor, dtype: torch.dtype) -> Tensor | None:
    if potential is None:
        return None
    if potential.shape != current.shape[1:]:
        raise BadValue(
            f"initial_potential {list(potential.shape)} does not fit currents {list(current.shape)}; give the shape of "
            f"one step, {list(current.shape[1:])}"
        )
    return potential.to(dtype)


def _parameter(value: Any, current: Tensor, dtype: torch.dtype) -> Tensor:
    """A number as a 0-d tensor, or one per channel as [C], in the state's dtype, on the current's device."""
    if isinstance(
        value, int | float
    ):  # written by a kernel: a copy from the host would wait, and no CUDA graph holds it
        return torch.full((), value, dtype=dtype, device=current.device)
    value = torch.as_tensor(value, dtype=dtype, device=current.device)
    if value.ndim and (current.ndim < 3 or value.shape != current.shape[2:3]):
        raise BadValue(
            f"a neuron parameter of shape {list(value.shape)} does not fit currents {list(current.shape)}; "
            "give a number, or one per channel as [C] for currents [T, N, C, ...]"
        )
    return value


def _width(value: Any, current: Tensor, dtype: torch.dtype) -> Tensor:
    """As `_parameter`, or one for each step, [S, 1] or [S, C]."""
    if not isinstance(value, Tensor) or value.ndim != 2:
        return _parameter(value, current, dtype)
    if value.requires_grad:
        raise BadValue("a width for each time step takes no gradient; detach it, or give one width for all steps")
    channels = current.shape[2] if current.ndim > 2 else 1
    if not len(value) or value.shape[1] not in (1, channels):
        raise BadValue(
            f"widths of shape {list(value.shape)} do not fit currents {list(current.shape)}; give one for each time "
            "step as [T, 1], or one for each step and channel as [T, C]"
        )
    return value.to(current.device, dtype)


def _rows(norm: Norm | None, dtype: torch.dtype) -> Tensor | None:
    """The tensors of a norm as the rows of one, [4, C]."""
    if norm is None:
        return None
    return torch.stack([row.to(dtype) for row in norm[:4]]) if norm.rows is None else norm.rows.to(dtype)
