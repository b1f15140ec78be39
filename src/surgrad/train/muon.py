"""Muon: momentum whose steps are made orthogonal, for the kernels of convolutions."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of one Newton-Schulz iteration, σ <- 3.4445·σ - 4.775·σ³ + 2.0315·σ⁵ of each singular value (Jordan 2024)."""


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) as in its CIFAR-10 records: weights kept at a norm, and Nesterov momentum of which only
    the directions are taken, not their sizes.

        m <- momentum·m + g
        W <- √out·W/‖W‖ - lr·orthogonal(g + momentum·m)

    params: of two axes or more, [out, ...], taken for matrices [out, rest]. lr: the size of a step in every direction,
    beside weights whose rows have the norm 1. Made for layers that a norm follows: W loses its own scale.

    `torch.optim.Muon` takes matrices alone, and multiplies in bfloat16, which most processors do slowly."""

    def __init__(self, params: Iterable[Tensor] | Iterable[dict], lr: float = 0.02, momentum: float = 0.9):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of every parameter that has a gradient. No closure is taken."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].mul_(group["momentum"]).add_(weight.grad)
                change = orthogonal(weight.grad.add(momentum, alpha=group["momentum"]).flatten(1))
                weight.mul_(len(weight) ** 0.5 / weight.norm().clamp(min=1e-7))
                weight.sub_(change.view_as(weight), alpha=group["lr"])


def orthogonal(matrix: Tensor, iterations: int = 3) -> Tensor:
    """The matrix with singular values nearer to 1 and the same singular vectors, by Newton-Schulz iterations from
    matrix/‖matrix‖; [rows, columns]."""
    x = matrix / (matrix.norm() + 1e-7)
    tall = len(x) > x.shape[1]
    x = x.T if tall else x  # the smaller of the two Gram matrices
    a, b, c = COEFFICIENTS
    for _ in range(iterations):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
