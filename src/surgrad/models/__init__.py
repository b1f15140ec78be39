"""Networks: one file each, built from neuron and norm factories, so that any surrogate fits any of them.

To add one: write its file and add it to `MODELS`. Every builder takes (classes, *, in_channels, steps, neuron, norm,
width_multiplier) and returns a `SpikingNetwork`; one with residual additions after norms also takes `summand`.
"""

from collections.abc import Callable

from surgrad.models.blocks import Block as Block
from surgrad.models.blocks import MembraneBlock as MembraneBlock
from surgrad.models.blocks import ResidualBlock as ResidualBlock
from surgrad.models.blocks import SpikingNetwork as SpikingNetwork
from surgrad.models.plif import plif_cifar as plif_cifar
from surgrad.models.plif import plif_dvs as plif_dvs
from surgrad.models.plif import plif_gesture as plif_gesture
from surgrad.models.resnet18 import resnet18 as resnet18
from surgrad.models.resnet19 import resnet19 as resnet19
from surgrad.models.resnet19 import resnet19_tet as resnet19_tet
from surgrad.models.small import small_cnn as small_cnn
from surgrad.models.small import small_resnet as small_resnet
from surgrad.models.vggsnn import vggsnn as vggsnn

MODELS: dict[str, Callable[..., SpikingNetwork]] = {
    "small_cnn": small_cnn,
    "small_resnet": small_resnet,
    "resnet18": resnet18,
    "resnet19": resnet19,
    "resnet19_tet": resnet19_tet,
    "vggsnn": vggsnn,
    "plif_cifar": plif_cifar,
    "plif_dvs": plif_dvs,
    "plif_gesture": plif_gesture,
}
