"""The network's optimiser, and the one of the neurons' own parameters."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import nn

from surgrad.config.registry import Registry
from surgrad.config.values import NonNegative, Positive, Range
from surgrad.errors import BadValue
from surgrad.neurons import neurons
from surgrad.optim.muon import Muon

Momentum = Annotated[float, Range(0, 0.9999)]


class NetworkOptimizer:
    """How the parameters of a network are trained. Its constructor declares the options; subclass it to add another."""

    def trains(self, parameter: nn.Parameter) -> bool:
        """Whether this optimiser trains a parameter of the network. Adam, at the neurons' learning rate, trains those
        that it does not. By default it trains all."""
        return True

    def build(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        """The optimiser of these parameters.

        Args:
            parameters: those that it `trains`; perhaps none.
            lr: the peak of the learning rate.
        """
        raise NotImplementedError


class SGD(NetworkOptimizer):
    """Stochastic gradient descent (`torch.optim.SGD`).

    Args:
        momentum: the momentum's coefficient.
        nesterov: whether the momentum is Nesterov's.
        weight_decay: of parameters of two axes or more.
        decay_norms: whether norms and biases, the parameters of one axis, have the weight decay too.

    Raises:
        BadValue: for Nesterov's momentum without a momentum.
    """

    def __init__(
        self,
        momentum: Momentum = 0.9,
        nesterov: bool = False,
        weight_decay: NonNegative = 5e-4,
        decay_norms: bool = False,
    ):
        if nesterov and momentum == 0:
            raise BadValue("optim.nesterov needs momentum; give optim.momentum above 0, or optim.nesterov=false")
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.decay_norms = decay_norms

    def build(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        groups = decay_groups(parameters, self.weight_decay, norms=self.decay_norms)
        return torch.optim.SGD(groups, lr=lr, momentum=self.momentum, nesterov=self.nesterov, fused=True)


class Adam(NetworkOptimizer):
    """Adam (`torch.optim.Adam`), whose weight decay is added to the gradient.

    Args:
        beta1: decay of the average of gradients.
        beta2: decay of the average of their squares.
        eps: added to the denominator.
        weight_decay: of parameters of two axes or more.
        decay_norms: whether norms and biases, the parameters of one axis, have the weight decay too.
    """

    kind: type[torch.optim.Adam] = torch.optim.Adam

    def __init__(
        self,
        beta1: Momentum = 0.9,
        beta2: Annotated[float, Range(0, 0.999999)] = 0.999,
        eps: Positive = 1e-8,
        weight_decay: NonNegative = 5e-4,
        decay_norms: bool = False,
    ):
        self.betas = (beta1, beta2)
        self.eps = eps
        self.weight_decay = weight_decay
        self.decay_norms = decay_norms

    def build(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        groups = decay_groups(parameters, self.weight_decay, norms=self.decay_norms)
        return self.kind(groups, lr=lr, betas=self.betas, eps=self.eps, fused=True)


class AdamW(Adam):
    """Adam with decoupled weight decay (`torch.optim.AdamW`).

    The parameters are those of `Adam`.
    """

    kind = torch.optim.AdamW


class MuonOfConvolutions(NetworkOptimizer):
    """`surgrad.optim.Muon` for the kernels of convolutions, without weight decay.

    Args:
        momentum: the coefficient of its momentum, which is always Nesterov's.
    """

    def __init__(self, momentum: Momentum = 0.9):
        self.momentum = momentum

    def trains(self, parameter: nn.Parameter) -> bool:
        return parameter.ndim > 2

    def build(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        if not parameters:
            raise BadValue('optim.name = "muon" trains convolutions, and this network has none; give "sgd" or "adamw"')
        return Muon(parameters, lr=lr, momentum=self.momentum)


OPTIMIZERS: Registry[type[NetworkOptimizer]] = Registry(
    "optimiser", {"sgd": SGD, "adam": Adam, "adamw": AdamW, "muon": MuonOfConvolutions}
)


def build_optimizers(
    model: nn.Module, name: str, options: Mapping[str, Any] | None = None, *, lr: float, neuron_lr: float
) -> list[torch.optim.Optimizer]:
    """The network's optimiser, and Adam for the parameters that it does not train, where there are any.

    Those are the neurons' scalars and vectors (decays, thresholds, widths), and those that the optimiser leaves out. A
    matrix inside a neuron (PSN's weights, recurrent weights) is a weight like those of the layers, and trained with
    them. Each group notes its peak learning rate as "peak_lr".

    Args:
        model: the network.
        name: of the optimiser, in `OPTIMIZERS`.
        options: those of that optimiser's constructor.
        lr: the peak learning rate of the network's parameters.
        neuron_lr: the peak learning rate of that Adam, which has no weight decay.

    Returns:
        One or two optimisers, the network's first.

    Raises:
        UnknownName: for a name that `OPTIMIZERS` does not have.
        BadValue: for options that it does not have, values out of range, or a network that it cannot train.
    """
    optimizer = OPTIMIZERS.build(name, options)
    own = _of_neurons(model)
    network = [p for p in model.parameters() if id(p) not in own]
    rest = [*own.values(), *(p for p in network if not optimizer.trains(p))]
    optimizers = [optimizer.build([p for p in network if optimizer.trains(p)], lr)]
    if rest:
        optimizers.append(torch.optim.Adam(rest, lr=neuron_lr, fused=True))
    for built in optimizers:
        for group in built.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups of a network's parameters for an optimiser of your own, with weight decay for weights alone.

    Weight decay would pull a trained decay β = σ(b) towards 1/2, and a trained threshold towards 0.

    Args:
        model: the network.
        weight_decay: of parameters of two axes or more.

    Example:
        >>> from surgrad.models import small_cnn
        >>> groups = parameter_groups(small_cnn(), 0.05)
        >>> optimizer = torch.optim.AdamW(groups, lr=1e-3)
        >>> [group["weight_decay"] for group in groups]
        [0.05, 0.0]
    """
    own = _of_neurons(model)
    groups = decay_groups([p for p in model.parameters() if id(p) not in own], weight_decay)
    groups[1]["params"] += own.values()
    return groups


def _of_neurons(model: nn.Module) -> dict[int, nn.Parameter]:
    """The scalars and vectors that neurons train, by id."""
    return {id(p): p for neuron in neurons(model).values() for p in neuron.parameters() if p.ndim <= 1}


def decay_groups(
    parameters: Sequence[nn.Parameter], weight_decay: float, *, norms: bool = False
) -> list[dict[str, Any]]:
    """Two groups of parameters: weights, with weight decay, and norms and biases (one axis or none), without it unless
    `norms` is set."""
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": weight_decay if norms else 0.0},
    ]
