"""Recordings of event cameras: CIFAR10-DVS, DVS128 Gesture, N-MNIST. The first two were not run here.

CIFAR10-DVS uses the split `first_900` (trained on 0 to 899 of every class, tested on 900 to 999), as in TET's code;
results with other splits are not comparable. Frames are those of TET's code: ten slices with equal numbers of events, 1
where a pixel has any, 48×48 pixels. LSG's text says slices of 5 ms; the code from which its starred figure
takes loss and augmentation contains this setting but does not use it. LSG does not state optimizer, epochs and batch;
they are those of ASGL's code for CIFAR10-DVS. DVS128 Gesture and PLIF's CIFAR10-DVS (which uses a different split) take
their settings from PLIF's code.
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
from surgrad.recipes.dspike import dspike_resnet18
from surgrad.recipes.plif import plif_plifnet
from surgrad.recipes.registry import rows

_DVS = ("cifar10_dvs", 10)
_FRAMES = DataConfig(name="cifar10_dvs", batch=32, side=48, split="first_900", flip=True, roll=5, normalise="binary")


@rows(
    "lsg",
    "VGGSNN",
    {_DVS: 0.8370},
    title="LSG with TET's loss",
    source="Lian et al. 2023, Table 3",
    deviations=(
        "There is no public code. Optimiser, epochs, batch and augmentation are not stated; they are those of "
        "ASGL's code. TET's code, as committed, does not run, so what was run cannot be proved. It resizes "
        "frames as grey pictures with the second polarity as transparency; here both polarities are resized "
        "alike."
    ),
)
def lsg_vggsnn() -> Recipe:
    """VGGSNN, decay trained from 0.2 (the text, after eq. 7), TET's loss, augmented by flips and rolls."""
    return Recipe(
        name="lsg_vggsnn",
        data=_FRAMES,
        model=ModelConfig("vggsnn", steps=10),
        norm=Part("tdbn"),
        neuron=NeuronConfig("lif", decay=0.2, train_decay=True, threshold=0.5),
        surrogate=SurrogateConfig("rect"),
        adapt=Part("lsg"),
        loss=Part("tet"),
        optim=OptimConfig("sgd", epochs=100, lr=0.1, momentum=0.9, weight_decay=0.001, neuron_lr=0.0003),
    )


@rows(
    "lsg",
    "VGGSNN",
    {_DVS: 0.7790},
    title="LSG",
    source="Lian et al. 2023, Table 3",
    suffix="_plain",
    deviations=(
        "There is no public code. Optimiser, epochs, batch and augmentation are not stated; they are those of "
        "ASGL's code. TET's code, as committed, does not run, so what was run cannot be proved. It resizes "
        "frames as grey pictures with the second polarity as transparency; here both polarities are resized "
        "alike."
    ),
)
def lsg_vggsnn_plain() -> Recipe:
    """Cross-entropy of the mean output, no augmentation."""
    return derive(lsg_vggsnn(), data={"flip": False, "roll": 0}, loss={"name": "cross_entropy"})


@rows(
    "lsg",
    "VGGSNN",
    {_DVS: 0.7540},
    title="width 1, decay trained",
    source="Lian et al. 2023, Table 1",
    suffix="_decay",
    deviations=(
        "There is no public code. Optimiser, epochs, batch and augmentation are not stated; they are those of "
        "ASGL's code. TET's code, as committed, does not run, so what was run cannot be proved. It resizes "
        "frames as grey pictures with the second polarity as transparency; here both polarities are resized "
        "alike."
    ),
)
def lsg_vggsnn_decay() -> Recipe:
    return derive(lsg_vggsnn_plain(), adapt={"name": "fixed"})


@rows(
    "lsg",
    "VGGSNN",
    {_DVS: 0.7380},
    title="width 1, decay fixed",
    source="Lian et al. 2023, Table 1",
    suffix="_none",
    deviations=(
        "There is no public code. Optimiser, epochs, batch and augmentation are not stated; they are those of "
        "ASGL's code. TET's code, as committed, does not run, so what was run cannot be proved. It resizes "
        "frames as grey pictures with the second polarity as transparency; here both polarities are resized "
        "alike."
    ),
)
def lsg_vggsnn_none() -> Recipe:
    return derive(lsg_vggsnn_decay(), neuron={"train_decay": False})


@rows(
    "tet",
    "VGGSNN",
    {_DVS: 0.8317},
    title="TET with augmentation",
    source="Deng et al. 2022",
    deviations=(
        "TET's code, as committed, does not run, so what was run cannot be proved. It resizes frames as grey "
        "pictures with the second polarity as transparency; here both polarities are resized alike."
    ),
)
def tet_vggsnn() -> Recipe:
    """Decay 0.5, threshold 1, a triangle of half-width 1; Adam 0.001, batch 128."""
    return derive(
        lsg_vggsnn(),
        data={"batch": 128},
        norm={"name": "batchnorm"},
        neuron={"decay": 0.5, "train_decay": False, "threshold": 1.0},
        surrogate={"name": "triangle"},
        adapt={"name": "fixed"},
        optim=OptimConfig("adam", epochs=300, lr=0.001, weight_decay=0.0),
    )


@rows(
    "dspike",
    "ResNet-18",
    {_DVS: 0.7540},
    title="Dspike",
    source="Li et al. 2021",
    deviations="There is no public code; frames are those of the papers that follow.",
)
def dspike_resnet18_dvs() -> Recipe:
    """Frames resized by nearest pixel; otherwise as on images."""
    return derive(
        dspike_resnet18(),
        data=DataConfig("cifar10_dvs", batch=128, side=48, split="first_900", flip=True, roll=5, scaling="nearest"),
    )


@rows(
    "plif",
    "PLIFNet",
    {("cifar10_dvs", 20): 0.7480},
    title="PLIF",
    source="Fang et al. 2021, best on test",
    deviations="The authors' code has 2,048 hidden units; here 512, as in the paper and in SpikingJelly.",
)
def plif_plifnet_dvs() -> Recipe:
    """Twenty slices with equal numbers of events at 128×128, counts not normalised."""
    return derive(
        plif_plifnet(),
        data=DataConfig("cifar10_dvs", batch=16, side=128, normalise="none", split="first_900"),
        model={"name": "plif_dvs"},
        optim={"epochs": 512},
    )


@rows(
    "plif",
    "PLIFNet",
    {("dvs_gesture", 20): 0.9757},
    title="PLIF",
    source="Fang et al. 2021, best on test",
    deviations="As on CIFAR10-DVS.",
)
def plif_plifnet_gesture() -> Recipe:
    """The network with one more pooling layer."""
    return derive(plif_plifnet_dvs(), data={"split": "trials"}, model={"name": "plif_gesture"})


@rows("lsg", "small", {("n_mnist", 10): None}, title="LSG", source="ours; the method is Lian et al. 2023")
def lsg_nmnist() -> Recipe:
    """Ten slices with equal numbers of events at 34×34; designed for two CPU cores."""
    return Recipe(
        name="lsg_nmnist",
        data=DataConfig("n_mnist", batch=32, side=34, split="folders", roll=2, workers=0),
        model=ModelConfig("small_cnn", steps=10),
        norm=Part("tdbn"),
        neuron=NeuronConfig("lif", decay=0.2, train_decay=True, threshold=0.5),
        surrogate=SurrogateConfig("rect"),
        adapt=Part("lsg"),
        optim=OptimConfig("adamw", epochs=20, lr=0.002, weight_decay=0.02, neuron_lr=0.0003),
        schedule=Part("cosine", warmup=1.0),
    )
