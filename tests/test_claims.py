"""What the papers claim of potentials, widths and gradients, measured."""

import math

import pytest
import torch

from surgrad import lif
from surgrad.adapt import lsg_width
from surgrad.adapt.prescribed import geometric
from surgrad.kernels.lif import mean_of, share_within, spread_of
from surgrad.surrogates import SURROGATES

COUNT = 400_000
THRESHOLD = 0.5


def membranes(decay, steps, reset="zero"):
    """The histogram of each step, of currents N(0, v_th²)."""
    generator = torch.Generator().manual_seed(0)
    current = THRESHOLD * torch.randn(steps, COUNT, generator=generator)
    start = None
    found = []
    for step in current:
        out = lif(
            step[None],
            decay,
            1.0,
            surrogate="rect",
            threshold=THRESHOLD,
            reset=reset,
            initial_potential=start,
            return_histogram=True,
        )
        start = out.potential
        found.append(out.histogram)
    return found


@pytest.mark.parametrize("decay", [0.2, 0.5, 0.8])
def test_theorem_1_holds_at_the_second_step_without_reset(decay):
    """Lian et al. 2023: Var(u_2) = (1 + β²)·v_th². At the first step it is v_th², later v_th²·(1 - β^2t)/(1 - β²)."""
    variances = [spread_of(counts).item() ** 2 for counts in membranes(decay, 6, reset="none")]
    assert variances[0] == pytest.approx(1, rel=0.01)
    assert variances[1] == pytest.approx(1 + decay**2, rel=0.01)
    assert variances[5] == pytest.approx((1 - decay**12) / (1 - decay**2), rel=0.01)


@pytest.mark.parametrize(
    ("decay", "variances", "mean"),
    [
        (0.2, (1.000, 1.022, 1.023, 1.023), -0.056),
        (0.5, (1.000, 1.135, 1.164, 1.178), -0.203),
        (0.8, (1.000, 1.346, 1.506, 1.735), -0.555),
    ],
)
def test_with_the_hard_reset_the_variance_is_less_and_the_mean_shifts(decay, variances, mean):
    """At t = 1, 2, 3, 6. Two steps: mean -0.242·β·v_th and variance (1 + 0.541·β²)·v_th², where Theorem 1 has mean 0
    and (1 + β²)·v_th²."""
    counts = membranes(decay, 6)
    assert [spread_of(counts[t - 1]).item() ** 2 for t in (1, 2, 3, 6)] == pytest.approx(variances, rel=0.008)
    assert mean_of(counts[5]).item() == pytest.approx(mean, abs=0.005)
    assert spread_of(counts[1]).item() ** 2 == pytest.approx(1 + 0.541 * decay**2, rel=0.01)
    assert mean_of(counts[1]).item() == pytest.approx(-0.242 * decay, abs=0.005)


@pytest.mark.parametrize(
    ("decay", "lsg", "box"),
    [
        (0.2, (0.486, 0.469, 0.466), (0.477, 0.460, 0.457)),
        (0.5, (0.528, 0.483, 0.458), (0.476, 0.433, 0.409)),
        (0.8, (0.600, 0.523, 0.423), (0.478, 0.413, 0.329)),
    ],
)
def test_theorem_2_more_neurons_lie_in_lsgs_window_than_in_that_of_width_1(decay, lsg, box):
    """At t = 1, 2, 6: trivially, since for β > 0 the one window contains the other; by this much."""
    counts = [membranes(decay, 6)[t - 1] for t in (1, 2, 6)]
    half = lsg_width(torch.tensor(decay), torch.tensor(THRESHOLD)).item() / 2 / THRESHOLD
    assert half > 1
    assert [share_within(c, half) for c in counts] == pytest.approx(lsg, abs=2e-3)
    assert [share_within(c, 1.0) for c in counts] == pytest.approx(box, abs=2e-3)


def test_lsg_widens_the_box_by_at_most_41_percent():
    widths = lsg_width(torch.tensor([0.0, 0.2, 1.0]), torch.tensor(0.5))
    assert widths.tolist() == pytest.approx([1.0, 1.0198, math.sqrt(2)], abs=5e-5)


def test_the_evolving_surrogate_of_im_loss_is_the_geometric_law():
    """K = [(10^p - 1)·K_end + (10 - 10^p)·K_start]/9 from 1 to 10 (Guo et al. 2022), and ½tanh(K·x) + ½."""
    x = torch.linspace(-1, 1, 9)
    for p in (0.0, 0.1, 0.5, 0.9, 1.0):
        k = ((10**p - 1) * 10 + (10 - 10**p) * 1) / 9
        assert geometric(p, 1.0, 0.1) == pytest.approx(1 / k)
        torch.testing.assert_close(SURROGATES["tanh"].step(x, torch.tensor(1 / k)), torch.tanh(k * x) / 2 + 0.5)


def test_limits_of_dspike():
    """b → 0: a straight-through box of height and width 1; b → ∞: the step; b = 3: a peak of 1.657 (Li et al. 2021)."""
    shape = SURROGATES["dspike"]
    x = torch.linspace(-0.499, 0.499, 9)
    flat = shape.slope(x, torch.tensor(1 / 1e-3))
    torch.testing.assert_close(flat, torch.ones_like(flat), rtol=1e-5, atol=1e-5)
    assert shape.step(torch.tensor([-0.02, 0.02]), torch.tensor(1 / 500)).tolist() == pytest.approx([0, 1], abs=1e-6)
    assert shape.slope(torch.tensor(0.0), torch.tensor(1 / 3)).item() == pytest.approx(1.657, abs=5e-4)


@pytest.mark.parametrize("backend", ["reference", "torch", "native"])
@pytest.mark.parametrize("reset", ["zero", "subtract", "none"])
@pytest.mark.parametrize("detach", [False, True])
def test_backward_equations_against_forward_mode_tangents(backend, reset, detach):
    """Lian et al. 2023, eqs. 12 to 15: the gradient of the current and of the decay is what one gets by carrying the
    tangent of each of them forward through the recurrence, ∂o = h(u)·∂u."""
    generator = torch.Generator().manual_seed(3)
    current, weight = (torch.randn(4, 6, generator=generator, dtype=torch.float32) for _ in range(2))
    decay = torch.tensor(0.6)
    x = current.clone().requires_grad_()
    beta = decay.clone().requires_grad_()
    out = lif(x, beta, 0.9, surrogate="atan", reset=reset, detach_reset=detach, backend=backend)
    (out.spikes * weight).sum().backward()

    def tangent(d_current, d_decay):
        v = dv = torch.zeros(6)
        total = 0.0
        for i, di, w in zip(current, d_current, weight, strict=True):
            u = decay * v + i
            du = decay * dv + d_decay * v + di
            o = (u >= 0.5).float()
            do = SURROGATES["atan"].slope(u - 0.5, torch.tensor(0.9)) * du
            total += (w * do).sum().item()
            back = torch.zeros(6) if detach else do
            if reset == "zero":
                v = u * (1 - o)
                dv = du * (1 - o) - u * back
            elif reset == "subtract":
                v = u - 0.5 * o
                dv = du - 0.5 * back
            else:
                v = u
                dv = du
        return total

    directions = torch.eye(24).view(24, 4, 6)
    slow = torch.tensor([tangent(d, 0.0) for d in directions]).view(4, 6)
    torch.testing.assert_close(x.grad, slow, rtol=1e-5, atol=1e-6)
    assert beta.grad.item() == pytest.approx(tangent(torch.zeros(4, 6), 1.0), rel=1e-5)
