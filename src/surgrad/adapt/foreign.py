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
_COUNTED = "surgrad_histogram"
"""Attribute of a surrogate module that holds the potentials counted so far."""
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
    training, until the adapter has read them. The fused backends of a library do not call it.
    """

    def __init__(self, module: nn.Module, holder: str, surrogate: Surrogate | Alpha):
        self.module: Any = module
        self.surrogate = surrogate
        self._slope: nn.Module = getattr(module, holder)
        self._hook: RemovableHandle | None = None
        self.histogram_by_width = False

    @property
    def record_histogram(self) -> bool:
        return self._hook is not None

    @record_histogram.setter
    def record_histogram(self, on: bool) -> None:
        if on and self._hook is None:
            self._hook = self._slope.register_forward_pre_hook(self._count)
        elif not on and self._hook is not None:
            self._hook.remove()
            self._hook = None

    @property
    def histogram(self) -> Tensor | None:
        """The counts, held by the neuron's module, so that they are restored with its other attributes."""
        return vars(self.module).get(_COUNTED)

    @histogram.setter
    def histogram(self, counts: Tensor | None) -> None:
        vars(self.module)[_COUNTED] = counts

    @property
    def threshold(self) -> Tensor:
        for name in ("threshold", "v_threshold"):
            if hasattr(self.module, name):
                return torch.as_tensor(getattr(self.module, name)).detach().float()
        raise BadValue(
            f"{type(self.module).__name__} has no threshold attribute; use a controller that does not read it"
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
        raise BadValue(f"{type(module).__name__} has no decay attribute; use a controller that does not read it")

    def _count(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if self.module.training:
            padding.refuse(f"the histogram of {type(self.module).__name__}, a neuron of another library,")
            by_channel = self.histogram_by_width and self.surrogate.width.ndim > 0
            counts = histogram(inputs[0], self.threshold.to(inputs[0].device).mean(), by_channel=by_channel)
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
        if type(slope).__name__ in ALPHAS and type(slope).__module__.startswith("spikingjelly."):
            return ForeignNeuron(module, name, Alpha(slope))
    return None


def _holder_of(module: nn.Module) -> str | None:
    """The attribute of a module that holds its surrogate, by whatever name; None where it has none."""
    for name in HOLDERS:  # snnTorch's is not a submodule
        if isinstance(getattr(module, name, None), Surrogate):
            return name
    return next((name for name, child in module.named_children() if isinstance(child, Surrogate)), None)


def slot_of(module: nn.Module) -> str:
    """The path of a neuron's width among the model's buffers and parameters, relative to the neuron."""
    holder = _holder_of(module)
    if holder is not None:
        return f"{holder}.width"
    raise BadValue(
        f"{type(module).__name__} uses its library's surrogate, whose width a probe cannot replace; "
        "give it a surgrad.Surrogate"
    )
