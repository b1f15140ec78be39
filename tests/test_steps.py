"""Layers that know no time: applied to every step, dropping the same units in each, voting."""

import pytest
import torch
from torch import nn

from surgrad.errors import BadValue
from surgrad.layers import Dropout, ModerateDropout, PerStep, Vote


def test_a_layer_of_every_step_is_the_layer_step_by_step():
    conv = nn.Conv2d(2, 3, 3)
    x = torch.randn(4, 5, 2, 6, 6)
    torch.testing.assert_close(PerStep(conv)(x), torch.stack([conv(step) for step in x]))


def test_dropout_drops_the_same_units_at_every_step():
    """Fang et al. 2021: the mask of a sample is drawn once for all its steps."""
    torch.manual_seed(0)
    x = torch.ones(4, 8, 500)
    out = Dropout(0.3)(x)
    assert torch.equal(out[0], out[3])
    assert not torch.equal(out[:, 0], out[:, 1]), "each sample has a separate mask"
    torch.testing.assert_close(out.unique(), torch.tensor([0, 1 / 0.7]))
    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.03)  # 4 σ of 4,000 draws


@pytest.mark.parametrize("layer", [Dropout(0.5).eval(), Dropout(0.0)])
def test_dropout_is_nothing_in_evaluation_and_at_zero(layer):
    x = torch.randn(2, 3, 4)
    assert torch.equal(layer(x), x)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_dropout_of_no_share_is_refused(share):
    with pytest.raises(BadValue, match=r"dropout probability must be in \[0, 1\), got "):
        Dropout(share)


def test_votes_are_averages_of_neighbours():
    spikes = torch.tensor([1.0, 1, 0, 0, 0, 1]).expand(2, 3, 6)
    assert torch.equal(Vote(3)(spikes)[1, 2], torch.tensor([2 / 3, 1 / 3]))


def test_moderate_dropout_spares_the_busy():
    """Wang et al. 2022a: kept with 1 - (1 - p)·share/(1 - mean p), the same units at all steps."""
    torch.manual_seed(0)
    rates = torch.tensor([0.0, 0.25, 0.5, 1.0]).repeat_interleave(5000)
    x = torch.stack([(torch.arange(4) < 4 * rate).float() for rate in rates], 1).unsqueeze(1)  # [4, 1, 20000]
    out = ModerateDropout(0.3)(x)
    p = torch.tensor([0.0, 0.25, 0.5, 1.0])
    kept = 1 - (1 - p) * 0.3 / (1 - p.mean())
    assert kept[3] == 1
    for part, (rate, wanted) in enumerate(zip(p.tolist(), kept.tolist(), strict=True)):
        mine, before = (t[:, 0, part * 5000 : (part + 1) * 5000] for t in (out, x))
        if rate:
            assert (mine.any(0)).float().mean().item() == pytest.approx(wanted, abs=0.03)
            torch.testing.assert_close(mine[:, mine.any(0)], before[:, mine.any(0)] / wanted)
    assert out.mean().item() == pytest.approx(x.mean().item(), rel=0.02), "on average nothing is lost"
    assert torch.equal(ModerateDropout(0.3).eval()(x), x)
    assert ModerateDropout(0.3)(torch.ones(2, 1, 3)).isfinite().all(), "all alike"
    with pytest.raises(BadValue, match=r"dropout probability must be in \[0, 1\), got 1"):
        ModerateDropout(1.0)
