"""Gradients that are computed step by step: the loss of each time step is propagated backward at once, and not to the
steps before it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv1d_weight, conv2d_weight, conv3d_weight
from torch.overrides import TorchFunctionMode

from surgrad.config.values import Count
from surgrad.errors import BadValue
from surgrad.gradients.base import Forward, Gradient, LossFunction
from surgrad.models import SpikingNetwork
from surgrad.neurons import added_histograms, detach, needs_whole_sequence, neurons, streaming


class SLTT(Gradient):
    """Spatial learning through time (Meng et al. 2023).

    It is the gradient of the mean over the time steps of loss_fn(output of the step), without the part that passes from
    one step to the next. With `steps` K, the other terms of that mean have no gradient: on average it is K/T times as
    long, as in the authors' code.

    Norms use the statistics of each time step alone.

    Args:
        steps: the number of time steps, drawn at random in every call, that have a backward pass (SLTT-K); None for
            all.

    Raises:
        BadValue: for a number of steps below 1.
    """

    allows_checkpoint = True

    def __init__(self, steps: Count | None = None):
        if steps is not None and steps < 1:
            raise BadValue(f"steps must be at least 1, got {steps}; give none for a backward pass of every time step")
        self.steps = steps

    def check(self, network: SpikingNetwork, steps: int | None = None) -> None:
        """See `Gradient.check`."""
        total = network.steps if steps is None else steps
        if self.steps is not None and self.steps > total:
            raise BadValue(f"a backward pass of {self.steps} time steps, and there are {total}; give at most {total}")
        _check_single_steps(network)

    def find(
        self, network: SpikingNetwork, x: Tensor, loss_fn: LossFunction, forward: Forward | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Gradient.find`."""
        total = network.time_steps(x)
        self.check(network, total)
        chosen = range(total) if self.steps is None else torch.randperm(total)[: self.steps].tolist()
        return _step_by_step(network, x, loss_fn, forward, set(chosen), nullcontext())


class OTTT(Gradient):
    """Online training through time (Xiao et al. 2022): `SLTT` with a trace of each layer's input.

    The gradient of a weight uses that trace,

        â_t = λ·â_{t-1} + x_t,    ∇W = Σ_t δ_t·â_tᵀ

    for every convolution and linear layer; a network with other parameters of more than one axis is refused. λ is the
    decay of the neurons, which must be the same for all of them. The authors' code has no trace for the first layer;
    the paper's formula, and this class, do.
    """

    def check(self, network: SpikingNetwork, steps: int | None = None) -> None:
        """See `Gradient.check`."""
        _check_single_steps(network)
        _common_decay(network)
        traced = {id(weight) for one in network.modules() if isinstance(one, TRACED) for weight in one.parameters()}
        for path, parameter in network.named_parameters():
            if parameter.ndim > 1 and id(parameter) not in traced:
                name, _, weight = path.rpartition(".")
                raise BadValue(
                    f"'{name}', {type(network.get_submodule(name)).__name__}, has no trace in OTTT for its parameter "
                    f"'{weight}' {list(parameter.shape)}; use convolutions and linear layers, or gradient bptt"
                )

    def find(
        self, network: SpikingNetwork, x: Tensor, loss_fn: LossFunction, forward: Forward | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Gradient.find`."""
        self.check(network)
        every = set(range(network.time_steps(x)))
        return _step_by_step(network, x, loss_fn, forward, every, _Traces(_common_decay(network)))


def _step_by_step(
    network: SpikingNetwork, x: Tensor, loss_fn: LossFunction, forward: Forward | None, chosen: set[int], mode: Any
) -> tuple[Tensor, Tensor]:
    """Run all time steps, and for the chosen ones a backward pass at once. The potentials continue from step to step,
    and their gradient does not.

    mode: a context manager around each forward pass.
    """
    forward = forward or network
    outputs = []
    losses = []
    x = network.encoded(x)
    sequence = network.is_sequence(x)
    total = network.time_steps(x)
    with _single_steps(network), added_histograms(network) as add_histograms:
        for step in range(total):
            with torch.set_grad_enabled(step in chosen), mode:
                output = forward(x[step : step + 1] if sequence else x)
            if step in chosen:
                loss = loss_fn(output)
                (loss / total).backward()
                losses.append(loss.detach())
            detach(network)
            outputs.append(output.detach())
            add_histograms()
    return torch.stack(losses).mean(), torch.cat(outputs)


@contextmanager
def _single_steps(network: SpikingNetwork) -> Iterator[None]:
    """Within it, every call of the network runs one time step, and continues from the one before."""
    before = network.steps
    try:
        network.steps = 1
        with streaming(network):
            yield
    finally:
        network.steps = before


def _check_single_steps(network: SpikingNetwork) -> None:
    """Refuse what needs all time steps in one call."""
    if network.last_step:
        raise BadValue(
            "last_step uses the output of the last time step alone, and here every step has its loss; unset it"
        )
    for name, neuron in neurons(network).items():
        if neuron.surrogate.width.ndim > 1:
            raise BadValue(
                f"'{name}' has separate widths for {len(neuron.surrogate.width)} time steps, and here every step is a "
                "separate call; use one width"
            )
    for name, module in needs_whole_sequence(network).items():
        raise BadValue(
            f"'{name}', {type(module).__name__}, needs all time steps in one call, and here every step is a separate "
            "call; use another module, or gradient bptt"
        )


def _common_decay(network: SpikingNetwork) -> float:
    """The decay of all neurons; an error where they differ or are trained."""
    decays = torch.cat([neuron.decay.detach().flatten() for neuron in neurons(network).values()])
    trained = any(neuron.decay.requires_grad for neuron in neurons(network).values())
    if trained or not torch.allclose(decays, decays[0]):
        raise BadValue(
            "OTTT's traces use one fixed decay, and the decays of these neurons are "
            f"{'trained' if trained else 'different'} ({decays.min():.3g} to {decays.max():.3g}); give all neurons the "
            "same decay, and do not train it"
        )
    return decays[0].item()


class _Traces(TorchFunctionMode):
    """Within it, convolutions and linear layers compute the gradient of their weight from the trace of their input.

    Layers are identified by their order, which is the same in every time step. Enter it again for every step.
    """

    def __init__(self, decay: float):
        super().__init__()
        self.decay = decay
        self.traces: list[Tensor] = []
        self.layer = 0

    def __enter__(self) -> "_Traces":
        self.layer = 0
        return super().__enter__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in TRACED_BY:
            return func(*args, **kwargs)
        x, weight, bias, *layout = _positional(func, args, kwargs)
        first_step = self.layer == len(self.traces)
        trace = x.detach() if first_step else self.decay * self.traces[self.layer] + x.detach()
        self.traces[self.layer : self.layer + 1] = [trace]
        self.layer += 1
        out = func(x, weight.detach(), bias, *layout)
        return _TracedWeight.apply(out, weight, trace, TRACED_BY[func], layout)


class _TracedWeight(torch.autograd.Function):
    """A layer's output unchanged, with the gradient of its weight as if the trace had been its input.

    weight_gradient: a function of `TRACED_BY`. layout: a convolution's stride, padding, dilation and groups.
    """

    @staticmethod
    def forward(ctx: Any, out: Tensor, weight: Tensor, trace: Tensor, weight_gradient: Any, layout: Any) -> Tensor:
        ctx.save_for_backward(trace)
        ctx.size = weight.shape
        ctx.dtype = weight.dtype
        ctx.weight_gradient = weight_gradient
        ctx.layout = layout
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        (grad,) = grads
        (trace,) = ctx.saved_tensors
        found = ctx.weight_gradient(trace.to(grad.dtype), ctx.size, grad, *ctx.layout)
        return grad, found.to(ctx.dtype), None, None, None


def _linear_weight(x: Tensor, size: Any, grad: Tensor) -> Tensor:
    """The gradient of a linear layer's weight, in the form of `torch.nn.grad.conv2d_weight`."""
    return grad.flatten(0, -2).T @ x.flatten(0, -2)


TRACED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
TRACED_BY = {F.conv1d: conv1d_weight, F.conv2d: conv2d_weight, F.conv3d: conv3d_weight, F.linear: _linear_weight}
"""By function, the gradient of its weight: (input, size of the weight, gradient of the output, *layout) -> gradient."""


def _positional(func: Any, args: Any, kwargs: Any) -> list[Any]:
    """The arguments of a call of a function of `TRACED_BY`, in the order of its parameters, with padding as numbers."""
    given = (
        dict(zip(("input", "weight", "bias", "stride", "padding", "dilation", "groups"), args, strict=False)) | kwargs
    )
    if func is F.linear:
        return [given["input"], given["weight"], given.get("bias")]
    padding = given.get("padding", 0)
    dilation = given.get("dilation", 1)
    sides = given["weight"].shape[2:]
    if isinstance(padding, str):
        dilations = [dilation] * len(sides) if isinstance(dilation, int) else dilation
        whole = [d * (side - 1) if padding == "same" else 0 for d, side in zip(dilations, sides, strict=True)]
        if any(pad % 2 for pad in whole):
            raise BadValue(
                f"a kernel of {'×'.join(map(str, sides))} with padding='same' pads one side more than the other, which "
                "OTTT's traces do not support; use odd kernels, or give padding as numbers"
            )
        padding = [pad // 2 for pad in whole]
    return [
        given["input"],
        given["weight"],
        given.get("bias"),
        given.get("stride", 1),
        padding,
        dilation,
        given.get("groups", 1),
    ]
