"""MLF: several thresholds at one current."""

from typing import Any

import torch
from torch import Tensor

from surgrad.errors import BadValue
from surgrad.kernels.lif import LIFOutput
from surgrad.neurons.lif import LIF


class MLF(LIF):
    """Multi-level firing (Feng et al. 2022): `levels` LIFs with potentials of their own share a current, at thresholds
    v_th, v_th + 1, v_th + 2, ..., and their spikes are added up, to 0 ... levels. At width 1 their windows meet.
    Defaults of the authors' code: three levels from 0.6, decay 0.25.

    The state is [levels, N, C, ...]; histograms add up those of the levels, each about its own threshold and in units
    of it; penalties see the first level's potentials."""

    def __init__(self, *args, levels: int = 3, threshold: float = 0.6, **options):
        if levels < 1:
            raise BadValue(f"levels {levels} is no number of thresholds; give 1 or more")
        if not args and "tau" not in options:
            options.setdefault("decay", 0.25)
        super().__init__(*args, threshold=threshold, **options)
        self.levels = levels

    @property
    def binary(self) -> bool:
        return self.levels == 1

    def state_size(self, x: Tensor) -> tuple[int, ...]:
        return (self.levels, *x.shape[1:])

    def _run(
        self, x: Tensor, width: Tensor, start: Tensor | None, keep: bool, *, above: float = 0.0, **fused: Any
    ) -> tuple[LIFOutput, Tensor | None]:
        starts = [None] * self.levels if start is None else start.unbind(0)
        ran = [super(MLF, self)._run(x, width, v, keep, above=level, **fused) for level, v in enumerate(starts)]
        spikes, potentials, counts = zip(*(out[:3] for out, _ in ran), strict=True)
        total = LIFOutput(
            torch.stack(spikes).sum(0),
            torch.stack(potentials) if keep else None,
            None if counts[0] is None else torch.stack(counts).sum(0),
        )
        return total, ran[0][1]
