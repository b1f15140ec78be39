"""Augment against slow loops and against Pillow, its distributions, and what it draws from."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from surgrad.data import augment as plain
from surgrad.data import autoaugment as policy
from surgrad.data.augment import Augment
from surgrad.errors import BadValue

EVERYTHING = Augment(crop=4, flip=True, autoaugment=True, cutout=8, fill=(125, 123, 114))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, high: int = 256, seed: int = 0) -> Tensor:
    return torch.randint(high, shape, generator=seeded(seed)).to(torch.uint8)


def varied(height: int, width: int) -> Tensor:
    """Images [8, 3, H, W]: noise, few levels, narrow ranges, one flat channel, one flat image, smooth gradients."""
    images = noise(8, 3, height, width)
    images[2] = images[2] // 64 * 64
    images[3] = images[3] // 8 + 100
    images[4, 1] = 77
    images[5] = 200
    images[6] = torch.linspace(30, 220, width).to(torch.uint8)
    images[7] = torch.linspace(0, 90, height).to(torch.uint8)[:, None]
    return images


def to_pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def from_pil(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def pil_affine(image: Image.Image, *matrix: float) -> Image.Image:
    nearest = Image.Resampling.NEAREST
    return image.transform(image.size, Image.Transform.AFFINE, matrix, nearest, fillcolor=(128, 128, 128))


# Each operation at a level 0–9 and with a sign, as Pillow does it; the ranges are written out here a second time.
IN_PILLOW = {
    "shear_x": lambda image, level, sign: pil_affine(image, 1, sign * 0.3 * level / 9, 0, 0, 1, 0),
    "shear_y": lambda image, level, sign: pil_affine(image, 1, 0, 0, sign * 0.3 * level / 9, 1, 0),
    "translate_x": lambda image, level, sign: pil_affine(
        image, 1, 0, sign * np.linspace(0, 150 / 331, 10)[level] * image.width, 0, 1, 0
    ),
    "translate_y": lambda image, level, sign: pil_affine(
        image, 1, 0, 0, 0, 1, sign * np.linspace(0, 150 / 331, 10)[level] * image.height
    ),
    "rotate": lambda image, level, sign: image.rotate(sign * 30 * level / 9, fillcolor=(128, 128, 128)),
    "color": lambda image, level, sign: ImageEnhance.Color(image).enhance(1 + sign * level / 10),
    "contrast": lambda image, level, sign: ImageEnhance.Contrast(image).enhance(1 + sign * level / 10),
    "brightness": lambda image, level, sign: ImageEnhance.Brightness(image).enhance(1 + sign * level / 10),
    "sharpness": lambda image, level, sign: ImageEnhance.Sharpness(image).enhance(1 + sign * level / 10),
    "posterize": lambda image, level, sign: ImageOps.posterize(image, (8, 8, 7, 7, 6, 6, 5, 5, 4, 4)[level]),
    "solarize": lambda image, level, sign: ImageOps.solarize(image, math.ceil(np.linspace(256, 0, 10)[level])),
    "autocontrast": lambda image, level, sign: ImageOps.autocontrast(image),
    "equalize": lambda image, level, sign: ImageOps.equalize(image),
    "invert": lambda image, level, sign: ImageOps.invert(image),
}
BLENDS = ("color", "contrast", "brightness", "sharpness")


@pytest.mark.parametrize("size", [(32, 32), (20, 27), (2, 3)])
@pytest.mark.parametrize("name", IN_PILLOW)
def test_operation_equals_pillow(name, size):
    """One call with ten levels at once, both signs. Geometry is exact: both compute in 16.16 fixed point."""
    images = varied(*size).repeat_interleave(10, 0)
    levels = list(range(10)) * 8
    for sign in (1, -1) if policy.RANGES.get(name, (0, 0, False))[2] else (1,):
        strength = torch.tensor([sign * policy.strength_at(name, level) for level in levels], dtype=torch.float64)
        got = policy.OPERATIONS[name](images, strength)
        pairs = zip(images, levels, strict=True)
        want = torch.stack([from_pil(IN_PILLOW[name](to_pil(image), level, sign)) for image, level in pairs])
        assert got.dtype == torch.uint8
        # A compiler may fuse Pillow's multiply and add, which can move a blend across a truncation: one level.
        assert (got.int() - want.int()).abs().max() <= (1 if name in BLENDS else 0)


def test_every_blend_factor_stays_within_a_level_for_every_pair_of_levels():
    images = torch.arange(256, dtype=torch.uint8).repeat(3, 256, 1)
    images[1] = images[2].T
    for level in range(-9, 10):
        got = policy.OPERATIONS["color"](images[None], torch.tensor([level / 10], dtype=torch.float64))[0]
        want = from_pil(ImageEnhance.Color(to_pil(images)).enhance(1 + level / 10))
        assert (got.int() - want.int()).abs().max() <= 1


def test_policy_equals_pillow_image_by_image():
    images = noise(200, 3, 32, 32)
    got = policy.autoaugment(images, seeded(5))
    draws = seeded(5)
    chosen = torch.randint(25, (200,), generator=draws)
    coins = torch.rand(200, 2, generator=draws)
    signs = torch.randint(2, (200, 2), generator=draws)
    for b, row in enumerate(chosen.tolist()):
        image = to_pil(images[b])
        for slot, (name, probability, level) in enumerate(policy.CIFAR10_POLICY[row]):
            if coins[b, slot] < probability:
                image = IN_PILLOW[name](image, level, 1 - 2 * int(signs[b, slot]))
        # Exact where Pillow's blend is compiled without fused multiply-add; one level of it may spread in an equalize.
        assert (got[b] == from_pil(image)).float().mean() > 0.9
    assert not torch.equal(got, images)


def test_policy_is_the_published_one():
    rows = policy.CIFAR10_POLICY
    assert len(rows) == 25
    assert {name for row in rows for name, _, _ in row} == set(IN_PILLOW) - {"shear_x"}
    assert rows[16] == (("equalize", 0.2, 8), ("equalize", 0.6, 4))
    assert sum(p for row in rows for _, p, _ in row) == pytest.approx(26.5)
    assert sum(level for row in rows for _, _, level in row) == 267


def test_every_sub_policy_occurs_with_its_probability_and_both_signs():
    count = 40_000
    drawn = policy.draw_operations(count, seeded())
    names = list(policy.OPERATIONS)
    for slot in (0, 1):
        operation, strength = (numbers[:, slot] for numbers in drawn)
        for name in names:
            rows = [row[slot] for row in policy.CIFAR10_POLICY if row[slot][0] == name]
            chosen = operation == names.index(name)
            share = sum(probability for _, probability, _ in rows) / 25
            assert float(chosen.float().mean()) == pytest.approx(share, abs=5 * (share / count) ** 0.5)
            signs = (1, -1) if policy.RANGES.get(name, (0, 0, False))[2] else (1,)
            # Adding zero makes −0 a plain 0, as both compare equal but are kept apart by `unique`.
            possible = {s * policy.strength_at(name, level) + 0.0 for _, p, level in rows if p > 0 for s in signs}
            assert set((strength[chosen] + 0.0).tolist()) == possible


def test_crop_and_flip_equal_the_obvious_loop():
    images = noise(40, 3, 9, 7)
    pad = 3
    offsets = noise(2, 40, high=2 * pad + 1).long()
    mirrored = noise(40, high=2) == 1
    got = plain.crop_flip(images, pad, offsets, mirrored)
    for b in range(40):
        for y in range(9):
            for x in range(7):
                row = int(offsets[0, b]) + y - pad
                column = int(offsets[1, b]) + (6 - x if mirrored[b] else x) - pad
                inside = 0 <= row < 9 and 0 <= column < 7
                assert got[b, :, y, x].tolist() == (images[b, :, row, column].tolist() if inside else [0, 0, 0])


@pytest.mark.parametrize("side", [1, 4, 5, 40])
def test_cutout_equals_the_obvious_loop(side):
    images = noise(12, 3, 9, 7)
    fill = (1, 2, 3)
    centres = torch.stack((noise(12, high=9), noise(12, high=7, seed=1))).long()
    want = images.clone()
    for b in range(12):
        top, left = (int(centre) - side // 2 for centre in centres[:, b])
        for y in range(max(0, top), min(9, top + side)):
            for x in range(max(0, left), min(7, left + side)):
                want[b, :, y, x] = torch.tensor(fill)
    assert torch.equal(plain.cutout(images, side, fill, centres), want)


def test_rectangles_equal_the_obvious_loop():
    images = noise(40, 3, 9, 7)
    drawn = torch.rand(5, 40, generator=seeded(), dtype=torch.float64)
    greys = torch.arange(40) * 6
    want = images.clone()
    for b, (whether, area, shape, row, column) in enumerate(drawn.T.tolist()):
        area = (0.02 + 0.38 * area) * 63
        shape = 0.4 + 2.1 * shape
        height = min(int((area * shape) ** 0.5), 9)
        width = min(int((area / shape) ** 0.5), 7)
        top = int(row * (9 - height + 1))
        left = int(column * (7 - width + 1))
        if whether < 0.5:
            want[b, :, top : top + height, left : left + width] = 6 * b
    assert torch.equal(plain.rectangles(images, drawn, greys), want)


def test_rectangles_cover_what_torchtoolboxs_cover():
    """Half of the images, 2 to 40 % of each (less by rounding), in every part of the image."""
    images = torch.zeros(4000, 1, 32, 32, dtype=torch.uint8)
    covered = Augment(rectangles=True)(images + 1, seeded())[:, 0] != 1
    shares = covered.flatten(1).float().mean(1)
    hit = shares > 0
    assert 0.46 < hit.float().mean() < 0.54
    assert shares[hit].min() > 0.01
    assert shares[hit].max() < 0.41
    assert 0.17 < shares[hit].mean() < 0.22  # 0.21, less by rounding down
    assert covered[:, 0, 0].any()
    assert covered[:, -1, -1].any()


def test_windows_equal_the_obvious_loop_and_are_uniform():
    images = torch.arange(3 * 6 * 7, dtype=torch.uint8).view(1, 3, 6, 7).repeat(4000, 1, 1, 1)
    got = plain.window(images, 4, torch.Generator().manual_seed(0))
    corners = got[:, 0, 0, 0].long()
    for cut, image, corner in zip(got[:50], images, corners, strict=False):
        row, column = divmod(corner.item(), 7)
        assert torch.equal(cut, image[:, row : row + 4, column : column + 4])
    counts = torch.bincount(corners, minlength=42).view(6, 7)
    assert counts[:3, :4].min() > 250  # of 333 each
    assert counts.sum() == counts[:3, :4].sum()


def test_half_of_the_images_are_flipped():
    images = torch.tensor([0, 255], dtype=torch.uint8).expand(10_000, 1, 1, 2)
    flipped = Augment(flip=True)(images, seeded())[:, 0, 0, 0] == 255
    assert 4_750 < int(flipped.sum()) < 5_250


def chi_squared(cells: Tensor, kinds: int) -> float:
    counts = torch.bincount(cells, minlength=kinds)
    expected = len(cells) / kinds
    return float(((counts - expected) ** 2 / expected).sum())


def test_crop_offsets_are_uniform():
    images = torch.zeros(20_000, 1, 5, 5, dtype=torch.uint8)
    images[:, :, 2, 2] = 255
    cells = Augment(crop=2)(images, seeded()).flatten(1).argmax(1)
    assert chi_squared(cells, 25) < 60  # 24 degrees of freedom: beyond 60 less than once in 10⁴


def test_cutout_centres_are_uniform():
    images = torch.zeros(20_000, 1, 4, 6, dtype=torch.uint8)
    cells = Augment(cutout=1, fill=(9,))(images, seeded()).flatten(1).argmax(1)
    assert chi_squared(cells, 24) < 60


def test_order_is_crop_flip_autoaugment_cutout():
    images = noise(16, 3, 32, 32)
    generator = seeded(3)
    got = EVERYTHING(images, seeded(3))
    for step in (Augment(crop=4, flip=True), Augment(autoaugment=True), Augment(cutout=8, fill=EVERYTHING.fill)):
        images = step(images, generator)
    assert torch.equal(got, images)


def test_same_generator_state_gives_the_same_result():
    images = noise(32, 3, 32, 32)
    assert torch.equal(EVERYTHING(images, seeded(1)), EVERYTHING(images, seeded(1)))
    assert not torch.equal(EVERYTHING(images, seeded(1)), EVERYTHING(images, seeded(2)))


def test_draws_do_not_depend_on_the_pixels():
    first = seeded()
    second = seeded()
    EVERYTHING(noise(32, 3, 32, 32), first)
    EVERYTHING(torch.zeros(32, 3, 32, 32, dtype=torch.uint8), second)
    assert torch.equal(first.get_state(), second.get_state())


def test_global_random_state_is_untouched():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = EVERYTHING(noise(8, 3, 32, 32), seeded())
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    assert torch.equal(first, EVERYTHING(noise(8, 3, 32, 32), seeded()))


@pytest.mark.parametrize("shape", [(5, 3, 32, 32), (5, 3, 12, 20), (1, 3, 1, 1), (0, 3, 8, 8)])
def test_shape_type_and_input_are_kept(shape):
    images = noise(*shape)
    kept = images.clone()
    result = EVERYTHING(images, seeded())
    assert result.shape == images.shape
    assert result.dtype == torch.uint8
    assert torch.equal(images, kept)


def test_grey_images_and_views():
    augment = Augment(crop=2, flip=True, cutout=4)
    images = noise(6, 1, 28, 28)
    view = images.permute(0, 1, 3, 2)
    assert torch.equal(augment(view, seeded()), augment(view.contiguous(), seeded()))
    assert Augment()(images, seeded()) is images


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_result_does_not_depend_on_the_device():
    images = noise(256, 3, 32, 32)
    assert torch.equal(EVERYTHING(images.cuda(), seeded()).cpu(), EVERYTHING(images, seeded()))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"crop": -1}, "Augment.crop is -1"),
        ({"crop": True}, "Augment.crop is True"),
        ({"cutout": 2.5}, "Augment.cutout is 2.5"),
        ({"fill": ()}, r"Augment.fill is \(\)"),
        ({"fill": 3}, "Augment.fill is 3"),
        ({"fill": (0.5,)}, "whole levels from 0 to 255"),
        ({"fill": (256,)}, "whole levels from 0 to 255"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(BadValue, match=words):
        Augment(**settings)


@pytest.mark.parametrize(
    ("augment", "images", "words"),
    [
        (Augment(), torch.zeros(1, 3, 4, 4), "takes uint8 images"),
        (Augment(), torch.zeros(3, 4, 4, dtype=torch.uint8), "keep the batch axis"),
        (Augment(autoaugment=True), noise(2, 1, 4, 4), "images with 1 channels"),
        (Augment(cutout=2, fill=(1, 2, 3)), noise(2, 1, 4, 4), "3 levels but the images have 1 channels"),
    ],
)
def test_bad_images(augment, images, words):
    with pytest.raises(BadValue, match=words):
        augment(images, seeded())


def test_list_from_a_recipe_becomes_a_tuple():
    assert Augment(fill=[1, 2, 3]) == Augment(fill=(1, 2, 3))  # pyright: ignore[reportArgumentType]
    assert hash(EVERYTHING)
