"""Conversion: ANNs to be trained, then converted by `surgrad convert`; and the training of what was converted.

Hu, Tang, Wang, Pan, Pan, TNNLS 2021 (spiking residual networks, T=350) and Kundu, Datta, Pedram, Beerel, WACV 2021
(fine-tuning by surrogate gradients, T=100). How their ANNs were trained is in no text at hand: unstated here.
"""

from surgrad.config.recipe import DataConfig, ModelConfig, NeuronConfig, OptimConfig, Part, Recipe, derive
from surgrad.recipes.registry import rows


@rows(
    "conversion",
    "ResNet-44",
    {("cifar10", 350): None},
    title="the ANN to convert (then 92.37 %)",
    source="Hu et al. 2021",
)
def ann_resnet44() -> Recipe:
    """ResNet-44 of ReLUs; then `surgrad convert RUN --steps 350`. The paper's figure, 92.37 %, is the converted
    network's, and so none of this training."""
    return Recipe(
        name="ann_resnet44",
        data=DataConfig("cifar10", batch=128, crop=4, flip=True),
        model=ModelConfig("resnet44", steps=1),
        norm=Part("batchnorm"),
        neuron=NeuronConfig("relu"),
        adapt=Part("fixed"),
        optim=OptimConfig("sgd", epochs=200, lr=0.1, momentum=0.9, weight_decay=0.0001),
    )


@rows(
    "kundu",
    "VGG-11",
    {("cifar100", 100): 0.6498},
    title="fine-tuning of what was converted",
    source="Kundu et al. 2021",
)
def kundu_vgg11() -> Recipe:
    """From the folder that `surgrad convert` wrote, with --set init_from=DIR; without it, from scratch. Their
    attention-guided compression is left out."""
    return derive(
        ann_resnet44(),
        name="kundu_vgg11",
        model={"name": "vgg11"},
        neuron={"name": "converted", "reset": "subtract", "threshold": 1.0},
        optim=OptimConfig("adam", epochs=60, lr=1e-4, weight_decay=0.0, neuron_lr=1e-4),
    )
