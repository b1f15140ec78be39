"""Speed records: the least seconds on one GPU to a mean test accuracy. docs/records.md has the rules, and says what
each setting is for."""

from surgrad.config.recipe import DataConfig, ModelConfig, OptimConfig, Part, Recipe
from surgrad.recipes.registry import recipe


@recipe
def record_cifar10_94() -> Recipe:
    """A wide residual network at T=1."""
    return Recipe(
        name="record_cifar10_94",
        summary="LSG, fast ResNet, CIFAR-10, T=1: towards 94 % in the least seconds on a GPU",
        source="ours; the method is Lian et al. 2023",
        data=DataConfig("cifar10", batch=1024, crop=4, flip=True, flip_order="alternating"),
        model=ModelConfig("fast_resnet", steps=1, width_multiplier=1.5),
        loss=Part("cross_entropy", label_smoothing=0.1),
        optim=OptimConfig("muon", epochs=36, lr=0.12, momentum=0.6, neuron_lr=0.03),
        schedule=Part("cosine", warmup=1.0),
    )
