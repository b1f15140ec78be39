"""LSG: Lian, Shen, Liu, Wang, Yan, Tang, IJCAI 2023, Tables 1 to 3.

The paper does not state the optimizer, its learning rates, the epochs, the batch or the augmentation. Those below,
marked `unstated`, are from the same laboratory's public code for ASGL, whose results over widths nearly equal LSG's
Table 2. LSG reports averages over 5 runs.
"""

from surgrad.config.recipe import (
    DataConfig,
    ModelConfig,
    NeuronConfig,
    OptimConfig,
    Part,
    Recipe,
    SurrogateConfig,
    derive,
)
from surgrad.recipes.registry import RECIPES, rows

_TABLE_1 = {
    ("cifar10", "none"): 0.9268,
    ("cifar10", "decay"): 0.9316,
    ("cifar100", "none"): 0.7387,
    ("cifar100", "decay"): 0.7412,
}
_TABLE_2 = {0.5: 0.9212, 1.0: 0.9268, 2.5: 0.9068, 5.0: 0.6154, 10.0: 0.3082}
_TABLE_3 = {
    ("cifar10", 2): 0.9441,
    ("cifar10", 4): 0.9517,
    ("cifar10", 6): 0.9552,
    ("cifar100", 2): 0.7632,
    ("cifar100", 4): 0.7685,
    ("cifar100", 6): 0.7713,
}


@rows(
    "lsg",
    "ResNet-19",
    _TABLE_3,
    title="LSG",
    source="Lian et al. 2023, Table 3",
    deviations=(
        "There is no public code. Optimiser, epochs, batch and augmentation are not stated; they are those of "
        "ASGL's code."
    ),
)
def lsg_resnet19() -> Recipe:
    """ResNet-19, decay trained from 0.2, threshold 0.5, reset to zero with its gradient kept, tdBN."""
    return Recipe(
        name="lsg_resnet19",
        data=DataConfig(
            "cifar10",
            batch=128,  # unstated
            crop=4,  # unstated
            flip=True,  # unstated
            autoaugment=True,  # unstated
            cutout=16,  # unstated
            cutout_fill="black",  # ASGL's code cuts before it normalises
        ),
        model=ModelConfig("resnet19", steps=2),
        norm=Part("tdbn"),  # tdBN's η = 1 everywhere: unstated
        neuron=NeuronConfig("lif", decay=0.2, train_decay=True, threshold=0.5),
        surrogate=SurrogateConfig("rect"),
        adapt=Part("lsg"),
        optim=OptimConfig(
            "sgd",  # unstated
            epochs=300,  # unstated
            lr=0.1,  # unstated
            momentum=0.9,  # unstated
            weight_decay=5e-4,  # unstated
            neuron_lr=3e-4,  # unstated
        ),
    )


def _twin(data: str, variant: str, *, train_decay: bool, width: float, published: float, table: int) -> None:
    """Register the same training at T=2 with a constant width."""
    base = f"lsg_{data}_resnet19_t2"
    decay = "decay trained" if train_decay else "decay fixed"

    def twin() -> Recipe:
        recipe = RECIPES[base]()
        return derive(
            recipe,
            name=f"{base}_{variant}",
            summary=f"{recipe.summary.removeprefix('LSG, ')}, width {width:g}, {decay}",
            source=f"Lian et al. 2023, Table {table}",
            published=published,
            neuron={"train_decay": train_decay},
            surrogate={"width": width},
            adapt={"name": "fixed"},
        )

    RECIPES[f"{base}_{variant}"] = twin


for (_data, _variant), _share in _TABLE_1.items():
    _twin(_data, _variant, train_decay=_variant == "decay", width=1.0, published=_share, table=1)
for _width, _share in _TABLE_2.items():
    _twin("cifar10", f"width_{_width:g}".replace(".", "_"), train_decay=False, width=_width, published=_share, table=2)
