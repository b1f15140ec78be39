"""The public names of surgrad."""

from surgrad import adapt as adapt
from surgrad import coding as coding
from surgrad import config as config
from surgrad import conversion as conversion
from surgrad import data as data
from surgrad import errors as errors
from surgrad import gradients as gradients
from surgrad import kernels as kernels
from surgrad import layers as layers
from surgrad import losses as losses
from surgrad import measure as measure
from surgrad import models as models
from surgrad import neurons as neurons
from surgrad import norm as norm
from surgrad import optim as optim
from surgrad import penalties as penalties
from surgrad import process as process
from surgrad import recipes as recipes
from surgrad import report as report
from surgrad import state as state
from surgrad import surrogates as surrogates
from surgrad import sweep as sweep
from surgrad import train as train
from surgrad.adapt import Adapter as Adapter
from surgrad.adapt import Probe as Probe
from surgrad.config import Part as Part
from surgrad.config import Recipe as Recipe
from surgrad.config import derive as derive
from surgrad.kernels.lif import lif as lif
from surgrad.layers import PerStep as PerStep
from surgrad.neurons import IF as IF
from surgrad.neurons import LIF as LIF
from surgrad.neurons import PLIF as PLIF
from surgrad.neurons import LeakyReadout as LeakyReadout
from surgrad.neurons import Readout as Readout
from surgrad.norm import TDBN as TDBN
from surgrad.norm import BatchNorm as BatchNorm
from surgrad.norm import NormNeuron as NormNeuron
from surgrad.state import detach as detach
from surgrad.state import reset as reset
from surgrad.surrogates import Surrogate as Surrogate
from surgrad.surrogates import SurrogateFunction as SurrogateFunction
from surgrad.train import load_run as load_run

__version__: str
