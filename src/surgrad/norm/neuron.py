"""A norm and a neuron, in one pass where a compiled kernel supports it."""

from typing import cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from surgrad.errors import BadValue
from surgrad.kernels.lif import COMPILED, choose
from surgrad.neurons import MPBN, FusedNeuron, Neuron
from surgrad.norm.batch import BatchNorm, NoNorm
from surgrad.padding import active


class NormNeuron(nn.Module):
    """A norm and the neuron that follows it: neuron(norm(x)), or neuron(norm(x) + plus_norm(plus)).

    Where a compiled kernel supports the call (`surgrad.lif`), the norm is part of the neuron's pass, and only its input
    and the spikes stay in memory. Otherwise, and where either of them has hooks or sequences are padded, they run one
    after the other, with the same result up to rounding.

    Args:
        norm: the norm of x.
        neuron: any module on currents [T, N, C, ...]. An `MPBN` with one norm for the whole layer gets one per channel.
        plus_norm: the norm of a second summand, if it has one.

    Raises:
        BadValue: the norm is a neuron, or a norm of torch's, which takes no time axis.

    Example:
        >>> import torch
        >>> from surgrad import LIF, TDBN, NormNeuron
        >>> layer = NormNeuron(TDBN(3), LIF())
        >>> layer(torch.rand(4, 2, 3, 8, 8)).shape  # currents [T, N, C, H, W]
        torch.Size([4, 2, 3, 8, 8])
    """

    def __init__(self, norm: nn.Module, neuron: nn.Module, plus_norm: nn.Module | None = None):
        super().__init__()
        for given in (norm, plus_norm):
            if isinstance(given, Neuron | _BatchNorm):
                raise BadValue(
                    f"NormNeuron was given {type(given).__name__} as a norm; give NormNeuron(norm, neuron), with a "
                    "norm for currents [T, N, C, ...], such as surgrad.TDBN or surgrad.BatchNorm"
                )
        self.norm = norm
        self.neuron = neuron
        self.plus_norm = plus_norm
        if isinstance(neuron, MPBN) and isinstance(norm, BatchNorm | NoNorm):
            neuron.set_norm_channels(norm.channels)

    def forward(self, x: Tensor, plus: Tensor | None = None, steps: int | None = None) -> Tensor:
        """x, plus [T, N, C, ...], or [1, N, C, ...] repeated for `steps` steps -> spikes [T, N, C, ...]."""
        backend = self._fused(x, plus)
        if backend is not None:
            norm = cast(BatchNorm, self.norm)
            plus_norm = cast(BatchNorm | None, self.plus_norm)
            summand = None if plus is None or plus_norm is None else plus_norm.statistics(plus, backend)
            return self.neuron(x, norm.statistics(x, backend), plus, summand, steps)
        if steps is not None and any(getattr(norm, "per_time_step", False) for norm in (self.norm, self.plus_norm)):
            x = x.expand(steps, *x.shape[1:])
            plus = None if plus is None else plus.expand(steps, *plus.shape[1:])
        current = self.norm(x)
        if plus is not None:
            current = current + (plus if self.plus_norm is None else self.plus_norm(plus))
        if steps is not None and len(current) != steps:
            current = current.expand(steps, *current.shape[1:])
        return self.neuron(current)

    def _fused(self, x: Tensor, plus: Tensor | None) -> str | None:
        """The compiled backend that computes all of it in one pass; None where there is none."""
        norms = [norm for norm in (self.norm, self.plus_norm) if norm is not None]
        if not _runs(self.neuron, FusedNeuron) or not all(_runs(norm, BatchNorm) for norm in norms):
            return None
        if any(_hooked(module) for module in (self.neuron, *norms)):  # hooks read what is between them
            return None
        if active():
            return None
        if plus is not None and (plus.dtype, plus.shape[1:]) != (x.dtype, x.shape[1:]):
            return None
        neuron = cast(FusedNeuron, self.neuron)
        backend = choose(neuron.backend, x, neuron.surrogate.function)
        return backend if backend in COMPILED else None


def _runs(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module has that class's `forward`, and not one of a subclass."""
    return type(module).forward is kind.forward


def _hooked(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )
