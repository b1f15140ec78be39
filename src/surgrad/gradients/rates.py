"""Rate-based backpropagation: one way back for all steps, through what was averaged over them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from surgrad.errors import BadValue
from surgrad.models import SpikingNetwork
from surgrad.neurons import IF, LIF, PLIF, Neuron, broadcast_channels, needs_whole_sequence, neurons
from surgrad.norm import TDBN, BatchNorm


class _Seen(NamedTuple):
    """What the first pass leaves of a neuron, its mean spikes and their slope [1, N, C, ...], or of a norm, mean and
    variance of the batch [C]."""

    first: Tensor
    second: Tensor


def rate(
    network: SpikingNetwork,
    x: Tensor,
    loss_fn: Callable[[Tensor], Tensor],
    forward: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Rate-based backpropagation (Yu et al. 2024): (loss 0-d, output [1, N, classes], averaged over time).

    All steps run without a graph. Then one pass on averages over time has one: every neuron's mean spikes o̅ follow its
    mean current c̅ by the slope

        ∂o̅/∂c̅ = mean_t h(u_t)·e_t,    e_t = ∂u_t/∂c̅ = 1 + β·e_{t-1}·∂v_{t-1}/∂u_{t-1}

    a constant, h the surrogate's slope and v the potential after the reset; every norm has the values of its statistics
    from the first pass, and their gradient from the averages. This is the derivative for currents that are the same in
    every step; the authors' code divides the loss by T besides. LIF, PLIF and IF without parameters of their own."""
    check_rate(network)
    forward = forward or network
    before = network.steps
    x = network.encoded(x)
    seen: dict[str, _Seen] = {}
    with torch.no_grad(), _spiking(network, seen):
        forward(x)
    try:
        network.steps = 1
        with _averaged(network, seen):
            output = forward(x if x.ndim == 4 else x.mean(0, keepdim=True))
    finally:
        network.steps = before
    loss = loss_fn(output)
    loss.backward()
    return loss.detach(), output.detach()


def check_rate(network: SpikingNetwork) -> None:
    """Refuse what has no averaged form."""
    if not network.training:
        raise BadValue("averages are those of a training; call network.train()")
    if network.last_step:
        raise BadValue("what is averaged over time has no last step; unset last_step")
    for name, neuron in neurons(network).items():
        if type(neuron) not in (LIF, PLIF, IF) or neuron.surrogate.first_width is not None or neuron.carry:
            raise BadValue(
                f"'{name}', {type(neuron).__name__}, has no averaged form; give lif, plif or if, one width, "
                "and carry=False"
            )
        if any(parameter.requires_grad for parameter in neuron.parameters()):
            raise BadValue(
                f"'{name}' trains parameters of its own, of which averages know no gradient; train neither "
                "decay nor width (neuron.train_decay=false)"
            )
        if neuron.penalty_fn is not None:
            raise BadValue("penalties look at potentials, which averages have none of; give none, or gradient bptt")
    for name, module in network.named_modules():
        if isinstance(module, BatchNorm) and type(module) not in (BatchNorm, TDBN):
            raise BadValue(f"'{name}', {type(module).__name__}, has no averaged form; give batchnorm or tdbn")
    for name, module in needs_whole_sequence(network).items():
        raise BadValue(f"'{name}', {type(module).__name__}, would do another thing in the second pass; use another")


@contextmanager
def _spiking(network: SpikingNetwork, seen: dict[str, _Seen]) -> Iterator[None]:
    """The first pass, which leaves in `seen` what the second one needs."""

    def after(name: str) -> Callable[..., None]:
        def take(neuron: Neuron, args: Any, out: Tensor) -> None:
            assert neuron.penalty is not None
            seen[name] = _Seen(out.mean(0, keepdim=True), neuron.penalty.unsqueeze(0))
            neuron.penalty = None

        return take

    def before(name: str) -> Callable[..., None]:
        def take(norm: BatchNorm, args: Any) -> None:
            values = args[0].to(torch.promote_types(args[0].dtype, torch.float32)).movedim(2, 0).flatten(1)
            seen[name] = _Seen(values.mean(1), values.var(1, correction=0))

        return take

    hooks = [norm.register_forward_pre_hook(before(name)) for name, norm in _norms(network).items()]
    for name, neuron in neurons(network).items():
        neuron.penalty_fn = _slope
        hooks.append(neuron.register_forward_hook(after(name)))
    try:
        yield
    finally:
        for neuron in neurons(network).values():
            neuron.penalty_fn = neuron.penalty = None
        for hook in hooks:
            hook.remove()


@contextmanager
def _averaged(network: SpikingNetwork, seen: dict[str, _Seen]) -> Iterator[None]:
    """The second pass: neurons and norms are replaced by what follows from `seen`, and change nothing of their own."""

    def neuron_after(name: str) -> Callable[..., Tensor]:
        spikes, slope = seen[name]

        def replace(neuron: Neuron, args: Any, out: Tensor) -> Tensor:
            current = args[0]
            return spikes.to(current.dtype) + slope.to(current.dtype) * (current - current.detach())

        return replace

    def norm_after(name: str) -> Callable[..., Tensor]:
        return lambda norm, args, out: _normalised(norm, args[0], *seen[name])

    parts = {name: module for name, module in network.named_modules() if name in seen}
    hooks = [
        part.register_forward_hook((neuron_after if isinstance(part, Neuron) else norm_after)(name))
        for name, part in parts.items()
    ]
    was = {name: part.training for name, part in parts.items()}
    for part in parts.values():
        part.eval()
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for name, part in parts.items():
            part.train(was[name])


def _norms(network: nn.Module) -> dict[str, BatchNorm]:
    """Those that look at the batch."""
    return {
        name: module for name, module in network.named_modules() if isinstance(module, BatchNorm) and module.training
    }


def _slope(history: Tensor, spikes: Tensor, neuron: Neuron) -> Tensor:
    """mean_t h(u_t)·∂u_t/∂c̅ [N, C, ...] of the potentials u [T, N, C, ...]."""
    decay, threshold, width = (
        broadcast_channels(p, history[0]) for p in (neuron.decay, neuron.threshold, neuron.surrogate.width)
    )
    gain = 1.0 if neuron.gain is None else broadcast_channels(neuron.gain, history[0])
    eager = torch.zeros_like(history[0])
    total = torch.zeros_like(history[0])
    for u, fired in zip(history, spikes, strict=True):
        eager = gain + decay * eager  # ∂u_t/∂c̅ from ∂v_{t-1}/∂c̅
        h = neuron.surrogate.function.slope(u - threshold, width)
        total += h * eager
        through = 0.0 if neuron.detach_reset else h
        if neuron.reset_mode == "zero":
            eager = eager * (1 - fired - u * through)
        elif neuron.reset_mode == "subtract":
            eager = eager * (1 - threshold * through)
    return total / len(history)


def _normalised(norm: BatchNorm, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """What the norm makes of averages x [1, N, C, ...]: statistics of all steps, with the gradient of those of x."""
    values = x.to(mean.dtype)
    over = [axis for axis in range(x.ndim) if axis != 2]
    size = [1, 1, -1, *[1] * (x.ndim - 3)]
    own = values.mean(over, keepdim=True)
    mean = mean.view(size) + own - own.detach()
    own = (values - mean).square().mean(over, keepdim=True)
    variance = variance.view(size) + own - own.detach()
    gain = (norm.weight * norm.scale).view(size)
    shift = norm.bias.view(size)
    return (gain * (values - mean) * torch.rsqrt(variance + norm.eps) + shift).to(x.dtype)
