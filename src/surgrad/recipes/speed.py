"""Short trainings on a GPU, towards the speed records of docs/records.md."""

from surgrad.config.recipe import (
    DataConfig,
    ModelConfig,
    NeuronConfig,
    OptimConfig,
    Part,
    ProgressiveConfig,
    Recipe,
    SurrogateConfig,
)
from surgrad.recipes.registry import recipe


@recipe
def fixed_cifar10_fast_t2() -> Recipe:
    """A wide residual network at T=2, in a minute and a half on one GPU; half of its epochs on small images at T=1."""
    return Recipe(
        name="fixed_cifar10_fast_t2",
        summary="fixed width, fast ResNet, CIFAR-10, T=2, for a minute and a half on a GPU",
        source="ours",
        data=DataConfig("cifar10", batch=512, crop=4, flip=True, flip_order="alternating", autoaugment=True),
        model=ModelConfig("fast_resnet", steps=2, width_multiplier=2.0),
        neuron=NeuronConfig("lif", decay=0.2, threshold=0.5),
        surrogate=SurrogateConfig("rect", width=1.02),
        adapt=Part("fixed"),
        loss=Part("tet", label_smoothing=0.1),
        optim=OptimConfig("muon", epochs=48, lr=0.06, momentum=0.8, neuron_lr=0.02),
        schedule=Part("cosine", warmup=1.0),
        progressive=ProgressiveConfig(fraction=0.5, image_size=24),
    )
