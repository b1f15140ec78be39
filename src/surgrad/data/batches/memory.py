"""Batches of samples that are held in memory, on the device."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from surgrad.data.augment import window
from surgrad.data.base import Split
from surgrad.data.sampling import divide, seeded
from surgrad.data.source import Batch, Batches, BatchSettings
from surgrad.errors import BadValue
from surgrad.transfer import to_device

Augmentation = Callable[..., Tensor]
"""(samples, *generators on the CPU) -> augmented samples; each generator draws for an equal share of the samples, see
`surgrad.data.augment`."""
AT_ONCE = 8
"""Batches that are augmented together on a GPU, which spends as long on one as on several."""


class MemoryBatches(Batches):
    """Batches of images [N, C, H, W] or recordings [N, T, C, ...] in memory.

    Args:
        train: the training samples, all of them.
        test: the test samples.
        settings: of the run. A limit takes the first samples of each part.
        augment: the augmentation of a batch of training samples.
        mean: per channel, subtracted from the samples; in units of `scale`.
        std: per channel, by which the samples are divided; in units of `scale`.
        scale: the value in the samples that stands for 1; 255 for uint8 images.
        is_sequence: whether the samples are recordings.
        alternate: mirror each training sample left to right in every other epoch, half of them first in the first
            epoch and half in the second, chosen by the seed (Jordan 2024, arXiv:2404.00498, section 3.6).
    """

    def __init__(
        self,
        train: Split,
        test: Split,
        settings: BatchSettings,
        *,
        augment: Augmentation,
        mean: Sequence[float],
        std: Sequence[float],
        scale: float = 255,
        is_sequence: bool = False,
        alternate: bool = False,
    ):
        self.is_sequence = is_sequence
        parts = divide(
            train,
            test,
            holdout=settings.holdout,
            seed=settings.seed,
            limited=lambda part: part.first(settings.limit),
        )
        super().__init__(len(parts.train), len(parts.holdout), len(parts.test), settings)
        self._check_image_size(min(train.images.shape[2:]))
        self._parts = {name: part.to(settings.device) for name, part in vars(parts).items()}
        self._augment = augment
        self._late: Tensor | None = None  # uint8 [N]: whether a sample is first mirrored in the second epoch
        if alternate:
            drawn = torch.randint(2, (len(parts.train),), generator=seeded(settings.seed, 5), device="cpu")
            self._late = drawn.to(settings.device)
        per_channel = (-1, *[1] * (train.images.ndim - (3 if is_sequence else 2)))
        self._mean = scale * torch.tensor(mean, device=settings.device).view(per_channel)
        self._std = scale * torch.tensor(std, device=settings.device).view(per_channel)
        self._format = torch.channels_last if settings.channels_last else torch.contiguous_format

    def _check_image_size(self, whole: int) -> None:
        size = self.progressive.image_size
        if size is not None and size > whole:
            raise BadValue(
                f"progressive.image_size = {size} is larger than the images of {whole} pixels; give at most {whole}, "
                "or none"
            )

    def _training(self, epoch: int, first: int, chosen: Sequence[Tensor]) -> Iterator[Batch]:
        train = self._parts["train"]
        at_once = AT_ONCE if train.images.is_cuda else 1
        for start in range(0, len(chosen), at_once):
            group = chosen[start : start + at_once]
            numbers = range(first + start, first + start + len(group))
            members = to_device(torch.cat(list(group)), train.labels.device)
            samples = self._alternated(train.images[members], members, epoch)
            samples = self._augment(samples, *(seeded(self._seed, 1, epoch, n) for n in numbers))
            size = len(group[0])
            for number, batch, labels in zip(
                numbers, samples.split(size), train.labels[members].split(size), strict=True
            ):
                own = self.own()  # only now: each sample has the draws that it has in the whole batch
                yield self._finished(self._windowed(batch, epoch, number)[own]), labels[own]

    def _alternated(self, samples: Tensor, members: Tensor, epoch: int) -> Tensor:
        """The samples with these numbers, mirrored where it is their turn in this epoch."""
        if self._late is None:
            return samples
        turn = (self._late[members] + epoch) % 2 == 0
        return torch.where(turn.view(-1, *[1] * (samples.ndim - 1)), samples.flip(-1), samples)

    def _windowed(self, samples: Tensor, epoch: int, number: int) -> Tensor:
        """A batch as large as the progressive start wants its images."""
        if self.progressive.image_size is None or not self.starting(epoch, number):
            return samples
        return window(samples, self.progressive.image_size, seeded(self._seed, 2, epoch, number))

    def _evaluation(self, part: str, chosen: Sequence[range]) -> Iterator[Batch]:
        samples = self._parts[part]
        for members in chosen:
            here = slice(members.start, members.stop)
            yield self._finished(samples.images[here]), samples.labels[here]

    def _finished(self, samples: Tensor) -> Tensor:
        """The samples as the network sees them: normalised, recordings with the time axis first."""
        normalised = (samples.float() - self._mean) / self._std
        if self.is_sequence:
            return normalised.transpose(0, 1).contiguous()
        return normalised.contiguous(memory_format=self._format)
