"""LSG: Lian, Shen, Liu, Wang, Yan, Tang, IJCAI 2023, Tables 1 to 3.

The paper's text does not state the optimiser, its rates, the epochs, the batch or the augmentation. Those below,
marked `unstated`, are the ones of the same laboratory's public code for ASGL, whose sweep of widths nearly coincides
with LSG's Table 2. LSG reports averages over 5 runs.
"""

from surgrad.recipes.registry import recipe
from surgrad.train.recipe import AdaptConfig, DataConfig, ModelConfig, NeuronConfig, OptimConfig, Recipe, derive

_TABLE_3 = {
    ("cifar10", 2): 0.9441, ("cifar10", 4): 0.9517, ("cifar10", 6): 0.9552,
    ("cifar100", 2): 0.7632, ("cifar100", 4): 0.7685, ("cifar100", 6): 0.7713,
}  # fmt: skip
_TABLE_1 = {
    ("cifar10", "none"): 0.9268, ("cifar10", "decay"): 0.9316,
    ("cifar100", "none"): 0.7387, ("cifar100", "decay"): 0.7412,
}  # fmt: skip
_TABLE_2 = {0.5: 0.9212, 1.0: 0.9268, 2.5: 0.9068, 5.0: 0.6154, 10.0: 0.3082}


def _lsg(data: str, steps: int) -> Recipe:
    """ResNet-19, decay trained from 0.2, threshold 0.5, hard reset kept in the gradient, tdBN."""
    return Recipe(
        name=f"lsg_{data}_resnet19_t{steps}",
        summary=f"LSG, ResNet-19, {data.upper().replace('CIFAR', 'CIFAR-')}, T={steps}",
        source="Lian et al. 2023, Table 3",
        published=_TABLE_3[data, steps],
        data=DataConfig(
            name=data,
            batch=128,  # unstated
            crop=4,  # unstated
            flip=True,  # unstated
            autoaugment=True,  # unstated
            cutout=16,  # unstated
        ),
        model=ModelConfig(name="resnet19", steps=steps, norm="tdbn"),  # tdBN's η = 1 everywhere: unstated
        neuron=NeuronConfig(name="lif", decay=0.2, train_decay=True, threshold=0.5, shape="rect"),
        adapt=AdaptConfig(controller="follow"),
        optim=OptimConfig(
            name="sgd",  # unstated
            epochs=300,  # unstated
            lr=0.1,  # unstated
            momentum=0.9,  # unstated
            weight_decay=5e-4,  # unstated
            neuron_lr=3e-4,  # unstated
        ),
    )


def _constant(base: Recipe, variant: str, *, train_decay: bool, width: float, published: float, table: int) -> Recipe:
    """The same training with a width that nobody writes."""
    return derive(
        base,
        name=f"{base.name}_{variant}",
        summary=f"{base.summary.removeprefix('LSG, ')}, width {width:g}, decay {'trained' if train_decay else 'fixed'}",
        source=f"Lian et al. 2023, Table {table}",
        published=published,
        neuron={"train_decay": train_decay, "width": width},
        adapt={"controller": "fixed"},
    )


def _none(base: Recipe) -> Recipe:
    """Table 1, "none": decay 0.2 and width 1, both fixed."""
    published = _TABLE_1[base.data.name, "none"]
    return _constant(base, "none", train_decay=False, width=1.0, published=published, table=1)


def _decay(base: Recipe) -> Recipe:
    """Table 1, "trainable decay": the decay trained, width 1 fixed."""
    published = _TABLE_1[base.data.name, "decay"]
    return _constant(base, "decay", train_decay=True, width=1.0, published=published, table=1)


def _width(width: float) -> Recipe:
    """Table 2: decay 0.2 and the width, both fixed."""
    variant = f"width_{width:g}".replace(".", "_")
    base = lsg_cifar10_resnet19_t2()
    return _constant(base, variant, train_decay=False, width=width, published=_TABLE_2[width], table=2)


@recipe
def lsg_cifar10_resnet19_t2() -> Recipe:
    return _lsg("cifar10", 2)


@recipe
def lsg_cifar10_resnet19_t4() -> Recipe:
    return _lsg("cifar10", 4)


@recipe
def lsg_cifar10_resnet19_t6() -> Recipe:
    return _lsg("cifar10", 6)


@recipe
def lsg_cifar100_resnet19_t2() -> Recipe:
    return _lsg("cifar100", 2)


@recipe
def lsg_cifar100_resnet19_t4() -> Recipe:
    return _lsg("cifar100", 4)


@recipe
def lsg_cifar100_resnet19_t6() -> Recipe:
    return _lsg("cifar100", 6)


@recipe
def lsg_cifar10_resnet19_t2_none() -> Recipe:
    return _none(lsg_cifar10_resnet19_t2())


@recipe
def lsg_cifar10_resnet19_t2_decay() -> Recipe:
    return _decay(lsg_cifar10_resnet19_t2())


@recipe
def lsg_cifar100_resnet19_t2_none() -> Recipe:
    return _none(lsg_cifar100_resnet19_t2())


@recipe
def lsg_cifar100_resnet19_t2_decay() -> Recipe:
    return _decay(lsg_cifar100_resnet19_t2())


@recipe
def lsg_cifar10_resnet19_t2_width_0_5() -> Recipe:
    return _width(0.5)


@recipe
def lsg_cifar10_resnet19_t2_width_1() -> Recipe:
    return _width(1.0)


@recipe
def lsg_cifar10_resnet19_t2_width_2_5() -> Recipe:
    return _width(2.5)


@recipe
def lsg_cifar10_resnet19_t2_width_5() -> Recipe:
    return _width(5.0)


@recipe
def lsg_cifar10_resnet19_t2_width_10() -> Recipe:
    return _width(10.0)
