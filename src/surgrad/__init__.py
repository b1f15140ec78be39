"""surgrad: direct training of spiking neural networks by surrogate gradients that adapt."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from surgrad import adapt as adapt
    from surgrad import conversion as conversion
    from surgrad import losses as losses
    from surgrad import models as models
    from surgrad import penalties as penalties
    from surgrad import surrogates as surrogates
    from surgrad.adapt import Adapter as Adapter
    from surgrad.kernels.lif import lif as lif
    from surgrad.layers import PerStep as PerStep
    from surgrad.neurons import IF as IF
    from surgrad.neurons import LIF as LIF
    from surgrad.neurons import PLIF as PLIF
    from surgrad.neurons import Readout as Readout
    from surgrad.neurons import detach as detach
    from surgrad.neurons import reset as reset
    from surgrad.norm import TDBN as TDBN
    from surgrad.norm import BatchNorm as BatchNorm
    from surgrad.norm import NormNeuron as NormNeuron
    from surgrad.surrogates import Surrogate as Surrogate
    from surgrad.train import load_run as load_run

# Loaded when first asked for, so that `surgrad --help` need not wait for torch.
_MODULES = ("adapt", "conversion", "data", "errors", "losses", "models", "penalties", "recipes", "surrogates", "train")
_HOMES = {
    "Adapter": "adapt",
    "lif": "kernels.lif",
    "PerStep": "layers",
    "IF": "neurons",
    "LIF": "neurons",
    "PLIF": "neurons",
    "Readout": "neurons",
    "reset": "neurons",
    "detach": "neurons",
    "TDBN": "norm",
    "BatchNorm": "norm",
    "NormNeuron": "norm",
    "Surrogate": "surrogates",
    "load_run": "train.loading",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"surgrad.{name}")
    if name in _HOMES:
        return getattr(import_module(f"surgrad.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'surgrad' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES, *_HOMES])
