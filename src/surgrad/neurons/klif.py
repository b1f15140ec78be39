"""KLIF: a trained scale before the threshold."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgrad.neurons.lif import broadcast_channels
from surgrad.neurons.stepped import Stepped


class KLIF(Stepped):
    """Jiang and Zhang 2023: the potential is scaled and rectified before it fires and is reset,

        u_t = relu(k·(β·v_{t-1} + I_t)),

    k (`scale`, trained, 1 at the start; one a layer or a channel). The spike's slope, seen from the current, is k times
    as steep and its window k times as narrow, so that k trains the width."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.scale = nn.Parameter(torch.ones(self.threshold.shape))

    def charge(self, state: Tensor | None, current: Tensor, decay: Tensor, step: int) -> Tensor:
        return F.relu(broadcast_channels(self.scale, current) * super().charge(state, current, decay, step))
