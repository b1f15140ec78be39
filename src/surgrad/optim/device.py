"""Optimisers whose steps a CUDA graph can hold: what changes from step to step lies on the device."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def keep_on_device(optimizers: Iterable[torch.optim.Optimizer], device: torch.device) -> None:
    """Make the learning rates of optimisers tensors on a GPU, so that a recorded step reads the present ones.

    Call it again after a state was loaded. On a CPU it does nothing.
    """
    if device.type != "cuda":
        return
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        if not isinstance(group["lr"], Tensor):
            group["lr"] = torch.full((), group["lr"], device=device)
        if "capturable" in group:
            group["capturable"] = True


def plain_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state dict of an optimiser, learning rates as numbers, for a checkpoint that any device can load."""
    state = optimizer.state_dict()
    groups = [{**group, "lr": float(group["lr"])} for group in state["param_groups"]]
    for group in groups:
        if "capturable" in group:
            group["capturable"] = False
    return {**state, "param_groups": groups}
