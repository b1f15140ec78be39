"""A model that is asked questions, and left as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from surgrad import state

FLAGS = ("record_histogram", "training")
"""Settings of modules that a probe changes."""


@contextmanager
def preserved_state(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Begin with our neurons at rest, put their state and the random numbers back as they were, and run no hooks of the
    model itself."""
    kept = [(m, key, getattr(m, key)) for m in model.modules() for key in FLAGS if hasattr(m, key)]
    jelly: list[Any] = [m for m in model.modules() if hasattr(m, "_memories")]  # SpikingJelly's neurons
    kept += [(m, "_memories", dict(m._memories)) for m in jelly]
    hooks = model._forward_pre_hooks
    model._forward_pre_hooks = type(model._forward_pre_hooks)()
    try:
        with state.preserved_state(model), torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        model._forward_pre_hooks = hooks
        for module, key, value in kept:
            setattr(module, key, value)
