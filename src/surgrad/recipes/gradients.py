"""Cheaper gradients through time: SLTT (Meng et al. 2023), OTTT (Xiao et al. 2022) and rate-based backpropagation (Yu
et al. 2024), with the settings of the authors' codes. The figures of OTTT and of rate-based backpropagation are
approximate, from memory.
"""

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


@rows(
    "sltt",
    "ResNet-18",
    {("cifar10", 6): 0.9444},
    title="SLTT",
    source="Meng et al. 2023",
    deviations="Whether the authors' weight decay is of norms too is not known: their code could not be read.",
)
def sltt_resnet18() -> Recipe:
    """Decay 1 - 1/1.1, threshold 1, reset by subtraction, a triangle of width 1; 0.05 of the loss is TET's mean square
    distance of the outputs to 1."""
    return Recipe(
        name="sltt_resnet18",
        data=DataConfig("cifar10", batch=128, crop=4, flip=True, rectangles=True),
        model=ModelConfig("resnet18_preact", steps=6),
        norm=Part("batchnorm"),
        neuron=NeuronConfig("lif", decay=1 - 1 / 1.1, train_decay=False, threshold=1.0, reset="subtract"),
        surrogate=SurrogateConfig("triangle"),
        adapt=Part("fixed"),
        loss=Part("tet", weight=0.05, target=1.0),
        optim=OptimConfig("sgd", epochs=200, lr=0.1, momentum=0.9, weight_decay=5e-05),
        gradient=Part("sltt"),
    )


@rows(
    "sltt",
    "ResNet-18",
    {("cifar100", 6): 0.7438},
    title="SLTT",
    source="Meng et al. 2023",
    deviations="As on CIFAR-10.",
)
def sltt_resnet18_cifar100() -> Recipe:
    """The same with ten times the weight decay."""
    return derive(sltt_resnet18(), optim={"weight_decay": 0.0005})


@rows(
    "ottt",
    "VGG-11-WS",
    {("cifar10", 6): 0.935, ("cifar100", 6): 0.711},
    title="OTTT",
    source="Xiao et al. 2022",
    deviations=(
        "The first layer of the authors' code has no trace; CIFAR-100 is normalised by the statistics of CIFAR-10; "
        "their code has the sigmoid with α = 1 in one version and 4 in another. Here every layer has a trace, as in "
        "the paper, each data set has its own statistics, and α is 4."
    ),
)
def ottt_vgg11_ws() -> Recipe:
    """Standardised weights without norm, decay 0.5, threshold 1, a sigmoid with α = 4."""
    return derive(
        sltt_resnet18(),
        model={"name": "vgg11_ws"},
        norm={"name": "none"},
        neuron={"decay": 0.5, "detach_reset": True},
        surrogate={"name": "sigmoid", "width": 0.25},
        loss={"target": None},
        optim={"epochs": 300, "weight_decay": 0.0},
        gradient={"name": "ottt"},
    )


@rows(
    "rate",
    "ResNet-19",
    {("cifar10", 4): 0.9626, ("cifar100", 4): 0.8087},
    title="rate-based backpropagation",
    source="Yu et al. 2024",
    deviations="The published figures are approximate, from memory; the settings are those of the authors' code.",
)
def rate_resnet19() -> Recipe:
    """Decay 0.2, threshold 1, detached reset by subtraction, a sigmoid with α = 4.

    Their code divides the loss by T = 4, with a learning rate of 0.1 and a weight decay of 5e-4, which gives the same
    steps."""
    return derive(
        sltt_resnet18(),
        data={"autoaugment": True, "rectangles": False, "cutout": 16, "cutout_fill": "black"},
        model={"name": "resnet19"},
        neuron={"decay": 0.2, "detach_reset": True},
        surrogate={"name": "sigmoid", "width": 0.25},
        loss=Part("cross_entropy"),
        optim={"epochs": 300, "lr": 0.1 / 4, "weight_decay": 4 * 0.0005},
        gradient={"name": "rate"},
    )
