"""The recipes to start with: minutes on two CPU cores."""

from surgrad.config.recipe import DataConfig, ModelConfig, OptimConfig, Part, ProgressiveConfig, Recipe, derive
from surgrad.recipes.registry import recipe


@recipe
def lsg_fashion_small_t4() -> Recipe:
    """LSG on 6,000 images of Fashion-MNIST that are bundled with surgrad."""
    return Recipe(
        name="lsg_fashion_small_t4",
        summary="LSG, small CNN, 6,000 bundled images of Fashion-MNIST, T=4: the default",
        source="ours; the method is Lian et al. 2023",
        data=DataConfig("fashion_mnist_small", batch=60, flip=True),
        model=ModelConfig("small_cnn", steps=4),
        optim=OptimConfig(epochs=5, lr=0.15, weight_decay=0.0005, nesterov=True, neuron_lr=0.005),
        schedule=Part("cosine", warmup=0.5),
    )


@recipe
def lsg_cifar10_small_t2() -> Recipe:
    """LSG on CIFAR-10 in half an hour on two CPU cores."""
    return Recipe(
        name="lsg_cifar10_small_t2",
        summary="LSG, small ResNet, CIFAR-10, T=2, for two CPU cores",
        source="ours; the method is Lian et al. 2023",
        data=DataConfig("cifar10", batch=128, crop=2, flip=True),
        model=ModelConfig("small_resnet", steps=2),
        loss=Part("cross_entropy", label_smoothing=0.1),
        optim=OptimConfig("muon", epochs=15, lr=0.02, neuron_lr=0.005),
        schedule=Part("cosine", warmup=0.5),
        progressive=ProgressiveConfig(fraction=0.8, steps=1, image_size=24),
    )


@recipe
def fixed_cifar10_small_t2() -> Recipe:
    """The same training as lsg_cifar10_small_t2 with constant decay and width."""
    return derive(
        lsg_cifar10_small_t2(),
        name="fixed_cifar10_small_t2",
        summary="the twin of lsg_cifar10_small_t2 with decay 0.2 and width 1 fixed",
        neuron={"train_decay": False},
        adapt={"name": "fixed"},
    )
