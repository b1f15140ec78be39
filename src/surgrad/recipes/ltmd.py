"""LTMD: Wang, Cheng, Lim, IJCAI 2022; settings of the authors' code."""

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
        "The neurons of the authors' two linear layers have a trained lateral connection, the last layer fires too, "
        "and images are divided by 0.247, 0.243 and 0.261. Here there is no such connection, the last layer is a "
        "linear readout, and images are divided by 0.2023, 0.1994 and 0.2010."
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
        optim=OptimConfig("sgd", epochs=400, lr=0.04, momentum=0.9, weight_decay=0.0001, decay_norms=True),
        schedule=Part("steps", drops=_RATES),
    )
