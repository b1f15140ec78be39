"""Muon: momentum whose steps are orthogonalised, for the kernels of convolutions."""

from collections.abc import Callable, Iterable
from typing import Any

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

    While its attribute `found_inf` is a tensor of 1, as `torch.amp.GradScaler` sets it, a step does nothing.

    Args:
        params: parameters of two axes or more, [out, ...], treated as matrices [out, rest].
        lr: length of a step in every direction, for weights whose rows have norm 1; a group's may be a 0-d tensor.
        momentum: the coefficient above.

    Raises:
        BadValue: for a parameter of one axis or none.
    """

    def __init__(self, params: Iterable[Tensor] | Iterable[dict], lr: float = 0.02, momentum: float = 0.9):
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self._step_supports_amp_scaling = True
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
            for weights in _groups([weight for weight in group["params"] if weight.grad is not None]):
                self._update(weights, group["lr"], group["momentum"])

    def _update(self, weights: list[Tensor], lr: float | Tensor, coefficient: float) -> None:
        """Update weights of one size together."""
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        momenta = [self._momentum(weight) for weight in weights]
        decay: Tensor | float = coefficient
        bad = getattr(self, "found_inf", None)
        if bad is not None:
            gradients = [torch.where(bad > 0, 0, gradient) for gradient in gradients]
            decay = torch.where(bad > 0, 1, coefficient)
        for momentum, gradient in zip(momenta, gradients, strict=True):
            momentum.mul_(decay).add_(gradient)
        directions = [g.add(m, alpha=coefficient).flatten(1) for g, m in zip(gradients, momenta, strict=True)]
        changes = orthogonalized(torch.stack(directions) if len(directions) > 1 else directions[0][None])
        changes = changes if bad is None else changes * (1 - bad)
        for weight, change in zip(weights, changes, strict=True):
            scale = len(weight) ** 0.5 / weight.norm().clamp(min=1e-7)
            weight.mul_(scale if bad is None else torch.where(bad > 0, 1, scale))
            weight.sub_(change.view(weight.shape) * lr)

    def _momentum(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum: Tensor = state["momentum"]
        return momentum


def _groups(weights: Iterable[Tensor]) -> list[list[Tensor]]:
    """Weights whose steps are computed together: on a GPU, where the number of kernels counts, those of one size."""
    groups: dict[Any, list[Tensor]] = {}
    for weight in weights:
        size = (len(weight), weight.numel(), weight.dtype, weight.device)
        groups.setdefault(size if weight.is_cuda else weight, []).append(weight)
    return list(groups.values())


def orthogonalized(matrix: Tensor, iterations: int = 3) -> Tensor:
    """Matrices [count, rows, columns], or one [rows, columns], with the same singular vectors and singular values near
    1, by Newton-Schulz iterations that start from matrix/‖matrix‖.

    The iterations compute a polynomial of the smaller Gram matrix, and one product applies it to the matrix: kernels of
    convolutions have several times more columns than rows.
    """
    if matrix.ndim == 2:
        return orthogonalized(matrix[None], iterations)[0]
    tall = matrix.shape[1] > matrix.shape[2]
    x = matrix.mT if tall else matrix
    x = x / (torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    gram = x @ x.mT
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    total = identity.expand_as(gram)
    for _ in range(iterations):
        factor = a * identity + torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        total = factor @ total
        gram = factor @ gram @ factor
    x = total @ x
    return x.mT if tall else x
