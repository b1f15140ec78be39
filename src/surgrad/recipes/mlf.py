"""MLF: Feng, Liu, Tang, Ma, Pan, IJCAI 2022; settings of the authors' code.

LSG's table lists the figure under ResNet-19; the network is DS-ResNet-20.
"""

from surgrad.config.recipe import DataConfig, ModelConfig, NeuronConfig, OptimConfig, Part, Recipe, SurrogateConfig
from surgrad.recipes.registry import rows


@rows(
    "mlf",
    "DS-ResNet-20",
    {("cifar10", 4): 0.9425},
    title="MLF",
    source="Feng et al. 2022",
    deviations=(
        "The authors' neurons fire above their threshold, ours also at it; their norm divides by √variance + ε, ours "
        "by √(variance + ε)."
    ),
)
def mlf_ds_resnet20() -> Recipe:
    """DS-ResNet-20, three thresholds from 0.6, decay 0.25, adjacent rectangles of width 1."""
    return Recipe(
        name="mlf_ds_resnet20",
        data=DataConfig("cifar10", batch=64, crop=4, flip=True),
        model=ModelConfig("ds_resnet20", steps=4),
        norm=Part("tdbn"),
        neuron=NeuronConfig("mlf", decay=0.25, train_decay=False, threshold=0.6),
        surrogate=SurrogateConfig("rect"),
        adapt=Part("fixed"),
        optim=OptimConfig("sgd", epochs=110, lr=0.1, momentum=0.9, weight_decay=0.0001, decay_norms=True),
        schedule=Part("steps", drops="40:0.1,80:0.01"),
    )
