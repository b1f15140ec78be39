"""STBP-tdBN: Zheng, Wu, Deng, Hu, Li, AAAI 2021.

Settings marked `unstated` are not in the available text. They are LSG's (see lsg.py), so that the two differ only in
their method.
"""

import math

from surgrad.config.recipe import Recipe, derive
from surgrad.recipes.lsg import lsg_resnet19
from surgrad.recipes.registry import rows

_PUBLISHED = {
    ("cifar10", 2): 0.9234,
    ("cifar10", 4): 0.9292,
    ("cifar10", 6): 0.9316,
    ("cifar100", 4): 0.7086,
    ("cifar100", 6): 0.7112,
}


@rows(
    "tdbn",
    "ResNet-19",
    _PUBLISHED,
    title="STBP-tdBN",
    source="Zheng et al. 2021",
    deviations=(
        "No code of the authors was found. Optimiser, epochs, batch and augmentation are not stated; they are those of "
        "LSG's recipes, without AutoAugment and cut-out."
    ),
)
def tdbn_resnet19() -> Recipe:
    """ResNet-19, decay 0.2, threshold 0.5, a rectangle of width 1; α = 1/√2 before residual sums."""
    return derive(
        lsg_resnet19(),  # optimiser, epochs, batch: unstated
        data={"autoaugment": False, "cutout": 0},  # unstated
        model={"summand_alpha": 1 / math.sqrt(2)},
        neuron={"train_decay": False},
        surrogate={"width": 1.0},
        adapt={"name": "fixed"},
    )
