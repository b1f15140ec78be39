"""Conversion: ANNs to train and then convert with `surgrad convert`, and the fine-tuning of converted networks.

Hu, Tang, Wang, Pan, Pan, TNNLS 2021 (spiking residual networks, T=350) and Kundu, Datta, Pedram, Beerel, WACV 2021
(fine-tuning by surrogate gradients, T=100). The available texts do not state how their ANNs were trained.
"""

from surgrad.config.recipe import DataConfig, ModelConfig, NeuronConfig, OptimConfig, Part, Recipe, derive
from surgrad.recipes.registry import rows


@rows(
    "conversion",
    "ResNet-44",
    {("cifar10", 350): None},
    title="the ANN to convert (then 92.37 %)",
    source="Hu et al. 2021",
    deviations="No code of the authors was found. How they trained the network is not stated in the text that we have.",
)
def ann_resnet44() -> Recipe:
    """ResNet-44 with ReLUs; then `surgrad convert RUN --steps 350`. The paper's figure, 92.37 %, is that of the
    converted network, so this training has no published figure."""
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
    deviations=(
        "No code of the authors was found. Their attention-guided compression is not included, and epochs, batch and "
        "learning rate are not stated in the text that we have."
    ),
)
def kundu_vgg11() -> Recipe:
    """Fine-tuning of a converted network: --set init_from=DIR, where DIR is the folder that `surgrad convert` wrote.
    Without it the recipe trains from scratch. Their attention-guided compression is not included."""
    return derive(
        ann_resnet44(),
        name="kundu_vgg11",
        model={"name": "vgg11"},
        neuron={"name": "converted", "reset": "subtract", "threshold": 1.0},
        optim=OptimConfig("adam", epochs=60, lr=1e-4, weight_decay=0.0, neuron_lr=1e-4),
    )
