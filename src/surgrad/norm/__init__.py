"""Normalisation over time, alone and in the neuron's own pass.

To add one: write its class, a `BatchNorm` where it has statistics, with every option as an annotated parameter of its
constructor, and add it to `NORMS`. One with parameters or statistics for each time step says so (`per_time_step`),
takes their number (`steps`), and runs apart from the neuron.
"""

from surgrad.config.registry import Registry
from surgrad.norm.batch import TDBN as TDBN
from surgrad.norm.batch import BatchNorm as BatchNorm
from surgrad.norm.batch import NoNorm as NoNorm
from surgrad.norm.folding import fold as fold
from surgrad.norm.neuron import NormNeuron as NormNeuron
from surgrad.norm.steps import BNTT as BNTT
from surgrad.norm.steps import TAB as TAB
from surgrad.norm.steps import TEBN as TEBN
from surgrad.norm.steps import StepBatchNorm as StepBatchNorm

NORMS: Registry[type[BatchNorm] | type[NoNorm]] = Registry(
    "norm",
    {
        "tdbn": TDBN,
        "batchnorm": BatchNorm,
        "step_batchnorm": StepBatchNorm,
        "tebn": TEBN,
        "bntt": BNTT,
        "tab": TAB,
        "none": NoNorm,
    },
    context=("channels", "threshold", "steps"),
)
