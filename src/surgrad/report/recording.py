"""A recording as pictures: its frames side by side, and one after the other."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgrad.errors import BadValue
from surgrad.report.files import replace

if TYPE_CHECKING:
    from numpy.typing import NDArray

BRIGHTER = (11, 98, 196)
DARKER = (217, 86, 13)
EXAMPLE = "example.png"
"""What a run folder holds of the recordings that it was trained on."""
GAP = 6
PANEL = 150
"""Pixels between frames, and the least side of one."""


def coloured(frames: "NDArray[Any]") -> "NDArray[Any]":
    """Frames [T, 2, H, W] of counts -> pictures [T, H, W, 3] on white: blue where it grew brighter, orange where it
    grew darker, the stronger the more, up to the frame's 99th percentile of what is not empty."""
    import numpy as np

    strength = np.empty(frames.shape, np.float64)
    for out, frame in zip(strength, frames, strict=True):
        full = frame[frame > 0]
        out[:] = np.clip(frame / (np.percentile(full, 99) if len(full) else 1), 0, 1)
    inks = 255 - np.array([DARKER, BRIGHTER], np.float64)
    taken = np.einsum("tphw,pc->thwc", strength, inks)
    return np.clip(255 - taken, 0, 255).astype(np.uint8)


def write_recording(frames: "NDArray[Any]", out: Path, milliseconds: int = 120) -> list[Path]:
    """Write `out` (frames side by side, up to five in a row; any of pillow's formats) and beside it the same as an
    animated .gif, `milliseconds` a frame. Returns both."""
    import numpy as np

    try:
        from PIL import Image
    except ImportError:
        raise BadValue("such pictures are made by pillow, which is not here: pip install 'surgrad[images]'") from None
    pictures = coloured(frames)
    zoom = max(1, -(-PANEL // max(pictures.shape[1:3])))
    pictures = pictures.repeat(zoom, 1).repeat(zoom, 2)
    count, height, width, _ = pictures.shape
    columns = min(count, 5)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 225, np.uint8)
    for number, picture in enumerate(pictures):
        top = GAP + number // columns * (height + GAP)
        left = GAP + number % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = picture
    moving = [Image.fromarray(picture) for picture in pictures]
    animated = out.with_suffix(".gif")
    if animated == out:
        raise BadValue(f"{out} would be both the sheet and the animation; give the sheet another suffix, .png")
    if out.suffix.lower() not in Image.registered_extensions():
        raise BadValue(f"{out} has no ending of a picture's name; give a name that ends with .png")
    still = replace(out, lambda path: Image.fromarray(sheet).save(path))
    save: dict[str, Any] = {"save_all": True, "append_images": moving[1:], "duration": milliseconds, "loop": 0}
    return [still, replace(animated, lambda path: moving[0].save(path, **save))]
