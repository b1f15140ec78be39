"""Batches of sequences of different lengths, padded to the longest one.

Within `padded`, losses, norms, histograms of potentials, penalties, readouts and counts of operations leave the padded
steps out, as if each sequence were computed with its own length.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from surgrad.errors import BadValue

_lengths: Tensor | None = None  # no ContextVar, which torch.compile cannot read


class Padded(NamedTuple):
    """A padded batch and the lengths of its sequences, as `surgrad.measure.energy` takes it.

    Attributes:
        sequences: [T, N, ...].
        lengths: int64 [N].
    """

    sequences: Tensor
    lengths: Tensor


@contextmanager
def padded(lengths: Tensor) -> Iterator[None]:
    """Within it, sample n of a batch [T, N, ...] has the first lengths[n] time steps, and the others are padding.

    Whatever finite numbers stand in the padding change no loss, statistic, histogram, penalty, prediction or gradient;
    norms that use statistics give 0 there. (A convolution multiplies 0 by what stands there, which is NaN for NaN.)
    What cannot leave padding out is refused. It holds for the whole process.

    Args:
        lengths: int64 [N], each at least 1.

    Raises:
        BadValue: for lengths of another kind; within it, from modules and losses that are given a batch of another
            size, or fewer steps than the longest sequence has.

    Example:
        >>> from surgrad.losses import cross_entropy
        >>> output = torch.tensor([[[2.0, 0.0]], [[9.0, 9.0]]])  # [T, N, classes]; the second step is padding
        >>> with padded(torch.tensor([1])):
        ...     loss = cross_entropy(output, torch.tensor([0]))
        >>> round(loss.item(), 4), round(cross_entropy(output[:1], torch.tensor([0])).item(), 4)
        (0.1269, 0.1269)
    """
    kind = f"{lengths.dtype} {list(lengths.shape)}" if isinstance(lengths, Tensor) else type(lengths).__name__
    if not _are_lengths(lengths):
        raise BadValue(
            f"the lengths are {kind}; give a tensor of whole numbers [N], one for each sample of the batch and each at "
            "least 1"
        )
    global _lengths
    before = _lengths
    _lengths = lengths.clone()
    try:
        yield
    finally:
        _lengths = before


def _are_lengths(lengths: object) -> bool:
    if not isinstance(lengths, Tensor) or lengths.ndim != 1 or not lengths.numel():
        return False
    whole = not (lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool)
    return whole and bool((lengths >= 1).all())


def refuse(what: str) -> None:
    """Raise BadValue for what cannot leave padding out, where there is any."""
    if active():
        raise BadValue(
            f"{what} cannot leave padded steps out; call it outside of surgrad.padded, with sequences of one length"
        )


def active() -> bool:
    """Whether batches are padded."""
    return _lengths is not None


def lengths() -> Tensor | None:
    """The lengths of the sequences of padded batches; None where nothing is padded."""
    return _lengths


def count_samples() -> int | None:
    """The number of sequences in a padded batch; None where nothing is padded."""
    return None if _lengths is None else len(_lengths)


def valid(x: Tensor, first: int | None = None) -> Tensor | None:
    """Which steps of a batch [T, N, ...] are not padding: bool [T, N]; None where nothing is padded.

    Args:
        x: all steps of the sequences; or some of them, with `first`.
        first: the number of its first step in the sequences.
    """
    lengths = _lengths
    if lengths is None:
        return None
    steps, samples = x.shape[:2]
    if samples == 2 * len(lengths):  # every sample twice, as for rdrop
        lengths = lengths.repeat(2)
    longest = int(lengths.max())
    if samples != len(lengths) or (first is None and steps < longest):
        raise BadValue(
            f"a tensor {list(x.shape)} does not fit the lengths of {len(lengths)} sequences, of which the longest has "
            f"{longest} steps; give [T, N, ...] with all steps of these sequences in one call"
        )
    return torch.arange(steps, device=x.device)[:, None] + (first or 0) < lengths.to(x.device)


def only_valid(x: Tensor, first: int | None = None) -> Tensor:
    """The steps that are not padding as one step of many samples, [1, steps, ...]; without padding x itself."""
    mask = valid(x, first)
    return x if mask is None else x[mask][None]


def zeroed(x: Tensor) -> Tensor:
    """x [T, N, ...] with 0 in the padding."""
    mask = valid(x)
    return x if mask is None else torch.where(mask.view(*mask.shape, *[1] * (x.ndim - 2)), x, 0)


def per_sample(function: Callable[[Tensor], Tensor], x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Apply a function of samples [M, ...] to all steps of x [T, N, ...] that are not padding; 0 in the padding.

    Args:
        function: keeps the shape of its input.
        x: [T, N, ...].
        mask: bool [T, N], the steps that are not padding; that of the batch by default.
    """
    mask = valid(x) if mask is None else mask
    if mask is None:
        return function(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    if not mask.any():  # a step after the end of every sequence
        return torch.zeros_like(x)
    found = function(x[mask])
    return torch.zeros(x.shape, dtype=found.dtype, device=x.device).index_put((mask,), found)


def time_mean(x: Tensor) -> Tensor:
    """The mean over the steps of every sample, [T, N, ...] -> [N, ...]."""
    mask = valid(x)
    if mask is None:
        return x.mean(0)
    return zeroed(x).sum(0) / mask.sum(0).view(-1, *[1] * (x.ndim - 2))


def last_step(x: Tensor) -> Tensor:
    """The last step of every sample, [T, N, ...] -> [1, N, ...]."""
    mask = valid(x)
    if mask is None:
        return x[-1:]
    return x[mask.sum(0) - 1, torch.arange(x.shape[1], device=x.device)][None]
