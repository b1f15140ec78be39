"""Diet-SNN: Rathi and Roy, TNNLS 2021.

Their training starts from a trained ANN, with thresholds at the 99.7th percentile of its activations times a scale (its
value is unstated):

    surgrad train conversion_cifar10_resnet44_t350 --set model.name=vgg16 --out ANN
    surgrad convert ANN --into diet_cifar10_vgg16_t5 --percentile 99.7 --scale 0.5 --out START
    surgrad train diet_cifar10_vgg16_t5 --set init_from=START

Without `init_from` the recipe trains from scratch. Their network has no norm and a dropout of 0.2; this one has batch
normalisation and no dropout. Unstated: the batch size and the initial decay.
"""

from surgrad.config.recipe import DataConfig, ModelConfig, NeuronConfig, OptimConfig, Part, Recipe, SurrogateConfig
from surgrad.recipes.registry import rows

_PUBLISHED = {("cifar10", 5): 0.9270, ("cifar100", 5): 0.6967}


@rows(
    "diet",
    "VGG-16",
    _PUBLISHED,
    title="Diet-SNN",
    source="Rathi and Roy 2021",
    deviations=(
        "The authors' code has batch 64, a leak of 1.0, an input scale of 0.3 (0.2 in its readme), a cosine "
        "of 128 epochs over 300 epochs, AMSGrad, and a VGG-16 with four poolings and linear layers of 4,096. "
        "See the recipe's file for ours."
    ),
)
def diet_vgg16() -> Recipe:
    """VGG-16 with trained leak and threshold, reset by subtraction."""
    return Recipe(
        name="diet_vgg16",
        data=DataConfig("cifar10", batch=64, crop=4, flip=True),
        model=ModelConfig("vgg16", steps=5),
        norm=Part("batchnorm"),
        neuron=NeuronConfig("diet", decay=0.9, train_decay=True, threshold=1.0, reset="subtract", detach_reset=True),
        surrogate=SurrogateConfig("triangle"),
        adapt=Part("fixed"),
        optim=OptimConfig("adam", epochs=300, lr=0.0001, weight_decay=0.0, neuron_lr=0.0001),
    )
