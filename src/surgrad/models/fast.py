"""A residual network for short trainings on a GPU (docs/records.md)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from surgrad.config.values import Count, Multiplier
from surgrad.errors import BadValue
from surgrad.layers import PerStep
from surgrad.models.blocks import (
    Block,
    NeuronFactory,
    NormFactory,
    SpikingNetwork,
    conv,
    linear,
    lsg_neuron,
    norm_neuron,
    pooled_head,
    scaled,
)
from surgrad.norm import TDBN, NoNorm, NormNeuron

MOST_PATCHES = 2**20
"""To which a whitening layer is fitted, about."""


class Whitening(nn.Conv2d):
    """A convolution of fixed kernels, fitted to images, whose outputs are uncorrelated and of equal variance.

    The kernels are the eigenvectors v of the covariance of the images' patches, divided by √(λ + ε), λ their
    eigenvalues; those of the smallest λ are left out, so that the number of outputs is a multiple of 8, as tensor cores
    want it. Such a first layer was used by Page 2018 ("How to train your ResNet") and Jordan 2024 ("94% on CIFAR-10 in
    3.29 seconds on one GPU", arXiv:2404.00498). Until it is fitted, its outputs are values of a patch.

    Args:
        channels: C of the images.
        kernel: the side k of a patch, in pixels; an odd number.
        eps: ε, which bounds the gain of patches that hardly occur.

    Example:
        >>> layer = Whitening(3)
        >>> layer.fit(torch.rand(100, 3, 8, 8))
        >>> layer(torch.rand(4, 3, 8, 8)).shape  # 24 of 27 eigenvectors
        torch.Size([4, 24, 8, 8])
    """

    def __init__(self, channels: int, kernel: int = 3, eps: float = 5e-4):
        size = channels * kernel**2
        super().__init__(channels, max(1, size // 8 * 8), kernel, padding=kernel // 2, bias=False)
        self.eps = eps
        self.weight.requires_grad_(False)
        self.weight.copy_(torch.eye(size)[: self.out_channels].view_as(self.weight))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Compute the kernels.

        Args:
            images: [N, C, H, W], normalised, of a training; or [T, N, C, H, W].
        """
        if images.numel() == 0 or min(images.shape[-2:]) < self.kernel_size[0]:
            raise BadValue(
                f"images {list(images.shape)} hold no patch of {self.kernel_size[0]}×{self.kernel_size[1]} pixels to "
                "fit a whitening layer to; give larger ones"
            )
        images = images.flatten(0, -4)[: max(1, MOST_PATCHES // images[..., 0, :, :].shape[-2:].numel())]
        patches = functional.unfold(images.double(), self.kernel_size).transpose(0, 1).flatten(1)
        if patches.shape[1] < 2:
            raise BadValue("one patch has no covariance; give more images, or larger ones")
        values, vectors = torch.linalg.eigh(torch.cov(patches).view(len(patches), -1))
        kernels = (vectors / (values + self.eps).sqrt()).T.flip(0)[: self.out_channels]
        self.weight.copy_(kernels.view_as(self.weight))


class CurrentBlock(Block):
    """norm-neuron-convolution, added to the block's input: currents [T, N, inputs, H, W] -> [T, N, outputs, H/s, W/s].

    Where the block halves height and width (s = 2) the convolution's outputs are max-pooled. The shortcut carries
    currents and has no weights: there it takes the mean of four, and where the block widens it repeats the channels. A
    shortcut around every binary layer, and not around every two, is that of Liu et al. 2018 (Bi-Real Net,
    arXiv:1808.00278).

    Args:
        inputs: channels of the input.
        outputs: a multiple of them.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        halves: whether it halves height and width; of an odd size, the larger half stays.
    """

    inner = ("fire",)

    def __init__(self, inputs: int, outputs: int, neuron: NeuronFactory, norm: NormFactory, *, halves: bool = False):
        super().__init__()
        self.fire = norm_neuron(inputs, neuron, norm)
        self.conv = conv(inputs, outputs)
        self.pool = PerStep(nn.MaxPool2d(2, ceil_mode=True))
        self.halves = halves

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv(self.fire(x))
        if self.halves:
            new, x = self.pool(new), mean_of_four(x)
        return (new.unflatten(2, (-1, x.shape[2])) + x.unsqueeze(2)).flatten(2, 3)


def mean_of_four(x: Tensor) -> Tensor:
    """The mean of each square of four, [..., N, C, H, W] -> [..., N, C, ⌈H/2⌉, ⌈W/2⌉]; at odd edges, of what is there.

    Channels stay last in memory where they are.
    """
    if x.is_cuda:
        return mean_of_four_by_views(x)
    return functional.avg_pool2d(x.flatten(0, -4), 2, ceil_mode=True).unflatten(0, x.shape[:-3])


def mean_of_four_by_views(x: Tensor) -> Tensor:
    """`mean_of_four` without torch's pooling: its backward pass is several times faster on GPUs, and slower on CPUs."""
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        x = functional.pad(x.flatten(0, -4), (0, width % 2, 0, height % 2), mode="replicate").unflatten(0, x.shape[:-3])
    squares = x.movedim(-3, -1).unflatten(-2, (-1, 2)).unflatten(-4, (-1, 2))  # [..., H/2, 2, W/2, 2, C]
    return squares.mean((-4, -2)).movedim(-1, -3)


def fast_resnet(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 1,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
    blocks: tuple[Count, Count, Count] = (2, 3, 3),
) -> SpikingNetwork:
    """A residual network of few and wide layers. 7.7 M parameters, 0.41 G multiplications for a 32×32 image at T=1.

    A fixed whitening layer and a 3×3 convolution to 128 channels, max-pooled, are computed once for all time steps.
    Three stages of 128, 256 and 512 channels follow, of two, three and three `CurrentBlock`s; the first one of the
    second and third stage halves height and width. A norm and a neuron; global average; linear. A training fits the
    whitening layer to its first batch.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
        blocks: the number of blocks of each stage.
    """
    width = scaled(128, width_multiplier)
    whitening = Whitening(in_channels)
    first = nn.Conv2d(whitening.out_channels, width, 3, padding=1, bias=False)
    body: list[nn.Module] = []
    inputs = width
    for stage, count in enumerate(blocks):
        outputs = width * 2**stage
        for _ in range(count):
            body.append(CurrentBlock(inputs, outputs, neuron, norm, halves=outputs > inputs))
            inputs = outputs
    return SpikingNetwork(
        stem=PerStep(whitening, first, nn.MaxPool2d(2)),
        fire=NormNeuron(NoNorm(width), nn.Identity()),  # the first neurons are those of the first block
        body=nn.Sequential(*body),
        head=nn.Sequential(norm_neuron(inputs, neuron, norm), pooled_head(), linear(inputs, classes)),
        steps=steps,
    )
