"""MS-ResNet (Hu et al. 2024): the shortcut carries currents past every neuron."""

from torch import Tensor, nn

from surgrad.config.values import Multiplier
from surgrad.models.blocks import (
    Block,
    NeuronFactory,
    NormFactory,
    SpikingNetwork,
    conv,
    linear,
    lsg_neuron,
    make_neuron,
    norm_neuron,
    pooled_head,
    scaled,
)
from surgrad.norm import TDBN, NormNeuron


class PreActivationBlock(Block):
    """neuron-conv-norm, twice, added to the block's input, or to its 1×1 convolution and norm where the shape changes.

    Currents [T, N, inputs, H, W] -> [T, N, outputs, H/stride, W/stride].

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        stride: of the first convolution.
        neuron: the neuron factory (`surgrad.models.blocks.make_neuron`).
        norm: the norm factory: norm(channels).
    """

    inner = ("neuron1", "fire2")

    def __init__(self, inputs: int, outputs: int, stride: int, neuron: NeuronFactory, norm: NormFactory):
        super().__init__()
        self.neuron1 = make_neuron(neuron, inputs)
        self.conv1 = conv(inputs, outputs, stride=stride)
        self.fire2 = norm_neuron(outputs, neuron, norm)
        self.conv2 = conv(outputs, outputs)
        self.norm = norm(outputs)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), norm(outputs)) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Currents [T, N, inputs, H, W] -> currents [T, N, outputs, H/stride, W/stride]."""
        return self.shortcut(x) + self.norm(self.conv2(self.fire2(self.conv1(self.neuron1(x)))))


def ms_resnet18(
    classes: int = 10,
    *,
    in_channels: int = 3,
    steps: int = 4,
    neuron: NeuronFactory = lsg_neuron,
    norm: NormFactory = TDBN,
    width_multiplier: Multiplier = 1.0,
) -> SpikingNetwork:
    """MS-ResNet-18 in its form for CIFAR (Hu et al. 2024). 11.2 M parameters.

    A 3×3 stem and norm to 64 channels; two blocks each of 64, 128, 256, 512 channels at strides 1, 2, 2, 2; a neuron;
    global average; linear.

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
        body += [
            PreActivationBlock(inputs, outputs, stride, neuron, norm),
            PreActivationBlock(outputs, outputs, 1, neuron, norm),
        ]
        inputs = outputs
    head = nn.Sequential(make_neuron(neuron, inputs), pooled_head(), linear(inputs, classes))
    fire = NormNeuron(norm(widths[0]), nn.Identity())  # no neuron follows the stem
    return SpikingNetwork(conv(in_channels, widths[0]), fire, nn.Sequential(*body), head, steps)
