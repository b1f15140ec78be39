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


def tet(output: Tensor, labels: Tensor, label_smoothing: float = 0.0, weight: float = 1e-3,
        target: float = 1.0) -> Tensor:  # fmt: skip
    """Temporal efficient training (Deng et al. 2022):
    (1-λ)·mean_t CE(o_t, y) + λ·MSE(o, φ), λ = weight, φ = target, over all steps, samples and classes.

    output [T, N, classes], labels [N] int64 -> 0-d."""
    output = _float32(output)
    everywhere = labels.expand(output.shape[:2]).flatten()
    entropy = F.cross_entropy(output.flatten(0, 1), everywhere, label_smoothing=label_smoothing)
    return (1 - weight) * entropy + weight * (output - target).square().mean()


def mse(output: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean square of the time-averaged output (a firing rate, where the readout spikes) against 1 for the label, 0 for
    the rest (Fang et al. 2021, PLIF), over samples and classes.

    output [T, N, classes], labels [N] int64 -> 0-d."""
    rates = _float32(output).mean(0)
    wanted = torch.full_like(rates, label_smoothing / rates.shape[1])
    wanted.scatter_(1, labels[:, None], 1 - label_smoothing + label_smoothing / rates.shape[1])
    return F.mse_loss(rates, wanted)


LOSSES: dict[str, Callable[..., Tensor]] = {"cross_entropy": cross_entropy, "tet": tet, "mse": mse}
