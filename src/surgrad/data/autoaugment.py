"""The AutoAugment policy for CIFAR-10, on whole batches of uint8 images.

Source: Cubuk, Zoph, Mané, Vasudevan & Le, "AutoAugment: Learning Augmentation Strategies from Data", CVPR 2019,
arXiv:1805.09501: the operations and their ranges, and the 25 sub-policies found on reduced CIFAR-10 (table 7 of the
appendix). Every operation gives the result of Pillow's. Where implementations differ, this one uses:

- sub-policy 16 as (equalize 0.2), (equalize 0.6), as the paper, Google's code and torchvision have it; a widespread
  PIL version has 0.8 for the second;
- strength = low + (high − low)·level/9, the ten levels 0–9 spread evenly over the whole range, as the PIL version and
  torchvision do; Google's code divides by 10 and so never reaches the far end;
- colour, contrast, brightness and sharpness by the factor 1 ± 0.9·level/9 with a random sign (PIL version,
  torchvision); Google's code takes 0.1 + 1.8·level/10, without a sign;
- a random sign for shear, translation and rotation alike; the PIL version always rotates anticlockwise;
- translation by a share of the image, up to 150/331 (the largest ImageNet shift over that image size), rounded to
  whole pixels by nearest resampling; Google's CIFAR code shifts by up to 10 pixels, torchvision rounds towards 0;
- posterize keeps 8 → 4 bits (PIL version, torchvision); Google's code keeps 4 → 0;
- nearest resampling for every geometric operation; the PIL version shears bicubically;
- shear about the top left corner, as `Image.transform` with (1, m, 0, 0, 1, 0) does; rotation about the centre;
- grey 128 wherever an operation looks outside the image.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from surgrad.errors import BadValue
from surgrad.transfer import to_device

GREY = 128
"""Level of the pixels that a geometric operation takes from outside the image."""

# (operation, probability, level) twice, in the order of the paper's table. Invert, equalize and autocontrast have no
# strength; their levels are the paper's and change nothing.
CIFAR10_POLICY: tuple[tuple[tuple[str, float, int], tuple[str, float, int]], ...] = (
    (("invert", 0.1, 7), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, 8), ("equalize", 0.9, 2)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 5), ("equalize", 0.5, 1)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 7), ("autocontrast", 0.4, 8)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 3)),
    (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalize", 0.2, 8), ("equalize", 0.6, 4)),
    (("color", 0.9, 9), ("equalize", 0.6, 6)),
    (("autocontrast", 0.8, 4), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, 3)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, 2), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 8), ("invert", 0.1, 3)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, 1)),
)


def share(images: Tensor, generators: Sequence[torch.Generator]) -> int:
    """The number of images for which each generator draws.

    Raises:
        BadValue: if the images cannot be shared out equally.
    """
    if not generators or len(images) % len(generators):
        raise BadValue(
            f"{len(images)} images cannot be shared out among {len(generators)} generators; give one generator, or one "
            "for each of several batches of one size"
        )
    return len(images) // len(generators)


def autoaugment(images: Tensor, *generators: torch.Generator) -> Tensor:
    """Apply one random sub-policy to each image of uint8 [B, 3, H, W], drawing from CPU generators.

    Each generator draws for an equal share of the images, in their order.

    Raises:
        BadValue: if the images do not have three channels, or cannot be shared out.
    """
    if images.shape[1] != 3:
        raise BadValue(
            f"autoaugment was given images with {images.shape[1]} channels; its colour operations need three, "
            "R, G and B: set autoaugment=False or repeat the channel three times"
        )
    count = share(images, generators)
    drawn = [draw_operations(count, generator) for generator in generators]
    operation, strength = (torch.cat(part) for part in zip(*drawn, strict=True))
    for slot in (0, 1):
        images = _apply(images, operation[:, slot], strength[:, slot])
    return images


def draw_operations(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw the two operations of each of `count` images: (numbers in `OPERATIONS`, or -1 for none; strengths), [B, 2].

    Each image has its own sub-policy, and its own coin and sign for each of the two operations. All are drawn, also
    signs that no operation uses, so that the number of draws depends on `count` alone.
    """
    chosen = torch.randint(len(CIFAR10_POLICY), (count,), generator=generator, device="cpu")
    coins = torch.rand(count, 2, generator=generator, device="cpu")
    signs = 1 - 2 * torch.randint(2, (count, 2), generator=generator, device="cpu")
    operation, probability, strength, signed = (table[chosen] for table in _tables())
    return torch.where(coins < probability, operation, -1), torch.where(signed, strength * signs, strength)


def _apply(images: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    """Apply to image b the operation with number `operation[b]`, or none for −1.

    The images are grouped by operation. `operation` and `strength`, both [B], stay on the CPU: choosing a group on an
    accelerator would synchronise with it once per operation.
    """
    result = images.clone()
    for number, function in enumerate(OPERATIONS.values()):
        members = (operation == number).nonzero().squeeze(1)
        if len(members):
            where = to_device(members, images.device)
            result[where] = function(images[where], strength[members])
    return result


def strength_at(name: str, level: int) -> float:
    """The strength of an operation at `level` 0–9, in the unit that its function takes; 0 if it has none."""
    low, high, _ = RANGES.get(name, (0.0, 0.0, False))
    return low + (high - low) * level / 9


@cache
def _tables() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The policy as CPU tensors [25, 2]: number of the operation, probability, strength, whether its sign is random."""
    numbers = {name: number for number, name in enumerate(OPERATIONS)}
    operation = [[numbers[name] for name, _, _ in pair] for pair in CIFAR10_POLICY]
    probability = [[share for _, share, _ in pair] for pair in CIFAR10_POLICY]
    strength = [[strength_at(name, level) for name, _, level in pair] for pair in CIFAR10_POLICY]
    signed = [[name in RANGES and RANGES[name][2] for name, _, _ in pair] for pair in CIFAR10_POLICY]
    return (
        torch.tensor(operation, device="cpu"),
        torch.tensor(probability, device="cpu"),
        torch.tensor(strength, dtype=torch.float64, device="cpu"),
        torch.tensor(signed, device="cpu"),
    )


# Every operation below takes images, uint8 [N, 3, H, W], and one strength per image, float64 [N] on the CPU.


def _resample(images: Tensor, matrix: Tensor) -> Tensor:
    """Nearest resampling: output pixel (x, y) is input pixel (a·x + b·y + c, d·x + e·y + f), matrix float64 [N, 6].

    Coordinates are those of pixel centres, in 16.16 fixed point as in Pillow, so the pixels are the same as Pillow's.
    The matrix is rounded on the CPU, so they are the same on every device.
    """
    a, b, c, d, e, f = matrix.unbind(1)
    centred = torch.stack((a, b, c + a / 2 + b / 2, d, e, f + d / 2 + e / 2))
    fixed = to_device(torch.floor(centred * 65536 + 0.5).long(), images.device)
    a, b, c, d, e, f = fixed[:, :, None, None]
    height, width = images.shape[2:]
    y = torch.arange(height, device=images.device)[:, None]
    x = torch.arange(width, device=images.device)
    column = (a * x + b * y + c) >> 16
    row = (d * x + e * y + f) >> 16
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    source = torch.where(inside, row * width + column, 0).flatten(1)[:, None].expand(-1, images.shape[1], -1)
    moved = images.flatten(2).gather(2, source).view_as(images)
    return torch.where(inside[:, None], moved, GREY)


def _affine(strength: Tensor, place: int, value: Tensor) -> Tensor:
    """Identity matrices [N, 6] with the entry at `place` set to `value` [N]."""
    matrix = strength.new_tensor((1.0, 0.0, 0.0, 0.0, 1.0, 0.0)).repeat(len(strength), 1)
    matrix[:, place] = value
    return matrix


def _shear_x(images: Tensor, strength: Tensor) -> Tensor:
    return _resample(images, _affine(strength, 1, strength))


def _shear_y(images: Tensor, strength: Tensor) -> Tensor:
    return _resample(images, _affine(strength, 3, strength))


def _translate_x(images: Tensor, strength: Tensor) -> Tensor:
    # Pillow moves by whole pixels in floating point when nothing is sheared; fixed point could round a tie otherwise.
    return _resample(images, _affine(strength, 2, torch.floor(strength * images.shape[3] + 0.5)))


def _translate_y(images: Tensor, strength: Tensor) -> Tensor:
    return _resample(images, _affine(strength, 5, torch.floor(strength * images.shape[2] + 0.5)))


def _rotate(images: Tensor, strength: Tensor) -> Tensor:
    """Rotate by `strength` degrees, anticlockwise if positive, about the centre of the image."""
    angle = -strength * (math.pi / 180)
    cos = angle.cos()
    sin = angle.sin()
    x = images.shape[3] / 2
    y = images.shape[2] / 2
    return _resample(images, torch.stack((cos, sin, x - x * cos - y * sin, -sin, cos, y + x * sin - y * cos), 1))


def _blend(plain: Tensor, images: Tensor, strength: Tensor) -> Tensor:
    """`plain` + factor·(images − plain) with factor 1 + strength, cut to 0–255 and truncated, as `Image.blend` does."""
    factor = to_device((1 + strength).float(), images.device)[:, None, None, None]
    start = plain.float()
    return (start + factor * (images.float() - start)).clamp(0, 255).to(torch.uint8)


def _luma(images: Tensor) -> Tensor:
    """Brightness [N, 1, H, W], int32, 0–255: the ITU-R 601 weights in Pillow's 16-bit fixed point."""
    red, green, blue = images.int().split(1, dim=1)
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def _color(images: Tensor, strength: Tensor) -> Tensor:
    return _blend(_luma(images), images, strength)


def _contrast(images: Tensor, strength: Tensor) -> Tensor:
    pixels = images.shape[2] * images.shape[3]
    total = _luma(images).sum((2, 3), keepdim=True)
    return _blend((2 * total + pixels) // (2 * pixels), images, strength)  # the mean, halves rounded up


def _brightness(images: Tensor, strength: Tensor) -> Tensor:
    return _blend(torch.zeros_like(images), images, strength)


def _sharpness(images: Tensor, strength: Tensor) -> Tensor:
    """Blend with the image smoothed by the 3×3 kernel of ones with 5 in the middle, over 13; borders stay as is."""
    smooth = images.int()
    rows = smooth[:, :, :-2] + smooth[:, :, 1:-1] + smooth[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * smooth[:, :, 1:-1, 1:-1]
    smooth[:, :, 1:-1, 1:-1] = (2 * total + 13) // 26  # total / 13, rounded; 2·total + 13 is odd, so there are no ties
    return _blend(smooth, images, strength)


def _posterize(images: Tensor, strength: Tensor) -> Tensor:
    mask = 256 - 2 ** (8 - strength.round())
    return images & to_device(mask.to(torch.uint8), images.device)[:, None, None, None]


def _solarize(images: Tensor, strength: Tensor) -> Tensor:
    # A level lies below the threshold exactly if it lies below the next whole number; int16 holds 256, uint8 does not.
    threshold = to_device(strength.ceil().to(torch.int16), images.device)[:, None, None, None]
    return torch.where(images < threshold, images, 255 - images)


def _autocontrast(images: Tensor, strength: Tensor) -> Tensor:
    """Stretch each channel to 0–255; a channel of one level stays. float64, or the truncation would differ."""
    low = images.amin((2, 3), keepdim=True)
    high = images.amax((2, 3), keepdim=True)
    # `255 / tensor` would multiply by the reciprocal, which rounds twice.
    span = (high - low).clamp(min=1).double()
    scale = torch.full_like(span, 255) / span
    stretched = (images * scale - low * scale).clamp(0, 255).to(torch.uint8)
    return torch.where(high > low, stretched, images)


def _equalize(images: Tensor, strength: Tensor) -> Tensor:
    """Map each channel through its own cumulative histogram, in Pillow's whole-number form."""
    flat = images.flatten(2).long()
    count = flat.new_zeros(*flat.shape[:2], 256).scatter_add_(2, flat, torch.ones_like(flat))
    # Pixels of the brightest level do not count, so a channel of one level has step 0 and stays, like a tiny image.
    step = (flat.shape[2] - count.gather(2, flat.amax(2, keepdim=True))) // 255
    below = count.cumsum(2) - count
    levels = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    levels = torch.where(step > 0, levels, torch.arange(256, device=images.device))
    return levels.gather(2, flat).to(torch.uint8).view_as(images)


def _invert(images: Tensor, strength: Tensor) -> Tensor:
    return 255 - images


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "color": _color,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "invert": _invert,
}

# Strength at level 0 and at level 9, and whether it takes a random sign.
RANGES: dict[str, tuple[float, float, bool]] = {
    "shear_x": (0.0, 0.3, True),  # input pixels per pixel
    "shear_y": (0.0, 0.3, True),
    "translate_x": (0.0, 150 / 331, True),  # share of the width
    "translate_y": (0.0, 150 / 331, True),  # share of the height
    "rotate": (0.0, 30.0, True),  # degrees
    "color": (0.0, 0.9, True),  # distance of the factor from 1
    "contrast": (0.0, 0.9, True),
    "brightness": (0.0, 0.9, True),
    "sharpness": (0.0, 0.9, True),
    "posterize": (8.0, 4.0, False),  # bits kept
    "solarize": (256.0, 0.0, False),  # threshold
}
