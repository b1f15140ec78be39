"""DCT-SNN: Garg, Chowdhury, Roy, ICCV 2021.

Their training starts from an ANN that was trained on blocks of pixels, without norms, with thresholds at the 99.9th
percentile and 0.3 times the slope of a triangle. This recipe trains from scratch with tdBN. Their images are normalised
with mean and standard deviation ½, ours with those of the data.
"""

from surgrad.config.recipe import DataConfig, ModelConfig, NeuronConfig, OptimConfig, Part, Recipe, SurrogateConfig
from surgrad.recipes.registry import rows


@rows(
    "dct",
    "VGG-11",
    {("cifar100", 48): 0.6830},
    title="DCT coding, from scratch",
    source="Garg et al. 2021",
    deviations=(
        "The authors start from an ANN that was trained on blocks of pixels, without norms, with thresholds at the "
        "99.9th percentile and 0.3 times the slope of a triangle; their images are normalised with mean and standard "
        "deviation 1/2. This recipe trains from scratch with tdBN."
    ),
)
def dct_vgg11() -> Recipe:
    """One frequency per time step, each of the 16 three times; decay 0.9901, reset by subtraction."""
    return Recipe(
        name="dct_vgg11",
        data=DataConfig("cifar100", batch=16, crop=4, flip=True),
        model=ModelConfig("vgg11_dct", steps=48),
        norm=Part("tdbn"),
        coding=Part("dct"),
        neuron=NeuronConfig("lif", decay=0.9901, train_decay=False, threshold=1.0, reset="subtract"),
        surrogate=SurrogateConfig("triangle"),
        adapt=Part("fixed"),
        optim=OptimConfig("adam", epochs=200, lr=0.0001, weight_decay=0.0005),
    )
