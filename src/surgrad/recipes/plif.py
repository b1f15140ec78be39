"""PLIF: Fang, Yu, Chen, Masquelier, Huang, Tian, ICCV 2021; settings of the authors' code.

The published figure is the best test accuracy of a training, the paper's comparison "A". With a validation split the
paper reports 92.58 %.
"""

import math

from surgrad.config.recipe import DataConfig, ModelConfig, NeuronConfig, OptimConfig, Part, Recipe, SurrogateConfig
from surgrad.recipes.registry import rows


@rows(
    "plif",
    "PLIFNet",
    {("cifar10", 8): 0.9350},
    title="PLIF",
    source="Fang et al. 2021",
    deviations=("The authors' code has one dropout on CIFAR-10; here the dropouts are the paper's."),
)
def plif_plifnet() -> Recipe:
    """Their network with ten votes per class, the mean square error of firing rates, and a cosine learning rate that
    falls and rises every 64 epochs."""
    return Recipe(
        name="plif_plifnet",
        data=DataConfig("cifar10", batch=16, crop=4, flip=True),
        model=ModelConfig("plif_cifar", steps=8),
        norm=Part("step_batchnorm"),
        neuron=NeuronConfig("plif", decay=0.5, train_decay=True, threshold=1.0, detach_reset=True),
        surrogate=SurrogateConfig("atan", width=1 / math.pi),  # SpikingJelly's α = 2
        adapt=Part("fixed"),
        loss=Part("mse"),
        optim=OptimConfig("adam", epochs=1024, lr=0.001, weight_decay=0.0, neuron_lr=0.001),
        schedule=Part("cosine", period=64.0),
    )
