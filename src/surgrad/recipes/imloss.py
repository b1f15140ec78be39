"""IM-Loss: Guo, Chen, Zhang, Liu, Wang, Huang, Ma, NeurIPS 2022.

Stated: the loss with λ = 2, without the layers inside residual blocks; the evolving surrogate's K from 1 to 10; tdBN.
The authors' published code has another loss, (mean - 0.5/T)² with λ = 0.005. Optimizer, epochs, batch and augmentation
are unstated in the available text; they are those of dspike.py.
"""

from surgrad.config.recipe import Recipe, derive
from surgrad.recipes.dspike import dspike_resnet18
from surgrad.recipes.registry import rows

_PUBLISHED = {("cifar10", 2): 0.9385, ("cifar10", 4): 0.9540, ("cifar10", 6): 0.9549}


@rows(
    "imloss",
    "ResNet-19",
    _PUBLISHED,
    title="IM-Loss",
    source="Guo et al. 2022a",
    deviations=(
        "The loss is the paper's with λ = 2; the authors' published code has (mean - 0.5/T)² with λ = 0.005. "
        "Optimiser, epochs, batch and augmentation are not stated; they are those of Dspike's recipes."
    ),
)
def imloss_resnet19() -> Recipe:
    """ResNet-19 with one linear layer at the end, decay 0.25, the derivative of a tanh that narrows from K = 1 to 10,
    and a penalty that moves potentials towards the threshold."""
    return derive(
        dspike_resnet18(),
        model={"name": "resnet19", "init": "kaiming_fan_out", "head": "linear"},
        surrogate={"name": "tanh"},
        adapt={"name": "schedule", "law": "geometric", "start": 1.0, "end": 0.1},
        penalty={"name": "im_loss", "weight": 2.0, "inner": False},
    )
