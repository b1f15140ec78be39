"""TEBN: Duan, Ding, Chen, Yu, Huang, NeurIPS 2022.

The available text states the norm and the figures. Neuron, optimizer and augmentation are unstated; they are those of
TET, which uses the same network.
"""

from surgrad.config.recipe import Recipe, derive
from surgrad.recipes.registry import rows
from surgrad.recipes.tet import tet_resnet19

_PUBLISHED = {
    ("cifar10", 2): 0.9457,
    ("cifar10", 4): 0.9470,
    ("cifar10", 6): 0.9471,
    ("cifar100", 2): 0.7586,
    ("cifar100", 4): 0.7613,
    ("cifar100", 6): 0.7641,
}


@rows(
    "tebn",
    "ResNet-19",
    _PUBLISHED,
    title="TEBN",
    source="Duan et al. 2022",
    deviations=(
        "No code of the authors was found. Neuron, optimiser, epochs, batch and augmentation are not stated in the "
        "text that we have; they are those of TET's recipes, which use the same network."
    ),
)
def tebn_resnet19() -> Recipe:
    """TET's training with the cross-entropy of the mean output, and a trained scale per time step after each norm."""
    return derive(tet_resnet19(), norm={"name": "tebn"}, loss={"name": "cross_entropy"})
