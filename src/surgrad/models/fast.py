"""A residual network for short trainings on a GPU (docs/records.md)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from surgrad.config.values import Count, Multiplier
from surgrad.layers import PerStep
from surgrad.models.blocks import (
    MembraneBlock,
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
from surgrad.norm import TDBN

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


def fast_resnet(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 1,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
    blocks: Count = 1,
) -> SpikingNetwork:
    """A residual network of few and wide layers. 7.9 M parameters, and 0.42 G multiplications per time step of a 32×32
    image.

    A fixed whitening layer and a 3×3 convolution to 128 channels, max-pooled, are computed once for all time steps.
    Three stages of 128, 256 and 512 channels follow, each a convolution, residual blocks whose shortcuts carry
    currents, and a neuron; the currents of the second and the third stage's convolution are max-pooled. Global average;
    linear. A training fits the whitening layer to its first batch.

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
        blocks: residual blocks in each stage.
    """
    widths = [scaled(channels, width_multiplier) for channels in (128, 256, 512)]
    whitening = Whitening(in_channels)
    first = nn.Conv2d(len(whitening.weight), widths[0], 3, padding=1, bias=False)
    body: list[nn.Module] = []
    for inputs, outputs in pairwise([widths[0], *widths]):
        pooling = [PerStep(nn.MaxPool2d(2))] if outputs != inputs else []
        residual = [MembraneBlock(outputs, neuron, norm) for _ in range(blocks)]
        body += [conv(inputs, outputs), *pooling, *residual, norm_neuron(outputs, neuron, norm)]
    return SpikingNetwork(
        stem=PerStep(whitening, first, nn.MaxPool2d(2)),
        fire=norm_neuron(widths[0], neuron, norm),
        body=nn.Sequential(*body),
        head=nn.Sequential(pooled_head(), linear(widths[-1], classes)),
        steps=steps,
    )
