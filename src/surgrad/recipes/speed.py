"""Short trainings on a GPU, towards the speed records of docs/records.md."""

from surgrad.config.recipe import DataConfig, ModelConfig, NeuronConfig, OptimConfig, Part, Recipe, SurrogateConfig
from surgrad.recipes.registry import recipe


@recipe
def fixed_cifar10_fast_t1() -> Recipe:
    """A wide residual network at T=1, in half a minute on one GPU."""
    return Recipe(
        name="fixed_cifar10_fast_t1",
        summary="fixed width, fast ResNet, CIFAR-10, T=1, for half a minute on a GPU",
        source="ours",
        data=DataConfig("cifar10", batch=1024, crop=4, flip=True, flip_order="alternating"),
        model=ModelConfig("fast_resnet", steps=1, width_multiplier=2.0),
        neuron=NeuronConfig("lif", decay=0.2, threshold=0.5),  # at T=1 a decay plays no part
        surrogate=SurrogateConfig("rect", width=1.02),
        adapt=Part("fixed"),
        loss=Part("cross_entropy", label_smoothing=0.1),
        optim=OptimConfig("muon", epochs=30, lr=0.12, momentum=0.6, neuron_lr=0.03),
        schedule=Part("cosine", warmup=1.0),
    )
