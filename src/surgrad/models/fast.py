"""A residual network for short trainings on a GPU (docs/records.md)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from surgrad.config.values import Count, Multiplier
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


class Whitening(nn.Module):
    """A convolution of fixed kernels, fitted to images, whose outputs are uncorrelated and of equal variance.

    The kernels are the eigenvectors v of the covariance of the images' patches, divided by √(λ + ε), λ their
    eigenvalues. Such a first layer was used by Page 2018 ("How to train your ResNet") and Jordan 2024 ("94% on CIFAR-10
    in 3.29 seconds on one GPU", arXiv:2404.00498). Until it is fitted, its outputs are the values of a patch.

    Args:
        channels: C of the images.
        kernel: the side k of a patch, in pixels; an odd number.
        eps: ε, which bounds the gain of patches that hardly occur.

    Example:
        >>> layer = Whitening(3)
        >>> layer.fit(torch.rand(100, 3, 8, 8))
        >>> layer(torch.rand(4, 3, 8, 8)).shape  # [N, C·k², H, W]
        torch.Size([4, 27, 8, 8])
    """

    weight: Tensor

    def __init__(self, channels: int, kernel: int = 3, eps: float = 5e-4):
        super().__init__()
        self.eps = eps
        size = channels * kernel**2
        self.register_buffer("weight", torch.eye(size).view(size, channels, kernel, kernel))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Compute the kernels.

        Args:
            images: [N, C, H, W], normalised, of a training; or [T, N, C, H, W].
        """
        kernel = self.weight.shape[-1]
        images = images.flatten(0, -4)[: max(1, MOST_PATCHES // images[..., 0, :, :].shape[-2:].numel())]
        patches = functional.unfold(images.double(), kernel).transpose(0, 1).flatten(1)
        values, vectors = torch.linalg.eigh(torch.cov(patches))
        kernels = (vectors / (values + self.eps).sqrt()).T.flip(0)
        self.weight.copy_(kernels.view_as(self.weight))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C·k², H, W]."""
        return functional.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)


class CurrentBlock(Block):
    """norm-neuron-convolution, added to the block's input: currents [T, N, inputs, H, W] -> [T, N, outputs, H, W].

    The shortcut carries currents and has no weights. Where the block pools, [T, N, outputs, H/2, W/2], the largest of
    four new currents is taken and the mean of four of the input's; where it widens, the input's channels are repeated.
    A shortcut around every binary layer, and not around every two, is that of Liu et al. 2018 (Bi-Real Net).

    Args:
        inputs: channels of the input.
        outputs: a multiple of them.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        pool: whether to halve height and width.
    """

    inner = ("fire",)

    def __init__(self, inputs: int, outputs: int, neuron: NeuronFactory, norm: NormFactory, *, pool: bool = False):
        super().__init__()
        self.fire = norm_neuron(inputs, neuron, norm)
        self.conv = conv(inputs, outputs)
        self.repeats = outputs // inputs
        self.pool = PerStep(nn.MaxPool2d(2)) if pool else nn.Identity()
        self.shortcut = PerStep(nn.AvgPool2d(2)) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        new = self.pool(self.conv(self.fire(x)))
        x = self.shortcut(x)
        return new + (torch.cat([x] * self.repeats, 2) if self.repeats > 1 else x)


def fast_resnet(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 1,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
    blocks: Count = 2,
) -> SpikingNetwork:
    """A residual network of few and wide layers. 7.7 M parameters, and 0.38 G multiplications per time step of a 32×32
    image.

    A fixed whitening layer and a 3×3 convolution to 128 channels, max-pooled, are computed once for all time steps.
    Three stages of 128, 256 and 512 channels follow, each of `CurrentBlock`s: one that widens and pools, which the
    first stage lacks, and `blocks` others. A norm and a neuron; global average; linear. A training fits the whitening
    layer to its first batch.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
        blocks: blocks of each stage that neither widen nor pool.
    """
    width = scaled(128, width_multiplier)
    whitening = Whitening(in_channels)
    first = nn.Conv2d(len(whitening.weight), width, 3, padding=1, bias=False)
    body: list[nn.Module] = []
    for stage in range(3):
        outputs = width * 2**stage
        if stage:
            body.append(CurrentBlock(outputs // 2, outputs, neuron, norm, pool=True))
        body += [CurrentBlock(outputs, outputs, neuron, norm) for _ in range(blocks)]
    return SpikingNetwork(
        stem=PerStep(whitening, first, nn.MaxPool2d(2)),
        fire=NormNeuron(NoNorm(width), nn.Identity()),  # the first neurons are those of the first block
        body=nn.Sequential(*body),
        head=nn.Sequential(norm_neuron(4 * width, neuron, norm), pooled_head(), linear(4 * width, classes)),
        steps=steps,
    )
