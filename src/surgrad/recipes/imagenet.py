"""ImageNet, from folders of images. None of these recipes was run to its end here.

SEW-ResNet's settings are those of its authors' code. Settings that the available texts of the other papers do not state
are taken from there too. ESG's result (χ) is SEW-ResNet-34's training with widths steered by χ; the algorithm is our
reading (controller `esg`).
"""

import math

from surgrad.config.recipe import (
    DataConfig,
    ModelConfig,
    NeuronConfig,
    OptimConfig,
    Part,
    Recipe,
    SurrogateConfig,
    derive,
)
from surgrad.recipes.registry import rows

_DATA = DataConfig(name="imagenet", batch=256, flip=True)
_SEW_DEVIATIONS = (
    "In the authors' code each of 8 GPUs normalises its own 32 images, here one device all 256; the learning rate "
    "falls after every epoch, here after every step; half precision is float16; and the best epoch is reported."
)
_OPTIM = OptimConfig("sgd", epochs=320, lr=0.1, momentum=0.9, weight_decay=0.0)


def _sew(network: str) -> Recipe:
    """Integrate-and-fire with threshold 1, ATan with SpikingJelly's α = 2, detached reset, added spikes."""
    return Recipe(
        name="sew",
        data=_DATA,
        model=ModelConfig(network, steps=4, init="kaiming_fan_out"),
        norm=Part("batchnorm"),
        neuron=NeuronConfig("if", threshold=1.0, detach_reset=True),
        surrogate=SurrogateConfig("atan", width=1 / math.pi),
        adapt=Part("fixed"),
        optim=_OPTIM,
    )


@rows(
    "sew",
    "SEW-ResNet-18",
    {("imagenet", 4): 0.6318},
    title="SEW ADD",
    source="Fang et al. 2021a",
    deviations=_SEW_DEVIATIONS,
)
def sew_resnet18() -> Recipe:
    return _sew("sew_resnet18")


@rows(
    "sew",
    "SEW-ResNet-34",
    {("imagenet", 4): 0.6704},
    title="SEW ADD",
    source="Fang et al. 2021a",
    deviations=_SEW_DEVIATIONS,
)
def sew_resnet34() -> Recipe:
    return _sew("sew_resnet34")


@rows(
    "sew",
    "SEW-ResNet-50",
    {("imagenet", 4): 0.6778},
    title="SEW ADD",
    source="Fang et al. 2021a",
    deviations=_SEW_DEVIATIONS,
)
def sew_resnet50() -> Recipe:
    return _sew("sew_resnet50")


@rows(
    "chi",
    "SEW-ResNet-34",
    {("imagenet", 4): 0.6909},
    title="χ (our reading)",
    source="ESG, 2022, abstract",
    deviations="Only the abstract is known to us; the rule is our reading.",
)
def chi_sew_resnet34() -> Recipe:
    """In every layer the share of neurons that receive a gradient is kept within a band, and the slope is sharpened."""
    return derive(_sew("sew_resnet34"), adapt={"name": "esg"})


@rows(
    "dspike",
    "ResNet-34",
    {("imagenet", 6): 0.6819},
    title="Dspike",
    source="Li et al. 2021",
    deviations="There is no public code; the network is that of the Dspike line's later code.",
)
def dspike_resnet34() -> Recipe:
    """The temperature is searched once per epoch; decay 0.25, tdBN, reset to zero with its gradient kept."""
    return Recipe(
        name="dspike",
        data=_DATA,
        model=ModelConfig("resnet34_imagenet", steps=6, init="kaiming_fan_out"),
        norm=Part("tdbn"),
        neuron=NeuronConfig("lif", decay=0.25, train_decay=False, threshold=0.5),
        surrogate=SurrogateConfig("dspike"),
        adapt=Part("dspike"),
        optim=OptimConfig("sgd", epochs=320, lr=0.1, momentum=0.9, weight_decay=0.0001),
    )


@rows(
    "tdbn",
    "ResNet-34",
    {("imagenet", 6): 0.6372},
    title="STBP-tdBN",
    source="Zheng et al. 2021",
    deviations=(
        "No code of the authors was found. Network, optimiser, epochs and batch are those of Dspike's recipe for "
        "ImageNet."
    ),
)
def tdbn_resnet34() -> Recipe:
    """A rectangle of width 1, decay 0.2; α = 1/√2 before residual sums."""
    return derive(
        dspike_resnet34(),
        model={"summand_alpha": 1 / math.sqrt(2)},
        neuron={"decay": 0.2},
        surrogate={"name": "rect"},
        adapt={"name": "fixed"},
    )


@rows(
    "tet",
    "ResNet-34",
    {("imagenet", 6): 0.6479},
    title="TET",
    source="Deng et al. 2022",
    deviations=(
        "The authors' code loads ImageNet, and has no script that trains on it. Network, optimiser, epochs and batch "
        "are those of Dspike's recipe for ImageNet; λ = 0.001."
    ),
)
def tet_resnet34() -> Recipe:
    """The loss of every time step; threshold 1, decay 0.5, a triangle of half-width 1."""
    return derive(
        dspike_resnet34(),
        norm={"name": "batchnorm"},
        neuron={"decay": 0.5, "threshold": 1.0},
        surrogate={"name": "triangle"},
        adapt={"name": "fixed"},
        loss={"name": "tet"},
    )
