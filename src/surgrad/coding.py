"""Input encodings for static images.

To add one: derive from `Coding`, and add the class to `CODINGS`.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgrad.config.registry import Registry
from surgrad.config.values import Count, Fraction, Positive
from surgrad.errors import BadValue

_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


class Coding(nn.Module):
    """Turns static images into a sequence: [N, C, H, W] -> [T, N, C, H', W'].

    A subclass defines `forward(images, steps)` and `shape`.
    """

    reads_values = False
    """Whether what it computes depends on the values of its batch in a way that no graph of operations can hold."""

    def shape(self, shape: tuple[int, ...], steps: int) -> tuple[int, ...]:
        """The shape of one time step, [C, H', W'], of an image [C, H, W].

        Raises:
            BadValue: the image or the number of time steps does not fit.
        """
        raise NotImplementedError


class Strips(Coding):
    """An image from top to bottom: step t shows its rows t·H/T to (t + 1)·H/T - 1.

    [N, C, H, W] -> [T, N, C, H/T, W]. With T = H one row is shown at a time, as in sequential MNIST by rows.
    """

    def shape(self, shape: tuple[int, ...], steps: int) -> tuple[int, ...]:
        channels, height, width = shape
        if height % steps:
            raise BadValue(
                f"model.steps = {steps} does not divide the {height} rows of an image into equal strips; give a "
                f"divisor of {height}"
            )
        return channels, height // steps, width

    def forward(self, images: Tensor, steps: int) -> Tensor:
        _, height, _ = self.shape(images.shape[1:], steps)
        return images.unflatten(2, (steps, height)).movedim(2, 0).contiguous()


class DCT(Coding):
    """One frequency per step, as spikes of 1 and -1 (Garg et al. 2021, DCT-SNN).

    [N, C, H, W] -> [T, N, C, H', W'], with H' = block·(1 + (H - block)/stride).

    The image is cut into blocks of block × block pixels, `stride` pixels apart, which are put next to each other. An
    image of three channels is first turned into luma and two chromas, with ½ added to the chromas. Each pixel of each
    block has a potential. Step t adds to it the component of the block's cosine transform with frequency t mod block²,
    in zigzag order. Where the potential is above `high` it spikes, and `high` is subtracted. Where it is below `low` it
    spikes negatively, and `low` is subtracted.

    The limits `low` and `high` are percentiles of all components of all images: those of the batch in training, as in
    the authors' code, and a running estimate in evaluation (theirs: those of the batch again).

    Args:
        block: side of a block in pixels.
        stride: distance of the blocks in pixels, from 1 to `block`.
        percentiles: of the components, for `low` and `high`; two increasing numbers between 0 and 100.
        momentum: weight of the newest batch in the running estimate, in [0, 1].

    Raises:
        BadValue: for a stride or percentiles outside these ranges.
    """

    reads_values = True
    shares_batches = False  # percentiles are not those of the shares put together
    tracks_batch_statistics = True
    """Whether it uses statistics of the batch in training, and a running estimate of them in evaluation."""

    basis: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        block: Count = 4,
        stride: Count = 2,
        percentiles: tuple[Positive, Positive] = (6.5, 93.5),
        momentum: Fraction = 0.1,
    ):
        super().__init__()
        if not (block >= 1 and 1 <= stride <= block and 0 < percentiles[0] < percentiles[1] < 100):
            raise BadValue(
                f"block {block}, stride {stride} and percentiles {percentiles} do not fit; give a stride from 1 to "
                "block, and two increasing percentiles between 0 and 100"
            )
        self.block = block
        self.stride = stride
        self.percentiles = percentiles
        self.momentum = momentum
        self.register_buffer("basis", zigzag_basis(block), persistent=False)
        self.register_buffer("low", torch.full((), math.nan))
        self.register_buffer("high", torch.full((), math.nan))

    def shape(self, shape: tuple[int, ...], steps: int) -> tuple[int, ...]:
        channels, height, width = shape
        return channels, self.side(height), self.side(width)

    def side(self, side: int) -> int:
        """The output size H' for an image size H; the same for W' and W."""
        if side < self.block:
            raise BadValue(f"images must be at least {self.block} pixels wide and high for DCT coding, got {side}")
        return self.block * (1 + (side - self.block) // self.stride)

    @torch.no_grad()
    def forward(self, images: Tensor, steps: int) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            components = self.components(images)
        low, high = self._limits(components)
        potential = torch.zeros_like(components[0])
        spikes = []
        for step in range(steps):
            potential = potential + components[step % len(components)]
            above = potential > high
            below = potential < low
            potential = potential - high * above - low * below
            spikes.append(above.to(images.dtype) - below.to(images.dtype))
        return torch.stack(spikes)

    def components(self, images: Tensor) -> Tensor:
        """The components of every block, by frequency, [block², N, C, H', W']; their sum is the blocks put next to each
        other."""
        count, channels, height, width = images.shape
        if channels == 3:
            colours = images.new_tensor(_TO_YCBCR)
            images = torch.einsum("kc,nchw->nkhw", colours, images)
            images = images + images.new_tensor([0.0, 0.5, 0.5]).view(1, 3, 1, 1)
        rows = self.side(height) // self.block
        columns = self.side(width) // self.block
        pixels = F.unfold(images, self.block, stride=self.stride).view(count, channels, self.block**2, -1)
        basis = self.basis.to(images.dtype)
        amplitudes = torch.einsum("fp,ncpl->fncl", basis, pixels)
        components = amplitudes.unsqueeze(3) * basis.view(len(basis), 1, 1, -1, 1)  # [F, N, C, pixel, block]
        tiles = components.view(*components.shape[:3], self.block, self.block, rows, columns)
        return tiles.permute(0, 1, 2, 5, 3, 6, 4).reshape(
            *components.shape[:3], rows * self.block, columns * self.block
        )

    def _limits(self, components: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training and not self.low.isnan():
            return self.low, self.high
        flat = components.flatten().float()
        found = [flat.kthvalue(1 + round(p / 100 * (len(flat) - 1))).values for p in self.percentiles]
        if self.training:
            for held, new in zip((self.low, self.high), found, strict=True):
                held.copy_(torch.where(held.isnan(), new, torch.lerp(held, new.to(held), self.momentum)))
        return found[0], found[1]


def zigzag_basis(side: int) -> Tensor:
    """The orthonormal basis of the two-dimensional cosine transform, the lowest frequencies first.

    Args:
        side: of a block, in pixels.

    Returns:
        [side², side²], one basis vector per row, float32.
    """
    n = torch.arange(side, dtype=torch.float64)
    line = torch.cos(math.pi / side * (n + 0.5) * n.view(-1, 1)) * math.sqrt(2 / side)
    line[0] = math.sqrt(1 / side)
    order = sorted(
        ((a, b) for a in range(side) for b in range(side)), key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1])
    )
    return torch.stack([torch.outer(line[a], line[b]).flatten() for a, b in order]).float()


def direct() -> None:
    """No encoding: a network without a coding repeats the image at every time step."""


CODINGS: Registry[Callable[..., Coding | None]] = Registry("coding", {"direct": direct, "dct": DCT, "strips": Strips})
