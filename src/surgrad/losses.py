"""Losses: pure functions of the network's output [T, N, classes] and the labels [N]. Within `surgrad.padded` they leave
padded steps out.

To add one: write a function of (output, labels) and of its options, each annotated with its range
(`surgrad.config.values`), and add it to `LOSSES`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from surgrad.config.registry import Registry
from surgrad.config.values import Fraction
from surgrad.errors import BadValue
from surgrad.padding import only_valid, time_mean

Loss = Callable[..., Tensor]


def duplicates_batch(loss: Loss) -> Loss:
    """Declare that a loss compares two outputs for every sample, under two draws of dropout.

    The builder of a training reads the attribute `duplicates_batch` of the registered function, which other losses do
    not have. The network then needs `SpikingNetwork.duplicate_batch`, and a controller that evaluates the loss itself
    (`needs_probe`) cannot be used.
    """
    loss.__dict__["duplicates_batch"] = True
    return loss


def _float32(output: Tensor) -> Tensor:
    """[T, N, classes] in float32 or better: bfloat16 is too coarse for a loss."""
    if output.ndim != 3:
        raise BadValue(f"output {list(output.shape)} does not fit; give [T, N, classes], not yet averaged over time")
    return output.to(torch.promote_types(output.dtype, torch.float32))


def cross_entropy(output: Tensor, labels: Tensor, label_smoothing: Fraction = 0.0) -> Tensor:
    """Cross-entropy of the time-averaged output (Lian et al. 2023; the "SDT" loss of Deng et al. 2022).

    Args:
        output: [T, N, classes].
        labels: [N], int64.
        label_smoothing: the share of the target that is spread evenly over all classes.

    Returns:
        The loss, 0-d.

    Raises:
        BadValue: for an output of another shape.

    Example:
        >>> round(cross_entropy(torch.zeros(4, 2, 10), torch.tensor([3, 7])).item(), 4)  # log 10
        2.3026
    """
    return F.cross_entropy(time_mean(_float32(output)), labels, label_smoothing=label_smoothing)


def tet(
    output: Tensor,
    labels: Tensor,
    label_smoothing: Fraction = 0.0,
    weight: Fraction = 1e-3,
    target: float | None = 1.0,
) -> Tensor:
    """Temporal efficient training (Deng et al. 2022), over all time steps, samples and classes:

        (1 - λ)·mean_t CE(o_t, y) + λ·MSE(o, φ)

    Args:
        output: o, [T, N, classes].
        labels: y, [N], int64.
        label_smoothing: the share of the target that is spread evenly over all classes.
        weight: λ.
        target: φ; None for 1 for the label and 0 for the other classes (Xiao et al. 2022, OTTT).

    Returns:
        The loss, 0-d.

    Raises:
        BadValue: for an output of another shape.
    """
    output = _float32(output)
    every_step = only_valid(labels.expand(output.shape[:2])).flatten()
    output = only_valid(output).flatten(0, 1)
    entropy = F.cross_entropy(output, every_step, label_smoothing=label_smoothing)
    wanted = F.one_hot(every_step, output.shape[1]) if target is None else target
    return (1 - weight) * entropy + weight * (output - wanted).square().mean()


def mse(output: Tensor, labels: Tensor, label_smoothing: Fraction = 0.0) -> Tensor:
    """Mean squared error of the time-averaged output against one-hot labels (Fang et al. 2021, PLIF).

    The target is 1 for the label and 0 for the other classes, and the mean is over samples and classes. Where the
    output layer fires, the time-averaged output is a firing rate.

    Args:
        output: [T, N, classes].
        labels: [N], int64.
        label_smoothing: the share of the target that is spread evenly over all classes.

    Returns:
        The loss, 0-d.

    Raises:
        BadValue: for an output of another shape.
    """
    rates = time_mean(_float32(output))
    wanted = torch.full_like(rates, label_smoothing / rates.shape[1])
    wanted.scatter_(1, labels[:, None], 1 - label_smoothing + label_smoothing / rates.shape[1])
    return F.mse_loss(rates, wanted)


@duplicates_batch
def rdrop(output: Tensor, labels: Tensor, label_smoothing: Fraction = 0.0) -> Tensor:
    """The loss of two outputs for the same samples under different dropout (Wang et al. 2022a, LTMD, after R-Drop).

    It is half the sum of their cross-entropies, plus half the mean of the two Kullback-Leibler divergences between
    them.

    As in the authors' code, the divergences are averaged over the classes too. With ten classes they are a tenth of the
    usual definition.

    Args:
        output: [T, 2N, classes], the second outputs after the first ones (`SpikingNetwork.duplicate_batch`). Of an
            output [T, N, classes], as in evaluation, the loss is the cross-entropy.
        labels: [N], int64.
        label_smoothing: the share of the target that is spread evenly over all classes.

    Returns:
        The loss, 0-d.

    Raises:
        BadValue: for an output of another shape.
    """
    logits = time_mean(_float32(output))
    if len(logits) == len(labels):
        return cross_entropy(output, labels, label_smoothing)
    one, other = logits.chunk(2)
    entropy = F.cross_entropy(logits, labels.repeat(2), label_smoothing=label_smoothing)
    p = one.log_softmax(1)
    q = other.log_softmax(1)
    divergence = sum(F.kl_div(*pair, reduction="none", log_target=True).mean() for pair in ((p, q), (q, p))) / 2
    return entropy + 0.5 * divergence


_LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "tet": tet, "mse": mse, "rdrop": rdrop}
LOSSES = Registry("loss", _LOSSES, context=("output", "labels"))
