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
        momenta = [self._momentum(weight) for weight in weights]
        held = torch.stack([_matrix(weight, weight) for weight in weights])
        before = torch.stack([_matrix(m, weight) for m, weight in zip(momenta, weights, strict=True)])
        gradient = torch.stack([_matrix(weight.grad, weight) for weight in weights if weight.grad is not None])
        momentum = coefficient * before + gradient
        change = lr * orthogonalized(gradient + coefficient * momentum)
        norm = torch.linalg.vector_norm(held, dim=(1, 2), keepdim=True).clamp(min=1e-7)
        moved = held.shape[1] ** 0.5 / norm * held - change
        bad = getattr(self, "found_inf", None)
        if bad is not None:
            momentum = torch.where(bad > 0, before, momentum)
            moved = torch.where(bad > 0, held, moved)
        new = [
            _shaped(matrix, weight)
            for stack in (moved, momentum)
            for matrix, weight in zip(stack, weights, strict=True)
        ]
        torch._foreach_copy_([*weights, *momenta], new)

    def _momentum(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum: Tensor = state["momentum"]
        return momentum


def _matrix(x: Tensor, weight: Tensor) -> Tensor:
    """A tensor of a weight's shape as a matrix [out, rest], its columns in the order of the weight's memory, which
    saves copies."""
    return (x.movedim(1, -1) if _is_channels_last(weight) else x).flatten(1)


def _shaped(matrix: Tensor, weight: Tensor) -> Tensor:
    """What `_matrix` made a matrix of."""
    if not _is_channels_last(weight):
        return matrix.view(weight.shape)
    return matrix.view(weight.movedim(1, -1).shape).movedim(-1, 1)


def _is_channels_last(weight: Tensor) -> bool:
    return weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last)


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
    convolutions have several times more columns than rows. On a GPU they multiply in bfloat16, as Jordan's do.
    """
    if matrix.ndim == 2:
        return orthogonalized(matrix[None], iterations)[0]
    tall = matrix.shape[1] > matrix.shape[2]
    x = matrix.mT if tall else matrix
    x = x / (torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True) + 1e-7)
    x = x.bfloat16() if x.is_cuda else x
    a, b, c = COEFFICIENTS
    gram = x @ x.mT
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    total = identity.expand_as(gram)
    for _ in range(iterations):
        factor = a * identity + torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        total = factor @ total
        gram = factor @ gram @ factor
    x = (total @ x).to(matrix.dtype)
    return x.mT if tall else x
