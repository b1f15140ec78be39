"""Dspike: Li, Guo, Zhang, Deng, Hai, Gu, NeurIPS 2021.

Decay, optimizer, epochs, batch and augmentation are those of related code by the same authors. The available texts do
not state the paper's own, nor the initial temperature and its step (controller `dspike`). The figures at T=2 are from
memory.
"""

from surgrad.config.recipe import DataConfig, ModelConfig, NeuronConfig, OptimConfig, Part, Recipe, SurrogateConfig
from surgrad.recipes.registry import rows

_PUBLISHED = {
    ("cifar10", 2): 0.9313,
    ("cifar10", 4): 0.9366,
    ("cifar10", 6): 0.9425,
    ("cifar100", 2): 0.7168,
    ("cifar100", 4): 0.7335,
    ("cifar100", 6): 0.7424,
}


@rows(
    "dspike",
    "ResNet-18",
    _PUBLISHED,
    title="Dspike",
    source="Li et al. 2021",
    deviations="There is no public code; ε, Δb, b₀ and the learning rate are not stated.",
)
def dspike_resnet18() -> Recipe:
    """The modified ResNet-18, decay 0.25, threshold 0.5, tdBN; the temperature is searched once per epoch."""
    return Recipe(
        name="dspike_resnet18",
        data=DataConfig("cifar10", batch=128, crop=4, flip=True),
        model=ModelConfig("resnet18", steps=2),
        norm=Part("tdbn"),
        neuron=NeuronConfig("lif", decay=0.25, train_decay=False, threshold=0.5),
        surrogate=SurrogateConfig("dspike"),
        adapt=Part("dspike"),
        optim=OptimConfig("sgd", epochs=100, lr=0.1, momentum=0.9, weight_decay=0.0001),
    )
