"""Muon: momentum whose steps are orthogonalised, for the kernels of convolutions."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from surgrad.errors import BadValue

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of a Newton-Schulz iteration, σ <- 3.4445·σ - 4.775·σ³ + 2.0315·σ⁵ of each singular value (Jordan 2024)."""


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) as in its CIFAR-10 records.

    It has Nesterov momentum of which only the directions are used and not their lengths, for weights that are rescaled
    to a fixed norm before each step.

        m <- momentum·m + g
        W <- √out·W/‖W‖ - lr·orthogonalized(g + momentum·m)

    W loses its own scale, so a norm must follow each layer. `torch.optim.Muon` accepts matrices only, does not fix the
    norm, and multiplies in bfloat16, which is slow on a processor without hardware for it.

    Args:
        params: parameters of two axes or more, [out, ...], treated as matrices [out, rest].
        lr: length of a step in every direction, for weights whose rows have norm 1.
        momentum: the coefficient above.

    Raises:
        BadValue: for a parameter of one axis or none.
    """

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
        """Update every parameter that has a gradient. A closure is not supported, as Muon does not use the loss."""
        if closure is not None:
            raise BadValue("Muon does not accept a closure; call loss.backward(), then step()")
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group["lr"], group["momentum"])

    def _update(self, weight: Tensor, gradient: Tensor, lr: float, coefficient: float) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].mul_(coefficient).add_(gradient)
        change = orthogonalized(gradient.add(momentum, alpha=coefficient).flatten(1))
        weight.mul_(len(weight) ** 0.5 / weight.norm().clamp(min=1e-7))
        weight.sub_(change.view_as(weight), alpha=lr)


def orthogonalized(matrix: Tensor, iterations: int = 3) -> Tensor:
    """A matrix [rows, columns] with the same singular vectors and singular values near 1, by Newton-Schulz iterations
    that start from matrix/‖matrix‖.

    The iterations compute a polynomial of the smaller Gram matrix, and one product applies it to the matrix: kernels of
    convolutions have several times more columns than rows.
    """
    tall = len(matrix) > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = COEFFICIENTS
    gram = x @ x.T
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    total = identity
    for _ in range(iterations):
        factor = a * identity + torch.addmm(gram, gram, gram, beta=b, alpha=c)
        total = factor @ total
        gram = factor @ gram @ factor
    x = total @ x
    return x.T if tall else x
