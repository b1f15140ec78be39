"""CLIF: a complementary potential that remembers spikes."""

import torch
from torch import Tensor

from surgrad.kernels.lif import Reset
from surgrad.neurons.lif import broadcast_channels
from surgrad.neurons.stepped import Stepped


class CLIF(Stepped):
    """Complementary LIF (Huang et al. 2024). A second state m remembers spikes, leaks the faster the higher the
    potential, and makes the reset the stronger the more came before:

        m_t = m_{t-1}·σ((1 - β)·u_t) + o_t        v_t = u_t - o_t·(v_th + σ(m_t))

    It has no parameter of its own, and its reset is this one. State: [2, N, C, ...], v and m."""

    def __init__(self, *args, reset: Reset = "subtract", **options):
        super().__init__(*args, reset=reset, **options)

    def state_size(self, x: Tensor) -> tuple[int, ...]:
        return (2, *x.shape[1:])

    def charge(self, state: Tensor | None, current: Tensor, decay: Tensor, step: int) -> Tensor:
        return super().charge(None if state is None else state[0], current, decay, step)

    def left(self, state: Tensor | None, u: Tensor, fired: Tensor, threshold: Tensor) -> Tensor:
        remembered = fired
        if state is not None:
            remembered = state[1] * torch.sigmoid((1 - broadcast_channels(self.decay.to(u.dtype), u)) * u) + fired
        return torch.stack([u - fired * (threshold + torch.sigmoid(remembered)), remembered])
