"""How a static image enters a network, where it is not shown as it is in every step.

To add one: write a module that makes a recording [T, N, C, H', W'] of images [N, C, H, W] (`forward(images, steps)`),
says which side that has (`side`), and add it to `CODINGS`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgrad.errors import BadValue

_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


class DCT(nn.Module):
    """One frequency a step, as spikes of 1 and -1 (Garg et al. 2021, DCT-SNN): [N, C, H, W] -> [T, N, C, H', W'],
    with H' = block·(1 + (H - block)/stride).

    The image (of three channels: as luma and two chromas, those raised by ½) is cut into blocks of `block`² pixels,
    `stride` apart. Step t adds the part of every block's cosine transform that has the frequency t mod block², in
    zigzag order, to a potential of each pixel of each block, side by side. Where it is above `high` it spikes, where it
    is below `low` it spikes negatively, and what it was above or below is taken off.

    low, high: the percentiles `percentiles` of all parts of all images; of the batch in training, as in the authors'
    code, and of a running estimate by `momentum` in evaluation (theirs: of the batch again)."""

    basis: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self, block: int = 4, stride: int = 2, percentiles: tuple[float, float] = (6.5, 93.5), momentum: float = 0.1
    ):
        super().__init__()
        if not (block >= 1 and 1 <= stride <= block and 0 < percentiles[0] < percentiles[1] < 100):
            raise BadValue(
                f"blocks of {block} pixels, {stride} apart, and the percentiles {percentiles} do not make a "
                "code; give a stride from 1 to the block's side, and percentiles that rise within (0, 100)"
            )
        self.block = block
        self.stride = stride
        self.percentiles = percentiles
        self.momentum = momentum
        self.register_buffer("basis", zigzag_basis(block), persistent=False)
        self.register_buffer("low", torch.full((), math.nan))
        self.register_buffer("high", torch.full((), math.nan))

    def side(self, side: int) -> int:
        """H' of H, likewise W'."""
        if side < self.block:
            raise BadValue(f"an image of side {side} has no block of {self.block} pixels; give larger ones")
        return self.block * (1 + (side - self.block) // self.stride)

    @torch.no_grad()
    def forward(self, images: Tensor, steps: int) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            parts = self.parts(images)
        low, high = self._limits(parts)
        potential = torch.zeros_like(parts[0])
        spikes = []
        for step in range(steps):
            potential = potential + parts[step % len(parts)]
            above = potential > high
            below = potential < low
            potential = potential - high * above - low * below
            spikes.append(above.to(images.dtype) - below.to(images.dtype))
        return torch.stack(spikes)

    def parts(self, images: Tensor) -> Tensor:
        """What each frequency is in every block: [block², N, C, H', W']; their sum is the blocks side by side."""
        count, channels, height, width = images.shape
        if channels == 3:
            colours = images.new_tensor(_TO_YCBCR)
            images = torch.einsum("kc,nchw->nkhw", colours, images)
            images = images + images.new_tensor([0.0, 0.5, 0.5]).view(1, 3, 1, 1)
        rows = self.side(height) // self.block
        columns = self.side(width) // self.block
        pixels = F.unfold(images, self.block, stride=self.stride).view(count, channels, self.block**2, -1)
        basis = self.basis.to(images.dtype)
        amounts = torch.einsum("fp,ncpl->fncl", basis, pixels)
        parts = amounts.unsqueeze(3) * basis.view(len(basis), 1, 1, -1, 1)  # [F, N, C, pixel, block]
        tiles = parts.view(*parts.shape[:3], self.block, self.block, rows, columns)
        return tiles.permute(0, 1, 2, 5, 3, 6, 4).reshape(*parts.shape[:3], rows * self.block, columns * self.block)

    def _limits(self, parts: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training and not self.low.isnan():
            return self.low, self.high
        flat = parts.flatten().float()
        found = [flat.kthvalue(1 + round(p / 100 * (len(flat) - 1))).values for p in self.percentiles]
        if self.training:
            for held, new in zip((self.low, self.high), found, strict=True):
                held.copy_(torch.where(held.isnan(), new, torch.lerp(held, new.to(held), self.momentum)))
        return found[0], found[1]


def zigzag_basis(side: int) -> Tensor:
    """The orthonormal basis of the two-dimensional cosine transform, the lowest frequencies first: [side², side²]."""
    n = torch.arange(side, dtype=torch.float64)
    line = torch.cos(math.pi / side * (n + 0.5) * n.view(-1, 1)) * math.sqrt(2 / side)
    line[0] = math.sqrt(1 / side)
    order = sorted(
        ((a, b) for a in range(side) for b in range(side)), key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1])
    )
    return torch.stack([torch.outer(line[a], line[b]).flatten() for a, b in order]).float()


CODINGS: dict[str, type[DCT]] = {"dct": DCT}
