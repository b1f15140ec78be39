"""Networks: one file per family, built from neuron and norm factories, so that every surrogate fits every network.

    network = MODELS["resnet19"](10, neuron=lambda channels: LIF(channels=channels), norm=TDBN)

To add one: write a builder and add it to `MODELS`. A builder returns a `SpikingNetwork`. It takes the number of classes
and, by name, `in_channels`, `steps`, `neuron` and `norm`; `image_size` where the network fits one size alone;
`features` where only the number of values matters; and `sample_dims` where it takes samples of any number of
dimensions. Its other parameters are its options, which recipes
can set: annotate each with its range (`surgrad.config.values`). It makes every neuron by `norm_neuron` or
`make_neuron`, which tell the factory the number of channels.
"""

from collections.abc import Callable

from surgrad.config.registry import Registry
from surgrad.models.blocks import Block as Block
from surgrad.models.blocks import MembraneBlock as MembraneBlock
from surgrad.models.blocks import NeuronFactory as NeuronFactory
from surgrad.models.blocks import NormFactory as NormFactory
from surgrad.models.blocks import ResidualBlock as ResidualBlock
from surgrad.models.blocks import SpikingNetwork as SpikingNetwork
from surgrad.models.blocks import in_chunks as in_chunks
from surgrad.models.blocks import init_kaiming as init_kaiming
from surgrad.models.blocks import lsg_neuron as lsg_neuron
from surgrad.models.blocks import make_neuron as make_neuron
from surgrad.models.dense import densenet as densenet
from surgrad.models.fast import CurrentBlock as CurrentBlock
from surgrad.models.fast import Whitening as Whitening
from surgrad.models.fast import fast_resnet as fast_resnet
from surgrad.models.modified_resnet import resnet18 as resnet18
from surgrad.models.ms_resnet import PreActivationBlock as PreActivationBlock
from surgrad.models.ms_resnet import ms_resnet18 as ms_resnet18
from surgrad.models.perceptron import mlp as mlp
from surgrad.models.plif import plif_cifar as plif_cifar
from surgrad.models.plif import plif_dvs as plif_dvs
from surgrad.models.plif import plif_gesture as plif_gesture
from surgrad.models.preact_resnet import NormedSumBlock as NormedSumBlock
from surgrad.models.preact_resnet import resnet18_preact as resnet18_preact
from surgrad.models.resnet import resnet18_imagenet as resnet18_imagenet
from surgrad.models.resnet import resnet18_plain as resnet18_plain
from surgrad.models.resnet import resnet20 as resnet20
from surgrad.models.resnet import resnet34_imagenet as resnet34_imagenet
from surgrad.models.resnet import resnet44 as resnet44
from surgrad.models.sew import SpikeBlock as SpikeBlock
from surgrad.models.sew import ds_resnet20 as ds_resnet20
from surgrad.models.sew import sew_resnet18 as sew_resnet18
from surgrad.models.sew import sew_resnet34 as sew_resnet34
from surgrad.models.sew import sew_resnet50 as sew_resnet50
from surgrad.models.small import small_cnn as small_cnn
from surgrad.models.small import small_resnet as small_resnet
from surgrad.models.tdbn_resnet import resnet19 as resnet19
from surgrad.models.tdbn_resnet import resnet19_normed as resnet19_normed
from surgrad.models.tdbn_resnet import resnet19_tet as resnet19_tet
from surgrad.models.tet_vgg import vggsnn as vggsnn
from surgrad.models.vgg import vgg11 as vgg11
from surgrad.models.vgg import vgg11_dct as vgg11_dct
from surgrad.models.vgg import vgg16 as vgg16
from surgrad.models.vgg_ws import vgg11_ws as vgg11_ws

_BUILDERS: dict[str, Callable[..., SpikingNetwork]] = {
    "small_cnn": small_cnn,
    "small_resnet": small_resnet,
    "fast_resnet": fast_resnet,
    "mlp": mlp,
    "resnet18": resnet18,
    "resnet18_plain": resnet18_plain,
    "resnet18_preact": resnet18_preact,
    "resnet19": resnet19,
    "resnet19_tet": resnet19_tet,
    "resnet19_normed": resnet19_normed,
    "resnet20": resnet20,
    "resnet44": resnet44,
    "resnet18_imagenet": resnet18_imagenet,
    "resnet34_imagenet": resnet34_imagenet,
    "sew_resnet18": sew_resnet18,
    "sew_resnet34": sew_resnet34,
    "sew_resnet50": sew_resnet50,
    "ds_resnet20": ds_resnet20,
    "ms_resnet18": ms_resnet18,
    "densenet": densenet,
    "vgg11": vgg11,
    "vgg11_dct": vgg11_dct,
    "vgg16": vgg16,
    "vgg11_ws": vgg11_ws,
    "vggsnn": vggsnn,
    "plif_cifar": plif_cifar,
    "plif_dvs": plif_dvs,
    "plif_gesture": plif_gesture,
}

MODELS = Registry(
    "model",
    _BUILDERS,
    context=("classes", "in_channels", "image_size", "features", "sample_dims", "steps", "neuron", "norm"),
)
