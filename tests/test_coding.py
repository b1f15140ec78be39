"""How images enter a network, against loops written down from the papers."""

import math

import pytest
import torch
from torch import Tensor

from surgrad.coding import CODINGS, DCT
from surgrad.config import derive
from surgrad.data import ArraySource
from surgrad.errors import BadValue, UnknownName
from surgrad.gradients import GRADIENTS
from surgrad.losses import cross_entropy
from surgrad.models import in_chunks, mlp, vgg11_dct
from surgrad.neurons import LIF
from surgrad.norm import BatchNorm
from surgrad.train import evaluation
from surgrad.train.building import build
from surgrad.train.evaluation import evaluate

ZIGZAG = [
    (0, 0),
    (0, 1),
    (1, 0),
    (2, 0),
    (1, 1),
    (0, 2),
    (0, 3),
    (1, 2),
    (2, 1),
    (3, 0),
    (3, 1),
    (2, 2),
    (1, 3),
    (2, 3),
    (3, 2),
    (3, 3),
]


def images(count: int = 3, channels: int = 3, side: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(seed))


def slow_components(plane: Tensor, block: int, stride: int) -> list[Tensor]:
    """Of one plane [H, W]: for every frequency of the 4×4 cosine transform in zigzag order, its part of each block, the
    blocks side by side."""

    def cosine(k: int, n: int) -> float:
        return math.sqrt((1 if k == 0 else 2) / block) * math.cos(math.pi * (2 * n + 1) * k / (2 * block))

    starts = range(0, len(plane) - block + 1, stride)
    found = []
    for a, b in ZIGZAG:
        basis = torch.tensor([[cosine(a, i) * cosine(b, j) for j in range(block)] for i in range(block)])
        rows = [
            torch.cat([(plane[i : i + block, j : j + block] * basis).sum() * basis for j in starts], 1) for i in starts
        ]
        found.append(torch.cat(rows))
    return found


def slow_code(parts: list[Tensor], low: float, high: float, steps: int) -> list[Tensor]:
    potential = torch.zeros_like(parts[0])
    spikes = []
    for step in range(steps):
        potential = potential + parts[step % len(parts)]
        spikes.append((potential > high).float() - (potential < low).float())
        potential = torch.where(potential > high, potential - high, potential)
        potential = torch.where(potential < low, potential - low, potential)
    return spikes


@pytest.mark.parametrize("stride", [2, 4])
def test_dct_is_the_loop(stride: int):
    """One channel: components, thresholds and spikes of 20 steps, which repeat the 16 frequencies."""
    coding = DCT(4, stride)
    x = images(channels=1)
    parts = torch.stack([torch.stack(slow_components(image[0], 4, stride)) for image in x], 1)
    torch.testing.assert_close(coding.components(x)[:, :, 0], parts, rtol=1e-5, atol=1e-6)
    spikes = coding(x, 20)
    ordered = parts.flatten().sort().values
    low, high = (ordered[round(p / 100 * (len(ordered) - 1))].item() for p in (6.5, 93.5))
    assert (coding.low.item(), coding.high.item()) == pytest.approx((low, high), rel=1e-4)
    for number in range(3):
        expected = slow_code(list(parts[:, number]), coding.low.item(), coding.high.item(), 20)
        agree = (spikes[:, number, 0] == torch.stack(expected)).float().mean()
        assert agree > 0.999, "but for potentials that are a threshold, up to rounding"
    assert set(spikes.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert spikes.shape == (20, 3, 1, coding.side(8), coding.side(8))


def test_cifars_images_become_60_pixels_wide():
    assert DCT().side(32) == 60
    assert DCT()(images(1, 3, 32), 1).shape == (1, 1, 3, 60, 60)


def test_frequencies_add_up_to_the_blocks_in_luma_and_chroma():
    x = images(2)
    r, g, b = x.unbind(1)
    planes = [
        0.299 * r + 0.587 * g + 0.114 * b,
        0.5 - 0.168736 * r - 0.331264 * g + 0.5 * b,
        0.5 + 0.5 * r - 0.418688 * g - 0.081312 * b,
    ]
    whole = DCT(4, 2).components(x).sum(0)
    for channel, plane in enumerate(planes):
        for row in range(3):
            for column in range(3):
                tile = whole[:, channel, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                expected = plane[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4]
                torch.testing.assert_close(tile, expected, rtol=1e-4, atol=1e-5)


def test_long_codes_approach_the_image():
    """The sum of the spikes, in units of their thresholds, approaches the image."""
    coding = DCT(4, 4)
    x = images(channels=1)
    spikes = coding(x, 16 * 40)
    whole = coding.components(x).sum(0)
    shown = (spikes.clamp(min=0) * coding.high + spikes.clamp(max=0) * -coding.low).sum(0) / 40
    within = whole.abs() < 1  # one spike per step is the maximum
    assert ((shown - whole)[within]).abs().max() < 0.1


def test_evaluation_is_independent_of_the_batch():
    coding = DCT().train()
    first = images(4, seed=1)
    second = 3 * images(4, seed=2)
    coding(first, 1)
    low = coding.low.clone()
    coding(second, 1)
    own = DCT().train()
    own(second, 1)
    torch.testing.assert_close(coding.low, torch.lerp(low, own.low, 0.1))
    coding.eval()
    whole = coding(second, 8)
    assert torch.equal(coding(second[:1], 8), whole[:, :1])
    assert {"low", "high"} == set(coding.state_dict())
    fresh = DCT().eval()
    fresh(second, 1)
    assert fresh.low.isnan(), "evaluation learns nothing"


def test_autocast_leaves_the_code_as_it_is():
    x = images(4)
    plain = DCT().train()(x, 20)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(DCT().train()(x, 20), plain)


@pytest.mark.parametrize("options", [{"block": 0}, {"stride": 5}, {"percentiles": (93.5, 6.5)}])
def test_dct_refuses_impossible_codes(options: dict):
    with pytest.raises(BadValue, match="do not fit; give a stride from 1 to block"):
        DCT(**options)
    with pytest.raises(BadValue, match="images must be at least 4 pixels wide and high for DCT coding, got 3"):
        DCT().side(3)


def test_codings_are_built_from_their_options():
    assert CODINGS.build("direct") is None
    coding = CODINGS.build("dct", {"block": 8, "stride": 4, "percentiles": [5, 95]})
    assert (coding.block, coding.stride, coding.percentiles) == (8, 4, (5.0, 95.0))
    assert (DCT.tracks_batch_statistics, set(CODINGS.options("direct"))) == (True, set())
    with pytest.raises(BadValue, match=r"coding.blocks: coding 'dct' has no option 'blocks'; did you mean 'block'\?"):
        CODINGS.build("dct", {"blocks": 8})


def test_strips_are_the_rows_of_an_image_from_top_to_bottom():
    given = images(side=8)
    rows = CODINGS.build("strips")
    seen = rows(given, 8)  # one row a time step, as in sequential MNIST by rows
    assert seen.shape == (8, 3, 3, 1, 8)
    assert all(torch.equal(seen[t], given[:, :, t : t + 1]) for t in range(8))
    assert torch.equal(torch.cat([*rows(given, 2)], 2), given)
    assert rows.shape((3, 8, 6), 4) == (3, 2, 6)
    with pytest.raises(BadValue, match=r"model.steps = 3 does not divide the 8 rows .* give a divisor of 8"):
        rows(given, 3)


def test_a_network_is_built_for_what_a_coding_shows_in_a_step(tiny):
    wide = torch.rand(8, 1, 8, 12), torch.arange(8) % 2
    recipe = derive(tiny(), coding={"name": "strips"}, model={"name": "mlp", "steps": 4}, data={"batch": 4})
    parts = build(recipe, ArraySource(wide, wide))
    assert parts.model.stem[1].weight.shape[1] == 2 * 12
    assert parts.model(wide[0]).shape[:2] == (4, 8)
    shorter = derive(recipe, progressive={"fraction": 0.5, "steps": 2})
    with pytest.raises(BadValue, match=r"coding.name = strips shows other shapes with another number of time steps"):
        build(shorter, ArraySource(wide, wide))


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_networks_learn_from_coded_images(coding: str, gradient: str):
    torch.manual_seed(0)
    code = CODINGS[coding]()
    shape = (3, 16, 16) if code is None else code.shape((3, 16, 16), 4)
    network = mlp(3, features=math.prod(shape), steps=4, neuron=lambda: LIF(0.9), norm=BatchNorm, hidden=16)
    network.coding = code
    labels = torch.tensor([0, 1, 2, 0])
    _, output = GRADIENTS[gradient]().find(network, images(4, side=16), lambda out: cross_entropy(out, labels))
    assert output.shape == (1 if gradient == "rate" else 4, 4, 3)
    assert network.stem[1].weight.grad.any()


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("last_step", [False, True])
def test_chunks_of_steps_are_the_whole(coded: bool, last_step: bool):
    """Of an image, of a coded one and of a recording, whatever the chunk."""
    torch.manual_seed(0)
    network = vgg11_dct(
        3, steps=7, neuron=lambda: LIF(0.9), norm=BatchNorm, width_multiplier=0.05, image_size=28 if coded else 16
    ).eval()
    network.coding = DCT() if coded else None
    network.last_step = last_step
    x = images(2, side=16)
    for given in (x, network.encoded(x) if coded else torch.randn(7, 2, 3, 16, 16)):
        whole = network(given)
        for chunk in (1, 3, 10):
            torch.testing.assert_close(in_chunks(network, given, 7, chunk), whole)
        assert (network.steps, network.last_step) == (7, last_step)


def test_long_evaluations_are_those_of_chunks(tiny, monkeypatch):
    parts = build(tiny("model.steps=9"))
    whole = evaluate(parts)
    called: list[int] = []
    monkeypatch.setattr(evaluation, "AT_ONCE", 4)
    monkeypatch.setattr(evaluation, "in_chunks", lambda *words: called.append(1) or in_chunks(*words))
    assert evaluate(parts) == pytest.approx(whole)
    assert called


def test_recipes_name_a_coding(tiny):
    parts = build(tiny("coding.name=dct"))
    assert isinstance(parts.model.coding, DCT)
    assert build(tiny()).model.coding is None
    with pytest.raises(UnknownName, match=r"unknown coding 'dtc'; did you mean 'dct'\?"):
        build(tiny("coding.name=dtc"))
    with pytest.raises(BadValue, match=r"run.compile is true, and coding.name = dct"):
        build(tiny("coding.name=dct", "run.compile=true"))
