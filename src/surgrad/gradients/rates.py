"""Rate-based backpropagation: a single backward pass through time-averaged activity."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from surgrad import ranks
from surgrad.errors import BadValue
from surgrad.gradients.base import Forward, Gradient, LossFunction
from surgrad.hooks import forward_hooks, forward_pre_hooks
from surgrad.models import SpikingNetwork
from surgrad.neurons import IF, LIF, PLIF, Neuron, broadcast_channels, needs_whole_sequence, neurons
from surgrad.norm import TDBN, BatchNorm


class _NeuronAverage(NamedTuple):
    """A neuron's mean spikes and their slope, [1, N, C, ...] both."""

    spikes: Tensor
    slope: Tensor


class _BatchStatistics(NamedTuple):
    """A norm's mean and biased variance of the batch, [C] both."""

    mean: Tensor
    variance: Tensor


_Averages = dict[str, _NeuronAverage | _BatchStatistics]
"""What the first pass records, by module path."""


class RateBased(Gradient):
    """Rate-based backpropagation (Yu et al. 2024). The output is averaged over time, [1, N, classes].

    The first pass runs all time steps without a graph. The second pass runs on averages over time and has a graph: each
    neuron's mean spikes o̅ follow its mean current c̅ by the constant slope

        ∂o̅/∂c̅ = mean_t h(u_t)·e_t,    e_t = ∂u_t/∂c̅ = 1 + β·e_{t-1}·∂v_{t-1}/∂u_{t-1}

    where h is the surrogate's slope and v the potential after the reset. Every norm uses the statistics of the first
    pass, with the gradient of the statistics of the averages. The result is the derivative for currents that are the
    same in every time step. The authors' code also divides the loss by T.

    Neurons must be LIF, PLIF or IF without trained parameters.
    """

    def check(self, network: SpikingNetwork, steps: int | None = None) -> None:
        """See `Gradient.check`."""
        if not network.training:
            raise BadValue("rate-based backpropagation is for training mode; call network.train()")
        if network.last_step:
            raise BadValue("an output averaged over time has no last step; unset last_step")
        for name, neuron in neurons(network).items():
            _check_neuron(name, neuron)
        for name, module in network.named_modules():
            if isinstance(module, BatchNorm) and type(module) not in (BatchNorm, TDBN):
                raise BadValue(f"'{name}', {type(module).__name__}, has no averaged form; use batchnorm or tdbn")
        for name, module in needs_whole_sequence(network).items():
            raise BadValue(
                f"'{name}', {type(module).__name__}, would not do the same in the second pass; use another module, or "
                "gradient bptt"
            )

    def find(
        self, network: SpikingNetwork, x: Tensor, loss_fn: LossFunction, forward: Forward | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Gradient.find`."""
        self.check(network)
        forward = forward or network
        before = network.steps
        x = network.encoded(x)
        averages: _Averages = {}
        with torch.no_grad(), _first_pass(network, averages):
            forward(x)
        try:
            network.steps = 1
            with _second_pass(network, averages):
                output = forward(x.mean(0, keepdim=True) if network.is_sequence(x) else x)
        finally:
            network.steps = before
        loss = loss_fn(output)
        loss.backward()
        return loss.detach(), output.detach()


def _check_neuron(name: str, neuron: Neuron) -> None:
    """Refuse a neuron without an averaged form."""
    if type(neuron) not in (LIF, PLIF, IF) or neuron.surrogate.width.ndim > 1 or neuron.carry:
        raise BadValue(
            f"'{name}', {type(neuron).__name__}, has no averaged form; use lif, plif or if, one width, and carry=False"
        )
    if any(parameter.requires_grad for parameter in neuron.parameters()):
        raise BadValue(
            f"'{name}' has trained parameters, and averages give no gradient for them; train neither decay nor width "
            "(neuron.train_decay=false)"
        )
    if neuron.penalty_fn is not None:
        raise BadValue("penalties need potentials, and averages have none; use no penalty, or gradient bptt")


@contextmanager
def _first_pass(network: SpikingNetwork, averages: _Averages) -> Iterator[None]:
    """Within it, a forward pass records the averages of all neurons and of all norms that use the batch."""

    def record_neuron(name: str, neuron: Neuron, inputs: Any, spikes: Tensor) -> None:
        assert neuron.penalty is not None
        averages[name] = _NeuronAverage(spikes.mean(0, keepdim=True), neuron.penalty.unsqueeze(0))
        neuron.penalty = None

    def record_norm(name: str, norm: BatchNorm, inputs: Any) -> None:
        x = inputs[0]
        averages[name] = _BatchStatistics(*_moments(x.to(torch.promote_types(x.dtype, torch.float32))))

    found = neurons(network)
    for neuron in found.values():
        neuron.penalty_fn = _slope
    try:
        with forward_pre_hooks(_batch_norms(network).items(), record_norm), forward_hooks(found.items(), record_neuron):
            yield
    finally:
        for neuron in found.values():
            neuron.penalty_fn = None
            neuron.penalty = None


@contextmanager
def _second_pass(network: SpikingNetwork, averages: _Averages) -> Iterator[None]:
    """Within it, the outputs of neurons and norms are computed from the averages, and their state does not change."""

    def replace(name: str, module: nn.Module, inputs: Any, out: Tensor) -> Tensor:
        x = inputs[0]
        average = averages[name]
        if isinstance(average, _NeuronAverage):
            return average.spikes.to(x.dtype) + average.slope.to(x.dtype) * (x - x.detach())
        assert isinstance(module, BatchNorm)
        return _normalised(module, x, average)

    parts = {name: module for name, module in network.named_modules() if name in averages}
    training = {name: part.training for name, part in parts.items()}
    for part in parts.values():
        part.eval()
    try:
        with forward_hooks(parts.items(), replace):
            yield
    finally:
        for name, part in parts.items():
            part.train(training[name])


def _batch_norms(network: nn.Module) -> dict[str, BatchNorm]:
    """By path, the norms that use the statistics of the batch."""
    return {
        name: module for name, module in network.named_modules() if isinstance(module, BatchNorm) and module.training
    }


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance [C] of x [T, N, C, ...], with their gradients; over all ranks where norms share them."""
    if ranks.share_statistics():
        found = ranks.moments(x, 2)
        return found.mean, found.variance
    variance, mean = torch.var_mean(x, [axis for axis in range(x.ndim) if axis != 2], correction=0)
    return mean, variance


def _slope(history: Tensor, spikes: Tensor, neuron: Neuron) -> Tensor:
    """mean_t h(u_t)·∂u_t/∂c̅ [N, C, ...] of the potentials u [T, N, C, ...]; it takes the place of a penalty."""
    decay = broadcast_channels(neuron.decay, history[0])
    threshold = broadcast_channels(neuron.threshold, history[0])
    width = broadcast_channels(neuron.surrogate.width, history[0])
    gain = 1.0 if neuron.gain is None else broadcast_channels(neuron.gain, history[0])
    eligibility = torch.zeros_like(history[0])
    total = torch.zeros_like(history[0])
    for u, fired in zip(history, spikes, strict=True):
        eligibility = gain + decay * eligibility  # ∂u_t/∂c̅ from ∂v_{t-1}/∂c̅
        h = neuron.surrogate.function.slope(u - threshold, width)
        total += h * eligibility
        through = 0.0 if neuron.detach_reset else h
        if neuron.reset_mode == "zero":
            eligibility = eligibility * (1 - fired - u * through)
        elif neuron.reset_mode == "subtract":
            eligibility = eligibility * (1 - threshold * through)
    return total / len(history)


def _normalised(norm: BatchNorm, x: Tensor, batch: _BatchStatistics) -> Tensor:
    """The norm's output for averages x [1, N, C, ...]: with the statistics of all time steps, and the gradient of the
    statistics of x."""
    values = x.to(batch.mean.dtype)
    found = [broadcast_channels(value, x, 2) for value in _moments(values)]
    mean, variance = (
        broadcast_channels(of_all, x, 2) + own - own.detach()
        for of_all, own in zip((batch.mean, batch.variance), found, strict=True)
    )
    gain = broadcast_channels(norm.weight * norm.scale, x, 2)
    shift = broadcast_channels(norm.bias, x, 2)
    return (gain * (values - mean) * torch.rsqrt(variance + norm.eps) + shift).to(x.dtype)
