"""Neurons: modules on currents [T, N, C, ...], each with a `Surrogate` of its own.

To add one: write its class, and add it to `NEURONS`. One whose recurrence is the LIF's runs on the fused kernels; any
other says how it fires in `Stepped`.
"""

from surgrad.neurons.asgl import ASGL as ASGL
from surgrad.neurons.clif import CLIF as CLIF
from surgrad.neurons.converted import ConvertedIF as ConvertedIF
from surgrad.neurons.ds_atgo import DSATGO as DSATGO
from surgrad.neurons.glif import GLIF as GLIF
from surgrad.neurons.klif import KLIF as KLIF
from surgrad.neurons.lif import IF as IF
from surgrad.neurons.lif import LIF as LIF
from surgrad.neurons.lif import PLIF as PLIF
from surgrad.neurons.lif import broadcast_channels as broadcast_channels
from surgrad.neurons.mlf import MLF as MLF
from surgrad.neurons.mpbn import MPBN as MPBN
from surgrad.neurons.network import Readout as Readout
from surgrad.neurons.network import detach as detach
from surgrad.neurons.network import keep_positive as keep_positive
from surgrad.neurons.network import needs_whole_sequence as needs_whole_sequence
from surgrad.neurons.network import neurons as neurons
from surgrad.neurons.network import reset as reset
from surgrad.neurons.network import streaming as streaming
from surgrad.neurons.psn import PSN as PSN
from surgrad.neurons.psn import MaskedPSN as MaskedPSN
from surgrad.neurons.psn import SlidingPSN as SlidingPSN
from surgrad.neurons.stepped import Stepped as Stepped
from surgrad.neurons.ternary import TernaryLIF as TernaryLIF
from surgrad.neurons.thresholds import IMPLIF as IMPLIF
from surgrad.neurons.thresholds import LTMD as LTMD
from surgrad.neurons.thresholds import DietLIF as DietLIF
from surgrad.neurons.thresholds import TrLIF as TrLIF

NEURONS: dict[str, type[LIF]] = {
    "lif": LIF,
    "plif": PLIF,
    "if": IF,
    "asgl": ASGL,
    "ds_atgo": DSATGO,
    "klif": KLIF,
    "glif": GLIF,
    "clif": CLIF,
    "ternary": TernaryLIF,
    "mlf": MLF,
    "ltmd": LTMD,
    "diet": DietLIF,
    "trsg": TrLIF,
    "imp": IMPLIF,
    "psn": PSN,
    "masked_psn": MaskedPSN,
    "sliding_psn": SlidingPSN,
    "mpbn": MPBN,
    "converted": ConvertedIF,
}
