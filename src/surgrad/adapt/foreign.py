"""Neurons that are not surgrad's, as controllers use them: with a surrogate, a decay and a threshold."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from surgrad import padding
from surgrad.errors import BadValue
from surgrad.kernels.lif import histogram
from surgrad.neurons import Neuron
from surgrad.surrogates import SURROGATES, Surrogate, SurrogateFunction

HOLDERS = ("surrogate", "spike_grad", "surrogate_function")
"""Attributes that hold the surrogate of surgrad's, snnTorch's and SpikingJelly's neurons."""
ALPHAS: dict[str, tuple[str, Callable[[float], float]]] = {
    "ATan": ("atan", lambda a: 2 / (math.pi * a)),
    "Sigmoid": ("sigmoid", lambda a: 1 / a),
    "SoftSign": ("fast_sigmoid", lambda a: 1 / a),
    "PiecewiseExp": ("exponential", lambda a: 1 / a),
    "PiecewiseQuadratic": ("triangle", lambda a: 1 / a),
    "Rect": ("rect", lambda a: 1 / a),
    "Erf": ("gaussian", lambda a: 1 / (math.sqrt(2) * a)),
}
"""SpikingJelly's surrogates by class: the name of ours, and the map from alpha to width, which is its own inverse."""


class Alpha:
    """SpikingJelly's own surrogate. Its float `alpha` gives the width, so its fused backends remain usable."""

    def __init__(self, module: nn.Module):
        name, self._convert = ALPHAS[type(module).__name__]
        self.module: Any = module
        self.function: SurrogateFunction = SURROGATES[name]

    @property
    def width(self) -> Tensor:
        return torch.tensor(self._convert(self.module.alpha))

    def write(self, width: Tensor) -> None:
        """Write a width of one number: SpikingJelly has no alpha per channel. An unchanged width is not written:
        every new alpha compiles a compiled network again."""
        if width.item() != self.width.item():
            self.module.alpha = self._convert(width.item())


class ForeignNeuron:
    """A neuron that is not one of surgrad's, with the surrogate, decay and threshold that a controller reads.

    A module that you wrote is one if it holds a `Surrogate`, under any name, and calls it with u - threshold:

        class Own(nn.Module):
            def __init__(self):
                super().__init__()
                self.threshold = 0.5            # for controllers that read it, or histograms
                self.decay = torch.tensor(0.9)  # for controllers that read it (LSG)
                self.spike = Surrogate("atan")

    While `record_histogram` is set, `histogram` counts the potentials with which its surrogate is called in
    training, until the adapter has read them. A neuron of snnTorch's calls it twice a time step, and the last call
    counts: the first computes the reset, from the potentials of the step before. The fused backends of a library do not
    call it.
    """

    def __init__(self, module: nn.Module, holder: str, surrogate: Surrogate | Alpha):
        self.module: Any = module
        self.surrogate = surrogate
        self._slope: nn.Module = getattr(module, holder)
        self._counts = f"surgrad_histogram_{id(self):x}"  # an attribute of the module; a probe counts apart
        self._hooks: list[RemovableHandle] = []
        self._potentials: Tensor | None = None  # of the last call of the surrogate
        self.histogram_by_width = False

    @property
    def record_histogram(self) -> bool:
        return bool(self._hooks)

    @record_histogram.setter
    def record_histogram(self, on: bool) -> None:
        if on and not self._hooks:
            self._hooks = self._counting()
        elif not on:
            for hook in self._hooks:
                hook.remove()
            self._hooks = []

    def _counting(self) -> list[RemovableHandle]:
        """Count from now on."""
        if not _is_of("snntorch", self.module):
            return [self._slope.register_forward_pre_hook(self._count_inputs)]
        return [
            self._slope.register_forward_pre_hook(self._keep),
            self.module.register_forward_hook(self._count_kept),
        ]

    def _count_inputs(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._count(inputs[0])

    def _keep(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._potentials = inputs[0]

    def _count_kept(self, *_: Any) -> None:
        if self._potentials is not None:
            self._count(self._potentials)
        self._potentials = None

    @property
    def histogram(self) -> Tensor | None:
        """The counts, held by the neuron's module, so that they are restored with its other attributes."""
        return vars(self.module).get(self._counts)

    @histogram.setter
    def histogram(self, counts: Tensor | None) -> None:
        vars(self.module)[self._counts] = counts

    @property
    def threshold(self) -> Tensor:
        for name in ("threshold", "v_threshold"):
            if hasattr(self.module, name):
                return torch.as_tensor(getattr(self.module, name)).detach().float()
        raise BadValue(
            f"{type(self.module).__name__} has no threshold attribute, which this controller reads; set its "
            "self.threshold to that with which it calls its Surrogate (u - threshold)"
        )

    @property
    def decay(self) -> Tensor:
        """β of u_t = β·v_{t-1} + …: `decay`; snnTorch's beta; SpikingJelly's 1 - 1/tau, 1 - σ(w), or 1 for its IF."""
        module = self.module
        if hasattr(module, "decay"):
            return torch.as_tensor(module.decay).detach().float()
        if hasattr(module, "beta"):
            return torch.as_tensor(module.beta).detach().float().clamp(0, 1)
        if hasattr(module, "tau"):
            return 1 - 1 / torch.as_tensor(module.tau).detach().float()
        if hasattr(module, "w"):
            return 1 - module.w.detach().sigmoid()
        if hasattr(module, "v_threshold"):
            return torch.ones(())
        raise BadValue(
            f"{type(module).__name__} has no decay attribute, which this controller reads; set its self.decay to β of "
            "u_t = β·v_{t-1} + …, or use a controller that does not read it"
        )

    def _count(self, potentials: Tensor) -> None:
        """Add u - threshold of one call of the surrogate."""
        if self.module.training:
            padding.refuse(f"the histogram of {type(self.module).__name__}, a neuron of another library,")
            by_channel = self.histogram_by_width and self.surrogate.width.ndim > 0
            counts = histogram(potentials, self.threshold.to(potentials.device).mean(), by_channel=by_channel)
            self.histogram = counts if self.histogram is None else self.histogram.to(counts.device) + counts


def neuron_of(module: nn.Module) -> Any:
    """The module itself where it is a neuron of surgrad; a `ForeignNeuron` where it is any other module that holds a
    `Surrogate`, or a neuron of SpikingJelly's with one of that library's; None where it is not a neuron."""
    if isinstance(module, Neuron):
        return module
    holder = _holder_of(module)
    if holder is not None:
        return ForeignNeuron(module, holder, getattr(module, holder))
    for name in HOLDERS:
        slope: Any = getattr(module, name, None)
        if type(slope).__name__ in ALPHAS and _is_of("spikingjelly", slope):
            return ForeignNeuron(module, name, Alpha(slope))
    return None


def is_left_out(module: nn.Module) -> bool:
    """Whether a module is a neuron of snnTorch's or SpikingJelly's whose surrogate no controller can adapt."""
    slopes = {"snntorch": "spike_grad", "spikingjelly": "surrogate_function"}
    has_slope = any(_is_of(library, module) and hasattr(module, name) for library, name in slopes.items())
    return has_slope and neuron_of(module) is None


def _is_of(library: str, module: object) -> bool:
    """Whether an object's class, or one that it is derived from, is of a library."""
    return any(kind.__module__.split(".")[0] == library for kind in type(module).__mro__)


def _holder_of(module: nn.Module) -> str | None:
    """The attribute of a module that holds its surrogate, by whatever name; None where it has none."""
    for name in HOLDERS:  # snnTorch's is not a submodule
        if isinstance(getattr(module, name, None), Surrogate):
            return name
    held = [name for name, child in module.named_children() if isinstance(child, Surrogate)]
    if len(held) > 1:
        raise BadValue(
            f"{type(module).__name__} holds {len(held)} Surrogates ({', '.join(held)}), and a neuron has one; put each "
            "into a separate module, with its threshold"
        )
    return held[0] if held else None


def slot_of(module: nn.Module) -> str:
    """The path of a neuron's width among the model's buffers and parameters, relative to the neuron."""
    holder = _holder_of(module)
    if holder is not None:
        return f"{holder}.width"
    raise BadValue(
        f"{type(module).__name__} uses its library's surrogate, whose width a probe cannot replace; "
        "give it a surgrad.Surrogate"
    )
