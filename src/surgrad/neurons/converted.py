"""The neuron that replaces a ReLU."""

import torch
from torch import Tensor, nn

from surgrad.config.values import Count, Positive
from surgrad.kernels.lif import Reset
from surgrad.neurons.base import check_threshold
from surgrad.neurons.fused import FusedNeuron
from surgrad.surrogates import Surrogate, SurrogateFunction


class ConvertedIF(FusedNeuron):
    """Integrate-and-fire whose spikes are as large as its threshold λ (`level`, a parameter), reset by subtraction.

    For a constant input, the average of its spikes over T steps is the ReLU of the input, clipped at λ and rounded down
    to multiples of λ/T. (Threshold balancing, Sengupta et al. 2019, rescales the weights instead.) Potentials are in
    units of λ: the input is divided by it, and `threshold` is 1. The surrogate is for training after the conversion.
    The other parameters are those of `Neuron`, without a decay.

    Args:
        threshold: the initial λ.
        shift: the potential before the first step, in units of λ. ½ rounds to the nearest multiple; it replaces the
            shift of the bias by λ/(2T) in every step (Deng and Gu 2021), for every T.
    """

    has_decay = False
    threshold_units = True
    positive_parameters = ("level",)

    def __init__(
        self,
        *,
        threshold: Positive = 1.0,
        surrogate: Surrogate | SurrogateFunction | str = "rect",
        reset: Reset = "subtract",
        detach_reset: bool = False,
        channels: Count | None = None,
        carry: bool = False,
        backend: str = "auto",
        shift: float = 0.5,
    ):
        check_threshold(threshold)
        super().__init__(
            1.0,
            threshold=1.0,
            surrogate=surrogate,
            reset=reset,
            detach_reset=detach_reset,
            channels=channels,
            carry=carry,
            backend=backend,
        )
        self.shift = shift
        self.level = nn.Parameter(torch.full(self.threshold.shape, float(threshold)))

    @property
    def amplitude(self) -> Tensor:
        return self.level

    @property
    def gain(self) -> Tensor:
        return 1 / self.level

    def initial_potential(self, x: Tensor) -> Tensor | None:
        return x.new_full((), self.shift, dtype=self.level.dtype).expand(x.shape[1:]) if self.shift else None
