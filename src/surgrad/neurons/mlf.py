"""MLF: several thresholds for one current."""

from typing import Any

import torch
from torch import Tensor

from surgrad.config.values import Count, Fraction, Positive
from surgrad.errors import BadValue
from surgrad.kernels.lif import LIFOutput, Reset
from surgrad.neurons.base import TimeConstant
from surgrad.neurons.fused import FusedNeuron
from surgrad.surrogates import Surrogate, SurrogateFunction


class MLF(FusedNeuron):
    """Multi-level firing (Feng et al. 2022): the sum of the spikes of `levels` LIFs.

    They have separate potentials and share a current, with thresholds v_th, v_th + 1, v_th + 2, ..., and their spikes
    are added up, to 0 ... levels. At width 1 the windows of their surrogates touch. Defaults of the authors' code:
    three levels from 0.6, decay 0.25.

    The state is [levels, N, C, ...]. The histogram is the sum of those of the levels, each about its own threshold and
    in units of it. Penalties read the potentials of the first level. The other parameters are those of `Neuron`.

    Args:
        levels: the number of thresholds, at least 1.

    Raises:
        BadValue: for a number of levels below 1; also as in `Neuron`.
    """

    def __init__(
        self,
        decay: Fraction | None = None,
        *,
        tau: TimeConstant | None = None,
        train_decay: bool = False,
        threshold: Positive = 0.6,
        surrogate: Surrogate | SurrogateFunction | str = "rect",
        reset: Reset = "zero",
        detach_reset: bool = False,
        channels: Count | None = None,
        carry: bool = False,
        backend: str = "auto",
        levels: Count = 3,
    ):
        if levels < 1:
            raise BadValue(f"levels must be at least 1, got {levels}")
        if decay is None and tau is None:
            decay = 0.25
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
        self.levels = levels

    @property
    def binary(self) -> bool:
        return self.levels == 1

    def state_size(self, x: Tensor) -> tuple[int, ...]:
        return (self.levels, *x.shape[1:])

    def _run(
        self,
        x: Tensor,
        initial: Tensor | None,
        keep_final: bool,
        *,
        threshold_offset: float = 0.0,
        **fused: Any,
    ) -> LIFOutput:
        starts = [None] * self.levels if initial is None else initial.unbind(0)
        results = [
            super(MLF, self)._run(x, v, keep_final, threshold_offset=level, **fused) for level, v in enumerate(starts)
        ]
        spikes, potentials, counts, histories = zip(*results, strict=True)
        return LIFOutput(
            torch.stack(spikes).sum(0),
            torch.stack(potentials) if keep_final else None,
            None if counts[0] is None else torch.stack(counts).sum(0),
            histories[0],
        )
