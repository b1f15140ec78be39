"""TET: Deng, Li, Zhang, Gu, ICLR 2022; settings of the authors' code.

The hidden layer in the head of its ResNet-19 has no norm. At a threshold of 1 its neurons are silent at first, and it
learns slowly. `model.name=resnet19_normed` has a norm there.
"""

from surgrad.config.recipe import DataConfig, ModelConfig, NeuronConfig, OptimConfig, Part, Recipe, SurrogateConfig
from surgrad.recipes.registry import rows

_PUBLISHED = {
    ("cifar10", 2): 0.9416,
    ("cifar10", 4): 0.9444,
    ("cifar10", 6): 0.9450,
    ("cifar100", 2): 0.7287,
    ("cifar100", 4): 0.7447,
    ("cifar100", 6): 0.7472,
}


@rows(
    "tet",
    "ResNet-19",
    _PUBLISHED,
    title="TET",
    source="Deng et al. 2022",
    deviations=(
        "The authors' script for CIFAR has 100 epochs, batches of 512 and λ = 0, and the paper 300 epochs. Here: the "
        "paper's epochs, and the batches of 128 and λ = 0.001 of their script for CIFAR10-DVS."
    ),
)
def tet_resnet19() -> Recipe:
    """ResNet-19 with 64 channels in its stem, batch normalisation, threshold 1, decay 0.5, a triangle of half-width 1;
    the loss of every time step."""
    return Recipe(
        name="tet_resnet19",
        data=DataConfig("cifar10", batch=128, crop=4, flip=True),
        model=ModelConfig("resnet19_tet", steps=2),
        norm=Part("batchnorm"),
        neuron=NeuronConfig("lif", decay=0.5, train_decay=False, threshold=1.0),
        surrogate=SurrogateConfig("triangle"),
        adapt=Part("fixed"),
        loss=Part("tet"),
        optim=OptimConfig("adam", epochs=300, lr=0.001, weight_decay=0.0),
    )
