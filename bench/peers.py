"""The contenders: each library's neuron as a layer that maps currents [T, N, C, H, W] to spikes.

All are set to one neuron: u_t = ½·v_{t-1} + I_t, a spike at u_t >= ½, a reset to zero, and the slope of SpikingJelly's
ATan with α = 2 (surgrad's "atan" with width 1/π). A contender's `note` states what its library computes differently.
Every call starts from a potential of 0. This file imports only torch; a peer is imported when its layer is built.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

TAU = 2.0
DECAY = 1 - 1 / TAU
THRESHOLD = 0.5
ALPHA = 2.0
WIDTH = 2 / (math.pi * ALPHA)


class OverTime(nn.Module):
    """A neuron of any library: `reset` clears the state of the last call, `run` maps [T, ...] to spikes."""

    def reset(self) -> None:
        """Clear the state; a library without state has nothing to do."""

    def run(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        self.reset()
        return self.run(x)


class SpikingJellyNode(OverTime):
    """A node of SpikingJelly over all time steps (step_mode "m"), as installed."""

    def __init__(self, kind: str, **tau: float):
        super().__init__()
        from spikingjelly.activation_based import neuron, surrogate

        self.node = getattr(neuron, kind)(
            **tau,
            decay_input=False,
            v_threshold=THRESHOLD,
            v_reset=0.0,
            surrogate_function=surrogate.ATan(alpha=ALPHA),
            step_mode="m",
        )

    def reset(self) -> None:
        self.node.reset()

    def run(self, x: Tensor) -> Tensor:
        return self.node(x)


class SpikingJellyFlexSN(OverTime):
    """SpikingJelly's FlexSN, which compiles a neuron from its Python code, with the width as a tensor: only so can a
    controller change the width without compiling again. In bfloat16 it keeps its state in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        from spikingjelly.activation_based.neuron import FlexSN

        self.node = FlexSN(_step, num_states=1, static_inputs=(torch.tensor(WIDTH),), step_mode="m")

    def reset(self) -> None:
        self.node.reset()

    def run(self, x: Tensor) -> Tensor:
        if self.node.static_inputs[0].dtype != x.dtype:
            self.node.to(x.dtype)
        return self.node(x)


class _SpikeOfWidth(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, width: Tensor) -> Tensor:
        ctx.save_for_backward(x, width)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        x, width = ctx.saved_tensors
        z = x / width
        return grads[0] / (math.pi * width * (1 + z * z)), None


def _step(x: Tensor, potential: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    u = DECAY * potential + x
    spike = _SpikeOfWidth.apply(u - THRESHOLD, width)
    return spike, u * (1 - spike)


class SnnTorchLeaky(OverTime):
    """snnTorch's Leaky in the loop of its tutorials."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch

        slope = snntorch.surrogate.atan(ALPHA)
        self.leaky = snntorch.Leaky(DECAY, threshold=THRESHOLD, spike_grad=slope, reset_mechanism="zero")

    def run(self, x: Tensor) -> Tensor:
        potential = self.leaky.reset_mem()
        spikes = []
        for current in x.unbind(0):
            spike, potential = self.leaky(current, potential)
            spikes.append(spike)
        return torch.stack(spikes)


class NorseLIFBox(OverTime):
    """Norse's LIFBox. It scales its input by 1/τ, so its potentials and threshold are 1/τ of ours. The loop is ours,
    since that of Norse's Lift uses x[t], whose backward pass is slow."""

    def __init__(self) -> None:
        super().__init__()
        import norse.torch as norse

        parameters = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(1 / TAU), v_th=torch.tensor(THRESHOLD / TAU))
        self.cell = norse.LIFBoxCell(parameters, dt=1.0)

    def run(self, x: Tensor) -> Tensor:
        state = None
        spikes = []
        for current in x.unbind(0):
            spike, state = self.cell(current, state)
            spikes.append(spike)
        return torch.stack(spikes)


class SinabsLIF(OverTime):
    """Sinabs' LIF, whose first axis is the batch; its decay, a parameter by default, is fixed."""

    def __init__(self) -> None:
        super().__init__()
        import sinabs.activation as activation
        from sinabs.layers import LIF

        self.layer = LIF(
            tau_mem=-1 / math.log(DECAY),
            spike_threshold=torch.tensor(THRESHOLD),
            train_alphas=True,
            spike_fn=activation.SingleSpike,
            reset_fn=activation.MembraneReset(),
            surrogate_grad_fn=_atan_of_potential,
            norm_input=False,
        ).requires_grad_(False)
        self.layer.alpha_mem.fill_(DECAY)  # exp and log change it by rounding

    def reset(self) -> None:
        if self.layer.is_state_initialised():
            self.layer.reset_states()

    def run(self, x: Tensor) -> Tensor:
        return self.layer(x.transpose(0, 1)).transpose(0, 1)


def _atan_slope(x: Tensor) -> Tensor:
    return ALPHA / 2 / (1 + (math.pi / 2 * ALPHA * x).square())


def _atan_of_potential(potential: Tensor, threshold: Tensor) -> Tensor:
    return _atan_slope(potential - threshold)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * _atan_slope(x)


class PlainLoop(OverTime):
    """An efficient loop without a library: unbind (whose backward is one stack), float32 state, and cat, which keeps
    channels_last where stack does not."""

    def run(self, x: Tensor) -> Tensor:
        potential: Tensor | float = 0.0
        spikes = []
        for current in x.unbind(0):
            u = DECAY * potential + current.float()
            spike = _Spike.apply(u - THRESHOLD)
            potential = u * (1 - spike)
            spikes.append(spike.to(x.dtype))
        return torch.cat(spikes).unflatten(0, x.shape[:2])


class IndexingLoop(OverTime):
    """The same with x[t], each of whose backward passes fills a tensor of all T time steps."""

    def run(self, x: Tensor) -> Tensor:
        potential: Tensor | float = 0.0
        spikes = []
        for t in range(x.shape[0]):
            u = DECAY * potential + x[t].float()
            spike = _Spike.apply(u - THRESHOLD)
            potential = u * (1 - spike)
            spikes.append(spike.to(x.dtype))
        return torch.stack(spikes)


def compiled(build: Callable[[], OverTime]) -> OverTime:
    """Build the layer with `run` compiled; `reset` is not compiled, so that it does not cause a second graph."""
    # By default Dynamo stops after eight graphs of one function; sizes, precisions and T need more.
    torch._dynamo.config.recompile_limit = 256
    layer = build()
    layer.run = torch.compile(layer.run, dynamic=False)  # type: ignore[method-assign]
    return layer


def ours(backend: str = "auto", **options: Any) -> nn.Module:
    """Build surgrad's neuron with the same equations."""
    from surgrad.neurons import LIF
    from surgrad.surrogates import Surrogate

    return LIF(DECAY, threshold=THRESHOLD, surrogate=Surrogate("atan", WIDTH), backend=backend, **options)


@dataclass(frozen=True)
class Peer:
    """A contender.

    Args:
        name: its name in tables and plots.
        layer: builds its neuron; also the `neuron` factory of a network.
        package: the package it needs, if any.
        compiled: whether torch.compile runs in its first call.
        note: what it computes differently from the others.
        most: elements, over all time steps, of the largest layer that it is measured on; each size is one compilation.
        packed: whether its network saves spikes as bits.
    """

    name: str
    layer: Callable[[], nn.Module]
    package: str | None = None
    compiled: bool = False
    note: str = ""
    most: float = math.inf
    packed: bool = False


OURS = "surgrad"
REFERENCE = "surgrad reference"
TRAINED = "surgrad, trained decay"
NOTHING = "no neuron"
SJ = "SpikingJelly LIF"
SJ_COMPILED = "SpikingJelly LIF, compiled"
FLEXSN = "SpikingJelly FlexSN"
LOOP = "plain loop"
LOOP_COMPILED = "plain loop, compiled"
PACKED = "surgrad, spikes as bits"
PLAIN = "surgrad, no compiler"
FRUGAL = (OURS, SJ, SJ_COMPILED)  # measured where memory or time does not suffice for all
_DETACHED = "reset detached"
SMALLEST = 4 * 2**20  # elements: T = 4, 1M


def spikingjelly_lif() -> OverTime:
    """Build SpikingJelly's LIFNode; its reset keeps its gradient, as ours does."""
    return SpikingJellyNode("LIFNode", tau=TAU)


def spikingjelly_plif() -> OverTime:
    """Build SpikingJelly's ParametricLIFNode, whose decay is trained."""
    return SpikingJellyNode("ParametricLIFNode", init_tau=TAU)


_ALL = (
    Peer(OURS, ours),
    Peer(TRAINED, lambda: ours(train_decay=True), note="decay trained"),
    Peer(PACKED, ours, packed=True),
    Peer(PLAIN, lambda: ours("torch")),
    Peer(REFERENCE, lambda: ours("reference")),
    Peer(SJ, spikingjelly_lif, "spikingjelly"),
    Peer(SJ_COMPILED, lambda: compiled(spikingjelly_lif), "spikingjelly", compiled=True),
    Peer(FLEXSN, SpikingJellyFlexSN, "spikingjelly", note="width as a tensor"),
    Peer("SpikingJelly PLIF", spikingjelly_plif, "spikingjelly", note="decay trained"),
    Peer("snnTorch Leaky", SnnTorchLeaky, "snntorch", note=_DETACHED),
    Peer("Norse LIFBox", NorseLIFBox, "norse", note="SuperSpike's slope, its width fixed by the library"),
    Peer("Sinabs LIF", SinabsLIF, "sinabs", note=_DETACHED),
    Peer(LOOP, PlainLoop),
    Peer(LOOP_COMPILED, lambda: compiled(PlainLoop), compiled=True),
    Peer("indexing loop", IndexingLoop),
    *(
        Peer(f"{peer}, compiled", partial(compiled, layer), package, compiled=True, note=note, most=SMALLEST)
        for peer, layer, package, note in (
            ("SpikingJelly PLIF", spikingjelly_plif, "spikingjelly", "decay trained"),
            ("snnTorch Leaky", SnnTorchLeaky, "snntorch", _DETACHED),
            ("Norse LIFBox", NorseLIFBox, "norse", "SuperSpike's slope, its width fixed by the library"),
            ("Sinabs LIF", SinabsLIF, "sinabs", _DETACHED),
        )
    ),
)


def installed() -> dict[str, Peer]:
    """Return the contenders whose packages are installed, by name, ours first."""
    return {peer.name: peer for peer in _ALL if peer.package is None or find_spec(peer.package)}


def missing() -> list[str]:
    """Return the names of the contenders whose packages are not installed."""
    return [peer.name for peer in _ALL if peer.name not in installed()]
