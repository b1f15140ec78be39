"""surgrad: direct training of spiking neural networks by surrogate gradients that adapt."""

from surgrad.lazy import attach

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = attach(__name__, __file__)
