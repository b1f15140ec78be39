"""The losses, against slow formulas and the papers' own gradients."""

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from surgrad.errors import BadValue, UnknownName
from surgrad.losses import LOSSES, cross_entropy, mse, rdrop, tet

T = 3
N = 4
CLASSES = 5
every_loss = pytest.mark.parametrize("name", LOSSES)


def outputs(dtype: torch.dtype = torch.float64) -> Tensor:
    return (torch.randn(T, N, CLASSES, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2).to(dtype)


LABELS = torch.tensor([3, 0, 4, 4])


def slow_entropy(logits: list[float], label: int, smoothing: float = 0.0) -> float:
    total = math.log(sum(math.exp(value) for value in logits))
    target = [smoothing / CLASSES + (1 - smoothing) * (c == label) for c in range(CLASSES)]
    return sum(t * (total - value) for t, value in zip(target, logits, strict=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_the_average_output(smoothing: float):
    output = outputs()
    loss = cross_entropy(output, LABELS, label_smoothing=smoothing)
    assert torch.equal(loss, F.cross_entropy(output.mean(0), LABELS, label_smoothing=smoothing))
    mean = [[sum(output[t, n, c].item() for t in range(T)) / T for c in range(CLASSES)] for n in range(N)]
    slow = sum(slow_entropy(mean[n], int(LABELS[n]), smoothing) for n in range(N)) / N
    assert loss.item() == pytest.approx(slow, rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("weight", "target"), [(1e-3, 1.0), (0.05, 0.5), (0.0, 1.0), (1.0, 2.0)])
def test_tet_is_the_published_sum(smoothing: float, weight: float, target: float):
    """Deng et al. 2022: (1-λ)·(1/T)Σ_t CE(o_t, y) + λ·MSE(o, φ)."""
    output = outputs()
    entropy = square = 0.0
    for t in range(T):
        for n in range(N):
            logits = output[t, n].tolist()
            entropy += slow_entropy(logits, int(LABELS[n]), smoothing) / (T * N)
            square += sum((value - target) ** 2 for value in logits) / (T * N * CLASSES)
    loss = tet(output, LABELS, label_smoothing=smoothing, weight=weight, target=target)
    assert loss.item() == pytest.approx((1 - weight) * entropy + weight * square, rel=1e-12)


def test_tet_can_draw_to_the_label():
    """Xiao et al. 2022, OTTT: (1 - λ)·CE + λ·MSE to 1 for the label and 0 for the rest."""
    output = outputs()
    wanted = torch.zeros_like(output[0])
    wanted[range(len(LABELS)), LABELS] = 1
    mean = (output - wanted).square().mean()
    expected = 0.95 * tet(output, LABELS, weight=0.0) + 0.05 * mean
    torch.testing.assert_close(tet(output, LABELS, weight=0.05, target=None), expected)


def test_tet_defaults():
    """λ = 1e-3 and φ = 1, as in the paper's code."""
    assert torch.equal(tet(outputs(), LABELS), tet(outputs(), LABELS, 0.0, 1e-3, 1.0))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mse_of_rates(smoothing: float):
    """Fang et al. 2021: the square distance of the mean output from the label's 1 and the others' 0."""
    output = outputs()
    square = 0.0
    for n in range(N):
        for c in range(CLASSES):
            rate = sum(output[t, n, c].item() for t in range(T)) / T
            wanted = smoothing / CLASSES + (1 - smoothing) * (c == int(LABELS[n]))
            square += (rate - wanted) ** 2 / (N * CLASSES)
    assert mse(output, LABELS, label_smoothing=smoothing).item() == pytest.approx(square, rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_rdrop_of_two_outputs(smoothing: float):
    """Wang et al. 2022a: ½·(CE₁ + CE₂) + ½·(KL₁₂ + KL₂₁)/2, the divergences averaged over samples and classes."""
    one = outputs()
    other = outputs() + torch.randn(T, N, CLASSES, generator=torch.Generator().manual_seed(3))
    p, q = (logits.mean(0).softmax(1) for logits in (one, other))
    entropies = [cross_entropy(logits, LABELS, label_smoothing=smoothing).item() for logits in (one, other)]
    divergences = [(a * (a / b).log()).mean().item() for a, b in ((p, q), (q, p))]
    found = rdrop(torch.cat([one, other], 1), LABELS, label_smoothing=smoothing)
    assert found.item() == pytest.approx(sum(entropies) / 2 + sum(divergences) / 4, rel=1e-9)
    assert torch.equal(rdrop(one, LABELS), cross_entropy(one, LABELS)), "in evaluation"


@pytest.mark.parametrize(("weight", "target"), [(1e-3, 1.0), (0.05, 0.5)])
def test_tet_gradient(weight: float, target: float):
    """∂L/∂o_t = (1-λ)/(T·N)·(softmax(o_t) - y) + 2λ·(o_t - φ)/(N·T·C)."""
    output = outputs().requires_grad_()
    tet(output, LABELS, weight=weight, target=target).backward()
    o = output.detach()
    teacher = torch.eye(CLASSES, dtype=torch.float64)[LABELS]
    expected = (1 - weight) / (T * N) * (o.softmax(-1) - teacher) + 2 * weight * (o - target) / (N * T * CLASSES)
    torch.testing.assert_close(output.grad, expected, rtol=1e-12, atol=1e-15)


def test_tet_asks_every_step_for_the_label_and_cross_entropy_their_mean():
    """Steps that disagree, but are right on average, cost TET more (Jensen)."""
    output = outputs()
    output[0] += 5 * output[1]
    assert tet(output, LABELS, weight=0.0) > cross_entropy(output, LABELS) + 0.1
    alike = output[:1].expand(T, N, CLASSES)
    assert tet(alike, LABELS, weight=0.0).item() == pytest.approx(cross_entropy(alike, LABELS).item(), rel=1e-12)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_outputs_are_judged_in_float32(name: str, dtype: torch.dtype):
    output = outputs(dtype).requires_grad_()
    loss = LOSSES[name](output, LABELS)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, LOSSES[name](output.detach().float(), LABELS))
    loss.backward()
    assert output.grad is not None
    assert output.grad.dtype == dtype
    assert output.grad.isfinite().all()


@every_loss
def test_losses_are_numbers_in_the_outputs_precision(name: str):
    for dtype in (torch.float32, torch.float64):
        loss = LOSSES[name](outputs(dtype), LABELS)
        assert loss.shape == ()
        assert loss.dtype == dtype


@pytest.mark.parametrize("name", ["cross_entropy", "tet"])
def test_label_smoothing_reaches_every_entropy(name: str):
    """Smoothing by s moves the entropy by s·(mean over classes - the label's) of the negative log-probabilities."""
    output = outputs()
    plain, smooth = (LOSSES[name](output, LABELS, label_smoothing=s) for s in (0.0, 0.2))
    assert abs(plain - smooth) > 1e-2


@every_loss
def test_order_of_samples_does_not_matter(name: str):
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(LOSSES[name](outputs()[:, order], LABELS[order]), LOSSES[name](outputs(), LABELS))


@every_loss
def test_descending_it_learns_the_labels(name: str):
    output = outputs(torch.float32).requires_grad_()
    for _ in range(200):
        (gradient,) = torch.autograd.grad(LOSSES[name](output, LABELS), output)
        with torch.no_grad():
            output -= 5.0 * gradient
    assert torch.equal(output.mean(0).argmax(-1), LABELS)


def test_an_output_without_time_is_refused():
    with pytest.raises(BadValue, match=r"output \[4, 10\] does not fit; give \[T, N, classes\], not yet averaged"):
        cross_entropy(torch.zeros(4, 10), torch.zeros(4, dtype=torch.int64))


# --- the registry -----------------------------------------------------------------------------------------------------


@every_loss
def test_every_parameter_of_a_loss_is_its_input_or_an_option(name: str):
    options = LOSSES.options(name)
    assert list(inspect.signature(LOSSES[name]).parameters) == ["output", "labels", *options]
    defaults = {key: option.default for key, option in options.items()}
    assert LOSSES.check(name, defaults) == defaults
    assert torch.equal(LOSSES[name](outputs(), LABELS, **defaults), LOSSES[name](outputs(), LABELS))
    with pytest.raises(BadValue, match=r"loss.label_smoothing = 1.5 is out of range; give a number from 0 to 1"):
        LOSSES.check(name, {"label_smoothing": 1.5})


def test_options_of_tet():
    assert LOSSES.check("tet", {"weight": 1, "target": None}) == {"weight": 1.0, "target": None}
    with pytest.raises(BadValue, match=r"loss.weight = -0.1 is out of range; give a number from 0 to 1"):
        LOSSES.check("tet", {"weight": -0.1})
    with pytest.raises(BadValue, match=r"loss.weight: loss 'mse' has no option 'weight'; it has label_smoothing"):
        LOSSES.check("mse", {"weight": 0.5})
    with pytest.raises(UnknownName, match=r"unknown loss 'cross_entropi'; did you mean 'cross_entropy'\?"):
        LOSSES["cross_entropi"]


def test_losses_declare_that_they_need_two_outputs():
    assert [name for name in LOSSES if getattr(LOSSES[name], "duplicates_batch", False)] == ["rdrop"]
