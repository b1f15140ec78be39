"""Frames of recordings as a network sees them: normalised, resized and, in training, augmented."""

import math
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from surgrad.errors import BadValue, unknown

Normalise = Literal["frame", "binary", "none"]
"""frame: divide each frame by its largest count over both polarities. binary: 1 where there is any event, as TET's code
counts each pixel once. none: counts as they are."""
Scaling = Literal["bilinear", "nearest"]
"""bilinear: each new pixel from all that it covers, as TET does. nearest: as the papers that follow Dspike do."""


@dataclass(frozen=True)
class View:
    """How frames are shown to a network.

    Args:
        side: the side of the squares that frames are resized to, in pixels; None keeps their size.
        height: the height of frames that are not square; `side` is then their width.
        normalise: see `Normalise`.
        scaling: see `Scaling`.
        flip: mirror left to right with probability 1/2.
        roll: shift by up to this many pixels along both axes, around the edge.
        nda: one of rolling, rotating by up to 30° and shearing by up to 30°, drawn for each recording (Li et al. 2022,
            NDA, as its code does); replaces `roll`, whose value is then the largest shift (5 if it is 0).
    """

    side: int | None = None
    normalise: Normalise = "frame"
    scaling: Scaling = "bilinear"
    flip: bool = False
    roll: int = 0
    nda: bool = False
    height: int | None = None

    def __post_init__(self) -> None:
        for kind, name, choices in (
            ("normalisation", self.normalise, Normalise),
            ("scaling", self.scaling, Scaling),
        ):
            if name not in typing.get_args(choices):
                raise unknown(kind, name, typing.get_args(choices))
        if self.side is not None and self.side < 1:
            raise BadValue(f"side must be at least 1 pixel, got {self.side}")

    def plain(self, frames: NDArray) -> Tensor:
        """The view without augmentation: frames [T, 2, H, W] of counts -> float32 [T, 2, side, side]."""
        found = torch.from_numpy(np.ascontiguousarray(frames, np.float32))
        if self.normalise == "binary":
            found = (found > 0).float()
        if self.normalise == "frame":
            found = found / found.amax((1, 2, 3), keepdim=True).clamp(min=1)
        if self.side is None:
            return found
        size = (self.height or self.side, self.side)
        if found.shape[2:] == size:
            return found
        if self.scaling == "nearest":
            return F.interpolate(found, size, mode="nearest")
        return F.interpolate(found, size, mode="bilinear", align_corners=False, antialias=True)

    def augmented(self, frames: Tensor, seed: tuple[int, ...]) -> Tensor:
        """Flip, roll, rotate or shear frames [T, 2, H, W], all time steps alike; equal seeds give equal results."""
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
    """Apply an affine map about the centre, with nearest resampling; pixels from outside the frame are 0."""
    theta = torch.tensor(matrix, dtype=frames.dtype).expand(len(frames), 2, 3)
    grid = F.affine_grid(theta, list(frames.shape), align_corners=False)
    return F.grid_sample(frames, grid, mode="nearest", align_corners=False)
