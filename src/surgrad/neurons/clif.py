"""CLIF: a complementary potential that remembers spikes."""

import torch
from torch import Tensor

from surgrad.broadcasting import broadcast_channels
from surgrad.config.values import Count, Fraction, Positive
from surgrad.kernels.lif import Reset
from surgrad.neurons.base import TimeConstant
from surgrad.neurons.stepped import SteppedNeuron
from surgrad.surrogates import Surrogate, SurrogateFunction


class CLIF(SteppedNeuron):
    """Complementary LIF (Huang et al. 2024): a second state remembers spikes.

    The state m leaks faster the higher the potential is, and makes the reset stronger the more spikes came before:

        m_t = m_{t-1}·σ((1 - β)·u_t) + o_t        v_t = u_t - o_t·(v_th + σ(m_t))

    The parameters are those of `Neuron`. It always resets by this formula; `reset` changes nothing.
    State: [2, N, C, ...], v and m.
    """

    def __init__(
        self,
        decay: Fraction | None = None,
        *,
        tau: TimeConstant | None = None,
        train_decay: bool = False,
        threshold: Positive = 0.5,
        surrogate: Surrogate | SurrogateFunction | str = "rect",
        reset: Reset = "subtract",
        detach_reset: bool = False,
        channels: Count | None = None,
        carry: bool = False,
        backend: str = "auto",
    ):
        super().__init__(
            decay,
            tau=tau,
            train_decay=train_decay,
            threshold=threshold,
            surrogate=surrogate,
            reset=reset,
            detach_reset=detach_reset,
            channels=channels,
            carry=carry,
            backend=backend,
        )

    def state_size(self, x: Tensor) -> tuple[int, ...]:
        return (2, *x.shape[1:])

    def charge(self, state: Tensor | None, current: Tensor, decay: Tensor, step: int) -> Tensor:
        return super().charge(None if state is None else state[0], current, decay, step)

    def next_state(self, state: Tensor | None, current: Tensor, u: Tensor, fired: Tensor, threshold: Tensor) -> Tensor:
        remembered = fired
        if state is not None:
            leak = torch.sigmoid((1 - broadcast_channels(self.decay.to(u.dtype), u)) * u)
            remembered = state[1] * leak + fired
        return torch.stack([u - fired * (threshold + torch.sigmoid(remembered)), remembered])
