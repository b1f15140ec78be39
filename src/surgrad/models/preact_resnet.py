"""The pre-activation ResNet-18 of He et al. 2016b with spiking neurons, as in the codes of SLTT and CLIF."""

from torch import Tensor, nn

from surgrad.config.values import Multiplier
from surgrad.models.blocks import (
    Block,
    NeuronFactory,
    NormFactory,
    SpikingNetwork,
    conv,
    init_kaiming,
    linear,
    lsg_neuron,
    norm_neuron,
    pooled_head,
    scaled,
)
from surgrad.norm import TDBN


class NormedSumBlock(Block):
    """conv-norm-neuron-conv, plus the shortcut; the sum has a norm and a neuron.

    It is a pre-activation block from its first convolution up to the first norm and neuron of the next block. The
    shortcut begins at the block's spikes. Where the shape changes it is a 1×1 convolution with stride. All convolutions
    have a bias.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        stride: of the first convolution and of the shortcut.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
    """

    inner = ("fire1",)

    def __init__(self, inputs: int, outputs: int, stride: int, neuron: NeuronFactory, norm: NormFactory):
        super().__init__()
        self.conv1 = conv(inputs, outputs, stride=stride, bias=True)
        self.fire1 = norm_neuron(outputs, neuron, norm)
        self.conv2 = conv(outputs, outputs, bias=True)
        changes = stride != 1 or inputs != outputs
        self.shortcut = conv(inputs, outputs, 1, stride, bias=True) if changes else nn.Identity()
        self.fire2 = norm_neuron(outputs, neuron, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes [T, N, inputs, H, W] -> spikes [T, N, outputs, H/stride, W/stride]."""
        return self.fire2(self.conv2(self.fire1(self.conv1(x))) + self.shortcut(x))


def resnet18_preact(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 4,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
) -> SpikingNetwork:
    """The pre-activation ResNet-18 for CIFAR (He et al. 2016b) of Meng et al. 2023 (SLTT) and Huang et al. 2024 (CLIF).

    It has 11.2 M parameters: a 3×3 stem of 64 channels; two blocks each of 64, 128, 256, 512 channels at strides 1, 2,
    2, 2, each with its norm and neuron in front; a last norm and neuron; global average; linear. Weights of
    convolutions are drawn by Kaiming's normal rule (fan out).

    Args:
        classes: the number of classes of the output.
        in_channels: the channels of the input.
        steps: T, the time steps for which static input is shown.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
        width_multiplier: factor of all numbers of channels.
    """
    widths = [scaled(c, width_multiplier) for c in (64, 128, 256, 512)]
    body: list[nn.Module] = []
    inputs = widths[0]
    for outputs, stride in zip(widths, (1, 2, 2, 2), strict=True):
        for step in (stride, 1):
            body.append(NormedSumBlock(inputs, outputs, step, neuron, norm))
            inputs = outputs
    head = nn.Sequential(pooled_head(), linear(inputs, classes))
    fire = norm_neuron(widths[0], neuron, norm)
    network = SpikingNetwork(conv(in_channels, widths[0]), fire, nn.Sequential(*body), head, steps)
    init_kaiming(network, "fan_out")
    return network
