"""The potentials and spikes of every time step, of any layers of a network, in training and in evaluation."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from surgrad.broadcasting import broadcast_channels
from surgrad.errors import BadValue, unknown
from surgrad.kernels.lif import after_reset
from surgrad.neurons import FusedNeuron, Neuron, neurons


class Recording:
    """What one neuron did, on the CPU.

    Calls of a network follow one another along the samples; within `surgrad.neurons.streaming`, along the time steps.

    Args:
        neuron: the neuron.
        samples: the number of samples of each call that are kept; None: all.
    """

    def __init__(self, neuron: Neuron, samples: int | None = None):
        self._neuron = neuron
        self._samples = samples
        self._calls: list[tuple[Tensor, Tensor]] = []
        self._axis = 1

    @property
    def potentials(self) -> Tensor:
        """u [T, N, ...] before the reset, in units of potential."""
        return self._joined(0)

    @property
    def spikes(self) -> Tensor:
        """[T, N, ...], before any factor (`Neuron.amplitude`)."""
        return self._joined(1)

    def potentials_after_reset(self) -> Tensor:
        """v [T, N, ...] after the reset.

        Raises:
            BadValue: for a neuron whose reset is not the LIF's.
        """
        neuron = self._neuron
        if not isinstance(neuron, FusedNeuron):
            raise BadValue(
                f"{type(neuron).__name__} has a reset of its kind, which is not recorded; use the potentials before it"
            )
        threshold = neuron.threshold.detach().cpu()
        u = self.potentials
        return after_reset(u, self.spikes.to(u.dtype), broadcast_channels(threshold, u, 2), neuron.reset_mode)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return sum(tensor.nbytes for call in self._calls for tensor in call)

    def add(self, potentials: Tensor, spikes: Tensor) -> None:
        """Keep the result of a call."""
        self._axis = 0 if self._neuron.carry else 1
        self._calls.append((potentials[:, : self._samples].cpu(), spikes[:, : self._samples].cpu()))

    def _joined(self, part: int) -> Tensor:
        if not self._calls:
            raise BadValue("the neuron was not called while it was recorded; run the network within `record`")
        return torch.cat([call[part] for call in self._calls], self._axis)


@contextmanager
def record(
    model: nn.Module,
    layers: Iterable[str] | None = None,
    *,
    samples: int | None = None,
    most_bytes: int = 2**30,
) -> Iterator[dict[str, Recording]]:
    """Within it, the potentials and spikes of a network's neurons are recorded, in every call.

    It works in training and in evaluation, and changes neither outputs nor gradients.

    Args:
        model: the network.
        layers: module paths of neurons (`surgrad.neurons.neurons`); None: all.
        samples: keep the first `samples` samples of each call; None: all.
        most_bytes: the largest size of all recordings together.

    Returns:
        A context manager that gives, by module path, the `Recording` of each neuron.

    Raises:
        UnknownName: for a path that is not that of a neuron.
        BadValue: where the recordings grow larger than `most_bytes`.

    Example:
        >>> import torch
        >>> from surgrad import LIF, models
        >>> network = models.small_cnn(10, in_channels=1, steps=4).eval()
        >>> with record(network, ["fire.neuron"]) as found:
        ...     output = network(torch.rand(2, 1, 28, 28))
        >>> found["fire.neuron"].potentials.shape[:2]  # [T, N, C, H, W]
        torch.Size([4, 2])
    """
    every = neurons(model)
    chosen = list(every) if layers is None else list(layers)
    for name in chosen:
        if name not in every:
            raise unknown("neuron", name, every)
    found = {name: Recording(every[name], samples) for name in chosen}

    def watcher(name: str) -> Any:
        def watch(potentials: Tensor, spikes: Tensor, neuron: Neuron) -> None:
            found[name].add(potentials, spikes)
            size = sum(recording.nbytes for recording in found.values())
            if size > most_bytes:
                raise BadValue(
                    f"the recordings take {size / 2**20:,.0f} MiB, more than most_bytes = {most_bytes:,}; record fewer "
                    "layers or samples, or give a larger number"
                )

        return watch

    before = {name: every[name].watcher for name in chosen}
    try:
        for name in chosen:
            every[name].watcher = watcher(name)
        yield found
    finally:
        for name, watch in before.items():
            every[name].watcher = watch
