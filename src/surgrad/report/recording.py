"""Pictures of a recording: its frames side by side, and as an animation."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgrad.errors import BadValue
from surgrad.report.output import replace

if TYPE_CHECKING:
    from numpy.typing import NDArray

BRIGHTER = (11, 98, 196)
DARKER = (217, 86, 13)
EXAMPLE = "example.png"
"""The picture of a test recording in a run folder."""
MOST = 500
"""Frames of one picture."""
GAP = 6
PANEL = 150
"""Pixels between frames, and the smallest side length of a frame."""


def coloured(frames: "NDArray[Any]") -> "NDArray[Any]":
    """Colour frames of event counts on white: blue for events of increasing brightness, orange for decreasing.

    Args:
        frames: counts [T, 2, H, W]; the first channel is decreasing brightness.

    Returns:
        RGB pictures [T, H, W, 3], uint8. Counts reach full colour at the 99th percentile of the frame's counts
        above 0.
    """
    import numpy as np

    inks = 255 - np.array([DARKER, BRIGHTER], np.float64)
    pictures = np.empty((len(frames), *frames.shape[2:], 3), np.uint8)
    for out, frame in zip(pictures, frames, strict=True):  # one at a time: in floating point all take 24 times the room
        full = frame[frame > 0]
        strength = np.clip(frame / (np.percentile(full, 99) if len(full) else 1), 0, 1)
        out[:] = np.clip(255 - np.einsum("phw,pc->hwc", strength, inks), 0, 255)
    return pictures


def write_recording(frames: "NDArray[Any]", out: Path, milliseconds: int = 120) -> list[Path]:
    """Write the frames of a recording as a picture and as an animation.

    Args:
        frames: counts of events [T, 2, H, W].
        out: the picture, frames side by side, up to five in a row; a name with an ending that Pillow knows.
        milliseconds: duration of a frame in the animation.

    Returns:
        `out`, and the animation of the same name with the ending .gif.

    Raises:
        BadValue: without Pillow, for more than `MOST` frames, or for a name that does not end as a still picture's.
    """
    import numpy as np

    try:
        from PIL import Image
    except ImportError:
        raise BadValue("pictures of recordings need Pillow; pip install 'surgrad[images]'") from None
    if len(frames) > MOST:
        raise BadValue(f"a picture of {len(frames):,} frames would be too large; give at most {MOST}")
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
        raise BadValue(f"{out} is the name of the animation; give a name that ends with .png")
    if out.suffix.lower() not in Image.registered_extensions():
        raise BadValue(f"{out} does not have the ending of a picture; give a name that ends with .png")
    still = replace(out, lambda path: Image.fromarray(sheet).save(path))
    save: dict[str, Any] = {"save_all": True, "append_images": moving[1:], "duration": milliseconds, "loop": 0}
    return [still, replace(animated, lambda path: moving[0].save(path, **save))]
