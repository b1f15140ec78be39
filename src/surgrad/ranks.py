"""The processes of one training, its ranks: each computes a share of every batch, and all of them the same result.

Within `joined`, statistics of norms, means of penalties, losses and gradients are those of the whole batch. Everywhere
else, and in a training of one process, every function here does nothing.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from surgrad import padding
from surgrad.errors import BadValue, LostRank, SurgradError

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """A process among those of a training.

    Attributes:
        rank: its number, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    def share(self, total: int) -> slice:
        """Its part of `total` samples; all parts together are in order and complete, and differ by one at most."""
        each, more = divmod(total, self.count)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))

    def shares(self, total: int, parts: int) -> list[range]:
        """Its part of each of the `parts` parts into which `total` samples are divided."""
        whole = [range(total)[Place(number, parts).share(total)] for number in range(parts)]
        return [part[self.share(len(part))] for part in whole]


ALONE = Place()
_place: Place | None = None  # None: outside both contexts
_norms_too = True


def place() -> Place:
    """The place of this process; `ALONE` outside `joined`."""
    return _place or ALONE


@contextmanager
def joined(norms: bool = True) -> Iterator[Place]:
    """Within it, this process computes its share of what the default process group of torch.distributed computes.

    Args:
        norms: whether norms use the statistics of the whole batch, or of each rank's share alone.
    """
    found = Place(dist.get_rank(), dist.get_world_size()) if _initialized() else ALONE
    with _as(found, norms):
        yield found


@contextmanager
def alone() -> Iterator[None]:
    """Within it, this process computes without the others, as to measure something that they do not."""
    with at(ALONE):
        yield


@contextmanager
def at(where: Place) -> Iterator[None]:
    """Within it, this process has that place, as it had before `alone`."""
    with _as(where, _norms_too):
        yield


@contextmanager
def _as(where: Place | None, norms: bool) -> Iterator[None]:
    global _place, _norms_too
    before = _place, _norms_too
    _place, _norms_too = where, norms
    try:
        yield
    finally:
        _place, _norms_too = before


def _initialized() -> bool:
    return dist.is_available() and dist.is_initialized()


def several() -> bool:
    """Whether other processes compute other shares."""
    return place().count > 1


def reaches_others() -> bool:
    """Whether a controller's sums go over all ranks: within `joined`, and in a loop of the user's own with a process
    group."""
    return _initialized() if _place is None else several()


def share_statistics() -> bool:
    """Whether a norm uses statistics of the other ranks' shares too."""
    return several() and _norms_too


def has_variance(values: int) -> bool:
    """Whether a norm finds a variance where a channel has this number of values on this rank; of several ranks that
    share their statistics, each has one at least."""
    return values > 1 or share_statistics()


def refuse_padding(what: str) -> None:
    """Raise BadValue for what exchanges statistics of each time step, where sequences are padded: the ranks have
    sequences of different lengths, and one may have no sample in a step.

    Args:
        what: the name of the module, for the error.
    """
    if padding.active() and share_statistics():
        raise BadValue(
            f"{what} has statistics of each time step, which several processes cannot find together for padded "
            "sequences; use a norm of all steps together, or give each process its own statistics: "
            "surgrad.ranks.joined(norms=False)"
        )


def total(value: Tensor) -> Tensor:
    """The sum over all ranks. Its gradient is right where each rank's loss is its summand of the whole loss."""
    return _Total.apply(value) if several() else value


def mean(value: Tensor, axes: Iterable[int] | None = None) -> Tensor:
    """The mean over some axes (None: all) and over all ranks, one of these axes being that of the samples."""
    dims = list(range(value.ndim)) if axes is None else list(axes)
    if not several():
        return value.mean(dims)
    count = math.prod(value.shape[axis] for axis in dims)
    share = count / summed(torch.tensor(count, device=value.device, dtype=torch.float64))  # bfloat16 holds no count
    return total(value.mean(dims) * share.to(value.dtype))


def concatenated(share: Tensor, axis: int, parts: int = 1) -> Tensor:
    """A batch of which each rank has a share, on every rank, in its order.

    Args:
        share: of this rank.
        axis: that of the samples.
        parts: into how many parts the batch was divided, of which each rank has a share (`Place.shares`).
    """
    if not several():
        return share
    lengths = gathered(torch.tensor(share.shape[axis], device=share.device)).tolist()
    longest = share.new_zeros(*share.shape[:axis], max(lengths), *share.shape[axis + 1 :])
    longest.narrow(axis, 0, share.shape[axis]).copy_(share)
    rows = gathered(longest)
    found = torch.cat([row.narrow(axis, 0, length) for row, length in zip(rows, lengths, strict=True)], axis)
    if parts == 1:
        return found
    places = (Place(rank, place().count) for rank in range(place().count))
    numbers = [number for one in places for part in one.shares(sum(lengths), parts) for number in part]
    return found.index_select(axis, torch.tensor(numbers, device=share.device).argsort())


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return summed(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return summed(gradient)


def summed(value: Tensor) -> Tensor:
    """The sum over all ranks, without a gradient."""
    if not several():
        return value
    value = value.detach().clone(memory_format=torch.contiguous_format)
    with exchanging():
        dist.all_reduce(value)
    return value


@contextmanager
def exchanging() -> Iterator[None]:
    """Within it, an exchange that fails is a `LostRank`."""
    try:
        yield
    except RuntimeError as error:  # of every backend
        raise LostRank(
            f"rank {place().rank} of {place().count}: an exchange with the other processes failed "
            f"({str(error).splitlines()[0]}); one of them has ended, and its message, or torchrun's, says why"
        ) from error


def gathered(value: Tensor) -> Tensor:
    """The values of all ranks [ranks, ...], by a sum that every backend computes on every device."""
    own = place()
    rows = value.new_zeros(own.count, *value.shape)
    rows[own.rank] = value
    return summed(rows)


@dataclass(frozen=True)
class Moments:
    """Statistics of each channel over the shares of all ranks.

    Attributes:
        mean: [C].
        variance: biased, [C].
        count: values in a channel, 0-d, or a number.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor | int


def moments(x: Tensor, axis: int, local: Callable[[Tensor], Tensor] | None = None) -> Moments:
    """Mean and biased variance of each channel, over all ranks, with their gradients.

    Args:
        x: any shape.
        axis: that of the channels.
        local: computes mean and biased variance [2, C] of this rank's share; None: torch does.
    """
    found = _channel_moments(x, axis) if local is None else local(x)
    return Moments(*_Moments.apply(x, found, axis))


def _channel_moments(x: Tensor, axis: int) -> Tensor:
    wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    others = [other for other in range(x.ndim) if other != axis]
    variance, average = torch.var_mean(wide, others, correction=0)
    return torch.stack([average, variance])


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, local: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
        count = x.numel() // x.shape[axis]
        mean, variance = local.double()
        sums = torch.stack([torch.ones_like(mean), mean, variance + mean.square()])
        counts, first, second = summed(count * sums)  # in float64, in which a difference of squares is exact enough
        average = first / counts
        variance = (second / counts - average.square()).clamp(min=0).to(local.dtype)
        average = average.to(local.dtype)
        whole = counts[0]
        ctx.save_for_backward(x, average, whole)
        ctx.axis = axis
        ctx.mark_non_differentiable(whole)
        return average, variance, whole

    @staticmethod
    def backward(ctx: Any, of_mean: Tensor, of_variance: Tensor, _of_count: Tensor) -> tuple[Tensor, None, None]:
        x, average, whole = ctx.saved_tensors
        shift, slope = summed(torch.stack([of_mean, of_variance])) / whole.to(of_mean.dtype)
        shape = [-1 if other == ctx.axis else 1 for other in range(x.ndim)]
        slope = 2 * slope
        start = shift - slope * average
        return torch.addcmul(start.view(shape), x, slope.view(shape)).to(x.dtype), None, None


def batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """torch's batch norm of x [M, C, ...], in training by the statistics of all ranks."""
    if not (training and share_statistics()):
        return functional.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    found = moments(x, 1)
    follow((running_mean, running_var), found, momentum)
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    gain = weight * torch.rsqrt(found.variance + eps)
    shift = -found.mean * gain if bias is None else bias - found.mean * gain
    return torch.addcmul(shift.view(shape), x, gain.view(shape)).to(x.dtype)


def follow(estimates: tuple[Tensor, Tensor], found: Moments, momentum: float) -> None:
    """Move running estimates towards the mean and the unbiased variance of a batch."""
    with torch.no_grad():
        unbiased = found.variance * (found.count / (found.count - 1))
        for estimate, new in zip(estimates, (found.mean, unbiased), strict=True):
            estimate.lerp_(new.to(estimate), momentum)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients by their sums over all ranks, in one message for each type."""
    if not several():
        return
    held: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            held.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in held.values():
        flat = summed(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def equalise(tensors: Iterable[Tensor]) -> None:
    """Give every rank the values that rank 0 has."""
    if several():
        with exchanging():
            for tensor in tensors:
                dist.broadcast(tensor.data, 0)


def from_first(function: Callable[[], T]) -> T:
    """Call a function on rank 0 alone, and return its result, or raise its error, on every rank."""
    if not several():
        return function()
    outcome: list[Any] = [None, None]
    if place().rank == 0:
        with alone():
            outcome = _outcome(function)
    with exchanging():
        dist.broadcast_object_list(outcome, 0)
    result, error = outcome
    if error is not None:
        raise _of_all(error)
    return result


def on_each(function: Callable[[], T]) -> T:
    """Call a function on every rank. Where it fails on any, raise the error of the first of them on all."""
    if not several():
        return function()
    result, error = _outcome(function)
    if error is not None and error.of_all_ranks:  # the others know: they raised it in the same exchange within
        raise error
    gathered_objects(None, error)
    return result


def gathered_objects(value: T, error: SurgradError | None = None) -> list[T]:
    """What each rank has, by rank. Where any has an error, raise that of the first of them on all."""
    if not several():
        return [value]
    found: list[Any] = [None] * place().count
    with exchanging():
        dist.all_gather_object(found, (value, error))
    failed = [rank for rank, (_, error) in enumerate(found) if error is not None]
    if failed:
        first = found[failed[0]][1]
        named = first if len(failed) == len(found) else type(first)(f"rank {failed[0]} of {len(found)}: {first}")
        raise _of_all(named) from error
    return [value for value, _ in found]


def _outcome(function: Callable[[], Any]) -> list[Any]:
    """What a function returns, or its error."""
    try:
        return [function(), None]
    except SurgradError as error:
        return [None, error]


def _of_all(error: SurgradError) -> SurgradError:
    """The error, marked as that of all ranks."""
    error.of_all_ranks = True
    return error


def shares_batches(module: nn.Module) -> bool:
    """Whether ranks that have shares of a batch compute by a module what one computes that has all of it.

    A module says so itself by its attribute `shares_batches`. Of torch's, those that draw random numbers do not
    (dropout, also within attention and recurrent layers, random ReLU and fractional pooling); nor do its batch norms,
    unless each rank shall have separate statistics.
    """
    if hasattr(module, "shares_batches"):
        return bool(module.shares_batches)
    if isinstance(module, _BatchNorm):
        return not share_statistics()
    return not (isinstance(module, _DRAWING) and _drops(module))


_DRAWING = (
    _DropoutNd,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RReLU,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
)


def _drops(module: nn.Module) -> bool:
    """Whether it draws numbers: its share of what is dropped is not 0."""
    return bool(getattr(module, "p", getattr(module, "dropout", 1)))


def check_shares(batch: int, parts: int) -> None:
    """Raise BadValue where a part of a batch has fewer samples than there are ranks."""
    count = place().count
    if batch < parts * count:
        shared = f"cannot be shared by {count} processes; give at least" if count > 1 else "is too small; give at least"
        each = "one for each" if parts == 1 else f"{parts * count} for its {parts} parts (optim.accumulate)"
        raise BadValue(f"data.batch = {batch} {shared} {each}")
