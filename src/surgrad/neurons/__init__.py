"""Neurons: modules on currents [T, N, C, ...], each with a separate `Surrogate`.

To add one: write its class, with every option as an annotated parameter of its constructor, and add it to `NEURONS`.
Derive it from `FusedNeuron` where its recurrence is the LIF's, so that the fused kernels compute it, else from
`SteppedNeuron`, which loops over the time steps, or `ParallelNeuron`, which has no recurrence.

The builder of a network supplies `NEURONS.context`. A constructor gets those entries that it declares: `channels`, the
number of channels of the layer's input where decay, threshold and width are per channel, else None; `layer_channels`,
that number in every case; `steps`, the number of time steps; `surrogate`, the layer's `Surrogate`.
"""

from typing import TYPE_CHECKING

from surgrad.broadcasting import broadcast_channels as broadcast_channels
from surgrad.config.registry import Registry
from surgrad.deprecated import renamed
from surgrad.neurons.asgl import ASGL as ASGL
from surgrad.neurons.base import Neuron as Neuron
from surgrad.neurons.clif import CLIF as CLIF
from surgrad.neurons.converted import ConvertedIF as ConvertedIF
from surgrad.neurons.ds_atgo import DSATGO as DSATGO
from surgrad.neurons.fused import FusedNeuron as FusedNeuron
from surgrad.neurons.glif import GLIF as GLIF
from surgrad.neurons.klif import KLIF as KLIF
from surgrad.neurons.lif import IF as IF
from surgrad.neurons.lif import LIF as LIF
from surgrad.neurons.lif import PLIF as PLIF
from surgrad.neurons.mlf import MLF as MLF
from surgrad.neurons.mpbn import MPBN as MPBN
from surgrad.neurons.network import LeakyReadout as LeakyReadout
from surgrad.neurons.network import Readout as Readout
from surgrad.neurons.network import added_histograms as added_histograms
from surgrad.neurons.network import keep_positive as keep_positive
from surgrad.neurons.network import needs_whole_sequence as needs_whole_sequence
from surgrad.neurons.network import neurons as neurons
from surgrad.neurons.network import streaming as streaming
from surgrad.neurons.psn import PSN as PSN
from surgrad.neurons.psn import MaskedPSN as MaskedPSN
from surgrad.neurons.psn import ParallelNeuron as ParallelNeuron
from surgrad.neurons.psn import SlidingPSN as SlidingPSN
from surgrad.neurons.stepped import SteppedNeuron as SteppedNeuron
from surgrad.neurons.ternary import TernaryLIF as TernaryLIF
from surgrad.neurons.thresholds import IMPLIF as IMPLIF
from surgrad.neurons.thresholds import LTMD as LTMD
from surgrad.neurons.thresholds import DietLIF as DietLIF
from surgrad.neurons.thresholds import TrLIF as TrLIF
from surgrad.state import detach as detach
from surgrad.state import reset as reset

NEURONS: Registry[type[Neuron]] = Registry(
    "neuron",
    {
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
    },
    context=("channels", "layer_channels", "steps", "surrogate", "carry"),
)

if not TYPE_CHECKING:  # a type checker refuses names that do not exist
    __getattr__ = renamed(
        __name__,
        {
            "Stepped": "SteppedNeuron",
            "carrying": "streaming",
            "against": "broadcast_channels",
            "whole_sequences": "needs_whole_sequence",
        },
    )
