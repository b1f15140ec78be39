"""Training: recipes are built, run, checkpointed, resumed and evaluated in a run folder."""

from surgrad.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
