"""Data of your own, in tensors or arrays."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from surgrad.config.values import Size
from surgrad.data.augment import random_crop_flip
from surgrad.data.base import Split
from surgrad.data.batches.memory import MemoryBatches
from surgrad.data.source import BatchSettings
from surgrad.errors import BadValue

Samples = tuple[Any, Any]
"""(samples, labels), each a tensor, a NumPy array, or anything else that `torch.as_tensor` takes."""
CHUNK = 1024
"""Samples whose statistics are computed at once."""


class ArraySource:
    """Static images [N, C, H, W], or recordings [N, T, C, H, W] or [N, T, C, L], from tensors or arrays.

    Values are uint8 or floating point (kept as float32). uint8 images are divided by 255. Recordings are taken as they
    are, so give counts of events, say, or divide uint8 video by 255 first. Then `mean` is subtracted from each channel,
    and the channel divided by `std`. A recording is cropped and mirrored alike at all its time steps. The number of
    time steps T must be model.steps.

    Args:
        train: (samples, labels) to train on. Labels are whole numbers [N] from 0.
        test: (samples, labels) to test on, samples of the same shape.
        classes: the names of the classes; by default the numbers from 0 to the largest label.
        mean: per channel, after the division by 255; by default that of the training images, and 0 for recordings.
        std: per channel, as `mean`; by default that of the training images, and 1 for recordings.
        is_sequence: whether samples are recordings; by default if they have five axes. Needed for [N, T, C, L].
        crop: zero padding on each side before a random crop back to the sample's size, in pixels; 0 is off.
        flip: mirror left to right with probability 1/2.

    Raises:
        BadValue: if shapes, types or labels do not fit together.

    Example:
        >>> images = torch.rand(40, 1, 8, 8)
        >>> labels = torch.arange(40) % 4
        >>> source = ArraySource((images[:32], labels[:32]), (images[32:], labels[32:]), flip=True)
        >>> source.classes, source.input_shape, source.is_sequence
        (('0', '1', '2', '3'), (1, 8, 8), False)
    """

    def __init__(
        self,
        train: Samples,
        test: Samples,
        *,
        classes: Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        is_sequence: bool | None = None,
        crop: Size = 0,
        flip: bool = False,
    ):
        self.train = _split("train", *train)
        self.test = _split("test", *test)
        axes = self.train.images.ndim
        self.is_sequence = axes == 5 if is_sequence is None else is_sequence
        self._check_axes(axes)
        self.input_shape = tuple(self.train.images.shape[2 if self.is_sequence else 1 :])
        if (crop or flip) and len(self.input_shape) != 3:
            raise BadValue(f"crop and flip need samples [C, H, W], and these are {list(self.input_shape)}; unset them")
        if type(crop) is not int or crop < 0:
            raise BadValue(f"crop = {crop!r} must be a whole number of pixels, 0 (off) or more")
        self.classes = self._class_names(classes)
        self.crop = crop
        self.flip = flip
        self.scale = 255 if self.train.images.dtype == torch.uint8 and not self.is_sequence else 1
        own_mean, own_std = self._statistics()
        self.mean = self._per_channel("mean", mean, own_mean)
        self.std = self._per_channel("std", std, own_std)
        if not all(value > 0 for value in self.std):
            raise BadValue(f"std must be positive for each channel, got {self.std}")

    def batches(self, settings: BatchSettings) -> MemoryBatches:
        """The batches of these samples for the settings of a run."""
        steps = self.train.images.shape[1]
        if self.is_sequence and settings.steps != steps:
            raise BadValue(
                f"the recordings have {steps} time steps and model.steps = {settings.steps}; set model.steps={steps}"
            )
        return MemoryBatches(
            self.train,
            self.test,
            settings,
            augment=self._augment,
            mean=self.mean,
            std=self.std,
            scale=self.scale,
            is_sequence=self.is_sequence,
        )

    def _augment(self, samples: Tensor, *generators: torch.Generator) -> Tensor:
        if not self.crop and not self.flip:
            return samples
        folded = samples.flatten(1, 2) if self.is_sequence else samples  # all time steps alike
        return random_crop_flip(folded, self.crop, self.flip, *generators).view_as(samples)

    def _check_axes(self, axes: int) -> None:
        wanted = "recordings [N, T, C, H, W] or [N, T, C, L]" if self.is_sequence else "images [N, C, H, W]"
        if axes not in ((4, 5) if self.is_sequence else (4,)):
            raise BadValue(f"the samples have shape {list(self.train.images.shape)}; give {wanted}")
        ours = self.train.images
        theirs = self.test.images
        if ours.shape[1:] != theirs.shape[1:] or ours.dtype != theirs.dtype:
            raise BadValue(
                f"the training samples are {ours.dtype} {list(ours.shape[1:])} and the test samples {theirs.dtype} "
                f"{list(theirs.shape[1:])}; give both of one type and shape"
            )

    def _class_names(self, classes: Sequence[str] | None) -> tuple[str, ...]:
        largest = int(max(self.train.labels.max(), self.test.labels.max()))
        names = tuple(map(str, range(largest + 1))) if classes is None else tuple(classes)
        if largest >= len(names):
            raise BadValue(
                f"label {largest} is not one of {len(names)} classes; give labels from 0 to {len(names) - 1}"
            )
        return names

    def _per_channel(self, name: str, given: Sequence[float] | None, default: Sequence[float]) -> tuple[float, ...]:
        values = tuple(map(float, default if given is None else given))
        if len(values) != self.input_shape[0]:
            raise BadValue(
                f"{name} has {len(values)} values for {self.input_shape[0]} channels; give one for each channel"
            )
        return values

    def _statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel of the training images; (0, 1) for recordings and for channels of
        one value."""
        channels = self.input_shape[0]
        if self.is_sequence:
            return [0.0] * channels, [1.0] * channels
        total = torch.zeros(channels, dtype=torch.float64)
        squares = torch.zeros(channels, dtype=torch.float64)
        for chunk in self.train.images.split(CHUNK):
            values = chunk.double() / self.scale
            total += values.sum((0, 2, 3)).cpu()
            squares += values.square().sum((0, 2, 3)).cpu()
        count = self.train.images[:, 0].numel()
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        constant = std <= 1e-9 * mean.abs()
        return mean.tolist(), torch.where(constant, 1.0, std).tolist()


def _split(part: str, samples: Any, labels: Any) -> Split:
    """One part as tensors, checked."""
    images = torch.as_tensor(samples)
    numbers = torch.as_tensor(labels)
    if images.dtype == torch.bool:
        images = images.to(torch.uint8)
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise BadValue(f"the {part} samples are {images.dtype}; give uint8 or floating point")
    if numbers.ndim != 1 or numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        raise BadValue(f"the {part} labels are {numbers.dtype} {list(numbers.shape)}; give whole numbers [N]")
    if not images.numel() or images.shape[0] != len(numbers):
        raise BadValue(
            f"the {part} samples have shape {list(images.shape)} and there are {len(numbers)} labels; give one label "
            "for each sample, and at least one"
        )
    if int(numbers.min()) < 0:
        raise BadValue(f"the {part} labels contain {int(numbers.min())}; give labels from 0")
    if images.is_floating_point():
        images = images.float()
        if not images.isfinite().all():
            raise BadValue(f"the {part} samples contain values that are not finite; replace them")
    return Split(images.contiguous(), numbers.long())
