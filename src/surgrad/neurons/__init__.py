"""Neurons: modules on currents [T, N, C, ...], each with a `Surrogate` of its own.

To add one: write its class, and add it to `NEURONS`. One whose recurrence is the LIF's runs on the fused kernels; any
other says how it fires in `Stepped`.
"""

from surgrad.neurons.asgl import ASGL as ASGL
from surgrad.neurons.ds_atgo import DSATGO as DSATGO
from surgrad.neurons.lif import IF as IF
from surgrad.neurons.lif import LIF as LIF
from surgrad.neurons.lif import PLIF as PLIF
from surgrad.neurons.network import Readout as Readout
from surgrad.neurons.network import detach as detach
from surgrad.neurons.network import neurons as neurons
from surgrad.neurons.network import reset as reset
from surgrad.neurons.stepped import Stepped as Stepped

NEURONS: dict[str, type[LIF]] = {"lif": LIF, "plif": PLIF, "if": IF, "asgl": ASGL, "ds_atgo": DSATGO}
