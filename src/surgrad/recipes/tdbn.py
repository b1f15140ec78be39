"""STBP-tdBN: Zheng, Wu, Deng, Hu, Li, AAAI 2021.

What is marked `unstated` is not in the text at hand; it is LSG's (see lsg.py), so that the two differ in their method.
"""

import math

from surgrad.recipes.lsg import lsg_cifar10_resnet19_t2
from surgrad.recipes.registry import recipe
from surgrad.train.recipe import Recipe, derive

_PUBLISHED = {
    ("cifar10", 2): 0.9234, ("cifar10", 4): 0.9292, ("cifar10", 6): 0.9316,
    ("cifar100", 4): 0.7086, ("cifar100", 6): 0.7112,
}  # fmt: skip


def _tdbn(data: str, steps: int) -> Recipe:
    """ResNet-19, decay 0.2, threshold 0.5, a rectangle of width 1; 1/√2 before residual sums."""
    return derive(
        lsg_cifar10_resnet19_t2(),  # optimiser, epochs, batch: unstated
        name=f"tdbn_{data}_resnet19_t{steps}",
        summary=f"STBP-tdBN, ResNet-19, {data.upper().replace('CIFAR', 'CIFAR-')}, T={steps}",
        source="Zheng et al. 2021",
        published=_PUBLISHED[data, steps],
        data={"name": data, "autoaugment": False, "cutout": 0},  # unstated
        model={"steps": steps, "summand_alpha": 1 / math.sqrt(2)},
        neuron={"train_decay": False, "width": 1.0},
        adapt={"controller": "fixed"},
    )


@recipe
def tdbn_cifar10_resnet19_t2() -> Recipe:
    return _tdbn("cifar10", 2)


@recipe
def tdbn_cifar10_resnet19_t4() -> Recipe:
    return _tdbn("cifar10", 4)


@recipe
def tdbn_cifar10_resnet19_t6() -> Recipe:
    return _tdbn("cifar10", 6)


@recipe
def tdbn_cifar100_resnet19_t4() -> Recipe:
    return _tdbn("cifar100", 4)


@recipe
def tdbn_cifar100_resnet19_t6() -> Recipe:
    return _tdbn("cifar100", 6)
