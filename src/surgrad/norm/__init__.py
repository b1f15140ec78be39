"""Normalisation over time, alone and in the neuron's own pass.

To add one: write its class, a `BatchNorm` where it has statistics, and add it to `NORMS`. One that does another thing
in every step says so (`per_time_step`), is made with their number, and runs apart from the neuron.
"""

from surgrad.norm.batch import TDBN as TDBN
from surgrad.norm.batch import BatchNorm as BatchNorm
from surgrad.norm.batch import NoNorm as NoNorm
from surgrad.norm.folding import fold as fold
from surgrad.norm.neuron import NormNeuron as NormNeuron
from surgrad.norm.steps import BNTT as BNTT
from surgrad.norm.steps import TAB as TAB
from surgrad.norm.steps import TEBN as TEBN

NORMS: dict[str, type[BatchNorm] | type[NoNorm]] = {
    "tdbn": TDBN,
    "batchnorm": BatchNorm,
    "tebn": TEBN,
    "bntt": BNTT,
    "tab": TAB,
    "none": NoNorm,
}
