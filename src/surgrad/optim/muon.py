"""Muon: momentum whose steps are made orthogonal, for the kernels of convolutions."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from surgrad.errors import BadValue

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of a Newton-Schulz iteration, σ <- 3.4445·σ - 4.775·σ³ + 2.0315·σ⁵ of each singular value (Jordan 2024)."""


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) as in its CIFAR-10 records: weights kept at a norm, and Nesterov momentum of which only
    the directions are taken, not their sizes.

        m <- momentum·m + g
        W <- √out·W/‖W‖ - lr·orthogonal(g + momentum·m)

    params: of two axes or more, [out, ...], taken for matrices [out, rest]. lr: the size of a step in every direction,
    beside weights whose rows have the norm 1. Made for layers that a norm follows: W loses its own scale.

    `torch.optim.Muon` takes matrices alone, keeps no norm, and multiplies in bfloat16, slowly where the processor has
    no hardware for it."""

    def __init__(self, params: Iterable[Tensor] | Iterable[dict], lr: float = 0.02, momentum: float = 0.9):
        super().__init__(params, {"lr": lr, "momentum": momentum})
        for weight in (weight for group in self.param_groups for weight in group["params"]):
            if weight.ndim < 2:
                raise BadValue(
                    f"Muon was given a parameter {list(weight.shape)}; give it those of two axes or more, "
                    "[out, ...], and the rest to another optimiser"
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of every parameter that has a gradient. closure: none, since a loss is of no use to Muon."""
        if closure is not None:
            raise BadValue("Muon takes no closure; call loss.backward(), then step()")
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
    matrix/‖matrix‖; [rows, columns].

    Iterated is the polynomial of the smaller Gram matrix that stands before the matrix in the end: kernels of
    convolutions are several times wider than high."""
    tall = len(matrix) > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = COEFFICIENTS
    gram = x @ x.T
    total = one = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    for _ in range(iterations):
        factor = a * one + torch.addmm(gram, gram, gram, beta=b, alpha=c)
        total = factor @ total
        gram = factor @ gram @ factor
    x = total @ x
    return x.T if tall else x
