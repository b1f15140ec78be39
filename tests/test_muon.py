"""Muon against what it stands for: singular values and the first steps, written out."""

import pytest
import torch

from surgrad.errors import BadValue
from surgrad.optim.muon import COEFFICIENTS, Muon, orthogonalized


def _made_of(values: list[float], rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(rows, len(values), generator=random, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(columns, len(values), generator=random, dtype=torch.float64))
    return left, right.T, left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T


@pytest.mark.parametrize(("rows", "columns"), [(4, 9), (9, 4), (4, 4)])
def test_singular_vectors_stay_and_values_follow_the_polynomial(rows: int, columns: int):
    left, right, matrix = _made_of([3.0, 1.0, 0.5, 0.01], rows, columns)
    values = torch.tensor([3.0, 1.0, 0.5, 0.01], dtype=torch.float64) / (matrix.norm() + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(3):
        values = a * values + b * values**3 + c * values**5
    torch.testing.assert_close(orthogonalized(matrix), left @ torch.diag(values) @ right)
    assert values[:3].min() > 0.6  # three iterations bring all but the least directions near 1
    assert values[:3].max() < 1.3


def test_the_size_of_a_gradient_is_no_matter():
    matrix = torch.randn(5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(orthogonalized(matrix), orthogonalized(1000 * matrix))
    assert torch.equal(orthogonalized(torch.zeros(3, 4)), torch.zeros(3, 4))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("out", [6, 40])
def test_two_steps_as_written(memory: torch.memory_format, out: int):
    random = torch.Generator().manual_seed(2)
    first = torch.randn(out, 3, 3, 3, generator=random)
    gradients = torch.randn(2, out, 3, 3, 3, generator=random)
    weight = torch.nn.Parameter(first.clone(memory_format=memory))
    preserved_state = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = Muon([weight, preserved_state], lr=0.1, momentum=0.5)
    expected = first
    momentum = torch.zeros_like(first)
    for gradient in gradients:
        weight.grad = gradient.clone(memory_format=memory)
        optimizer.step()
        momentum = 0.5 * momentum + gradient
        change = orthogonalized((gradient + 0.5 * momentum).reshape(out, 27)).reshape(first.shape)
        expected = expected * out**0.5 / expected.norm() - 0.1 * change
        torch.testing.assert_close(weight.data, expected)
    assert weight.is_contiguous(memory_format=memory)
    assert torch.equal(preserved_state, torch.ones(2, 2))


def test_many_matrices_are_each_for_itself():
    matrices = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for matrix, found in zip(matrices, orthogonalized(matrices), strict=True):
        torch.testing.assert_close(found, orthogonalized(matrix))


def test_a_step_that_must_not_be_does_nothing():
    """As torch's fused optimisers do while a gradient scaler has found infinite gradients."""
    plain, watched = (torch.nn.Parameter(torch.ones(4, 3, 3, 3)) for _ in range(2))
    optimizers = [Muon([plain], lr=0.1), Muon([watched], lr=0.1)]
    for number in range(4):
        optimizers[1].found_inf = torch.tensor(float(number == 2))
        gradient = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(number))
        plain.grad = gradient
        watched.grad = torch.full_like(gradient, torch.nan) if number == 2 else gradient
        optimizers[1].step()
        if number != 2:
            optimizers[0].step()
        assert torch.equal(plain, watched)


def test_a_learning_rate_may_be_a_tensor():
    """As in a CUDA graph, which reads it from memory."""
    results = []
    for lr in (0.1, torch.tensor(0.1)):
        weight = torch.nn.Parameter(torch.ones(4, 3, 3, 3))
        weight.grad = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
        optimizer = Muon([weight], lr=0.5)
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
        results.append(weight.detach())
    assert torch.equal(*results)


def test_weights_of_nothing_begin_to_move():
    weight = torch.nn.Parameter(torch.zeros(2, 3))
    weight.grad = torch.ones(2, 3)
    Muon([weight], lr=0.1).step()
    assert weight.isfinite().all()
    assert weight.abs().min() > 0


def test_what_muon_cannot_do_is_refused():
    with pytest.raises(BadValue, match=r"Muon was given a parameter \[3\]; give it those of two axes or more"):
        Muon([torch.nn.Parameter(torch.ones(3))])
    with pytest.raises(BadValue, match="does not accept a closure"):
        Muon([torch.nn.Parameter(torch.ones(3, 3))]).step(lambda: 0.0)
