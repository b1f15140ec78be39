"""Gradients found step by step: each step's loss goes back at once, and no further than this step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv1d_weight, conv2d_weight, conv3d_weight
from torch.overrides import TorchFunctionMode

from surgrad.errors import BadValue
from surgrad.models import SpikingNetwork
from surgrad.neurons import detach, needs_whole_sequence, neurons, streaming

Judge = Callable[[Tensor], Tensor]
Forward = Callable[[Tensor], Tensor]


def sltt(
    network: SpikingNetwork, x: Tensor, loss_fn: Judge, forward: Forward | None = None, *, count: int | None = None
) -> tuple[Tensor, Tensor]:
    """Spatial learning through time (Meng et al. 2023): (loss 0-d, output [T, N, classes]).

    The gradient of the mean over the steps of judge(output of the step), without what passes from one step to the next.
    Norms see each step's statistics alone. count: go back from so many steps, drawn at random (SLTT-K); None: all."""
    total = _steps(network, x)
    if count is not None and not 1 <= count <= total:
        raise BadValue(f"{count} of {total} steps to go back from; give 1 to {total}")
    check_sltt(network)
    chosen = range(total) if count is None else torch.randperm(total)[:count].tolist()
    return _step_by_step(network, x, loss_fn, forward, set(chosen), nullcontext())


def ottt(network: SpikingNetwork, x: Tensor, loss_fn: Judge, forward: Forward | None = None) -> tuple[Tensor, Tensor]:
    """Online training through time (Xiao et al. 2022): (loss 0-d, output [T, N, classes]).

    As `sltt`, but what a weight is multiplied with when its gradient is found is a trace of the layer's input,

        â_t = λ·â_{t-1} + x_t,    ∇W = Σ_t δ_t·â_tᵀ

    of every convolution and linear layer, λ the neurons' decay, which must be one and the same. (The authors' code
    leaves out the first layer; the paper's formula, and this, do not.)"""
    decay = check_ottt(network)
    total = _steps(network, x)
    return _step_by_step(network, x, loss_fn, forward, set(range(total)), _Traces(decay))


def _steps(network: SpikingNetwork, x: Tensor) -> int:
    return network.steps if x.ndim == 4 else len(x)


def _step_by_step(
    network: SpikingNetwork, x: Tensor, loss_fn: Judge, forward: Forward | None, chosen: set[int], mode: Any
) -> tuple[Tensor, Tensor]:
    """Forward and, for the chosen steps, backward at once; the potentials go on, their gradient does not."""
    forward = forward or network
    outputs = []
    losses = []
    x = network.encoded(x)
    total = _steps(network, x)
    with _carrying(network) as counted:
        for step in range(total):
            with torch.set_grad_enabled(step in chosen), mode:
                output = forward(x if x.ndim == 4 else x[step : step + 1])
            if step in chosen:
                loss = loss_fn(output) / len(chosen)
                loss.backward()
                losses.append(loss.detach())
            detach(network)
            outputs.append(output.detach())
            counted()
    return torch.stack(losses).sum(), torch.cat(outputs)


@contextmanager
def _carrying(network: SpikingNetwork) -> Iterator[Callable[[], None]]:
    """One step a call, each going on from the last; what it yields adds up the histograms of watched neurons."""
    watched = {n: neuron for n, neuron in neurons(network).items() if neuron.recording}
    before = network.steps
    counts: dict[str, Tensor] = {}

    def counted() -> None:
        for name, neuron in watched.items():
            assert neuron.histogram is not None
            counts[name] = neuron.histogram + counts.get(name, 0)

    try:
        network.steps = 1
        with streaming(network):
            yield counted
    finally:
        network.steps = before
        for name, total in counts.items():
            watched[name].histogram = total


def check_sltt(network: SpikingNetwork) -> None:
    """Refuse what needs all steps at once."""
    if network.last_step:
        raise BadValue("every step has a loss of its own here, and last_step asks for the last one's; unset it")
    for name, neuron in neurons(network).items():
        if neuron.surrogate.first_width is not None:
            raise BadValue(
                f"'{name}' has a width of its own for the first step, and here each is a call; give one width"
            )
    for name, module in needs_whole_sequence(network).items():
        raise BadValue(
            f"'{name}', {type(module).__name__}, needs all steps of a sequence in one call, and here each "
            "is a call; use another, or gradient bptt"
        )


def check_ottt(network: SpikingNetwork) -> float:
    """Refuse what has no trace, too; returns the decay of all."""
    check_sltt(network)
    decays = torch.cat([neuron.decay.detach().flatten() for neuron in neurons(network).values()])
    trained = any(neuron.decay.requires_grad for neuron in neurons(network).values())
    if trained or not torch.allclose(decays, decays[0]):
        raise BadValue(
            f"the traces decay as the potentials do, and these do from {decays.min():.3g} to "
            f"{decays.max():.3g}; give all neurons one decay, and train none of them"
        )
    for name, module in network.named_modules():
        if getattr(getattr(module, "weight", None), "ndim", 0) > 1 and not isinstance(module, TRACED):
            raise BadValue(
                f"'{name}', {type(module).__name__}, has no trace here; use convolutions and linear layers, "
                "or gradient bptt"
            )
    return decays[0].item()


class _Traces(TorchFunctionMode):
    """While it is on, convolutions and linear layers find the gradient of their weight by the trace of their input.

    Layers are known by their order, which is the same in every step: each step enters it anew."""

    def __init__(self, decay: float):
        super().__init__()
        self.decay = decay
        self.traces: list[Tensor] = []
        self.at = 0

    def __enter__(self) -> "_Traces":
        self.at = 0
        return super().__enter__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in TRACED_BY:
            return func(*args, **kwargs)
        x, weight, bias, *layout = _in_order(func, args, kwargs)
        trace = x.detach() if self.at == len(self.traces) else self.decay * self.traces[self.at] + x.detach()
        self.traces[self.at : self.at + 1] = [trace]
        self.at += 1
        out = func(x, weight.detach(), bias, *layout)
        return _ByTrace.apply(out, weight, trace, TRACED_BY[func], layout)


class _ByTrace(torch.autograd.Function):
    """A layer's output, and the gradient of its weight as if the trace had been its input.

    of: the function of `TRACED_BY`; layout: a convolution's stride, padding, dilation and groups."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, weight: Tensor, trace: Tensor, of: Any, layout: Any) -> Tensor:
        ctx.save_for_backward(trace)
        ctx.size = weight.shape
        ctx.dtype = weight.dtype
        ctx.of = of
        ctx.layout = layout
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        (grad,) = grads
        (trace,) = ctx.saved_tensors
        found = ctx.of(trace.to(grad.dtype), ctx.size, grad, *ctx.layout)
        return grad, found.to(ctx.dtype), None, None, None


def _linear_weight(x: Tensor, size: Any, grad: Tensor) -> Tensor:
    """The gradient of a linear layer's weight, as `torch.nn.grad` has those of convolutions."""
    return grad.flatten(0, -2).T @ x.flatten(0, -2)


TRACED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
TRACED_BY = {F.conv1d: conv1d_weight, F.conv2d: conv2d_weight, F.conv3d: conv3d_weight, F.linear: _linear_weight}
"""The gradient of a layer's weight, of (input, size of the weight, gradient of the output, *layout)."""


def _in_order(func: Any, args: Any, kwargs: Any) -> list[Any]:
    """The arguments of a function of `TRACED_BY`, all by place; padding by name as a number."""
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
                f"a kernel of {'×'.join(map(str, sides))} pads one side more than the other to keep the "
                "size, which no trace does; give odd kernels, or padding as a number"
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
