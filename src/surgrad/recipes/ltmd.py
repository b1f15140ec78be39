"""LTMD: Wang, Cheng, Lim, IJCAI 2022; settings of the authors' code.

Their output layers fire, with a trained lateral connection; here the readout is the usual one.
"""

from surgrad.config.recipe import DataConfig, ModelConfig, NeuronConfig, OptimConfig, Part, Recipe, SurrogateConfig
from surgrad.recipes.registry import rows

_PUBLISHED = {("cifar10", 2): 0.9375, ("cifar10", 4): 0.9419}
_RATES = "50:0.25,100:0.125,150:0.025,200:0.0125,250:0.0025,300:0.00125,350:0.00025"


@rows(
    "ltmd",
    "DenseNet",
    _PUBLISHED,
    title="LTMD",
    source="Wang et al. 2022a",
    deviations=(
        "The norm is a batch normalisation without a threshold's factor, as in the authors' code; other "
        "fields were not compared one by one."
    ),
)
def ltmd_densenet() -> Recipe:
    """Thresholds trained from tanh(0.5), decay 0.25, a rectangle of width 1; two outputs under moderate dropout."""
    return Recipe(
        name="ltmd_densenet",
        data=DataConfig("cifar10", batch=64, crop=4, flip=True),
        model=ModelConfig("densenet", steps=4),
        norm=Part("batchnorm"),
        neuron=NeuronConfig("ltmd", decay=0.25, train_decay=False, threshold=0.46211716),
        surrogate=SurrogateConfig("rect"),
        adapt=Part("fixed"),
        loss=Part("rdrop"),
        optim=OptimConfig("sgd", epochs=400, lr=0.04, momentum=0.9, weight_decay=0.0001),
        schedule=Part("steps", drops=_RATES),
    )
