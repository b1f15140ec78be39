"""Losses: pure functions of the network's output [T, N, classes] and the labels [N]."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from surgrad.errors import BadValue


def _float32(output: Tensor) -> Tensor:
    """[T, N, classes] in float32 or better: losses of bfloat16 outputs drown in rounding."""
    if output.ndim != 3:
        raise BadValue(f"output {list(output.shape)} does not fit; give [T, N, classes], not yet averaged over time")
    return output.to(torch.promote_types(output.dtype, torch.float32))


def cross_entropy(output: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of the time-averaged readout (Lian et al. 2023; the "SDT" loss of Deng et al. 2022).

    output [T, N, classes], labels [N] int64 -> 0-d."""
    return F.cross_entropy(_float32(output).mean(0), labels, label_smoothing=label_smoothing)


def tet(
    output: Tensor, labels: Tensor, label_smoothing: float = 0.0, weight: float = 1e-3, target: float | None = 1.0
) -> Tensor:
    """Temporal efficient training (Deng et al. 2022):
    (1-λ)·mean_t CE(o_t, y) + λ·MSE(o, φ), λ = weight, φ = target, over all steps, samples and classes; φ of None is 1
    for the label and 0 for the rest (Xiao et al. 2022, OTTT).

    output [T, N, classes], labels [N] int64 -> 0-d."""
    output = _float32(output)
    everywhere = labels.expand(output.shape[:2]).flatten()
    entropy = F.cross_entropy(output.flatten(0, 1), everywhere, label_smoothing=label_smoothing)
    aim = F.one_hot(labels, output.shape[2]) if target is None else target
    return (1 - weight) * entropy + weight * (output - aim).square().mean()


def mse(output: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean square of the time-averaged output (a firing rate, where the readout spikes) against 1 for the label, 0 for
    the rest (Fang et al. 2021, PLIF), over samples and classes.

    output [T, N, classes], labels [N] int64 -> 0-d."""
    rates = _float32(output).mean(0)
    wanted = torch.full_like(rates, label_smoothing / rates.shape[1])
    wanted.scatter_(1, labels[:, None], 1 - label_smoothing + label_smoothing / rates.shape[1])
    return F.mse_loss(rates, wanted)


def rdrop(output: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The loss of two outputs for the same images under different dropout (Wang et al. 2022a, LTMD, after R-Drop): half
    the sum of their cross-entropies, and half the mean of the two Kullback-Leibler divergences between them, averaged
    over samples and classes.

    output [T, 2N, classes], one output after the other (`SpikingNetwork.duplicate_batch`), labels [N] int64 -> 0-d; of
    an output [T, N, classes], as in evaluation, its cross-entropy. As in the authors' code the divergences are averaged
    over the classes too, and so a tenth of what is usually called so where there are ten."""
    logits = _float32(output).mean(0)
    if len(logits) == len(labels):
        return cross_entropy(output, labels, label_smoothing)
    one, other = logits.chunk(2)
    entropy = F.cross_entropy(logits, labels.repeat(2), label_smoothing=label_smoothing)
    p = one.log_softmax(1)
    q = other.log_softmax(1)
    divergence = sum(F.kl_div(*pair, reduction="none", log_target=True).mean() for pair in ((p, q), (q, p))) / 2
    return entropy + 0.5 * divergence


LOSSES: dict[str, Callable[..., Tensor]] = {"cross_entropy": cross_entropy, "tet": tet, "mse": mse, "rdrop": rdrop}
