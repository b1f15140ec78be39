"""What a network sees of frames: normalised, made smaller, and in training turned about, all time steps alike."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from surgrad.errors import BadValue, unknown

NORMALISING = ("frame", "none")
"""Each frame by its own largest count over both polarities (Deng et al. 2022, TET), or counts as they are."""
SCALINGS = ("bilinear", "nearest")
"""As TET (each new pixel from all that it covers) and as Dspike's line do."""


@dataclass(frozen=True)
class View:
    """side: of the squares that frames are made; None leaves them. flip: half of the time, left for right. roll: by up
    to so many pixels along both axes, round the edge. nda: one of rolling, turning by up to 30° and shearing by up to
    30°, drawn for each recording (Li et al. 2022, NDA, as its code does); in place of `roll` alone."""

    side: int | None = None
    normalise: str = "frame"
    scaling: str = "bilinear"
    flip: bool = False
    roll: int = 0
    nda: bool = False

    def __post_init__(self) -> None:
        for kind, name, known in (("normalisation", self.normalise, NORMALISING), ("scaling", self.scaling, SCALINGS)):
            if name not in known:
                raise unknown(kind, name, known)
        if self.side is not None and self.side < 1:
            raise BadValue(f"side {self.side} is no size of a frame; give 1 or more")

    def plain(self, frames: NDArray) -> Tensor:
        """Frames [T, 2, H, W] of whole numbers -> float32 [T, 2, side, side]."""
        found = torch.from_numpy(np.ascontiguousarray(frames, np.float32))
        if self.normalise == "frame":
            found = found / found.amax((1, 2, 3), keepdim=True).clamp(min=1)
        if self.side is None or found.shape[2:] == (self.side, self.side):
            return found
        size = (self.side, self.side)
        if self.scaling == "nearest":
            return F.interpolate(found, size, mode="nearest")
        return F.interpolate(found, size, mode="bilinear", align_corners=False, antialias=True)

    def turned(self, frames: Tensor, seed: tuple[int, ...]) -> Tensor:
        """Frames [T, 2, H, W] flipped, rolled, turned or sheared as the seed says, every step alike."""
        rng = np.random.default_rng(seed)
        if self.flip and rng.random() < 0.5:
            frames = frames.flip(3)
        if self.nda:
            return _NDA[rng.integers(len(_NDA))](frames, rng, self.roll or 5)
        return _rolled(frames, rng, self.roll) if self.roll else frames


def _rolled(frames: Tensor, rng: np.random.Generator, most: int) -> Tensor:
    down, right = rng.integers(-most, most + 1, 2).tolist()
    return frames.roll((down, right), (2, 3))


def _rotated(frames: Tensor, rng: np.random.Generator, most: int) -> Tensor:
    angle = math.radians(rng.uniform(-30, 30))
    return _warped(frames, [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]])


def _sheared(frames: Tensor, rng: np.random.Generator, most: int) -> Tensor:
    return _warped(frames, [[1, math.tan(math.radians(rng.uniform(-30, 30))), 0], [0, 1, 0]])


_NDA: list[Callable[[Tensor, np.random.Generator, int], Tensor]] = [_rolled, _rotated, _sheared]


def _warped(frames: Tensor, matrix: list[list[float]]) -> Tensor:
    """By an affine map about the middle, each pixel from the nearest; what comes from outside is empty."""
    theta = torch.tensor(matrix, dtype=frames.dtype).expand(len(frames), 2, 3)
    grid = F.affine_grid(theta, list(frames.shape), align_corners=False)
    return F.grid_sample(frames, grid, mode="nearest", align_corners=False)
