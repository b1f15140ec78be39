"""Random crop, flip, AutoAugment, cutout and windows on whole batches of uint8 images, before normalisation.

One call augments a batch without a loop over its images. Every random number is drawn on the CPU from the given
generator and then moved to the images' device, so a generator state gives the same result on every device, and the
global random state is neither read nor written. The number of draws depends on the settings and on the shape of the
batch, never on a pixel or on an earlier draw.

Several batches of one size can be augmented at once, each by a separate generator: the result is the same, and a
GPU gets as few kernels as for one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from surgrad.data.autoaugment import autoaugment, share
from surgrad.errors import BadValue
from surgrad.transfer import to_device


@dataclass(frozen=True)
class Augment:
    """Augmentations applied in the order of the fields; each image of a batch gets its own draws.

    Choices where published code differs:

    - `crop` pads with 0 whatever `fill` is: black, as the usual CIFAR recipe pads before it normalises.
    - `cutout` follows DeVries & Taylor 2017 (arXiv:1708.04552): the centre is uniform over the image, so the square
      may be clipped at the border. They cut after normalisation, where zero is the mean of the data; this works on
      uint8, so the caller passes that mean as `fill`. An even side covers [centre − side/2, centre + side/2) as in
      their code; an odd side covers exactly `cutout` pixels, where theirs rounds it down to an even one.
    - AutoAugment comes after crop and flip and before cutout, as in its paper; `surgrad.data.autoaugment` lists the
      choices made there.
    """

    crop: int = 0
    """Zero padding on each side, in pixels, before a random crop back to the image's size; 0 is off."""
    flip: bool = False
    """Mirror left to right with probability 1/2."""
    autoaugment: bool = False
    """The CIFAR-10 policy of Cubuk et al. 2019; needs three channels, R, G and B."""
    cutout: int = 0
    """Side of the square that is overwritten with `fill`, in pixels; 0 is off."""
    fill: tuple[int, ...] = (0,)
    """Level inside the cutout square, 0–255: one for all channels or one per channel (the mean of the data)."""
    rectangles: bool = False
    """Overwrite a rectangle of random size, place and grey level in half of the images; see `random_rectangles`."""

    def __post_init__(self) -> None:
        for name in ("crop", "cutout"):
            pixels = getattr(self, name)
            if type(pixels) is not int or pixels < 0:
                raise BadValue(f"Augment.{name} is {pixels!r}; it must be a whole number of pixels, 0 (off) or more")
        # A recipe read from a file gives a list; a tuple keeps the instance hashable.
        levels = tuple(self.fill) if isinstance(self.fill, list | tuple) else ()
        if not levels or any(type(level) is not int or not 0 <= level <= 255 for level in levels):
            raise BadValue(
                f"Augment.fill is {self.fill!r}; it must hold whole levels from 0 to 255, one or one per channel: "
                "give the mean of the data times 255, rounded"
            )
        object.__setattr__(self, "fill", levels)

    def __call__(self, images: Tensor, *generators: torch.Generator) -> Tensor:
        """Augment a batch, or several.

        Args:
            images: uint8 [B, C, H, W], never written to.
            generators: on the CPU, whatever device the images are on; with several, each draws for an equal share of
                the images, in their order.

        Returns:
            A copy of the same shape, type and device; with every augmentation off, `images` itself.

        Raises:
            BadValue: if the images or the generator are of another kind, or have other channels than an option needs.
        """
        self._check(images, generators)
        if self.crop or self.flip:
            images = random_crop_flip(images, self.crop, self.flip, *generators)
        if self.autoaugment:
            images = autoaugment(images, *generators)
        if self.cutout:
            images = random_cutout(images, self.cutout, self.fill, *generators)
        if self.rectangles:
            images = random_rectangles(images, *generators)
        return images

    def _check(self, images: Tensor, generators: Sequence[torch.Generator]) -> None:
        if images.dtype != torch.uint8 or images.dim() != 4:
            raise BadValue(
                f"Augment was given {images.dtype} of shape {list(images.shape)}; it takes uint8 images [B, C, H, W]: "
                "augment before scaling and normalising, and keep the batch axis"
            )
        for generator in generators:
            if generator.device.type != "cpu":
                raise BadValue(
                    f"Augment was given a generator on {generator.device}; it draws on the CPU, so that the result "
                    "does not depend on the device: pass torch.Generator(); the images may be on any device"
                )
        if self.cutout and len(self.fill) not in (1, images.shape[1]):
            raise BadValue(
                f"Augment.fill has {len(self.fill)} levels but the images have {images.shape[1]} channels; "
                "give one level, or one per channel"
            )


def window(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Cut a random square from each image, [B, C, H, W] -> [B, C, side, side]; all positions are equally likely."""
    height, width = images.shape[2:]
    drawn = [_integers(size - side + 1, len(images), generator) for size in (height, width)]
    offsets = [to_device(offset, images.device) for offset in drawn]
    rows, columns = (offset[:, None] + torch.arange(side, device=images.device) for offset in offsets)
    return images[
        torch.arange(len(images), device=images.device)[:, None, None], :, rows[:, :, None], columns[:, None, :]
    ].permute(0, 3, 1, 2)


def _integers(high: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` whole numbers, uniform over 0 … high − 1, int64 [count] on the CPU whatever the default device is."""
    return torch.randint(high, (count,), generator=generator, device="cpu")


def random_crop_flip(images: Tensor, pad: int, flip: bool, *generators: torch.Generator) -> Tensor:
    """Crop and mirror each image of [B, C, H, W] at random, of any type; the (2·pad + 1)² crops are equally likely."""
    count = share(images, generators)
    drawn = [_draw_crop_flip(count, pad, flip, generator) for generator in generators]
    offsets, mirrored = (torch.cat(part, -1) for part in zip(*drawn, strict=True))
    return crop_flip(images, pad, to_device(offsets, images.device), to_device(mirrored, images.device))


def _draw_crop_flip(count: int, pad: int, flip: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    offsets = torch.zeros(2, count, dtype=torch.int64, device="cpu")
    mirrored = torch.zeros(count, dtype=torch.bool, device="cpu")
    if pad:
        offsets = _integers(2 * pad + 1, 2 * count, generator).view(2, count)
    if flip:
        mirrored = _integers(2, count, generator) == 1
    return offsets, mirrored


def crop_flip(images: Tensor, pad: int, offsets: Tensor, mirrored: Tensor) -> Tensor:
    """Pad with 0, take the window at `offsets` [2, B] (top and left, pixels), and mirror it where `mirrored` [B] is
    true.

    The columns of a mirrored window are read backwards, so a single gather does both.
    """
    count, channels, height, width = images.shape
    padded = functional.pad(images, (pad, pad, pad, pad))
    down = torch.arange(height, device=images.device)
    across = torch.arange(width, device=images.device)
    rows = offsets[0, :, None] + down
    columns = offsets[1, :, None] + torch.where(mirrored[:, None], across.flip(0), across)
    source = rows[:, :, None] * (width + 2 * pad) + columns[:, None, :]
    source = source.reshape(count, 1, height * width).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, source).view(count, channels, height, width)


def random_cutout(images: Tensor, side: int, fill: tuple[int, ...], *generators: torch.Generator) -> Tensor:
    """Cut out a square of each image at random; the centre is equally likely at each pixel."""
    sizes = images.shape[2:]
    count = share(images, generators)
    drawn = [torch.stack([_integers(size, count, generator) for size in sizes]) for generator in generators]
    return cutout(images, side, fill, to_device(torch.cat(drawn, 1), images.device))


def random_rectangles(images: Tensor, *generators: torch.Generator) -> Tensor:
    """Overwrite a rectangle in half of the images, as torchtoolbox's `Cutout` does by default, which several codes use.

    Its area is a share of the image in [0.02, 0.4] and its height over its width in [0.4, 2.5], both uniform; it lies
    anywhere inside the image, and its grey level is uniform over 0 … 255.
    """
    count = share(images, generators)
    drawn = [torch.rand(5, count, generator=generator, device="cpu", dtype=torch.float64) for generator in generators]
    greys = [_integers(256, count, generator) for generator in generators]
    return rectangles(images, to_device(torch.cat(drawn, 1), images.device), to_device(torch.cat(greys), images.device))


def rectangles(images: Tensor, drawn: Tensor, greys: Tensor) -> Tensor:
    """Overwrite rectangles with grey levels [B]. `drawn` [5, B] says, in [0, 1): whether (below a half), area, shape,
    row and column."""
    sizes = images.shape[2:]
    area = (0.02 + 0.38 * drawn[1]) * sizes[0] * sizes[1]
    shape = 0.4 + 2.1 * drawn[2]
    lengths = [
        torch.sqrt(area * shape).floor().clamp(max=sizes[0]),
        torch.sqrt(area / shape).floor().clamp(max=sizes[1]),
    ]
    inside = (drawn[0] < 0.5).view(-1, 1, 1)
    for axis, (size, length, place) in enumerate(zip(sizes, lengths, drawn[3:], strict=True)):
        first = (place * (size - length + 1)).floor()[:, None]
        pixels = torch.arange(size, device=images.device)
        within = (pixels >= first) & (pixels < first + length[:, None])
        inside = inside & (within[:, :, None] if axis == 0 else within[:, None, :])
    return torch.where(inside[:, None], greys.to(torch.uint8).view(-1, 1, 1, 1), images)


def cutout(images: Tensor, side: int, fill: tuple[int, ...], centres: Tensor) -> Tensor:
    """Overwrite with `fill` the square of `side` pixels around `centres` [2, B] (row and column)."""
    first = centres[:, :, None] - side // 2
    down = torch.arange(images.shape[2], device=images.device)
    across = torch.arange(images.shape[3], device=images.device)
    in_rows = (down >= first[0]) & (down < first[0] + side)
    in_columns = (across >= first[1]) & (across < first[1] + side)
    square = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    levels = to_device(torch.tensor(fill, dtype=torch.uint8, device="cpu"), images.device).view(1, -1, 1, 1)
    return torch.where(square, levels, images)
