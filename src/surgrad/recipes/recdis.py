"""RecDis-SNN: Guo, Tong, Chen, Zhang, Liu, Ma, Huang, CVPR 2022.

The loss is our reading (`surgrad.penalties.recdis`): the available texts do not state its formula, its weight and the
training. For CIFAR-100, LSG's table has 76.10 %, and the margin in its text agrees with that. Other papers' tables have
74.10 %, which is used here because more than one source gives it.
"""

from surgrad.config.recipe import Recipe, derive
from surgrad.recipes.dspike import dspike_resnet18
from surgrad.recipes.registry import rows

_PUBLISHED = {("cifar10", 2): 0.9364, ("cifar10", 6): 0.9555, ("cifar100", 4): 0.7410}


@rows(
    "recdis",
    "ResNet-19",
    _PUBLISHED,
    title="RecDis-SNN (our reading)",
    source="Guo et al. 2022b",
    deviations="We have no text with its formula; the penalty is our reading of its three aims.",
)
def recdis_resnet19() -> Recipe:
    """ResNet-19, decay 0.25, a rectangle of width 1; a penalty keeps the potentials spread over its window, except in
    the last tenth of the training."""
    return derive(
        dspike_resnet18(),
        model={"name": "resnet19"},
        surrogate={"name": "rect"},
        adapt={"name": "fixed"},
        penalty={"name": "recdis", "weight": 0.005, "until": 0.9},
    )
