"""The neuron that takes a ReLU's place."""

import torch
from torch import Tensor, nn

from surgrad.errors import BadValue
from surgrad.kernels.lif import Reset
from surgrad.neurons.lif import LIF
from surgrad.surrogates import Surrogate


class ConvertedIF(LIF):
    """Integrate-and-fire with spikes as large as its threshold λ (`level`, a parameter), reset by subtraction: over T
    steps at a constant input its spikes average to the ReLU of it, clipped at λ and rounded down to multiples of λ/T
    (as threshold balancing makes it, Sengupta et al. 2019, with other weights instead).

    Potentials are in units of λ: the input is divided by it, and `threshold` itself is 1. shift: the potential, in
    those units, that a sequence begins with; ½ rounds to the nearest multiple, and adds up to the shift of the bias by
    λ/(2T) in every step (Deng and Gu 2021), whatever T. The surrogate serves a later training."""

    has_decay = False
    threshold_units = True
    positive = ("level",)

    def __init__(
        self,
        *,
        threshold: float = 1.0,
        shift: float = 0.5,
        reset: Reset = "subtract",
        surrogate: Surrogate | str = "rect",
        channels: int | None = None,
        **options,
    ):
        if not threshold > 0:
            raise BadValue(f"threshold {threshold} is not a threshold; give a positive potential")
        super().__init__(1.0, threshold=1.0, reset=reset, surrogate=surrogate, channels=channels, **options)
        self.shift = shift
        self.level = nn.Parameter(torch.full(self.threshold.shape, float(threshold)))

    @property
    def amplitude(self) -> Tensor:
        return self.level

    @property
    def gain(self) -> Tensor:
        return 1 / self.level

    def rest(self, x: Tensor) -> Tensor | None:
        return x.new_full((), self.shift, dtype=self.level.dtype).expand(x.shape[1:]) if self.shift else None
